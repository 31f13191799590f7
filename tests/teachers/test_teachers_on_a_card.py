"""Teachers on the pretended card: their maps are those of the CPU, to half precision, and so are a CLIP's edits."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from test_lseg import TINY as TINY_LSEG
from tiny_answers import NUM_CHAIR, write_asked_run
from tiny_clip import TINY, cut_network, make_view, tiny_clip

import gsdff
from gsdff import Stylize
from gsdff.config.options import TeacherConfig
from gsdff.teachers import backbones
from gsdff.teachers.clip import ClipTeacher
from gsdff.teachers.dino import DinoTeacher
from gsdff.teachers.lseg import LSegTeacher
from gsdff.teachers.lseg_network import LSegNetwork
from gsdff.teachers.network import NetworkTeacher

HALF = {"rtol": 0.03, "atol": 0.03}
"""Networks run in half precision on a card."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with tiny_clip(tmp_path_factory.mktemp("tiny")) as path:
        yield path


def extract(teacher: NetworkTeacher) -> list[torch.Tensor]:
    views = [make_view(40, 64, seed) for seed in range(2)]
    return list(teacher.extract(views))


def test_clips_maps_and_texts_are_the_cpus(card, weights):
    config = TeacherConfig(name="clip", model=TINY, pretrained=str(weights))
    teachers = [ClipTeacher(config, device=device) for device in ("cpu", "cuda")]
    expected, got = map(extract, teachers)
    torch.testing.assert_close(got, expected, **HALF)
    expected, got = (teacher.text(["chair", "lamp"]) for teacher in teachers)
    torch.testing.assert_close(got, expected, **HALF)


def test_dinos_maps_are_the_cpus(card, tmp_path, monkeypatch):
    cut_network(monkeypatch)
    model, tiny = "vit_small_patch14_dinov2.lvd142m", {"embed_dim": 24, "depth": 2, "num_heads": 2, "img_size": 56}
    make_vit = backbones.make_vit
    monkeypatch.setattr(backbones, "make_vit", lambda name, **options: make_vit(name, **tiny, **options))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_file(timm.create_model(model, **tiny).state_dict(), tmp_path / "tiny.safetensors")
    config = TeacherConfig(name="dino", model=model, pretrained=str(tmp_path / "tiny.safetensors"), size=56)
    expected, got = (extract(DinoTeacher(config, device=device)) for device in ("cpu", "cuda"))
    torch.testing.assert_close(got, expected, **HALF)


@pytest.mark.parametrize("multi_scale", [False, True])
def test_lsegs_maps_are_the_cpus(card, monkeypatch, multi_scale):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = LSegNetwork(TINY_LSEG).eval().requires_grad_(False)
    monkeypatch.setattr(LSegTeacher, "__init__", NetworkTeacher.__init__)  # reads no checkpoint
    monkeypatch.setattr(LSegTeacher, "size", 64, raising=False)
    maps = []
    for device in ("cpu", "cuda"):
        teacher = LSegTeacher(TeacherConfig(name="lseg", multi_scale=multi_scale), device=device)
        teacher._network = network.to(device)
        maps.append(extract(teacher))
    torch.testing.assert_close(maps[1], maps[0], **HALF)


def test_a_selection_is_stylized(card, tmp_path, generator, weights):
    run = write_asked_run(tmp_path, generator).folder
    field = gsdff.load(run, device="cuda")
    edit = Stylize("chair", "a wooden chair", steps=3)
    edited = field.edit(edit, clip_model=TINY, clip_pretrained=str(weights)).gaussians
    chairs = torch.arange(60) < NUM_CHAIR
    changed = (edited.sh0 != field.gaussians.sh0).flatten(1).any(1).cpu()
    assert changed[chairs].any() and not changed[~chairs].any()
