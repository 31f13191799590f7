"""Ranks of a job: two processes that torchrun starts, and one on its own."""

from pathlib import Path

import pytest
import torch
from torchrun import run_job, start_job

from gsdff.ranks import Ranks, hash_bits, joined, this_job

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """What two ranks got."""
    return run_job(HERE / "job_of_ranks.py", tmp_path_factory.mktemp("job"))


def test_a_process_on_its_own_is_a_job_of_one_rank(tmp_path):
    with joined() as ranks:
        assert ranks == Ranks(0, 1, 0) == this_job() and ranks.is_first
    tensor = torch.ones(2)
    ranks.average([tensor])
    ranks.wait()
    assert ranks.trade(tensor, [2]) == (tensor, [2]) and ranks.sum(4) == 4 and ranks.share_evenly("ab") == ["a", "b"]
    assert tensor.tolist() == [1, 1] and ranks.gather("a") == ["a"] and ranks.from_first(3) == 3
    assert list(ranks.collect(iter("abc"), 3)) == list(ranks.share("abc")) == list("abc")
    assert ranks.who_see(tmp_path) == ranks and not list(tmp_path.iterdir())


def test_ranks_know_their_numbers(reports):
    assert [report["rank"] for report in reports] == [[0, 2, True], [1, 2, False]]
    assert all(report["is_job"] for report in reports)


def test_sums_means_and_objects_are_those_of_all_ranks(reports):
    for report in reports:
        assert report["sums"] == [[3, 6], [2, 2, 2]] and report["means"] == [0, 0.5]
        assert report["gathered"] == ["of 0", "of 1"] and report["from_first"] == 7


def test_each_item_is_one_ranks_and_results_come_in_the_order_of_the_items(reports):
    assert [report["share"] for report in reports] == [[0, 2, 4], [1, 3]]
    assert all(report["collected"] == [0, 1, 4, 9, 16] for report in reports)


def test_an_even_share_repeats_the_last_item_whose_result_is_left_out(reports):
    assert [report["even"] for report in reports] == [["a", "c", "e"], ["b", "d", "e"]]
    assert all(report["even results"] == "abcde" for report in reports)


def test_rows_are_given_to_ranks_and_come_back(reports):
    assert [report["traded"] for report in reports] == [
        [[0, 10, 11, 12], [1, 3], True],
        [[1, 2], [2, 0], True],
    ]
    assert all(report["sum"] == 7 for report in reports)


def test_ranks_find_out_who_sees_a_folder(reports):
    assert [report["shared"] for report in reports] == [[0, 2], [1, 2]]
    assert [report["local"] for report in reports] == [[0, 1], [0, 1]]
    assert reports[1]["left_in_folder"] <= 1  # the other rank's mark may be about to go


def test_a_difference_between_ranks_is_named_on_all_of_them(reports):
    for report in reports:
        assert report["equal"] is report["same_bits"] is None
        assert report["unequal"] == "version: rank 1 has 1, rank 0 has 0; install the same"
        assert report["other_bits"].startswith("sh0: rank 1 has ") and report["other_bits"].endswith("; stop")
        assert report["hashes"][0] == report["hashes"][1]


@pytest.mark.parametrize("change", ["sign", "swap", "shape", "last bit"])
def test_the_hash_of_a_tensor_changes_with_its_bits(change):
    tensor = torch.tensor([0.0, 1.0, 2.0, 3.0])
    changed = {
        "sign": torch.tensor([-0.0, 1.0, 2.0, 3.0]),
        "swap": tensor.flip(0),
        "shape": tensor.reshape(2, 2),
        "last bit": torch.nextafter(tensor, torch.full((4,), 9.0)),
    }[change]
    assert hash_bits(tensor) == hash_bits(tensor.clone()) != hash_bits(changed)


def test_a_killed_rank_ends_the_others_with_its_name_and_what_to_do():
    job = start_job(HERE / "job_that_loses_a_rank.py")
    _, errors = job.communicate(timeout=100)  # without a watch the others wait for longer
    assert job.returncode != 0
    assert "error: rank 1, process " in errors and "continue with: gsdff train --resume" in errors


ENDING = """
import ctypes
from gsdff.cli import run_door
from gsdff.ranks import joined

def main():
    libc = ctypes.CDLL(None)
    with joined("cpu") as ranks:
        print("results of", len(ranks.gather(None)))
    # as the end of a C++ thread that nobody has joined does
    libc.__cxa_atexit(ctypes.cast(libc.abort, ctypes.c_void_p), None, None)

run_door(main)
"""


def test_a_rank_that_has_done_its_work_ends_well_whatever_is_left_in_its_libraries(tmp_path):
    script = tmp_path / "ending.py"
    script.write_text(ENDING)
    job = start_job(script)
    printed, errors = job.communicate(timeout=250)
    assert (job.returncode, printed) == (0, "results of 2\n"), errors[-2000:]
