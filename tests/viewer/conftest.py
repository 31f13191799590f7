"""Fixtures of the viewer's tests."""

import pytest
from tiny_viewer import TinyViewer, write_tiny_viewer


@pytest.fixture
def tiny(tmp_path, generator) -> TinyViewer:
    """A run that can be queried, with photos, maps and masks."""
    return write_tiny_viewer(tmp_path, generator)
