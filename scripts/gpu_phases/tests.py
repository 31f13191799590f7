"""The phase `tests`: one by one and recorded one by one, in processes that a hang or a crash does not share."""

import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from gpu_phases.work import Ended, Options, Phase, environment, open_phase, run_child

MARKED = ("-m", "gpu", "tests")
CHOSEN = (
    "tests/doors/test_query_door.py", "tests/doors/test_segment_door.py", "tests/doors/test_edit_door.py",
    "tests/smoothing", "tests/render", "-m", "not slow and not gpu",
)  # fmt: skip
"""Doors that choose the device by themselves (with a card: the card), and the CPU's own results, which are compared."""
LEAST = 5.0
"""Seconds under which no further process is started."""
HUNG_AFTER = 200
"""Seconds after which a test counts as hung."""
CPUS_EACH = 3
"""Cores for each process of tests."""


def tests(options: Options) -> Phase:
    """Runs the tests that have no result yet."""
    phase = open_phase(options, "tests")
    phase.folder.mkdir(parents=True, exist_ok=True)
    for record in phase.folder.glob("*.jsonl"):  # of a call that was killed
        harvest(phase, record)
    selections = {"chosen": options.tests} if options.tests else {"gpu": MARKED, "chosen": CHOSEN}
    ids = list(dict.fromkeys(test for name, words in selections.items() for test in collect(phase, name, words)))
    for test in ids:
        phase.items.setdefault(test, {"status": "unfinished", "detail": "not begun"})
    files: dict[str, list[str]] = {}
    for test in ids:
        if not phase.is_done(test):
            files.setdefault(test.partition("::")[0], []).append(test)
    with ThreadPoolExecutor(max(1, min(6, (os.cpu_count() or 1) // CPUS_EACH))) as pool:
        for done in [pool.submit(run_file, phase, name, group) for name, group in files.items()]:
            done.result()
    return phase


def collect(phase: Phase, name: str, words: Sequence[str]) -> list[str]:
    """Ids of the tests of a selection; kept, as collecting takes seconds."""
    kept = phase.folder / f"collected_{name}.json"
    if kept.is_file() and not phase.options.tests and not phase.options.again:
        return json.loads(kept.read_text())["tests"]
    kept.unlink(missing_ok=True)
    ended = run_pytest(phase, f"collect {name}", kept, ["--collect-only", *words])
    phase.record(f"collect {name}", ended.status, seconds=ended.seconds, detail=ended.fault)
    return json.loads(kept.read_text())["tests"] if kept.is_file() else []


def run_pytest(phase: Phase, name: str, record: Path, words: Sequence[str]) -> Ended:
    """Runs pytest with the recorder."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "gpu_phases.recorder", "-p", "no:cacheprovider"]
    command += ["-p", "pytest_timeout", "--no-header", "--timeout", HUNG_AFTER]
    command += ["--timeout-method", "thread", "--tb=short"]
    # whatever plugins a foreign environment has, their warnings would be errors here
    env = environment(phase.options) | {"GSDFF_RECORD": str(record), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return run_child([*command, *words], env, phase.log_of(name), phase.seconds_left)


def run_file(phase: Phase, name: str, todo: Sequence[str]) -> None:
    """Runs tests of one file; after a process that died, the rest in a new one."""
    while todo and phase.seconds_left > LEAST:
        record = phase.folder / f"{phase.log_of(name).stem}.jsonl"
        ended = run_pytest(phase, name, record, todo)
        results, running = harvest(phase, record)
        if ended.status != "unfinished":
            if running is not None:
                phase.record(running, **blame(ended))
            elif results and ended.status == "crashed":
                phase.record(f"{name}, at its end", **blame(ended))
            elif not results:  # it did not even begin: the file cannot be imported, or torch cannot
                for test in todo:
                    phase.record(test, **blame(replace(ended, seconds=0.0)))
        before, todo = todo, [test for test in todo if test not in results and test != running]
        if ended.status == "unfinished" or len(todo) == len(before):
            return


def harvest(phase: Phase, record: Path) -> tuple[dict[str, dict[str, Any]], str | None]:
    """Takes over what a process has recorded: its results by test, and the test that had begun and not ended."""
    results: dict[str, dict[str, Any]] = {}
    running = None
    for line in record.read_text().splitlines() if record.is_file() else []:
        try:
            facts = json.loads(line)
        except ValueError:  # a killed process has written half of it
            continue
        test = facts.pop("test")
        running = None if "status" in facts else test
        if running is None:
            results[test] = facts
    for test, facts in results.items():
        phase.record(test, **facts)
    record.unlink(missing_ok=True)
    return results, running


def blame(ended: Ended) -> dict[str, Any]:
    """Result of a test that took its process with it."""
    is_hung = "Timeout" in ended.detail  # pytest-timeout shows all stacks, then ends the process
    status = "hung" if is_hung or ended.status == "hung" else "crashed"
    return {"status": status, "seconds": round(ended.seconds, 2), "detail": ended.detail[-3000:]}
