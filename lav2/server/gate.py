"""What the web server lets in and what it tells browsers: the names it is known under, which pages may talk to it,
and how much may be uploaded. Plain ASGI, around everything else. No torch."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from experts.messages import cut

UPLOADS_LIMIT = 2_000_000_000  # bytes of photos that are kept at once, for all visitors together
SPACES = "https://huggingface.co https://*.huggingface.co https://*.hf.space"  # whose pages show a Space in a frame
# Gradio's page has scripts and styles in itself and makes functions of texts; all else comes from this server.
POLICY = {
    "default-src": "'self'",
    "script-src": "'self' 'unsafe-inline' 'unsafe-eval'",
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data: blob:",
    "media-src": "'self' data: blob:",
    "font-src": "'self' data:",
    "connect-src": "'self' data: blob:",
    "worker-src": "'self' blob:",
    "object-src": "'none'",
    "base-uri": "'self'",
    "form-action": "'self'",
    "frame-ancestors": "'self'",
}


def known_names(host: str | None = None, share: bool = False) -> frozenset[str]:
    """The names that a server may be called by besides those of `Gate`: `--host`, this machine's, those in $LAV2_HOSTS
    (a comma between them; for a server behind another one), with `share` those of Gradio's tunnel."""
    named = os.environ.get("LAV2_HOSTS", "").split(",")
    own = socket.gethostname()
    names = {host or "", own, f"{own}.local", *named, ".gradio.live" if share else ""}
    return frozenset(name.strip().lower().rstrip(".") for name in names if name.strip())


class Gate:
    """Refuses what a page of another site could make a browser do, and tells browsers what the page may do.

    A name that resolves to this machine although nobody gave it to the server (DNS rebinding) is refused. Addresses,
    `localhost` and names without a dot are always good: nobody can register them. Pages of other sites get no answer
    and may send nothing.

    On Hugging Face Spaces both are left to their servers: a Space is public, and may stand in any page.

    Args:
        app: what is guarded.
        names: of `known_names`; one that begins with a dot stands for all that end in it.
        uploads: the folder that uploads go to.
        on_spaces: whether it runs there.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str], uploads: Path, on_spaces: bool = False):
        self._app, self._names, self._uploads, self._on_spaces = app, frozenset(names), uploads, on_spaces
        policy = dict(POLICY)
        if on_spaces:  # their page asks for the height of what is in the frame through this script
            policy["frame-ancestors"] += f" {SPACES}"
            policy["script-src"] += " https://cdnjs.cloudflare.com"
        self._told = {
            "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
            "X-Content-Type-Options": "nosniff",
            **({} if on_spaces else {"X-Frame-Options": "SAMEORIGIN"}),  # it knows no names
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refused = await self._refused(scope)

        async def telling(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._told)
            await send(message)

        if refused is None:
            await self._app(scope, receive, telling)
        else:
            await refused(scope, receive, telling)

    async def _refused(self, scope: Scope) -> PlainTextResponse | None:
        headers = Headers(scope=scope)
        if not self._on_spaces:
            host = hostname(headers.get("host", ""))
            if not self._knows(host):
                return PlainTextResponse(
                    f"This server is not known as {cut(host, 80)!r}. Use its address, or start it with LAV2_HOSTS set "
                    "to that name if it is its own.",
                    421,
                )
            if self._from_another_site(headers):
                return PlainTextResponse(
                    "Pages of other sites may not use this server. Open its own page, or start it with LAV2_HOSTS set "
                    "to the name of that site if it is its own.",
                    403,
                )
        uploads = scope.get("method") == "POST" and scope["path"].rstrip("/").endswith("/upload")
        if uploads and await run_in_threadpool(size, self._uploads) > UPLOADS_LIMIT:
            return PlainTextResponse(
                "The server has no room for more photos. Send it again in a few minutes: unused ones are deleted.", 507
            )
        return None

    def _knows(self, host: str) -> bool:
        if not host or "." not in host.rstrip(".") or host.endswith(".localhost"):
            return True
        try:
            ipaddress.ip_address(host)
            return True
        except ValueError:
            return host in self._names or any(host.endswith(name) for name in self._names if name.startswith("."))

    def _from_another_site(self, headers: Headers) -> bool:
        """Whether a script of another page asks: browsers tell where it comes from, other programs send no Origin."""
        origin = headers.get("origin")
        if origin is None or headers.get("sec-fetch-site") == "same-origin":
            return False
        where = urlsplit(origin).netloc.lower()
        outer = headers.get("x-forwarded-host", "").partition(",")[0].strip()  # no page can send it unasked
        if where and where in (headers.get("host", "").lower(), outer.lower()):
            return False
        local = (hostname(where), hostname(headers.get("host", "")))
        return not (all(map(loopback, local)) or local[0] in self._names)


def guarding(
    names: Iterable[str], uploads: Path, on_spaces: bool = False
) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    """The lifespan of an app that gets a gate around its middleware, also around what others put there (Gradio allows
    any Origin there), before the first request. Arguments: of `Gate`."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        inside = app.middleware_stack
        assert inside is not None  # Starlette makes it before the lifespan begins
        app.middleware_stack = Gate(inside, names, uploads, on_spaces)
        yield

    return lifespan


def hostname(host: str) -> str:
    """The name or address in a Host header, without port and brackets; "" where there is none."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return host


def loopback(host: str) -> bool:
    """Whether a name or address is this machine to itself: localhost, 127.0.0.1, ::1 ..."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def size(folder: Path) -> int:
    """Bytes of all files in a folder, of which some may go meanwhile."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(parent, name)).st_size
            except OSError:
                continue
    return total
