"""Checkpoints of a run: written atomically, and read without executing code from the file."""

import logging
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gsdff.errors import UserError
from gsdff.files.places import make_folder
from gsdff.files.reading import read_torch
from gsdff.files.writing import whole_file
from gsdff.origin import FARTHEST_ORIGIN

log = logging.getLogger("gsdff")

FORMAT = 1
"""Version; changed whenever older checkpoints can no longer be read."""
KEPT = 2
"""Number of newest checkpoints that are kept."""
REMEDY = "copy the run again, or train again"
SHAPES: dict[str, tuple[int | None, ...]] = {
    "means": (3,), "quats": (4,), "log_scales": (3,), "logit_opacities": (), "sh0": (1, 3), "shN": (None, 3),
}  # fmt: skip
"""Shapes of one Gaussian's attributes; None is any length."""
OPTIONAL: dict[str, tuple[int | None, ...]] = {"features": (None,), "reliability": ()}
"""Those that may be missing: earlier versions wrote no reliability."""
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


def snapshot(state: Any) -> Any:
    """A copy of nested values on the CPU, which training does not change: it can be saved while training goes on."""
    if isinstance(state, dict):
        return {key: snapshot(value) for key, value in state.items()}
    if isinstance(state, list):
        return [snapshot(value) for value in state]
    return state.detach().to("cpu", copy=True) if isinstance(state, Tensor) else state


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Loads a checkpoint's state onto the CPU; raises `UserError` if it is damaged or of another version.

    Its Gaussians, its frame and its step are what they should be.
    """
    state = read_torch(path, "a checkpoint", REMEDY)
    version = state.get("format") if isinstance(state, dict) else None
    if version != FORMAT:
        raise UserError(
            f"{path}: expected a checkpoint of version {FORMAT}, got version {str(version)[:40]}; "
            "use the gsdff that wrote it, or train again"
        )
    problem = _find_problem(state)
    if problem:
        raise UserError(f"{path}: cannot be read as a checkpoint ({problem}); {REMEDY}")
    return state


def load_newest(folder: Path) -> dict[str, Any] | None:
    """Loads the newest checkpoint in a folder that can be read, with a warning for each newer one; None without any.

    Raises `UserError` if there are some and none can be read.
    """
    paths = list_checkpoints(folder)
    errors = []
    for path in reversed(paths):
        try:
            state = load_checkpoint(path)
        except UserError as error:
            errors.append(error)
            continue
        for error in errors:
            log.warning("%s", error)
        if errors:
            log.warning("%s: taking this older checkpoint, of step %d", path, state["step"])
        return state
    if errors:
        raise errors[0]
    return None


def _find_problem(state: dict[str, Any]) -> str:
    """Complaint about a state in which something is missing or of the wrong kind; empty if there is none."""
    step, frame, gaussians = state.get("step"), state.get("frame"), state.get("gaussians")
    if type(step) is not int or step < 0:
        return "it has no number of steps"
    if not isinstance(frame, dict) or not _is_frame(frame.get("centre"), frame.get("scale")):
        return "it has no frame, with a centre of three numbers and a scale above 0"
    if not isinstance(gaussians, dict) or not SHAPES.keys() <= gaussians.keys() <= SHAPES.keys() | OPTIONAL.keys():
        names = sorted(map(str, gaussians)) if isinstance(gaussians, dict) else []
        return f"expected the attributes {', '.join(SHAPES)} of Gaussians, got {', '.join(names) or 'none'}"
    for name, tensor in gaussians.items():
        expected = SHAPES[name] if name in SHAPES else OPTIONAL[name]
        if not isinstance(tensor, Tensor) or tensor.dtype != torch.float32 or tensor.ndim != len(expected) + 1:
            return f"its {name} are no float32 tensor of {len(expected) + 1} dimensions"
        sizes = zip(tensor.shape, (len(gaussians["means"]), *expected), strict=True)
        if any(expected not in (None, size) for size, expected in sizes):
            return f"its {name} are of the shape {list(tensor.shape)}"
    if gaussians["shN"].shape[1] not in (0, 3, 8, 15):
        return f"its shN are {gaussians['shN'].shape[1]} harmonics, expected 0, 3, 8 or 15"
    return ""


def _is_frame(centre: Any, scale: Any) -> bool:
    values = [*centre, scale] if isinstance(centre, list) else []
    are_usable = all(type(value) in (int, float) and abs(value) <= FARTHEST_ORIGIN for value in values)  # not for NaN
    return len(values) == 4 and are_usable and scale > 0


def list_checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints in a folder, oldest first; none if there is no such folder."""
    numbered = [(int(match[1]), path) for path in folder.glob("*.pt") if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(numbered)]
