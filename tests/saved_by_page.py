"""Saves what a page of the viewer saves, without the page."""

import zlib
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from torch import Tensor

from gsdff.viewer.shared_scene import SharedScene
from gsdff.viewer.wire import saves
from gsdff.viewer.wire.answers import Answers
from gsdff.viewer.wire.messages import HandEdit, SaveEdits, SaveScene


def bits_of(mask: Bool[Tensor, "N"]) -> bytes:
    """Gaussians of a mask, as messages name a selection."""
    return np.packbits(mask.cpu().numpy()).tobytes()


def rows_of(mask: Bool[Tensor, "N"]) -> bytes:
    """Gaussians of a mask, as messages name those of an edit."""
    return zlib.compress(bits_of(mask))


def save_scene(shared: SharedScene, *edits: HandEdit, selected: Bool[Tensor, "N"] | None = None) -> Path:
    """The PLY of a scene after edits, or of what is selected of it."""
    chosen = b"" if selected is None else bits_of(selected)
    return saves.save_scene(Answers(shared), SaveScene(1, edits, chosen)).path


def save_edits(shared: SharedScene, *edits: HandEdit) -> Path:
    """The file of edits."""
    return saves.save_edits(Answers(shared), SaveEdits(1, edits)).path
