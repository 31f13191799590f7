"""Evaluation on the pretended card: scores of pictures, features, classes and LERF-OVS are those of the CPU."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from test_ovs_labels import thing, write_frame
from tiny_answers import write_asked_run
from tiny_run import HEIGHT, WIDTH

import gsdff
from gsdff import evaluate
from gsdff.evaluation.ovs.benchmarks import score_ovs
from gsdff.evaluation.ovs.options import OvsOptions
from gsdff.metrics import confusion_matrix, open_lpips, psnr, ssim

EVERYWHERE = [[0, 0], [WIDTH - 1, 0], [WIDTH - 1, HEIGHT - 1], [0, HEIGHT - 1]]


@pytest.fixture
def run(tmp_path: Path, generator: torch.Generator) -> Path:
    """A run that answers, with maps of its teacher."""
    folder = write_asked_run(tmp_path, generator).folder
    scene = gsdff.load(folder, device="cpu").scene
    for view in scene.views:
        latents = torch.randn(5, 8, 8, generator=generator)
        path = tmp_path / "maps" / f"{view.key}.npy"
        path.parent.mkdir(exist_ok=True)
        np.save(path, latents.numpy())
    return folder


def test_lerf_ovs_is_the_cpus(card, run, tmp_path):
    labels = tmp_path / "label"
    boxes = {"chair": [0, 0, WIDTH // 2 - 1, HEIGHT - 1], "lamp": [WIDTH // 2, 0, WIDTH - 1, HEIGHT - 1]}
    write_frame(labels, "v0", *(thing(name, EVERYWHERE, bbox=box) for name, box in boxes.items()), size=(WIDTH, HEIGHT))
    path = labels / "v0.json"
    path.write_text(path.read_text().replace("v0.jpg", "a/v0.png"))  # several photos have this stem
    results = []
    for device in ("cpu", "cuda"):
        options = OvsOptions(filter_size=3, majority_size=3)
        results.append(score_ovs(gsdff.load(run, device=device), "lerf-ovs", labels, options=options)[0])
    assert results[1]["mean"] == pytest.approx(results[0]["mean"], abs=0.02)


def test_the_doors_scores_are_the_cpus(card, run, call):
    scores = []
    for device in ("cpu", "cuda"):
        call(evaluate, run, "--device", device, "--classes", "chair", "lamp")
        scores.append(json.loads((run / "evaluation" / "metrics.json").read_text()))
    for expected, got in zip(*(score["images"]["views"].values() for score in scores), strict=True):
        assert got["psnr"] == pytest.approx(expected["psnr"], abs=0.1)
        assert got["ssim"] == pytest.approx(expected["ssim"], abs=0.01)


def test_measures_of_pictures_and_labels_are_the_cpus(card, generator, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    sides = {0: (64, 3, 11, 11), 3: (192, 64, 5, 5), 6: (384, 192, 3, 3), 8: (256, 384, 3, 3), 10: (256, 256, 3, 3)}
    state = {f"features.{i}.weight": torch.randn(s, generator=generator) / math.sqrt(s[1] * s[2] ** 2) for i, s in sides.items()}
    state |= {f"features.{i}.bias": torch.zeros(shape[0]) for i, shape in sides.items()}
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    torch.save(state, tmp_path / "hub" / "checkpoints" / "alexnet-owt-7be5be79.pth")
    one, other = torch.rand(2, 64, 70, 3, generator=generator)
    values = []
    for device in ("cpu", "cuda"):
        a, b = one.to(device), other.to(device)
        values.append([psnr(a, b), ssim(a, b), open_lpips(device)(a, b)])
    assert values[1] == pytest.approx(values[0], rel=1e-4)
    ids = torch.randint(0, 3, (2, 9, 9), generator=generator)
    assert torch.equal(confusion_matrix(*ids.cuda(), 3).cpu(), confusion_matrix(*ids, 3))
