"""Checkpoints of a run: written atomically, and read without executing code from the file."""

import pickle
import re
from pathlib import Path
from typing import Any

import torch

from gsdff.errors import UserError
from gsdff.files import whole_file
from gsdff.places import make_folder

FORMAT = 1
"""Version; changed whenever older checkpoints can no longer be read."""
KEPT = 2
"""Number of newest checkpoints that are kept."""
_NAME = re.compile(r"step_(\d+)\.pt")


def save_checkpoint(folder: Path, step: int, state: dict[str, Any]) -> Path:
    """Writes `folder/step_000500.pt` and removes all but the two newest; `state` holds tensors and plain values only.

    The file appears under its name once it is complete and on the disk, so a process killed at any moment, or a full
    disk, leaves the older ones as they were.
    """
    make_folder(folder)
    path = folder / f"step_{step:06d}.pt"
    try:
        with whole_file(path) as partial, partial.open("wb") as file:
            torch.save({"format": FORMAT, "step": step, **state}, file)
    except UserError as error:
        raise UserError(f"{error}; older checkpoints are kept: continue with `resume`") from error
    for old in list_checkpoints(folder)[:-KEPT]:
        old.unlink()
    return path


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Loads a checkpoint's state onto the CPU; raises `UserError` if it is damaged or of another version."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
        raise UserError(f"{path}: not a checkpoint, or damaged; remove it to use the one before it") from error
    version = state.get("format") if isinstance(state, dict) else None
    if version != FORMAT:
        raise UserError(
            f"{path}: expected a checkpoint of version {FORMAT}, got version {version}; "
            "use the gsdff that wrote it, or train again"
        )
    return state


def list_checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints in a folder, oldest first; none if there is no such folder."""
    numbered = [(int(match[1]), path) for path in folder.glob("*.pt") if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(numbered)]
