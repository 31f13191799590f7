from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_scene import tiny_gaussians

from gsdff.cameras import WorldFrame
from gsdff.config.file import write_config
from gsdff.config.options import TrainConfig
from gsdff.errors import UserError
from gsdff.io.checkpoint import save_checkpoint
from gsdff.io.runs import RunFolder, load_run


def write_run(folder, config, gaussians, steps=(10,)):
    names = RunFolder(folder)
    folder.mkdir()
    write_config(names.config, config)
    for step in steps:
        state = {"frame": {"centre": [1.0, 2.0, 3.0], "scale": 4.0}, "gaussians": dict(gaussians.items())}
        save_checkpoint(names.checkpoints, step, state)
    return folder


def test_a_run_loads_as_its_newest_checkpoint_left_it(tmp_path):
    config = replace(TrainConfig(), data=Path("/photos"), seed=3)
    gaussians = replace(tiny_gaussians(), features=torch.rand(40, 5))
    run = load_run(write_run(tmp_path / "run", config, gaussians, steps=(10, 20)))
    assert (run.folder, run.config, run.step) == (tmp_path / "run", config, 20)
    assert run.frame == WorldFrame((1.0, 2.0, 3.0), 4.0)
    for (name, loaded), (_, saved) in zip(run.gaussians.items(), gaussians.items(), strict=True):
        assert torch.equal(loaded, saved) and not loaded.requires_grad, name


def test_a_run_without_features_has_none(tmp_path):
    assert load_run(write_run(tmp_path / "run", TrainConfig(), tiny_gaussians())).gaussians.features is None


def test_the_built_in_scene_is_found_in_the_runs_own_folder(tmp_path):
    run = load_run(write_run(tmp_path / "run", TrainConfig(data=Path("demo")), tiny_gaussians()))
    assert run.config.data == tmp_path / "run" / "data"


def test_a_folder_that_is_no_run_is_an_error_that_names_it(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UserError, match=f"{folder}: expected a run's folder"):
            load_run(folder)


def test_a_run_without_a_checkpoint_is_an_error_that_says_what_to_do(tmp_path):
    folder = write_run(tmp_path / "run", TrainConfig(), tiny_gaussians(), steps=())
    with pytest.raises(UserError, match=f"{folder}/checkpoints: no checkpoint yet; .*--resume"):
        load_run(folder)
