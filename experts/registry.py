"""Which experts there are: those of this package, and those that other packages add as entry points of `lav2.experts`.

The entry point's name is the expert's, its object a function `build(device: str) -> Expert` whose evidence is
Observations. To know the names loads no code; what goes wrong later is a failure of that expert alone.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, TypeVar

from experts.evidence import BUILT_IN, EXPERT_NAME, IMPORTS, Evidence, Expert, ExpertError, ExpertFailure, Observations
from experts.render import clean, label_of

if TYPE_CHECKING:
    from PIL import Image

log = logging.getLogger(__name__)
Found = TypeVar("Found")

GROUP = "lav2.experts"
# Words of the options and lines of the prompt, which no other expert may look like.
RESERVED = frozenset((
    *BUILT_IN, "auto", "off", "on", "none", "all", "text", "objects", "concepts", "computed", "likely_answers",
))  # fmt: skip


def installed(entries: Iterable[EntryPoint]) -> dict[str, EntryPoint]:
    """The entry points whose name an expert can have, by that name, in alphabetical order; the log tells of others."""
    found: dict[str, EntryPoint] = {}
    for entry in sorted(entries, key=lambda entry: (entry.name, entry.value)):
        package = entry.dist.name if entry.dist else entry.value
        line = f"{label_of(entry.name)}: x"  # of the prompt, where "System: x" would be another's turn
        if not re.fullmatch(EXPERT_NAME, entry.name) or entry.name in RESERVED or clean(line, len(line)) != line:
            log.warning(
                "The package %s adds an expert called %r, which is no name for one. It is left out; its author has to "
                "choose another of a-z, 0-9 and _, at most 30, and not of: %s.",
                package, entry.name, ", ".join(sorted(RESERVED)),
            )  # fmt: skip
        elif entry.name in found:
            log.warning("The package %s adds a second expert %s. It is left out; uninstall one.", package, entry.name)
        else:
            found[entry.name] = entry
    return found


def _entry_points() -> Iterable[EntryPoint]:
    try:
        return entry_points(group=GROUP)
    except Exception:  # what a broken package wrote about itself must not stop the app
        log.exception("The installed packages cannot be listed, so only the built-in experts look. Run `pip check`.")
        return ()


ADDED = installed(_entry_points())  # when the app starts
EXPERT_NAMES = (*BUILT_IN, *ADDED)  # the order in the prompt


def in_order(by_expert: Mapping[str, Found]) -> dict[str, Found]:
    """Values by expert in the order of EXPERT_NAMES; those of experts that are not installed here come last."""
    names = (*EXPERT_NAMES, *sorted(by_expert.keys() - set(EXPERT_NAMES)))
    return {name: by_expert[name] for name in names if name in by_expert}


class AddedExpert:
    """An expert of another package, which is imported and built when it is loaded.

    Args:
        entry: its entry point.
        device: where it should compute: `cpu`, `cuda`, `cuda:1`.
    """

    def __init__(self, entry: EntryPoint, device: str):
        self.name = entry.name
        self._entry, self._device = entry, device
        self._package = entry.dist.name if entry.dist else entry.value
        self._expert: Expert | None = None
        self._lock = threading.Lock()

    def load(self) -> None:
        self._loaded()

    def __call__(self, image: Image.Image) -> Evidence:
        found = self._loaded()(image)
        if isinstance(found, Observations) and found.size != image.size:
            kind = f"a size of {found.size[0]} x {found.size[1]}"
        elif isinstance(found, Observations | ExpertFailure):
            return found
        else:
            kind = type(found).__name__
        raise ExpertError(
            "The {expert} expert of the package {package} returned {kind} in place of Observations of the photo.",
            "Update the package, switch this expert off, or tell its author.",
            expert=self.name,
            package=self._package,
            kind=kind,
        )

    def _loaded(self) -> Expert:
        with self._lock:
            try:
                if self._expert is None:
                    with IMPORTS:
                        build = self._entry.load()
                    self._expert = build(self._device)
                self._expert.load()
            except ExpertError:
                raise
            except (Exception, SystemExit) as error:  # a library's sys.exit() is a failure like any other
                log.exception("The expert %s of the package %s cannot be loaded.", self.name, self._package)
                raise ExpertError(
                    "The {expert} expert of the package {package} cannot be loaded ({why}).",
                    "Update or uninstall the package, and start again; the log has the details.",
                    expert=self.name,
                    package=self._package,
                    why=f"{type(error).__name__}: {error}",
                ) from error
            return self._expert


def added(device: str) -> dict[str, Expert]:
    """The experts that other packages add, by name; nothing of them is imported yet."""
    return {name: AddedExpert(entry, device) for name, entry in ADDED.items()}
