"""Makes every odd input that the documentation lists, runs gsdff on it, and judges what happens.

    python scripts/odd_inputs.py            # all rows, about three minutes on two cores
    python scripts/odd_inputs.py --write    # and docs/odd-inputs.md
    python scripts/odd_inputs.py --only A4 B6

Exits with 1 if a row is not right; such rows are marked WRONG, in the document too.
"""

import argparse
import os
import sys
import time
from pathlib import Path

os.environ["TQDM_DISABLE"] = "1"
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(name, "1")
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / part) for part in ("", "scripts", "tests", "tests/fuzz", "tests/viewer")]


def main() -> None:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], metavar="NUMBER", help="rows to run, such as A4 or C")
    parser.add_argument("--write", action="store_true", help="write docs/odd-inputs.md, which needs all rows")
    arguments = parser.parse_args()
    if arguments.write and arguments.only:
        parser.error("--write needs all rows; leave --only out")

    from odd_rows import ROWS
    from odd_rows.table import PAGE, document, judge

    chosen = [row for row in ROWS if not arguments.only or {row.number, row.number[0]} & {*arguments.only}]
    start, results = time.monotonic(), []
    for row in chosen:
        before = time.monotonic()
        result = judge(row)
        results.append(result)
        print(f"{row.number:4} {result.mark:5} {time.monotonic() - before:5.1f} s  {row.given}", flush=True)
        print(f"     {result.happens}", flush=True)
    num_wrong = sum(not result.is_right for result in results)
    print(f"{len(results)} rows in {time.monotonic() - start:.0f} s, {num_wrong} wrong")
    if arguments.write:
        PAGE.write_text(document(results), encoding="utf-8")
    sys.exit(1 if num_wrong else 0)


if __name__ == "__main__":
    main()
