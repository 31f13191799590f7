"""A run whose answers are known: thirty Gaussians say chair, to the left, thirty say lamp, to the right."""

from pathlib import Path

import numpy as np
import torch
from tiny_run import TinyRun, make_gaussians, write_run

from gsdff.latents import Basis
from gsdff.origin import ZERO, Point

NAMES = ("chair", "lamp", "wall")
NUM_CHAIR = 30


def make_words(generator: torch.Generator) -> torch.Tensor:
    """B [5, 3]; the text vectors of `NAMES` are its columns."""
    return torch.linalg.qr(torch.randn(5, 3, generator=generator)).Q.contiguous()


def write_asked_run(root: Path, generator: torch.Generator, origin: Point = ZERO) -> TinyRun:
    """The run, moved by `origin`, with a precomputed teacher of which only the texts are there; photos are 30 x 22."""
    gaussians = make_gaussians(generator, num_features=3)
    gaussians.origin = origin
    sides = torch.where(torch.arange(60) < NUM_CHAIR, 4.3, 5.7)
    gaussians.means = torch.cat([sides[:, None], torch.full((60, 2), 5.0)], 1) + 0.15 * (gaussians.means - 5)
    lengths = 0.5 + torch.rand(60, 1, generator=generator)
    gaussians.features = lengths * torch.eye(3)[(torch.arange(60) >= NUM_CHAIR).long()]
    run = write_run(root, gaussians)
    B = make_words(generator)
    (root / "maps").mkdir()
    np.savez(root / "maps" / "text_features.npz", names=np.array(NAMES), vectors=B.T.numpy())
    Basis(B, 0.9, "precomputed", "f").save(run.folder / "basis.safetensors")
    return run
