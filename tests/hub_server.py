"""A small stand-in for the Hugging Face Hub, in this process: the parts of its documented HTTP API that an upload and a
download by huggingface_hub use. Repositories and large files are kept in memory."""

import base64
import hashlib
import json
import re
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from urllib.parse import unquote, urlsplit

import http_stand_in

WRITER, READER = "hf_" + "w" * 34, "hf_" + "r" * 34
COMMIT = "c" * 40


class Hub:
    """What the server knows; `broken` is asked before a large file is taken, and may refuse it."""

    def __init__(self):
        self.repositories: dict[tuple[str, str], dict] = {}  # (kind, name) -> visibility, hardware, files, commits
        self.large: dict[str, bytes] = {}  # by SHA-256
        self.sent: list[str] = []  # SHA-256 of each large file that came, in this order
        self.requests: list[str] = []
        self.broken = lambda oid: False
        self.echo = False  # refusals repeat the token, as a careless server might
        self.address = ""

    def made(self, name: str, kind: str = "model", files: dict[str, bytes] | None = None, private: bool = False):
        repository = {
            "visibility": "private" if private else "public", "hardware": None, "files": dict(files or {}),
            "commits": [],
        }  # fmt: skip
        self.repositories[kind, name] = repository
        return repository


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_):
        pass

    def reply(self, status: int, value=None, headers=None, code: str | None = None, message: str | None = None):
        data = value if isinstance(value, bytes) else json.dumps(value if value is not None else {}).encode()
        self.send_response(status)
        sent = dict(headers or {})
        if code:
            sent["X-Error-Code"] = code
        if message:
            sent["X-Error-Message"] = message
        if self.hub.echo and status >= 400:
            sent["X-Error-Message"] = f"refused for {self.token}"
        sent.setdefault("Content-Length", str(len(data)))
        for name, content in sent.items():
            self.send_header(name, content)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    @property
    def token(self) -> str:
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ")

    def handle_any(self):
        size = int(self.headers.get("Content-Length") or 0)
        chunked = self.headers.get("Transfer-Encoding") == "chunked"
        path = unquote(urlsplit(self.path).path)
        body = self.chunks() if chunked else self.rfile.read(size)
        self.hub.requests.append(f"{self.command} {path}")
        for method, pattern, answer in ROUTES:
            found = re.fullmatch(pattern, path)
            if found and self.command in method:
                return answer(self, body, **found.groupdict())
        return self.reply(404, {"error": "no such route"})

    do_GET = do_HEAD = do_POST = do_PUT = handle_any

    def chunks(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def may(self, write: bool) -> bool:
        if self.token not in (WRITER, READER):
            self.reply(401, {"error": "Invalid username or password."})
            return False
        if write and self.token != WRITER:
            self.reply(403, {"error": "You don't have the rights to create a model under this namespace"})
            return False
        return True

    def repository(self, kind: str, name: str, write: bool = False) -> dict | None:
        found = self.hub.repositories.get((kind, name))
        if found is None or (found["visibility"] == "private" and self.token not in (WRITER, READER)):
            status = 404 if self.token in (WRITER, READER) else 401
            self.reply(status, {"error": "Repository not found"}, code="RepoNotFound")
            return None
        return found if not write or self.may(write=True) else None


def whoami(self, body):
    if self.may(write=False):
        self.reply(200, {"type": "user", "name": "someone", "orgs": [], "auth": {}})


def create(self, body):
    if not self.may(write=True):
        return
    asked = json.loads(body)
    name, kind = f"{asked['organization']}/{asked['name']}", asked.get("type", "model")
    if (kind, name) in self.hub.repositories:
        return self.reply(409, {"error": "You already created this repo"})
    made = self.hub.made(name, kind, {".gitattributes": b"", "README.md": b"---\n---\n"})
    made |= {"visibility": asked.get("visibility", "public"), "hardware": asked.get("hardware")}
    self.reply(200, {"url": f"{self.hub.address}/{name}"})


def hardware(self, body, kind, name):
    if found := self.repository(kind, name, write=True):
        found["hardware"] = json.loads(body)["flavor"]
        self.reply(200, {"stage": "BUILDING", "hardware": {"current": None, "requested": found["hardware"]}})


def info(self, body, kind, name, revision=None):
    if found := self.repository(kind, name):
        if revision not in (None, "main", COMMIT):
            return self.reply(404, {"error": "Invalid rev id"}, code="RevisionNotFound")
        listed = [{"rfilename": path} for path in found["files"]]
        self.reply(200, {"id": name, "sha": COMMIT, "private": False, "siblings": listed, "tags": []})


def entry(path: str, data: bytes) -> dict:
    oid = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    return {"type": "file", "path": path, "size": len(data), "oid": oid}


def tree(self, body, kind, name, revision, folder=None):
    if found := self.repository(kind, name):
        self.reply(200, [entry(path, data) for path, data in found["files"].items()])


def yaml(self, body):
    self.reply(200, {"errors": [], "warnings": []})


def preupload(self, body, kind, name, revision):
    found = self.repository(kind, name, write=True)
    if found is None:
        return
    modes = []
    for file in json.loads(body)["files"]:
        sample = base64.b64decode(file["sample"])
        suffix = file["path"].rpartition(".")[2]
        binary = b"\0" in sample or suffix in ("safetensors", "gguf", "webp", "png", "onnx")
        there = found["files"].get(file["path"])
        modes.append(
            {
                "path": file["path"],
                "uploadMode": "lfs" if binary or file["size"] > 10_000_000 else "regular",
                "shouldIgnore": False,
                "oid": entry("", there)["oid"] if there is not None and not binary else None,
            }
        )
    self.reply(200, {"files": modes})


def batch(self, body, name, spaces=None):
    if self.repository("space" if spaces else "model", name, write=True) is None:
        return
    objects = []
    for thing in json.loads(body)["objects"]:
        one = {"oid": thing["oid"], "size": thing["size"]}
        if thing["oid"] not in self.hub.large:
            where = {"href": f"{self.hub.address}/large/{thing['oid']}", "header": {}}
            one["actions"] = {"upload": where, "verify": {"href": f"{self.hub.address}/verify", "header": {}}}
        objects.append(one)
    self.reply(200, {"transfer": "basic", "objects": objects}, {"Content-Type": "application/vnd.git-lfs+json"})


def take(self, body, oid):
    if self.hub.broken(oid):
        return self.reply(400, {"error": "the storage broke off"})
    if hashlib.sha256(body).hexdigest() != oid:
        return self.reply(422, {"error": "another content"})
    self.hub.large[oid] = body
    self.hub.sent.append(oid)
    self.reply(200)


def verify(self, body):
    known = json.loads(body)["oid"] in self.hub.large
    self.reply(200 if known else 404)


def commit(self, body, kind, name, revision):
    found = self.repository(kind, name, write=True)
    if found is None:
        return
    lines = [json.loads(line) for line in body.splitlines()]
    files = dict(found["files"])
    for line in lines[1:]:
        value = line["value"]
        if line["key"] == "file":
            files[value["path"]] = base64.b64decode(value["content"])
        elif line["key"] == "lfsFile":
            if value["oid"] not in self.hub.large:
                return self.reply(400, {"error": f"{value['path']} was never uploaded"})
            files[value["path"]] = self.hub.large[value["oid"]]
        elif line["key"] == "deletedFile":
            files.pop(value["path"])
        else:
            return self.reply(400, {"error": f"what is {line['key']}?"})
    found["files"] = files
    found["commits"].append(lines[0]["value"]["summary"])
    self.reply(200, {"success": True, "commitOid": COMMIT, "commitUrl": f"{self.hub.address}/{name}/commit/{COMMIT}"})


def resolve(self, body, name, revision, path, spaces=None):
    found = self.repository("space" if spaces else "model", name)
    if found is None:
        return
    if path not in found["files"]:
        return self.reply(404, {"error": "Entry not found"}, {"X-Repo-Commit": COMMIT}, code="EntryNotFound")
    data = found["files"][path]
    headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha256(data).hexdigest()}"', "Accept-Ranges": "bytes"}
    start = re.match(r"bytes=(\d+)-", self.headers.get("Range") or "")
    if start:
        rest = data[int(start[1]) :]
        headers["Content-Range"] = f"bytes {start[1]}-{len(data) - 1}/{len(data)}"
        return self.reply(206, rest, headers)
    self.reply(200, data, headers)


NAME = r"(?P<name>[^/]+/[^/]+)"
API = rf"/api/(?P<kind>model|space)s/{NAME}"
ROUTES = [
    (("GET",), "/api/whoami-v2", whoami),
    (("POST",), "/api/repos/create", create),
    (("POST",), f"{API}/hardware", hardware),
    (("GET",), rf"{API}(?:/revision/(?P<revision>[^/]+))?", info),
    (("GET",), rf"{API}/tree/(?P<revision>[^/]+)(?P<folder>/.*)?", tree),
    (("POST",), "/api/validate-yaml", yaml),
    (("POST",), rf"{API}/preupload/(?P<revision>[^/]+)", preupload),
    (("POST",), rf"/(?P<spaces>spaces/)?{NAME}\.git/info/lfs/objects/batch", batch),
    (("PUT",), "/large/(?P<oid>[0-9a-f]{64})", take),
    (("POST",), "/verify", verify),
    (("POST",), rf"{API}/commit/(?P<revision>[^/]+)", commit),
    (("GET", "HEAD"), rf"/(?P<spaces>spaces/)?{NAME}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", resolve),
]


@contextmanager
def serving():
    """A running stand-in."""
    hub = Hub()
    with http_stand_in.serving(Handler, hub=hub) as hub.address:
        yield hub
