"""The project's cache folder: weights and compiled code are loaded from it, so nobody else may write there."""

from __future__ import annotations

import functools
import os
import stat
import tempfile
from pathlib import Path


def cache_dir() -> Path:
    """$LAV2_CACHE, which is used as it is; else lav2/ in the user's cache folder, else (on hosts whose home cannot be
    written) lav2-UID in the folder for temporary files.

    The last two are used only where they belong to this user, for whom alone they are opened (mode 0700). Where another
    user made them first, or could have written to them, it is a fresh folder for this run.
    """
    if os.environ.get("LAV2_CACHE"):
        return Path(os.environ["LAV2_CACHE"])
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    for folder in (home / "lav2", Path(tempfile.gettempdir()) / f"lav2-{os.getuid()}"):
        if _made_private(folder):
            return folder
    return _fresh()


def _made_private(folder: Path) -> bool:
    """Whether `folder` is there, made if need be, and this user's alone."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()  # of a link itself: it may be turned elsewhere later
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & stat.S_IWOTH:
            return False
        if stat.S_IMODE(found.st_mode) != 0o700:  # as a folder of an earlier version, which others could read
            folder.chmod(0o700)
        return os.access(folder, os.W_OK)
    except OSError:
        return False


@functools.cache
def _fresh() -> Path:
    return Path(tempfile.mkdtemp(prefix="lav2-"))
