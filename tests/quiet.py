"""Runs a program of this project with the network refused: `python tests/quiet.py LOG PROGRAM ARGUMENTS...`.

PROGRAM is a file or `-m MODULE`. Every attempt to reach or look up another machine is written to LOG and fails.
"""

import runpy
import sys
import traceback
from pathlib import Path

OWN = ("127.", "localhost", "::1", "0.0.0.0", "/")


def refuse(log: Path):
    def hook(event: str, details: tuple) -> None:
        if event == "socket.connect":
            where = details[1][0] if isinstance(details[1], tuple) else str(details[1])
        elif event == "socket.getaddrinfo":
            where = details[0].decode() if isinstance(details[0], bytes) else str(details[0] or "localhost")
        else:
            return
        if not where.startswith(OWN):
            frames = reversed(traceback.extract_stack()[:-1])
            callers = " < ".join(f"{frame.name} ({frame.filename})" for frame in frames)
            with log.open("a") as file:
                file.write(f"{event} {where}: {callers}\n")
            raise OSError(f"The network is refused in this test ({where}).")

    return hook


def main() -> None:
    log, program, *arguments = sys.argv[1:]
    sys.addaudithook(refuse(Path(log)))
    if program == "-m":
        program, *arguments = arguments
    sys.argv = [program, *arguments]
    of_file = program.endswith(".py")  # its own folder comes first, as for `python FILE`
    sys.path.insert(0, str(Path(program).resolve().parent if of_file else Path(__file__).parent.parent))
    if of_file:
        runpy.run_path(program, run_name="__main__")
    else:
        runpy.run_module(program, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
