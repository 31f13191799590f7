"""Text vectors for the features of a tiny run."""

from pathlib import Path

import numpy as np
import torch

WORDS = ("red cup", "chair", "floor", "wall", "lamp")


def write_words(folder: Path, generator: torch.Generator, channels: int = 8) -> None:
    """A text_features.npz with a random unit vector for each of `WORDS`."""
    vectors = torch.nn.functional.normalize(torch.randn(len(WORDS), channels, generator=generator), dim=1)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "text_features.npz", names=np.array(WORDS), vectors=vectors.numpy())
