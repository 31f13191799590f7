"""Fixtures of the viewer's tests."""

import pytest
from tiny_world import TinyWorld, write_world


@pytest.fixture
def tiny(tmp_path, generator) -> TinyWorld:
    """A run that can be asked, with photos, maps and masks."""
    return write_world(tmp_path, generator)
