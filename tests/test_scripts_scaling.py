"""Scripts of scale: what is predicted for many cards, and how figures grow on one machine."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def predict_scaling(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import predict_scaling

    return predict_scaling


def test_the_page_has_the_tables_that_the_script_writes(predict_scaling):
    text = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    start, end = predict_scaling.START, predict_scaling.END
    assert text.split(start)[1].split(end)[0].strip() == predict_scaling.describe()


def test_memory_of_a_card_falls_with_their_number_if_gaussians_are_shared_only(predict_scaling):
    capture = predict_scaling.Capture()
    for sharded, falls in ((True, True), (False, False)):
        few, many = (predict_scaling.predict(predict_scaling.H100, capture, world, sharded) for world in (2, 8))
        assert (many.memory_gb < few.memory_gb / 2) == falls


def test_a_slab_has_as_many_neighbours_beyond_it_however_many_cards_there_are(predict_scaling):
    halos = [predict_scaling.count_halo(predict_scaling.Capture(gaussians=1e6), world) for world in (1, 2, 4, 64)]
    assert halos == pytest.approx([0, 14_600, 29_200, 29_200])


def test_what_is_sent_follows_the_scene_or_what_photos_show(predict_scaling):
    large, small = (predict_scaling.Capture(gaussians=50e6, shown=share) for share in (0.06, 0.03))
    steps = {
        sharded: [predict_scaling.predict(predict_scaling.H100, capture, 8, sharded) for capture in (small, large)]
        for sharded in (False, True)
    }
    assert steps[False][0].traffic_gb == steps[False][1].traffic_gb
    assert steps[True][1].traffic_gb == pytest.approx(2 * steps[True][0].traffic_gb)
    # 50 M Gaussians of 61 float32, given and got but for the own share; and 1.5 M splats of 12 both ways
    assert steps[False][0].traffic_gb == pytest.approx(2 * 50e6 * 61 * 4 * 7 / 8 / 1e9)
    assert steps[True][0].traffic_gb == pytest.approx(2 * 1.5e6 * 12 * 4 * 7 / 8 / 1e9)


@pytest.mark.parametrize("kind, size", [("gaussians", 300), ("photos", 24)])
def test_figures_of_a_size_are_measured(kind, size):
    command = [sys.executable, ROOT / "scripts" / "bench_scale.py", "--worker", kind, str(size)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr[-3000:]
    figures = json.loads(done.stdout.splitlines()[-1])
    assert len(figures) > 4 and all(value >= 0 for value in figures.values())


def test_growth_is_the_power_of_the_size(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import bench_scale

    assert bench_scale.exponent([10, 20, 40], [3.0, 0.0, 48.0]) == pytest.approx(2)
    (*_, line) = bench_scale.describe("gaussians", [10, 100], [{"step": 1.0}, {"step": 100.0}])
    assert line.endswith("| 2.00 **steeper than linear** |")
