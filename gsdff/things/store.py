"""Things of a run on disk."""

from pathlib import Path

import torch

from gsdff.errors import UserError, command
from gsdff.files.reading import read_safetensors
from gsdff.files.writing import save_tensors
from gsdff.things.members import Things

FORMAT = "gsdff-things-1"
SHAPES = {"members": 2, "shares": 2, "parts": 1, "sizes": 1, "owners": 1, "lengths": 1}
"""Tensors of a file, and their numbers of dimensions."""


def save_things(path: Path, things: Things) -> None:
    """Writes a .safetensors file; atomically."""
    owners = [owner.cpu() for owner in things.owners]
    tensors = {
        "members": things.members,
        "shares": things.shares,
        "parts": things.parts,
        "sizes": things.sizes,
        "owners": torch.cat([torch.zeros(0, dtype=torch.int32), *owners]),
        "lengths": torch.tensor([len(owner) for owner in owners], dtype=torch.int64),
    }
    save_tensors(path, {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, {"format": FORMAT})


def load_things(path: Path, num_gaussians: int) -> Things:
    """Reads what `save_things` wrote, onto the CPU.

    Raises `UserError` if the file is missing, damaged, of another kind, or of another number of Gaussians.
    """
    remedy = f"join masks into some with `{command('train', '--stage1-from', path.parent, '--config', 'sam')}`"
    try:
        tensors, metadata = read_safetensors(path, "the things of a scene", remedy)
    except FileNotFoundError:
        raise UserError(f"{path}: missing, the run has no things; {remedy}") from None
    if metadata.get("format") != FORMAT:
        raise UserError(f"{path}: expected a {FORMAT} file, got {metadata.get('format')}; {remedy}")
    if {name: tensor.ndim for name, tensor in tensors.items()} != SHAPES:
        raise UserError(f"{path}: damaged, expected the tensors {', '.join(SHAPES)}; {remedy}")
    members, lengths = tensors["members"], tensors["lengths"]
    if len(members) != num_gaussians:
        raise UserError(f"{path}: expected things of {num_gaussians} Gaussians, got those of {len(members)}; {remedy}")
    owners = list(tensors["owners"].split(lengths.tolist()))
    return Things(members, tensors["shares"], tensors["parts"], tensors["sizes"], owners)
