"""Every door on the pretended card, from photos to an edited scene, and what the Python interface does."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_answers import write_asked_run
from tiny_field import write_maps
from tiny_scene import TinyDataset, tiny_scene

import gsdff
from gsdff import edit, evaluate, export, query, segment, train
from gsdff.config.file import read_config, write_config
from gsdff.field.query import OneGaussian

NAMES = ("chair", "lamp", "wall")
SHORT = (
    "--stage1.steps 12 --stage1.refine-start 2 --stage1.refine-every 4 --stage1.refine-stop 10 --stage2.steps 4 "
    "--dataset.random-points 80 --stage1.max-gaussians 120 --features.dim 8 --checkpoint-every 6 --picture-every 9"
).split()


@pytest.fixture
def run(tmp_path: Path, generator: torch.Generator) -> Path:
    """A run that answers, to be opened on the card."""
    folder = write_asked_run(tmp_path, generator).folder
    write_config(folder / "config.toml", replace(read_config(folder / "config.toml"), device="cuda"))
    return folder


def test_a_run_is_trained_resumed_evaluated_and_exported(card, call, tmp_path, generator):
    TinyDataset.write(tmp_path / "photos")
    maps, run = write_maps(tmp_path / "maps", tiny_scene(), generator, channels=12), tmp_path / "run"
    vectors = torch.randn(3, 12, generator=generator).numpy()
    np.savez(maps / "text_features.npz", names=np.array(NAMES), vectors=vectors)
    teacher = ("--teacher", "precomputed", "--teacher.maps", maps)
    call(train, "--data", tmp_path / "photos", "--out", run, "--device", "cuda", *SHORT, *teacher)
    scene = (run / "scene.ply").read_bytes()
    sorted((run / "checkpoints").glob("*.pt"))[-1].unlink()
    (run / "scene.ply").unlink()
    call(train, "--out", run, "--resume", "--device", "cuda")
    assert (run / "scene.ply").read_bytes() == scene
    assert card.num_launches > 1000
    table = call(evaluate, run, "--classes", "chair", "lamp", "--device", "cuda")
    assert any("PSNR" in line for line in table)
    call(export, run, "--format", "splat", "--out", tmp_path / "scene.splat")
    assert (tmp_path / "scene.splat").stat().st_size > 0
    call(query, run, "--text", "chair", "--view", 0, "--out", tmp_path / "heat.png", "--device", "cuda")
    call(segment, run, "--classes", "chair", "lamp", "--out", tmp_path / "segments", "--device", "cuda")
    changed = ("--recolor", "lamp:#ff0000", "--grow", 1, "--views", 0, "--out", tmp_path / "edited.ply")
    call(edit, run, *changed, "--device", "cuda")
    second = ("--stage1-from", run, "--out", tmp_path / "second", "--device", "cuda", "--stage2.steps", 2)
    call(train, *second, *teacher)
    assert (tmp_path / "second" / "scene.ply").exists()


def test_answers_are_the_cpus(card, run):
    fields = [gsdff.load(run, device=device) for device in ("cpu", "cuda")]
    for ask in (
        lambda field: field.query("chair"),
        lambda field: field.query("chair", negatives="wall", view=1),
        lambda field: field.query("chair", view=1, space="3d"),
        lambda field: field.query(gsdff.Query(like=OneGaussian(3))),
    ):
        expected, got = map(ask, fields)
        torch.testing.assert_close(got.scores.cpu(), expected.scores, rtol=1e-4, atol=1e-4)
    for ask in (lambda field: field.segment(NAMES), lambda field: field.segment(NAMES, view=1)):
        expected, got = map(ask, fields)
        assert (got.labels.cpu() != expected.labels).double().mean() < 0.01
    for kind in ("rgb", "features", "depth", "alpha"):
        expected, got = (field.render(1, kind).values for field in fields)
        torch.testing.assert_close(got.cpu(), expected, rtol=1e-3, atol=1e-3)


def test_edits_are_the_cpus(card, run, tmp_path):
    edits = (
        gsdff.Delete("lamp"),
        gsdff.Recolor("chair", color="#2a6fdb"),
        gsdff.Move("chair", translation=(0.1, 0.0, 0.0)),
        gsdff.Rotate("chair", axis=(0.0, 1.0, 0.0), degrees=30.0),
        gsdff.Scale("chair", factor=1.5),
        gsdff.Duplicate("chair", translation=(1.0, 0.0, 0.0)),
        gsdff.Opacity("chair", factor=0.5),
    )
    expected, got = (gsdff.load(run, device=device).edit(*edits) for device in ("cpu", "cuda"))
    for (name, ours), (_, theirs) in zip(got.gaussians.items(), expected.gaussians.items(), strict=True):
        assert ours.is_cuda
        torch.testing.assert_close(ours.cpu(), theirs, rtol=1e-4, atol=1e-4, msg=name)
    got.save(tmp_path / "edited.ply")
    assert len(gsdff.load(tmp_path / "edited.ply", device="cuda")) == len(expected)
    moved = got.to("cpu")
    assert not moved.gaussians.means.is_cuda
