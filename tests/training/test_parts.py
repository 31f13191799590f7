"""Two ranks that hold a part of the Gaussians each, on the CPU and on the pretended card, beside the whole."""

from pathlib import Path

import pytest
import torch
from torchrun import run_job

from gsdff.io.checkpoint_parts import cut_state, join_states
from gsdff.training.parts import divide


@pytest.fixture(scope="module", params=["cpu", "cuda"])
def reports(request, tmp_path_factory):
    """What two ranks found on a device."""
    return run_job(Path(__file__).with_name("job_with_parts.py"), tmp_path_factory.mktemp("job"), request.param)


def test_pictures_and_gradients_of_parts_are_those_of_the_whole(reports):
    for report in reports:
        for split, modes in report["pictures"].items():
            assert len(modes) == 10, split
            for mode, errors in modes.items():
                assert max(errors.values()) < 1e-5, (split, mode, errors)
    compared = reports[0]["pictures"]["17"]
    assert {"means", "quats", "log_scales", "logit_opacities", "sh0", "shN", "absgrad"} <= compared[
        "colours, classic"
    ].keys()
    assert "features" in compared["features, classic"] and "means" not in compared["features, classic"]


@pytest.mark.parametrize("growth", ["clones", "halves"])
def test_parts_are_densified_like_the_whole(reports, growth):
    counts = reports[0]["training"][growth]["counts"]
    assert all(whole == parts for whole, parts in counts)
    assert counts[-1][0] == 70  # `max_gaussians`, by Gaussians of all ranks
    assert sorted({whole for whole, _ in counts})[0] < 40
    for report in reports:
        whole, parts = report["training"][growth]["losses"]
        assert whole == pytest.approx(parts, rel=1e-5)


@pytest.mark.parametrize("growth", ["clones", "halves"])
def test_densified_parts_have_the_attributes_of_the_whole(reports, growth):
    """The job's Adam has an epsilon that leaves out gradients of rounding alone, which depend on the sums' order."""
    for report in reports:
        assert report["training"][growth]["gaussians"] < 1e-5 < 1 < report["training"][growth]["spread"]


def test_photos_get_the_exposure_that_they_get_beside_the_whole(reports):
    for report in reports:
        for training in report["training"].values():
            assert training["photos"]["size"] > 1e-3 and training["photos"]["error"] < 1e-5, training["photos"]


def test_parts_get_the_features_and_the_agreement_that_the_whole_gets_from_views_that_ranks_share_unevenly(reports):
    for report in reports:
        assert max(report["lift"]["errors"].values()) < 1e-5 and report["lift"]["ended"] == [[0, 1], [0, 1]]


def test_parts_are_made_even_after_a_refinement(reports):
    for training in reports[0]["training"].values():
        assert all(2 * max(pair) <= 1.1 * sum(pair) for pair in training["sizes"])


def test_moved_gaussians_keep_their_order_their_moments_and_their_sums(reports):
    first, second = (report["small"] for report in reports)
    for name in ("even", "moments", "sums"):
        assert torch.allclose(torch.tensor(first[name]), torch.arange(5.0))
        assert torch.allclose(torch.tensor(second[name]), torch.arange(5.0, 10.0))
    assert first["divided"] == [[5, 4], [0, 1]]


def test_the_largest_numbers_of_all_ranks_are_found_in_order(reports):
    for report in reports:
        assert report["small"]["places"] == pytest.approx([7, 5, 3, 3, 1e-30, 0])
    assert [report["small"]["own"] for report in reports] == [[0, 3], [3, 7]]


@pytest.mark.parametrize("sizes", [[5, 5], [0, 7, 2], [100, 0, 0, 1], [0, 0]])
def test_every_row_is_given_to_one_rank(sizes):
    given = [divide(sizes, rank) for rank in range(len(sizes))]
    assert [sum(row) for row in given] == sizes
    got = [sum(column) for column in zip(*given, strict=True)]
    assert max(got) - min(got) <= 1


def test_states_are_cut_and_joined_again():
    moments = {"step": torch.tensor(3.0), "exp_avg": torch.rand(5, 3), "exp_avg_sq": torch.rand(5, 3)}
    state = {
        "gaussians": {"means": torch.rand(5, 3)},
        "optimizers": {"means": {"state": {0: moments}}, "shN": {"state": {}}},
        "densifier": {"grad2d": torch.rand(5), "count": None, "scene_scale": 2.0},
        "seed": 7,
    }
    parts = [cut_state(state, slice(0, 2)), cut_state(state, slice(2, 5))]
    joined = join_states(parts)
    assert len(parts[1]["gaussians"]["means"]) == 3 and joined.keys() == state.keys() and joined["seed"] == 7
    assert torch.equal(joined["gaussians"]["means"], state["gaussians"]["means"])
    assert torch.equal(joined["densifier"]["grad2d"], state["densifier"]["grad2d"])
    back = joined["optimizers"]["means"]["state"][0]
    assert all(torch.equal(back[name], moments[name]) for name in moments)
    assert joined["optimizers"]["shN"]["state"] == {} and joined["densifier"]["count"] is None
