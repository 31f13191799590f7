"""Fixtures of the viewer's tests."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from browser import open_browser
from tiny_scene import TinyDataset
from tiny_viewer import NAMES, TinyViewer, write_tiny_viewer

from gsdff.config.file import write_config
from gsdff.config.options import DataConfig, FeatureConfig, Stage1Config, Stage2Config, TeacherConfig, TrainConfig
from gsdff.data import load_scene
from gsdff.io.runs import RunFolder
from gsdff.training.initialise import initial_gaussians
from gsdff.training.logger import TrainingLogger
from gsdff.training.trainer import Trainer


@pytest.fixture
def tiny(tmp_path, generator) -> TinyViewer:
    """A run that can be queried, with photos, maps and masks."""
    return write_tiny_viewer(tmp_path, generator)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium for the tests of a file."""
    with open_browser() as browser:
        yield browser


@pytest.fixture
def dataset(tmp_path, generator):
    """Photos with teacher maps of 6 channels, and text vectors."""
    folder = TinyDataset.write(tmp_path / "photos").folder
    maps = tmp_path / "maps"
    maps.mkdir()
    for photo in folder.glob("*.png"):
        torch.save(torch.randn(6, 8, 8, generator=generator), maps / f"{photo.stem}_fmap_CxHxW.pt")
    vectors = torch.linalg.qr(torch.randn(6, 3, generator=generator)).Q.T
    np.savez(maps / "text_features.npz", names=np.array(NAMES), vectors=vectors.numpy())
    return folder


@pytest.fixture
def config(dataset):
    """Options with random backgrounds, which draw from torch's generator in every step; densification does in some."""
    return TrainConfig(
        data=dataset, device="cpu", log_every=4, picture_every=20, checkpoint_every=15,
        dataset=DataConfig(background="random", random_points=60),
        stage1=Stage1Config(
            steps=30, sh_degree=1, sh_interval=8, refine_start=4, refine_every=5, refine_stop=26, grow_grad2d=1e-5,
            max_gaussians=120,
        ),
        stage2=Stage2Config(steps=16),
        teacher=TeacherConfig(name="precomputed", maps=dataset.parent / "maps"),
        features=FeatureConfig(dim=4),
    )  # fmt: skip


@pytest.fixture
def open_run(config, tmp_path):
    """Makes a trainer, its folder and its report; closes the reports."""
    reports = []

    def make(name="run", **changes):
        folder = RunFolder(tmp_path / name)
        folder.path.mkdir()
        ours = replace(config, **changes)
        write_config(folder.config, ours)
        scene = load_scene(ours.data, ours.dataset)
        trainer = Trainer(ours, scene, torch.device("cpu"), initial_gaussians(ours, scene))
        reports.append(TrainingLogger(ours, scene, folder, 0, trainer.total_steps))
        return trainer, folder, reports[-1]

    yield make
    for report in reports:
        report.__exit__()
