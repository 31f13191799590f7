"""A plugin of pytest that gives every test the pretended card: `PYTHONPATH=tests pytest -p pretended.plugin -m gpu`."""

import signatures  # noqa: F401  # isort: skip  # as in conftest.py
import gsdff  # noqa: F401  # isort: skip

from collections.abc import Iterator

import pytest
from pretended.card import pretended_card

_card = pretended_card()


def pytest_sessionstart() -> None:
    """Before modules are collected: they ask whether there is a card when they are imported."""
    _card.__enter__()


@pytest.fixture(autouse=True)
def _count_anew() -> Iterator[None]:
    from pretended.counts import COUNTS

    COUNTS.clear()
    yield


def pytest_sessionfinish() -> None:
    _card.__exit__(None, None, None)
