"""Fixtures shared by the tests."""

import gsdff  # noqa: F401  # isort: skip  # before torch: it sets how torch's threads wait

from pathlib import Path

import pytest
import torch

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real scenes and teachers beside the checkout; it is no part of the product."""
    if not SHARED.is_dir():
        pytest.skip("needs the folder ../shared (real scenes and teachers) beside the checkout")
    return SHARED


@pytest.fixture
def generator() -> torch.Generator:
    """A seeded source of randomness."""
    return torch.Generator().manual_seed(0)
