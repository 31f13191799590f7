"""A tiny CLIP among open_clip's models, real in everything but its size, and no network to fetch another from."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import open_clip
import pytest
import torch
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.config.options import TeacherConfig
from gsdff.scene import View
from gsdff.teachers import backbones
from gsdff.teachers.clip import ClipTeacher

TINY = "gsdff-tiny"
PATCH, WINDOW = 8, 32
CONFIG = {
    "embed_dim": 12,
    "vision_cfg": {"image_size": WINDOW, "layers": 3, "width": 16, "head_width": 8, "patch_size": PATCH},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
}


@contextmanager
def tiny_clip(folder: Path) -> Iterator[Path]:
    """Makes open_clip know the model; gives a file of its weights."""
    path = folder / f"{TINY}.json"
    path.write_text(json.dumps(CONFIG))
    open_clip.add_model_config(path)
    torch.save(make_weights(0), folder / "tiny.pt")
    yield folder / "tiny.pt"
    open_clip.factory._MODEL_CONFIG_PATHS.remove(path)


def cut_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is in the hub's cache, no name can be resolved, and whoever downloads all the same fails the test."""

    def refuse(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(backbones, "getproxies", dict)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_: pytest.fail("asks the network"))


def make_weights(seed: int) -> dict[str, Tensor]:
    """Far enough from the start of a training that every part of them shows."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        state = open_clip.create_model(TINY).state_dict()
        return {name: entry + 0.2 * torch.randn(entry.shape) for name, entry in state.items()}


def open_tiny(weights: Path, **options: object) -> ClipTeacher:
    config = TeacherConfig(name="clip", model=TINY, pretrained=str(weights))
    return ClipTeacher(replace(config, **options))


def make_view(height: int, width: int, seed: int = 0) -> View:
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (height, width, 3), generator=generator, dtype=torch.uint8)
    return View("a.jpg", Camera(torch.eye(4), torch.eye(3), width, height), image)
