"""Runs a stand-in for an HTTP service in this process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler], **state: object) -> Iterator[str]:
    """The address at which `handler` answers, with `state` as its attributes."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (handler,), state))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
