"""Checkpoints of a run: written atomically, and read without executing code from the file.

Ranks that hold a part of the Gaussians each write a file each, `step_000500.part_0_of_4.pt` and so on; `step_000500.pt`
then names them, and is read as the whole. It is written last.
"""

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
from gsdff.io.checkpoint_parts import join_states
from gsdff.origin import FARTHEST_ORIGIN

log = logging.getLogger("gsdff")

FORMAT = 1
"""Version; changed whenever older checkpoints can no longer be read."""
NUM_PARTS, PART, TOKEN = "num_parts", "part", "token"
"""Keys of a state: the number of files it lies in; of a part, the rank and that number; what is common to all files."""
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
    path = folder / f"step_{step:06d}.pt"
    _write(path, step, state)
    for old in list_checkpoints(folder)[:-KEPT]:
        old.unlink()
    kept, is_whole = {path.stem for path in list_checkpoints(folder)}, NUM_PARTS not in state
    for part in folder.glob("step_*.part_*.pt"):
        stem = part.name.partition(".")[0]
        if stem not in kept or (stem == path.stem and is_whole):
            part.unlink()
    return path


def save_part(folder: Path, step: int, state: dict[str, Any], rank: int, num_parts: int, token: str) -> None:
    """Writes the state of one rank, which holds a part; `save_parts` then completes the checkpoint."""
    _write(_part_path(folder, step, rank, num_parts), step, {**state, TOKEN: token})


def save_parts(folder: Path, step: int, num_parts: int, token: str) -> Path:
    """Writes the file that names the parts, which all ranks have written with the same token."""
    return save_checkpoint(folder, step, {NUM_PARTS: num_parts, TOKEN: token})


def join_parts(folder: Path) -> dict[str, Any]:
    """Replaces the newest checkpoint by a whole one, if it is of parts; returns its state."""
    (*_, path) = list_checkpoints(folder)
    state = load_checkpoint(path)
    save_checkpoint(folder, state["step"], {key: value for key, value in state.items() if key != "step"})
    return state


def _part_path(folder: Path, step: int, rank: int, num_parts: int) -> Path:
    return folder / f"step_{step:06d}.part_{rank}_of_{num_parts}.pt"


def _write(path: Path, step: int, state: dict[str, Any]) -> None:
    make_folder(path.parent)
    try:
        with whole_file(path) as partial, partial.open("wb") as file:
            torch.save({"format": FORMAT, "step": step, **state}, file)
    except UserError as error:
        raise UserError(f"{error}; older checkpoints are kept: continue with `resume`") from error


def snapshot(state: Any) -> Any:
    """A copy of nested values on the CPU, which training does not change: it can be saved while training goes on."""
    if isinstance(state, dict):
        return {key: snapshot(value) for key, value in state.items()}
    if isinstance(state, list):
        return [snapshot(value) for value in state]
    return state.detach().to("cpu", copy=True) if isinstance(state, Tensor) else state


def load_checkpoint(path: Path, part: tuple[int, int] | None = None) -> dict[str, Any]:
    """Loads a checkpoint's state onto the CPU; raises `UserError` if it is damaged or of another version.

    Its Gaussians, its frame and its step are what they should be. Parts are joined, unless `part` (a rank and the
    number of ranks) is one of them: then that one is loaded, and the state has a key `PART`.
    """
    index = read_torch(path, "a checkpoint", REMEDY)
    if not _names_parts(index):
        return _checked(path, index)
    num = index[NUM_PARTS]
    own = part is not None and part[1] == num
    wanted = [part[0]] if part is not None and own else range(num)
    paths = [_part_path(path.parent, index["step"], rank, num) for rank in wanted]
    if missing := [each.name for each in paths if not each.exists()]:
        raise UserError(f"{path}: names files that are not there, {', '.join(missing)}; {REMEDY}")
    parts = [_checked(each, read_torch(each, "a checkpoint", REMEDY)) for each in paths]
    if any(state.pop(TOKEN, None) != index[TOKEN] for state in parts):
        raise UserError(f"{path}: its parts do not belong together; {REMEDY}")
    return parts[0] | {PART: part} if own else join_states(parts)


def _names_parts(index: Any) -> bool:
    """Whether this is the content of a file that names parts."""
    kinds = {"format": int, "step": int, NUM_PARTS: int, TOKEN: str}
    return isinstance(index, dict) and all(isinstance(index.get(key), kind) for key, kind in kinds.items())


def _checked(path: Path, state: Any) -> dict[str, Any]:
    """The content of one file; raises `UserError` if it is of another version or lacks something."""
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


def load_newest(folder: Path, part: tuple[int, int] | None = None) -> dict[str, Any] | None:
    """Loads the newest checkpoint in a folder that can be read, with a warning for each newer one; None without any.

    Raises `UserError` if there are some and none can be read. `part` is that of `load_checkpoint`.
    """
    paths = list_checkpoints(folder)
    errors = []
    for path in reversed(paths):
        try:
            state = load_checkpoint(path, part)
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
