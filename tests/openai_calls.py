"""Messages and bodies as OpenAI's clients send them."""

import base64
import json

from live import ROOT

from lav2.server.openai_schema import parse, to_asked

SIGN = ROOT / "assets/examples/street-sign.webp"
CODED = base64.b64encode(SIGN.read_bytes()).decode()
URL = f"data:image/webp;base64,{CODED}"
CHAT = "/v1/chat/completions"


def user(text, *urls):
    images = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return {"role": "user", "content": [{"type": "text", "text": text}, *images]}


def said(text):
    return {"role": "assistant", "content": text}


def asked(messages, **fields):
    return to_asked(parse(json.dumps({"messages": messages, **fields}).encode()))
