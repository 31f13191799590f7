"""Kills the commands of gsdff at random moments, and fills the disk under them, and reports what is left.

    python scripts/torture.py                       # 20 kills and some full disks of every operation
    python scripts/torture.py --write               # its figures into docs/robustness.md
    python scripts/torture.py --only edit --kills 5

Exits with 1 if a result differs after a kill, if a file is torn, or if a message does not name the file.
"""

import argparse
import os
import sys
from pathlib import Path

os.environ["TQDM_DISABLE"] = "1"
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(name, "1")
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "fuzz")]


def main() -> None:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], metavar="OPERATION", help="operations to run; all by default")
    parser.add_argument("--kills", type=int, default=20, help="number of kills of each operation")
    parser.add_argument("--full", type=int, default=8, help="number of full disks of each operation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="write the figures into docs/robustness.md")
    arguments = parser.parse_args()

    import torture
    from figures import table, write_figures

    kills, fulls, seed = arguments.kills, arguments.full, arguments.seed
    ways = {
        "killed": lambda operation: torture.kill(operation, kills, seed),
        "file too large": lambda operation: torture.fill_disk(operation, seed, fulls, mounted=False),
    }
    if torture.can_mount():
        ways["disk full"] = lambda operation: torture.fill_disk(operation, seed, fulls, mounted=True)
    rows: list[tuple[object, ...]] = []
    failed = False
    for operation in torture.chosen(arguments.only):
        counts: list[object] = []
        for way, try_it in ways.items():
            outcome = try_it(operation)
            struck = f"{outcome.num_struck:3} of {outcome.num_tries:3}"
            print(f"{operation.name:18} {way:16} {struck}, {len(outcome.problems)} problems", flush=True)
            for problem in outcome.problems:
                print(f"    {problem}")
            failed |= bool(outcome.problems)
            counts += [f"{outcome.num_struck} of {outcome.num_tries}", len(outcome.problems)]
        rows.append((operation.name, *counts))
    if arguments.write:
        head = ("operation", *(word for way in ways for word in (way, "problems")))
        command = (
            f"`python scripts/torture.py --write`, seed {seed}: how many tries were struck, and what was wrong then."
        )
        write_figures("torture", f"\n{command}\n\n{table(head, rows)}\n")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
