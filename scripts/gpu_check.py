"""Tests and measures gsdff on a CUDA card, in phases of a few minutes: bash scripts/gpu_check.sh PHASE --out DIR

    build    installs the wheels, looks at torch, card and compiler, compiles gsplat
    tests    tests marked gpu, and those whose commands choose the card by themselves, in processes of their own
    bench    the benchmarks, on the card and where it tells something on the CPU
    train    the built-in scene, and the one of --data: colours and features, then scores
    report   a page of Markdown; needs no card, and takes the JSON files of a folder that came from elsewhere

Each phase goes on after failures, writes DIR/PHASE.json after every item, and stops before --minutes are over. Called
again, it does what is left. Exit status: 0 all well, 1 something failed, 3 something is unfinished: call again.
"""

import argparse
import json
import sys
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from gpu_phases.work import Options, Phase

PHASES = ("build", "tests", "bench", "train", "report")


def read_options() -> Options:
    """Options of the command line, with absolute paths."""
    parser = argparse.ArgumentParser(
        prog="gpu_check.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("phase", choices=PHASES)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for everything that is made")
    parser.add_argument("--wheels", type=Path, metavar="DIR", help="wheels of scripts/pack_wheels.sh; PYTHON gets them")
    parser.add_argument("--data", type=Path, metavar="DIR", help="train: a scene besides the built-in one")
    parser.add_argument("--maps", type=Path, metavar="DIR", help="train: teacher maps of --data; else its label images")
    parser.add_argument(
        "--tests", nargs="+", default=[], metavar="TEST", help="tests: these instead of the chosen ones"
    )
    parser.add_argument("--minutes", type=float, default=7.5, help="time of one call (default: 7.5)")
    parser.add_argument("--again", action="store_true", help="try again what failed")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to try this script itself")
    parser.add_argument(
        "--pages", type=Path, metavar="DIR", help="report: add it to the card's page in this folder too"
    )
    given = parser.parse_args()
    for name in ("wheels", "data", "maps"):
        if (path := getattr(given, name)) is not None and not path.is_dir():
            parser.error(f"--{name} {path}: no such folder")
    if given.minutes <= 0:
        parser.error("--minutes: expected more than 0")
    paths = {name: path.absolute() if path else None for name, path in vars(given).items() if isinstance(path, Path)}
    return Options(**{**vars(given), **paths, "tests": tuple(given.tests)})


def exit_status(phase: Phase) -> int:
    """0 if all items are well, 3 if some are unfinished, otherwise 1."""
    found = {item["status"] for item in phase.items.values()}
    return 3 if "unfinished" in found else int(bool(found - {"ok", "skipped"}))


def main() -> None:
    """Runs one phase, and what of `build` is missing before it."""
    options = read_options()
    phase = None
    for name in dict.fromkeys(["build", options.phase]) if options.phase != "report" else ["report"]:
        phase = getattr(import_module(f"gpu_phases.{name}"), name)(options)
    assert phase is not None, "there is at least one"
    counts: dict[str, int] = {}
    for item in phase.items.values():
        counts[item["status"]] = counts.get(item["status"], 0) + 1
    print(f"gpu_check {options.phase}: {json.dumps(counts)[1:-1] or 'nothing to do'}")
    sys.exit(exit_status(phase))


if __name__ == "__main__":
    main()
