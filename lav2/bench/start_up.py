"""The start of the app, and how its page comes up."""

from __future__ import annotations

import base64
import io
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

from lav2.bench.harness import QUESTIONS, ROOT, Options, Spread, peak_memory, photo, seconds, show, target
from lav2.errors import LAV2Error

STARTED = {"ready": "ready at", "warm": "warm-up:"}  # what the app says then: it takes questions; experts are loaded
# What an app that uses these packages as they come takes at least.
IMPORTS = "import gradio, torch, transformers, timm, ultralytics, easyocr"


def _imports() -> dict[str, float]:
    code = f"{IMPORTS}; print([line for line in open('/proc/self/status') if line.startswith('VmHWM')][0].split()[1])"
    begin = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {"seconds": time.perf_counter() - begin, "peak GB": int(done.stdout.split()[-1]) / 1e6}


def _start(preset: str, detector: str | None) -> dict[str, float]:
    """The app itself in a process of its own: to ready, to the end of its warm-up, then to answers over HTTP, and its
    peak after questions about three photos, one of them of 24 megapixels."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-u", "app.py", "--host", "127.0.0.1", "--port", str(port), "--preset", preset]
    begin = time.perf_counter()
    app = subprocess.Popen([*command, *(["--detector", detector] if detector else [])], cwd=ROOT, text=True,
                           stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)  # fmt: skip

    def ask(image: Image.Image, question: str) -> float:
        file = io.BytesIO()
        image.save(file, "jpeg")
        url = "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
        parts = [{"type": "text", "text": question}, {"type": "image_url", "image_url": {"url": url}}]
        body = json.dumps({"messages": [{"role": "user", "content": parts}], "max_tokens": 32}).encode()
        to = urllib.request.Request(f"http://127.0.0.1:{port}/v1/chat/completions", body,
                                    {"Content-Type": "application/json"})  # fmt: skip
        return seconds(lambda: urllib.request.urlopen(to, timeout=300).read())

    try:
        found = {}
        for line in app.stdout:
            found |= {name: time.perf_counter() - begin for name, marker in STARTED.items() if marker in line}
            if len(found) == len(STARTED):
                break
        else:
            raise LAV2Error(f"The app ended while starting ({app.wait()}).", "Run `python app.py` and read its error.")
        found["peak GB, warm"] = peak_memory(app.pid)
        found["first answer"] = ask(photo(0), QUESTIONS[0])
        found["same photo"] = ask(photo(0), QUESTIONS[1])
        found["next photo"] = ask(photo(1), QUESTIONS[0])
        found["24 megapixels"] = ask(photo(2).resize((4000, 6000)), QUESTIONS[0])
        return {**found, "peak GB": peak_memory(app.pid), **_paint(f"http://127.0.0.1:{port}")}
    finally:
        app.terminate()
        app.wait(30)


# Keeps what moved without the visitor's doing.
SHIFTS = """window.shifts = []; new PerformanceObserver((list) => {
    for (const one of list.getEntries()) if (!one.hadRecentInput) shifts.push(one.value);
}).observe({ type: "layout-shift", buffered: true });"""


def _paint(address: str) -> dict[str, float]:
    """A browser's first visit: to the first paint and to a box that takes a question, and how far what is shown moves
    (all shifts together, which is at least the cumulative layout shift of https://web.dev/articles/cls); {} without
    Chromium."""
    chromium = os.environ.get("CHROMIUM", "/usr/bin/chromium")
    if find_spec("playwright") is None or not Path(chromium).exists():
        return {}
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play, play.chromium.launch(executable_path=chromium, args=["--no-sandbox"]) as browser:
        page = browser.new_page()
        page.add_init_script(SHIFTS)
        page.goto(address)
        page.wait_for_selector("textarea:visible", timeout=60_000)
        usable = page.evaluate("performance.now()")
        paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        page.wait_for_timeout(2000)
        moved = page.evaluate("shifts.reduce((sum, one) => sum + one, 0)")
    return {"first paint": paint / 1000, "page takes a question": usable / 1000, "layout shift": moved}


def start_up(options: Options) -> list[dict]:
    """Seconds of the app to ready and to answers, and its peak memory; the packages alone beside it."""
    count = min(options.repeats, 3)
    starts, bare = [], []
    for turn in range(count + 1):  # the first reads every file from the disk, and does not count
        found = _imports(), _start(options.preset, options.detector)
        if turn:
            bare.append(found[0])
            starts.append(found[1])
    spreads = {name: Spread(tuple(start[name] for start in starts)) for name in starts[0]}
    floor = {"ready": Spread(tuple(one["seconds"] for one in bare)),
             "peak GB": Spread(tuple(one["peak GB"] for one in bare))}  # fmt: skip
    bounds = {"ready": 12, "peak GB": 2.5, "first paint": 1, "layout shift": 0.05}
    rows = [{"start-up": name, "value": spread, "packages alone": floor.get(name),
             "target": target(spread.median, bounds[name]) if name in bounds else None}
            for name, spread in spreads.items()]  # fmt: skip
    show("start-up: the app in a process of its own, files in memory; seconds, its peak in GB, and its page", rows)
    return rows
