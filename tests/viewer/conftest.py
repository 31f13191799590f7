"""Fixtures of the viewer's tests."""

from collections.abc import Iterator
from typing import Any

import pytest
from browser import open_browser
from tiny_viewer import TinyViewer, write_tiny_viewer


@pytest.fixture
def tiny(tmp_path, generator) -> TinyViewer:
    """A run that can be queried, with photos, maps and masks."""
    return write_tiny_viewer(tmp_path, generator)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium for the tests of a file."""
    with open_browser() as browser:
        yield browser
