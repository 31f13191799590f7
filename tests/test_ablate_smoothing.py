"""The smoothness study: its arms make sense, its masks are right, and a tiny one goes through and is resumed."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_field import make_scene

from gsdff.config.file import to_table
from gsdff.config.options import TrainConfig
from gsdff.data.demo import write_demo_scene

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "scripts" / "ablate_smoothing.py"


@pytest.fixture(scope="module")
def modules():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPT.parent))
        import ablation_arms
        import ablation_report

        yield ablation_arms, ablation_report


def test_every_arm_is_a_config_of_its_own_that_passes_the_checks(modules, tmp_path):
    arms, _report = modules
    base = replace(TrainConfig(), stage1_from=tmp_path, stage1=replace(TrainConfig().stage1, steps=0))
    tables = []
    for arm in arms.all_arms():
        config = arms.configure(arm, base, tmp_path)
        config.check()
        assert config.stage2.freeze_radiance and re.fullmatch(r"[\w:()]+", arm.key)
        assert (config.masks.name == "none") == (not arm.masks)
        tables.append(to_table(config))
    assert all(one != other for i, one in enumerate(tables) for other in tables[:i])


def test_the_core_and_the_figure_name_arms_that_there_are(modules):
    arms, report = modules
    titles = [arm.title for arm in arms.all_arms()]
    assert len(set(titles)) == len(titles)
    assert set(arms.CORE) <= set(titles) and set(report.SHOWN) <= set(titles)


def test_exact_masks_are_classes_and_instances_and_shifted_ones_are_three_pixels_off(modules, tmp_path):
    arms, _report = modules
    scene = make_scene(tmp_path, num_views=9)
    labels = np.zeros((9, 13), np.uint8)
    labels[:, 6:] = 1
    labels[0, 0] = 255
    instances = np.zeros((9, 13), np.uint8)
    instances[5:, 6:] = 7
    for folder, pixels in (("labels", labels), ("instances", instances)):
        (tmp_path / folder).mkdir()
        for view in scene.views:
            Image.fromarray(pixels).save(tmp_path / folder / f"{view.stem}.png")
    (tmp_path / "classes.json").write_text('["floor", "chair"]')
    arms.make_label_masks(scene, None, tmp_path / "masks")
    exact, shifted = (
        np.asarray(Image.open(tmp_path / "masks" / f"{kind}_labels" / "v1.png")) for kind in arms.MASKS[::2]
    )
    assert exact[0, 0] == 0 and len(np.unique(exact)) == 4
    assert exact[4, 5] != exact[4, 6] != exact[5, 6] and exact[8, 12] == exact[5, 6]
    assert np.array_equal(shifted[3:, 3:], exact[:-3, :-3]) and shifted[8, 8] == exact[5, 5]


def test_a_cell_is_the_mean_and_half_the_range(modules):
    _arms, report = modules
    runs = [{"miou": 0.5, "speckles": 0.01}, {"miou": 0.6, "speckles": 0.03}]
    assert report.show(runs, "miou") == "0.550 ± 0.050"
    assert report.show(runs, "speckles") == "2.00 ± 1.00"
    assert report.show(runs[:1], "miou") == "0.500" and report.show([{"clean_error": None}], "clean_error") == ""


@pytest.mark.slow
def test_a_tiny_study_goes_through_and_is_not_made_again(tmp_path):
    def call(*command: object) -> None:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        subprocess.run([sys.executable, *map(str, command)], check=True, cwd=tmp_path, env=environment)

    data, stage1 = tmp_path / "data", tmp_path / "stage1"
    write_demo_scene(data, views=10, width=64, height=48)
    train = ["-m", "gsdff.train", "--data", data, "--teacher", "none", "--device", "cpu"]
    call(*train, "--stage1.steps", 30, "--dataset.random-points", 500, "--out", stage1)
    options = ["--data", data, "--stage1", stage1, "--steps", 3, "--seeds", 2, "--levels", 1]
    options += ["--runs", tmp_path / "runs", "--docs", tmp_path / "docs"]
    options += ["--arms", "naive", "sam render, exact", "pooled, purity, exact"]
    call(SCRIPT, *options)
    page = (tmp_path / "docs" / "smoothness.md").read_text()
    rows = re.findall(r"^\| (naive|sam render.*?|robust.*?) \|", page, re.M)
    assert rows == ["naive", "sam render, exact masks", "robust + graph + pooled, purity, exact masks"]
    assert " ± " in page and (tmp_path / "docs" / "smoothness" / "demo.png").is_file()
    results = sorted((tmp_path / "runs" / "demo").glob("*/result.json"))
    assert len(results) == 2 * 3
    before = [path.stat().st_mtime_ns for path in results]
    call(SCRIPT, *options)
    assert [path.stat().st_mtime_ns for path in results] == before
