"""Changes files of every format that gsdff reads, and the values of every option, and reports what is not refused.

    python scripts/fuzz.py                                     # 1,000 cases
    python scripts/fuzz.py --cases 20000 --write             # the figures of docs/robustness.md
    python scripts/fuzz.py --only ply --seed 3 --case 17       # one case again, with its traceback

Exits with 1 if anything but a right result or a clean message came of a case.
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
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "fuzz")]

import signatures  # noqa: E402, F401  # as in the tests, every call is checked against its signature


def main() -> None:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], metavar="FORMAT", help="formats to run; all by default")
    parser.add_argument("--cases", type=int, default=1000, help="number of cases of all formats together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", type=int, help="run this one case of the format in this process")
    parser.add_argument("--workers", type=int, default=2, help="formats that run at a time")
    parser.add_argument("--report", type=Path, help="file for all findings")
    parser.add_argument("--write", action="store_true", help="write the figures into docs/robustness.md")
    arguments = parser.parse_args()

    from figures import write_figures
    from fuzz_formats import FORMATS
    from fuzz_net import figures, report, run, show

    unknown = set(arguments.only) - {form.name for form in FORMATS}
    if unknown:
        parser.error(f"no format {', '.join(unknown)}; there are {', '.join(form.name for form in FORMATS)}")
    formats = [form for form in FORMATS if not arguments.only or form.name in arguments.only]
    if arguments.case is not None:
        for form in formats:
            show(form, arguments.seed, arguments.case)
        return
    start = time.monotonic()
    tallies = run(formats, arguments.seed, arguments.cases, workers=arguments.workers)
    seconds = time.monotonic() - start
    findings = report(tallies, arguments.seed)
    if arguments.report is not None:
        arguments.report.write_text(findings, encoding="utf-8")
    elif findings:
        print(findings)
    for tally in tallies:
        print(
            f"{tally.format.name:16} {tally.num_cases:6} cases {tally.num_right:6} right "
            f"{tally.num_findings:5} findings of {len(tally.findings):3} kinds, "
            f"{tally.num_left_out} left out, {tally.seconds:.0f} s"
        )
    if arguments.write:
        write_figures("fuzz", figures(tallies, arguments.seed, seconds))
    num_cases, num_findings = sum(t.num_cases for t in tallies), sum(t.num_findings for t in tallies)
    print(f"{num_cases} cases in {seconds:.0f} s, {num_findings} findings")
    sys.exit(1 if num_findings else 0)


if __name__ == "__main__":
    main()
