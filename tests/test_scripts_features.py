"""The rules of scripts/study_dimensions.py: where its knee lies and how its pace is read."""

import json
import runpy
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
MARGINS = {"miou": 0.005, "cosine": 0.001}


@pytest.fixture(scope="module")
def study() -> dict:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPTS))  # as for a script that is run
        return runpy.run_path(str(SCRIPTS / "study_dimensions.py"))


def row(dim: int, miou: float, cosine: float) -> dict:
    return {"dim": dim, "miou": miou, "cosine": cosine}


def test_the_knee_is_the_smallest_k_within_every_margin_of_the_best(study):
    rows = [row(256, 0.6, 0.9), row(8, 0.3, 0.9), row(64, 0.599, 0.8995), row(32, 0.599, 0.85)]
    assert study["find_knee"](rows, MARGINS) == 64


def test_the_best_of_a_figure_need_not_be_the_largest_k(study):
    rows = [row(8, 0.5, 0.89), row(16, 0.62, 0.9), row(32, 0.6, 0.9)]
    assert study["find_knee"](rows, MARGINS) == 16


def test_there_is_no_knee_where_no_k_is_near_the_best_in_all(study):
    assert study["find_knee"]([row(8, 0.7, 0.8), row(16, 0.6, 0.9)], MARGINS) is None


def test_the_pace_leaves_out_the_start_and_the_pictures_at_the_end(study, tmp_path):
    metrics = tmp_path / "metrics.jsonl"
    seconds = {10: 6.0, 20: 7.0, 30: 8.0, 40: 20.0}
    metrics.write_text("".join(json.dumps({"step": k, "seconds": s}) + "\n" for k, s in seconds.items()))
    assert study["read_times"](metrics) == {"step_ms": 100.0, "start_s": 5.0}
