"""Evaluation of tiny runs, from Python and by the command."""

import json
import logging
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_run import HEIGHT, WIDTH, make_gaussians, open_field, save_run, write_run

from gsdff.errors import UserError
from gsdff.evaluation.run import format_evaluation, images_table, score
from gsdff.io.pictures import GAP
from gsdff.metrics import psnr, ssim

HELD_OUT = ["a/v0.png", "b/v3.png"]


@pytest.fixture(autouse=True)
def no_weights(tmp_path_factory, monkeypatch):
    """Hides the weights of LPIPS, should the machine have them."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("hub")))


@pytest.fixture
def run(tmp_path, generator):
    """A run whose Gaussians differ a little from those in the photos."""
    gaussians = make_gaussians(generator)
    noise = 0.3 * torch.randn(gaussians.sh0.shape, generator=generator)
    return write_run(tmp_path, gaussians, trained=replace(gaussians, sh0=gaussians.sh0 + noise))


def read_metrics(run) -> dict:
    return json.loads((run.folder / "evaluation" / "metrics.json").read_text())


def test_a_run_that_fits_perfectly_scores_what_8_bit_photos_allow(tmp_path, generator):
    run = write_run(tmp_path, make_gaussians(generator))
    scores = score(open_field(run.folder)).images["mean"]
    # rounding to 8 bits has an error of at most 1/510 and typically 1/(255 √12), 58.9 dB
    assert 54 < scores["psnr"] < 64
    assert scores["ssim"] > 0.999


def test_scores_are_those_of_the_pictures_that_are_written(run):
    evaluation = score(open_field(run.folder))
    assert list(evaluation.images["views"]) == HELD_OUT
    for name in HELD_OUT:
        picture = np.asarray(Image.open(run.folder / "evaluation" / name.replace("/", "_")))
        assert picture.shape == (HEIGHT, 3 * WIDTH + 2 * GAP, 3)
        photo = picture[:, :WIDTH]
        assert np.array_equal(photo, np.asarray(Image.open(run.data / "images" / name)))
        rendering = picture[:, WIDTH + GAP : 2 * WIDTH + GAP]
        image, target = (torch.tensor(panel).float() / 255 for panel in (rendering, photo))
        assert evaluation.images["views"][name]["psnr"] == pytest.approx(psnr(image, target), abs=0.05)
        assert evaluation.images["views"][name]["ssim"] == pytest.approx(ssim(image, target), abs=2e-3)
    mean = evaluation.images["mean"]["psnr"]
    assert 10 < mean < 40
    assert mean == pytest.approx(sum(row["psnr"] for row in evaluation.images["views"].values()) / 2)


def test_metrics_json_holds_scores_and_facts(run):
    evaluation = score(open_field(run.folder))
    metrics = read_metrics(run)
    assert metrics["images"] == evaluation.images
    assert (metrics["step"], metrics["gaussians"], metrics["sh_degree"]) == (700, 60, 1)
    assert (metrics["held_out_views"], metrics["training_views"]) == (2, 8)
    assert metrics["image_size"] == [WIDTH, HEIGHT]
    assert metrics["data"] == str(run.data)
    assert "features" not in metrics and evaluation.features == {}


def test_the_newest_checkpoint_is_evaluated_and_again_gives_the_same(run):
    first = score(open_field(run.folder))
    assert score(open_field(run.folder)).images == first.images
    save_run(run.folder, 800, run.gaussians.to_working_frame(run.frame), run.frame)
    second = score(open_field(run.folder))
    assert second.facts["step"] == 800
    assert second.images["mean"]["psnr"] > first.images["mean"]["psnr"] + 10


def test_the_background_is_the_one_trained_with(tmp_path, generator):
    run = write_run(tmp_path, make_gaussians(generator).map(lambda t: t[:0]))
    assert score(open_field(run.folder)).images["mean"]["psnr"] == math.inf  # black photos, black renderings
    assert read_metrics(run)["images"]["mean"]["psnr"] is None
    config = (run.folder / "config.toml").read_text()
    (run.folder / "config.toml").write_text(config.replace('background = "black"', 'background = "white"'))
    assert score(open_field(run.folder)).images["mean"]["psnr"] == 0


def test_lpips_is_left_out_with_one_line_where_it_has_no_weights(run, caplog):
    with caplog.at_level(logging.WARNING, logger="gsdff"):
        assert set(score(open_field(run.folder)).images["mean"]) == {"psnr", "ssim"}
    assert len([record for record in caplog.records if "LPIPS" in record.getMessage()]) == 1


def test_lpips_is_scored_where_it_can_be(run, monkeypatch):
    def open_fake(device, *, download):
        return lambda image, target: float((image - target).abs().mean())

    monkeypatch.setattr("gsdff.evaluation.run.open_lpips", open_fake)
    evaluation = score(open_field(run.folder))
    assert all(0 < row["lpips"] < 1 for row in evaluation.images["views"].values())
    assert "LPIPS" in format_evaluation(evaluation)


def test_features_are_a_section_of_their_own_and_images_are_kept_without_them(run, monkeypatch, tmp_path):
    def scored(field, out, labels, classes):
        assert (field.run.step, len(field.scene.views), out) == (700, 10, run.folder / "evaluation")
        assert (labels, classes) == (tmp_path, ("dog", "cat"))
        return {"cosine_to_teacher": 0.5}

    monkeypatch.setattr("gsdff.evaluation.run.check_scored_classes", lambda *args: None)
    monkeypatch.setattr("gsdff.evaluation.run.evaluate_features", scored)
    monkeypatch.setattr(
        "gsdff.evaluation.run.features_table", lambda features: f"cosine {features['cosine_to_teacher']}"
    )
    evaluation = score(open_field(run.folder), labels=tmp_path, classes=("dog", "cat"))
    assert evaluation.features == read_metrics(run)["features"] == {"cosine_to_teacher": 0.5}
    assert format_evaluation(evaluation).endswith("\n\ncosine 0.5")

    def fail(*args):
        raise UserError("maps: no such folder")

    monkeypatch.setattr("gsdff.evaluation.run.evaluate_features", fail)
    with pytest.raises(UserError, match="maps: no such folder"):
        score(open_field(run.folder))
    assert "images" in read_metrics(run) and "features" not in read_metrics(run)


@pytest.mark.parametrize("asked", [{"classes": ("dog", "cat")}, {"labels": Path("labels")}])
def test_asking_a_run_without_features_is_refused_before_anything_is_scored(run, asked):
    with pytest.raises(UserError, match="tiny: has no features to score by labels or classes"):
        score(open_field(run.folder), **asked)
    assert not (run.folder / "evaluation").exists()


def test_the_table_is_aligned():
    images = {"mean": {"psnr": 9.5, "ssim": 0.25}, "views": {"long/name.png": {"psnr": 30.125, "ssim": 0.5}}}
    assert images_table(images).splitlines() == [
        "view              PSNR     SSIM",
        "long/name.png    30.12   0.5000",
        "mean              9.50   0.2500",
    ]


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"expected a run's folder"):
        score(open_field(tmp_path))


def test_a_run_without_a_checkpoint_is_refused(run):
    for checkpoint in (run.folder / "checkpoints").iterdir():
        checkpoint.unlink()
    with pytest.raises(UserError, match=r"checkpoints.*no checkpoint yet"):
        score(open_field(run.folder))


def test_photos_that_moved_away_are_named(run):
    run.data.rename(run.data.with_name("elsewhere"))
    with pytest.raises(UserError, match=str(run.data)):
        score(open_field(run.folder))


def test_other_poses_than_those_trained_on_are_refused(run):
    file = run.data / "transforms.json"
    transforms = json.loads(file.read_text())
    transforms["frames"][3]["transform_matrix"][0][3] += 0.1
    file.write_text(json.dumps(transforms))
    with pytest.raises(UserError, match=r"data: its camera poses are not those that .*tiny was trained on"):
        score(open_field(run.folder))


def test_a_split_without_held_out_views_is_refused(run, monkeypatch):
    from gsdff.field import base

    load = base.load_scene
    monkeypatch.setattr(base, "load_scene", lambda *args: replace(load(*args), held_out=()))
    with pytest.raises(UserError, match="expected held-out views to score"):
        score(open_field(run.folder))


def run_door(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "gsdff.evaluate", *arguments], capture_output=True, text=True)


def test_the_door_prints_the_table_and_says_where_everything_is(run):
    done = run_door(str(run.folder))
    assert done.returncode == 0, done.stderr
    assert "2 held-out views" in done.stdout and f"at {WIDTH}x{HEIGHT}, step 700, 60 Gaussians" in done.stdout
    assert [line.split()[0] for line in done.stdout.splitlines() if "0." in line] == [*HELD_OUT, "mean"]
    assert f"written to {run.folder / 'evaluation'}" in done.stdout
    assert "Traceback" not in done.stderr and done.stderr.count("LPIPS") == 1


def test_the_door_refuses_what_is_no_run_in_one_line(tmp_path):
    done = run_door(str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.strip().count("\n") == 0 and done.stderr.startswith(f"error: {tmp_path}")


def test_the_door_takes_classes_separated_by_spaces(run, monkeypatch, capsys):
    import gsdff
    from gsdff import evaluate
    from gsdff.evaluation import run as evaluation

    asked = []

    def remember(field, **options):
        asked.append((field.source, options))
        return evaluation.Evaluation(field.source, {}, {}, {})

    monkeypatch.setattr(gsdff, "score", remember)
    monkeypatch.setattr(evaluation, "format_evaluation", lambda evaluation: "")
    for arguments in ([str(run.folder), "--classes", "dog", "a cat", "--download"], [str(run.folder)]):
        monkeypatch.setattr(sys, "argv", ["evaluate", *arguments])
        evaluate.main()
    assert [options["classes"] for _, options in asked] == [("dog", "a cat"), ()]
    assert asked[0][0] == run.folder and asked[0][1]["download"]
