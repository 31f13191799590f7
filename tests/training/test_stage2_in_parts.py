"""Stage 2 of two ranks with a part of the Gaussians each, on the CPU and on the pretended card, beside the whole."""

from pathlib import Path

import pytest
from torchrun import run_job


@pytest.fixture(scope="module", params=["cpu", "cuda"])
def reports(request, tmp_path_factory):
    """What two ranks found on a device."""
    folder = tmp_path_factory.mktemp("job")
    return run_job(Path(__file__).with_name("job_of_stage2_in_parts.py"), folder, request.param)


def test_the_graph_of_parts_diffuses_what_that_of_the_whole_does(reports):
    for report in reports:
        for name, graph in report["graphs"].items():
            values, gradients = graph["errors"]
            assert values == 0, (name, "neighbours are added in one order: the same bits")
            assert gradients < 1e-6, name


def test_gaussians_at_one_place_are_all_at_home_on_one_rank(reports):
    assert sorted(report["at one place"]["home"] for report in reports) == [0, 12]
    assert all(max(report["at one place"]["errors"]) < 1e-6 for report in reports)


def test_a_rank_has_its_share_of_the_graph_and_copies_of_the_neighbours_beyond_its_slab(reports):
    graphs = [report["graphs"]["3000, cut at 1000"] for report in reports]
    assert sum(graph["home"] for graph in graphs) == 3000
    for graph in graphs:
        assert abs(graph["home"] - 1500) < 50 and 0 < graph["halo"] < 300


def test_a_scene_of_fewer_gaussians_than_neighbours_has_all_of_them_as_neighbours(reports):
    for report in reports:
        assert report["graphs"]["12, cut at 3"]["weights"][1] == 11


def test_parts_start_from_the_gaussians_that_the_whole_starts_from(reports):
    for report in reports:
        assert all(report["initial"])


@pytest.mark.parametrize("name", ["the default", "rendered masks", "things"])
def test_stage_2_in_parts_is_that_of_ranks_that_hold_the_whole(reports, name):
    """All attributes after three steps, as sets of Gaussians, since borders are cut part by part."""
    for report in reports:
        found = report["features"][name]
        assert found["counts"][0] == found["counts"][1] and found["error"] < 1e-5 < 1 < found["spread"]
        assert found["losses"][0] == pytest.approx(found["losses"][1], rel=1e-5)


@pytest.mark.parametrize("name", ["the default", "rendered masks", "things"])
def test_no_rank_holds_the_whole_scene_in_stage_2(reports, name):
    for report in reports:
        assert report["features"][name]["own"] <= 0.6 * report["features"][name]["counts"][1]


@pytest.mark.parametrize("name", ["the default", "rendered masks", "things"])
def test_a_stage_2_in_parts_that_is_resumed_has_the_bits_of_one_that_was_not(reports, name):
    assert all(report["features"][name]["resumed"] for report in reports)


def test_a_graph_is_written_as_one_of_the_whole_and_read_by_any_number_of_ranks(reports):
    """Parts read the file that ranks with the whole have written, too, and then find homes anew."""
    for report in reports:
        found = report["features"]["rendered masks"]
        assert found["files"][0] == 0 and found["files"][1] < 1e-5
        assert found["graphs"] < 1e-5


def test_masks_of_renderings_of_parts_are_those_of_the_whole(reports):
    whole, parts = reports[0]["features"]["rendered masks"]["masks"]
    assert whole == parts and len(whole) == 5


def test_things_of_parts_are_those_of_the_whole(reports):
    whole, parts = reports[0]["features"]["things"]["things"]
    assert whole[0] == parts[0] == 2 and whole[2] == parts[2]
    assert whole[1] == pytest.approx(parts[1], rel=1e-5)
    assert reports[0]["features"]["things"]["counts"][1] > 40, "Gaussians across the border are cut"
