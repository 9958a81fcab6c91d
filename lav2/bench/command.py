"""How fast it is, with what it could be at best or what it replaces beside it, measured in the same run.

    python -m lav2.bench [--section decode ...] [--quick] [--preset embedded] [--detector FILE]

Every section prints its table; the last line is one JSON object with everything. What is compared is measured in
turns, so that a busy machine hurts all alike; a value is the median, with the quartiles beside it.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
from collections.abc import Callable

import torch

from lav2.bench.agreement import agreement
from lav2.bench.answers import compare, concurrency, experts, first_token
from lav2.bench.decode import decode
from lav2.bench.gpu import gpu
from lav2.bench.harness import Options, Spread, conditions
from lav2.bench.start_up import start_up
from lav2.bench.training import training
from lav2.config import Models
from lav2.errors import LAV2Error
from lav2.options import Help, add_options

SECTIONS: dict[str, Callable[[Options], list[dict]]] = {
    "decode": decode,
    "first-token": first_token,
    "experts": experts,
    "compare": compare,
    "concurrency": concurrency,
    "training": training,
    "start-up": start_up,
    "agreement": agreement,
    "gpu": gpu,
}


def main(arguments: list[str] | None = None) -> int:
    """Run the sections; the exit code is 1 if one of them could not run."""
    parser = argparse.ArgumentParser(
        prog="python -m lav2.bench", description=__doc__.split("\n")[0], formatter_class=Help
    )
    parser.add_argument("--section", nargs="+", choices=tuple(SECTIONS), default=[n for n in SECTIONS if n != "gpu"],
                        help="what is measured")  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="few and short repeats, to see that it runs")
    add_options(parser, Models, only=("preset", "detector"), changed={"detector": os.environ.get("LAV2_DETECTOR")})
    chosen = parser.parse_args(arguments)
    quick = chosen.quick
    options = Options(chosen.preset, chosen.detector, 2 if quick else 7, 16 if quick else 48, 20 if quick else 100)
    measured_on = conditions(options)
    print("\n".join(f"{name}: {value}" for name, value in measured_on.items()))
    result: dict[str, object] = {"conditions": measured_on}
    failed = False
    for name in chosen.section:
        try:
            result[name] = SECTIONS[name](options)
        except (LAV2Error, torch.OutOfMemoryError) as error:
            failed = True
            result[name] = {"error": str(error)}
            print(f"\n{name}: could not run. {error}", file=sys.stderr)
        gc.collect()
    print(json.dumps(result, ensure_ascii=False, default=Spread.json))
    return int(failed)
