"""Executes the Dockerfile where no container engine runs: `python tests/run_dockerfile.py ROOT`, as root. ROOT is an
unpacked Debian with Python in place of the image that FROM names, and is changed. Each step runs in it by chroot, as
the user and with the environment that the Dockerfile gives. Then, without a network, its command is started, its
health check passes, and a question is answered. docs/spaces.md says how ROOT is made."""

import ctypes
import fcntl
import fnmatch
import json
import re
import shlex
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KNOWN = ("FROM", "RUN", "USER", "ENV", "WORKDIR", "COPY", "EXPOSE", "HEALTHCHECK", "CMD")
CLONE_NEWNS, CLONE_NEWNET, SIOCSIFFLAGS, IFF_UP = 0x20000, 0x40000000, 0x8914, 1
WAIT = 900  # seconds until the health check has to pass
ASK = """
from gradio_client import Client, handle_file
client = Client("http://127.0.0.1:7860", verbose=False, httpx_kwargs={"timeout": 300})
sign = handle_file("assets/examples/street-sign.webp")
said = client.predict(sign, question="What does the sign say?", experts=["ocr"], max_new_tokens=8, api_name="/ask")
print(said["answer"], [item["text"] for item in said["evidence"]["ocr"]["items"]])
"""


def steps(text: str) -> Iterator[tuple[str, str]]:
    """(instruction, the rest) of a Dockerfile, in order.

    Raises:
        ValueError: an instruction that this file does not execute.
    """
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)
    for line in re.sub(r"\\\n", " ", text).splitlines():
        if line.strip():
            word, rest = line.split(maxsplit=1)
            if word not in KNOWN:
                raise ValueError(f"{word} is none of {', '.join(KNOWN)}")
            yield word, rest.strip()


def context() -> list[str]:
    """Files that a build in a clean clone gets to see."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    ignored = (ROOT / ".dockerignore").read_text().split()
    tracked = [name for name in listed.stdout.split("\0") if name]
    return [name for name in tracked if not any(fnmatch.fnmatch(name, f"{one}*") for one in ignored)]


class Image:
    """What the steps so far have made of `root`."""

    def __init__(self, root: Path):
        self.root, self.user, self.folder = root, "0", "/"
        self.environment = {"PATH": "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin", "HOME": "/root"}
        self.command: list[str] = []
        self.health: list[str] = []

    def inside(self, command: list[str]) -> list[str]:
        """`command` as its user, in its folder, with its environment and nothing of this one's."""
        line = f"cd {shlex.quote(self.folder)} && exec {shlex.join(command)}"
        set_to = [f"{name}={value}" for name, value in self.environment.items()]
        within = ["chroot", f"--userspec={self.user}:{self.user}", str(self.root)]
        return ["env", "-i", *set_to, *within, "/bin/sh", "-c", line]

    def run(self, rest: str) -> None:
        subprocess.run(self.inside(["/bin/sh", "-c", rest]), check=True)

    def copy(self, rest: str) -> None:
        *sources, target = (word for word in rest.split() if not word.startswith("--"))
        owner = re.search(r"--chown=(\S+)", rest)
        folder = Path(self.folder, target)
        made = set()
        for name in context():
            if "." in sources or name in sources:
                there = self.root / folder.relative_to("/") / name
                there.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, there)
                made |= {folder / name, *(folder / name).parents} - {folder, *folder.parents}
        if owner:
            names = sorted(map(str, made))
            subprocess.run(["chroot", str(self.root), "chown", f"{owner[1]}:", *names], check=True)

    def step(self, word: str, rest: str) -> None:
        match word:
            case "RUN":
                self.run(rest)
            case "COPY":
                self.copy(rest)
            case "USER":
                self.user = rest
                known = subprocess.run(
                    ["chroot", str(self.root), "getent", "passwd", rest], capture_output=True, text=True
                )
                self.environment["HOME"] = known.stdout.split(":")[5]
            case "ENV":
                for name, value in re.findall(r"(\w+)=(\S+)", rest):
                    self.environment[name] = value.replace("$PATH", self.environment["PATH"])
            case "WORKDIR":
                self.folder = rest
                (self.root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
            case "HEALTHCHECK":
                self.health = json.loads(rest.split("CMD", 1)[1])
            case "CMD":
                self.command = json.loads(rest)


def unshare(what: int) -> None:
    """A namespace of its own for this process and what it starts."""
    if ctypes.CDLL(None, use_errno=True).unshare(what):
        raise OSError(ctypes.get_errno(), "the system gives no namespace of its own")


def with_processes(root: Path) -> None:
    """ROOT/proc as a container has it; it goes with this process."""
    unshare(CLONE_NEWNS)
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "-t", "proc", "proc", str(root / "proc")], check=True)


def without_network() -> None:
    """A network in which there is nobody else."""
    unshare(CLONE_NEWNET)
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))


def check(image: Image) -> None:
    """Start the command, wait for the health check, ask a question."""
    without_network()
    start = time.monotonic()
    server = subprocess.Popen(image.inside(image.command))
    try:
        while subprocess.run(image.inside(image.health), stderr=subprocess.DEVNULL).returncode:
            if server.poll() is not None or time.monotonic() - start > WAIT:
                sys.exit(f"The health check did not pass; the command ended with {server.poll()}.")
            time.sleep(3)
        print(f"healthy after {time.monotonic() - start:.0f} s", flush=True)
        owner = next(line for line in Path(f"/proc/{server.pid}/status").read_text().splitlines() if "Uid" in line)
        print(f"user of the command: {owner.split()[1]}", flush=True)
        subprocess.run(image.inside(["python", "-c", ASK]), check=True)
    finally:
        server.terminate()
        server.wait(60)


def main() -> None:
    image = Image(Path(sys.argv[1]).resolve())
    with_processes(image.root)
    for word, rest in steps((ROOT / "Dockerfile").read_text(encoding="utf-8")):
        print(f"{word} {rest}", flush=True)
        start, before = time.monotonic(), shutil.disk_usage(image.root).used
        image.step(word, rest)
        if word in ("RUN", "COPY"):
            more = (shutil.disk_usage(image.root).used - before) / 1e6
            print(f"  {time.monotonic() - start:.0f} s, about {more:.0f} MB more", flush=True)
    check(image)


if __name__ == "__main__":
    main()
