"""Fixtures shared by the tests."""

import signatures  # noqa: F401  # isort: skip  # before gsdff: it has every call checked against its signature
import gsdff  # noqa: F401  # isort: skip  # before torch: it sets how torch's threads wait

import logging
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import jaxtyping
import pytest
import torch

from gsdff.cli import name_flags
from gsdff.errors import UserError

if TYPE_CHECKING:
    from pretended.counts import Counts

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escapes what a test has logged and printed of names that are not in UTF-8: reports go from process to process."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real scenes and teachers beside the checkout; it is no part of the product."""
    if not SHARED.is_dir():
        pytest.skip("needs the folder ../shared (real scenes and teachers) beside the checkout")
    return SHARED


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    """Puts back what a command that runs in this process changes of logging (`run_door`): it has one of its own."""
    root, ours = logging.getLogger(), logging.getLogger("gsdff")
    handlers = root.handlers[:]
    root_level, level = root.level, ours.level
    yield
    root.handlers = handlers
    root.setLevel(root_level)
    ours.setLevel(level)


@pytest.fixture(autouse=True, scope="module")
def no_render_threads_left() -> Iterator[None]:
    """Fails a file of tests whose viewers go on drawing when it has ended: others count such threads."""
    yield
    left = [thread for thread in threading.enumerate() if thread.name == "gsdff-render"]
    for thread in left:
        thread.join(30)
    assert not any(thread.is_alive() for thread in left)


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Lets calls through that signatures forbid, for tests of the errors that functions raise themselves."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def generator() -> torch.Generator:
    """A seeded source of randomness."""
    return torch.Generator().manual_seed(0)


@pytest.fixture
def card() -> Iterator["Counts"]:
    """A pretended CUDA card, and the counts of what it does (tests/pretended)."""
    from pretended.card import pretended_card

    with pretended_card() as counts:
        yield counts


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Callable[..., list[str]]:
    """Runs a door in this process, `call(edit, "RUN", ...)`; gives the lines it prints."""

    def start(door: ModuleType, *arguments: object) -> list[str]:
        monkeypatch.setattr(sys, "argv", [door.__name__, *map(str, arguments)])
        try:
            door.main()
        except UserError as error:  # as `run_door` prints it
            raise UserError(name_flags(str(error), door.FLAGS)) from error
        return capsys.readouterr().out.splitlines()

    return start
