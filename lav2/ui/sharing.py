"""Links to a conversation. Whoever has one sees its questions, answers, findings and photos.

Gradio 6.31's own deep links keep what components show, in the sender's language and without the session's state: no
follow-up question could be asked, and the visitor's own conversation would be in the way.
"""

import json
import re
import secrets
import time
from pathlib import Path
from typing import Any

from lav2.errors import LAV2Error
from lav2.files import read_json, replacing
from lav2.ui.conversation import from_storage, to_storage
from lav2.ui.state import Exchanges

LINKS, SECONDS = 100, 24 * 3600  # that are kept, the latest, and for how long; each takes up to 2 MB
PARAMETER = "shared"  # of the page's address
NAME = re.compile(r"[\w-]{22}", re.ASCII)  # of secrets.token_urlsafe(16), which nobody can guess


def share(exchanges: Exchanges, uploads: Path) -> str:
    """Keeps a conversation for others, in a folder beside the photos that were sent. Returns the name of its link.

    Raises:
        OSError: it cannot be written.
    """
    folder = _folder(uploads)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = secrets.token_urlsafe(16)
    with replacing(folder / f"{name}.json", private=True) as file:
        file.write_text(json.dumps(to_storage(exchanges)), encoding="utf-8")
    links = sorted(folder.glob("*.json"), key=lambda one: one.stat().st_mtime, reverse=True)
    for old in links[LINKS:] + [one for one in links if _is_old(one)]:
        old.unlink(missing_ok=True)
    return name


def shared(name: Any, uploads: Path) -> Exchanges:
    """The conversation of a link; () where there is none, or none any more."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        return ()
    file = _folder(uploads) / f"{name}.json"
    try:
        return () if _is_old(file) else from_storage(read_json(file), uploads)
    except (OSError, LAV2Error):
        return ()


def _folder(uploads: Path) -> Path:
    return uploads / "shared-conversations"


def _is_old(file: Path) -> bool:
    return time.time() - file.stat().st_mtime > SECONDS
