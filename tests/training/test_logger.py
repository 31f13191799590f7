import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_scene import HEIGHT, WIDTH, tiny_gaussians, tiny_scene

from gsdff.config.options import TrainConfig
from gsdff.errors import UserError
from gsdff.io.runs import RunFolder
from gsdff.metrics import psnr
from gsdff.render import render_view
from gsdff.training import logger as logger_module
from gsdff.training.logger import TrainingLogger, drop_lines_after, last_line

BLACK = (0.0, 0.0, 0.0)
CONFIG = replace(TrainConfig(), log_every=2, picture_every=4)


def open_logger(folder, *, step=0, total_steps=10, config=CONFIG):
    folder.mkdir(exist_ok=True)
    return TrainingLogger(config, tiny_scene(), RunFolder(folder), step, total_steps)


def run_steps(logger, first, last, value=None):
    """Logs steps whose loss is their number (or `value`) and whose mean squared error is 0.01."""
    gaussians = tiny_gaussians()
    for step in range(first, last + 1):
        loss = torch.tensor(float(step) if value is None else value, requires_grad=True)
        logger.add(step, gaussians, {"loss": loss, "mse": torch.tensor(0.01)})


def read_lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_line_holds_the_means_since_the_last_one(tmp_path):
    with open_logger(tmp_path) as logger:
        run_steps(logger, 1, 5)
        lines = read_lines(tmp_path)  # lines are there as soon as they are written
    assert [(line["step"], line["loss"]) for line in lines] == [(2, 1.5), (4, 3.5)]
    assert lines[0]["psnr"] == pytest.approx(20, abs=1e-5)
    assert lines[0]["gaussians"] == 40 and lines[0]["seconds"] >= 0
    assert "heldout_psnr" not in lines[0] and "heldout_psnr" in lines[1]


def test_the_last_step_has_a_line_and_every_held_out_view(tmp_path):
    config = replace(CONFIG, log_every=100, picture_every=100)
    with open_logger(tmp_path, total_steps=3, config=config) as logger:
        run_steps(logger, 1, 3)
    (line,) = read_lines(tmp_path)
    assert (line["step"], line["loss"]) == (3, 2.0) and line == last_line(tmp_path / "metrics.jsonl")
    scene = tiny_scene()
    images = {i: render_view(tiny_gaussians(), scene.views[i], BLACK) for i in scene.test_ids}
    scores = [psnr(image, scene.views[i].target) for i, image in images.items()]
    assert line["heldout_psnr"] == pytest.approx(sum(scores) / len(scores))
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == [
        f"step_000003_view_{i}.png" for i in scene.test_ids
    ]


def test_a_picture_shows_the_photo_beside_the_rendering(tmp_path):
    with open_logger(tmp_path) as logger:
        run_steps(logger, 1, 4)
    scene = tiny_scene()
    with Image.open(tmp_path / "pictures" / "step_000004_view_0.png") as picture:
        pixels = torch.from_numpy(np.array(picture.convert("RGB")))
    assert pixels.shape[0] == HEIGHT and pixels.shape[1] >= 2 * WIDTH
    assert torch.equal(pixels[:, :WIDTH], scene.views[0].image)
    rendered = render_view(tiny_gaussians(), scene.views[0], BLACK)
    assert (pixels[:, -WIDTH:] / 255 - rendered).abs().max() <= 0.5 / 255 + 1e-6


def test_tensorboard_reads_the_curves_and_the_pictures(tmp_path):
    with open_logger(tmp_path, total_steps=100) as logger:
        run_steps(logger, 1, 4)
    events = EventAccumulator(str(tmp_path / "events")).Reload()
    assert [(point.step, point.value) for point in events.Scalars("loss")] == [(2, 1.5), (4, 3.5)]
    assert {"psnr", "gaussians", "heldout_psnr"} <= set(events.Tags()["scalars"])
    (picture,) = events.Images("heldout/view_0")
    assert picture.encoded_image_string == (tmp_path / "pictures" / "step_000004_view_0.png").read_bytes()


def test_a_resumed_report_writes_each_step_once_and_the_same_means(tmp_path):
    with open_logger(tmp_path / "whole") as logger:
        run_steps(logger, 1, 10)
    with open_logger(tmp_path / "torn") as logger:
        run_steps(logger, 1, 5)
        state = logger.state_dict()
        run_steps(logger, 6, 9)
    with open_logger(tmp_path / "torn", step=5) as logger:
        logger.load_state_dict(state, torch.device("cpu"))
        run_steps(logger, 6, 10)
    whole, torn = ([line | {"seconds": 0} for line in read_lines(tmp_path / name)] for name in ("whole", "torn"))
    assert torn == whole
    events = EventAccumulator(str(tmp_path / "torn" / "events")).Reload()
    assert [point.step for point in events.Scalars("loss")] == [2, 4, 6, 8, 10]


def test_the_time_of_earlier_sittings_counts(tmp_path):
    with open_logger(tmp_path) as logger:
        logger.load_state_dict({"sums": {}, "num_steps": 0, "seconds": 1000.0}, torch.device("cpu"))
        assert 1000 <= logger.seconds < 1100


def test_lines_beyond_the_step_and_lines_cut_off_are_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    drop_lines_after(path, 5)
    assert not path.exists()
    path.write_text('{"step": 2}\n{"step": 4}\n{"step": 6}\n{"st')
    drop_lines_after(path, 4)
    assert path.read_text() == '{"step": 2}\n{"step": 4}\n'
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_damaged_lines_are_left_out_and_counted(tmp_path, caplog):
    path = tmp_path / "metrics.jsonl"
    damaged = [b'{"step": \xff}', b"[" * 100_000 + b"}", b'["step"]}', b'{"step": "2"}', b'{"stop": 2}', b"}"]
    path.write_bytes(b"\n".join([b'{"step": 2}', *damaged, b'{"step": 4}', b""]))
    drop_lines_after(path, 5)
    assert path.read_text() == '{"step": 2}\n{"step": 4}\n'
    assert "left out 6 of 8 lines, which are damaged" in caplog.text


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_an_error_and_is_not_written(tmp_path, value):
    with open_logger(tmp_path) as logger:
        run_steps(logger, 1, 2)
        with pytest.raises(UserError, match=f"{tmp_path}: loss became {value} after step 2; .*lower learning rates"):
            run_steps(logger, 3, 4, value)
    assert [line["step"] for line in read_lines(tmp_path)] == [2]


def test_a_scene_without_held_out_views_has_no_score(tmp_path):
    scene = replace(tiny_scene(), held_out=())
    with TrainingLogger(CONFIG, scene, RunFolder(tmp_path), 0, 2) as logger:
        run_steps(logger, 1, 2)
    assert read_lines(tmp_path)[0]["heldout_psnr"] is None


def test_pictures_are_scored_over_white_where_training_is():
    view = tiny_scene().views[0]
    faint = replace(tiny_gaussians(), logit_opacities=torch.full((40,), -20.0))
    white = replace(CONFIG, dataset=replace(CONFIG.dataset, background="white"))
    assert (
        render_view(faint, view, white.dataset.solid_background).min() > 0.99
        and render_view(faint, view, BLACK).max() < 0.01
    )


def test_a_full_disk_stops_the_training_at_the_next_step_though_pictures_are_written_behind(tmp_path, monkeypatch):
    def fail(path, picture):
        raise UserError(f"{path}: cannot be written: the disk is full")

    monkeypatch.setattr(logger_module, "save_png", fail)
    with open_logger(tmp_path) as logger:
        run_steps(logger, 1, 4)
        logger.writer._thread.submit(int).result()  # the pictures have been tried
        with pytest.raises(UserError, match=r"view_0\.png: cannot be written"):
            run_steps(logger, 5, 5)
    with pytest.raises(UserError, match=r"view_0\.png: cannot be written"), open_logger(tmp_path) as logger:
        run_steps(logger, 1, 4)
