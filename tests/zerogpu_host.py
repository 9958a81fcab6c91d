"""A small stand-in for the host that lends GPUs to ZeroGPU Spaces: the calls that the package `spaces` makes there."""

import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit

import http_stand_in


class Host:
    """`grants`: whether a GPU is lent; `calls`: (what, its parameters) of every call, in order."""

    def __init__(self):
        self.grants = True
        self.calls: list[tuple[str, dict[str, str]]] = []
        self.address = ""

    def called(self, what: str) -> list[dict[str, str]]:
        return [values for name, values in self.calls if name == what]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    host: Host

    def log_message(self, *_):
        pass

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        address = urlsplit(self.path)
        what = address.path.strip("/")
        self.host.calls.append((what, {name: values[0] for name, values in parse_qs(address.query).items()}))
        status, reply = 200, {}
        if what == "schedule" and not self.host.grants:
            status = 503
        elif what == "schedule":
            # idle: a worker of before may be used again
            again = len(self.host.called("schedule")) > 1
            reply = {"idle": again, "nvidiaIndex": 0, "nvidiaUUID": "GPU-0", "allowToken": "allowed"}
        data = json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def serving():
    """The running host."""
    host = Host()
    with http_stand_in.serving(Handler, host=host) as host.address:
        yield host
