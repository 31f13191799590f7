"""Plugin of pytest that writes down each test as it begins and as it ends: -p gpu_phases.recorder

A line of JSON each, into the file that GSDFF_RECORD names. A test that is last in the file without an end took its
process with it. An error of the card's context ends the process, as everything after it would fail for that reason.
"""

import json
import os
import time

import pytest

POISONED = 70
"""Exit status after an error of the card's context."""
SIGNS = ("illegal memory access", "device-side assert", "cuda error", "unspecified launch failure", "accelerator error")
_worst: dict[str, tuple[str, float, str]] = {}
"""Outcome so far, seconds and message of the test that runs, by pytest's id."""
_names: dict[str, str] = {}
"""Ids that begin with the file as seen from the working folder, by pytest's, which depend on what pytest was given."""


def _write(**facts: object) -> None:
    with open(os.environ["GSDFF_RECORD"], "a", encoding="utf-8") as stream:
        stream.write(json.dumps(facts) + "\n")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Names all tests, and writes the list if this is asked for."""
    for item in session.items:
        _names[item.nodeid] = f"{os.path.relpath(item.path)}::{item.nodeid.partition('::')[2]}"
    if session.config.option.collectonly:
        _write(tests=[*_names.values()])


def pytest_runtest_logstart(nodeid: str, location: tuple) -> None:
    """Writes that a test begins."""
    _worst[nodeid] = ("ok", 0.0, "")
    _write(test=_names[nodeid], at=time.time())


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keeps the worst of a test's parts."""
    status, seconds, detail = _worst.get(report.nodeid, ("ok", 0.0, ""))
    if report.failed:
        status, detail = "failed", report.longreprtext
    elif report.skipped and status == "ok":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
        status, detail = "skipped", str(reason)
    _worst[report.nodeid] = status, seconds + report.duration, detail


def pytest_runtest_logfinish(nodeid: str, location: tuple) -> None:
    """Writes how a test ended."""
    status, seconds, detail = _worst.pop(nodeid)
    _write(test=_names[nodeid], status=status, seconds=round(seconds, 2), detail=detail[-3000:])
    if status == "failed" and any(sign in detail.lower() for sign in SIGNS):
        os._exit(POISONED)
