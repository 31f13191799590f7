from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_scene import tiny_gaussians

from gsdff.cameras import WorldFrame
from gsdff.config.file import to_table, write_config
from gsdff.config.options import TrainConfig
from gsdff.errors import UserError
from gsdff.io.checkpoint import save_checkpoint
from gsdff.io.runs import RunFolder, load_run


def write_run(folder, config, gaussians, steps=(10,)):
    names = RunFolder(folder)
    folder.mkdir()
    write_config(names.config, config)
    for step in steps:
        frame = {"centre": [1.0, 2.0, 3.0], "scale": 4.0}
        state = {"frame": frame, "gaussians": dict(gaussians.items()), "config": to_table(config)}
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


def test_gaussians_that_cannot_be_drawn_are_left_out_of_a_run(tmp_path, caplog):
    gaussians = tiny_gaussians()
    gaussians.means[3] = float("inf")
    gaussians.log_scales[4, 2] = -float("inf")
    run = load_run(write_run(tmp_path / "run", TrainConfig(), gaussians))
    assert len(run.gaussians) == 39 and all(tensor.isfinite().all() for _, tensor in run.gaussians.items())
    assert "run: left out 1 of 40 Gaussians" in caplog.text


def test_a_damaged_checkpoint_gives_way_to_the_one_before_it(tmp_path, caplog):
    folder = write_run(tmp_path / "run", TrainConfig(), tiny_gaussians(), steps=(10, 20))
    newest = folder / "checkpoints" / "step_000020.pt"
    newest.write_bytes(newest.read_bytes()[:-100])
    assert load_run(folder).step == 10
    assert "step_000020.pt: cannot be read as a checkpoint" in caplog.text


def test_options_that_are_not_those_of_the_training_are_refused_and_moved_files_are_not(tmp_path):
    config = replace(TrainConfig(), data=Path("/photos"))
    folder = write_run(tmp_path / "run", config, tiny_gaussians())
    path = folder / "config.toml"
    moved = path.read_text().replace("/photos", "/elsewhere").replace("log_every = 10", "log_every = 11")
    path.write_text(moved)
    assert load_run(folder).config.data == Path("/elsewhere")
    path.write_text(moved.replace("downscale = 1", "downscale = 3"))
    with pytest.raises(UserError, match=f"{path}: dataset.downscale is 3, and was 1 when the run was trained"):
        load_run(folder)
