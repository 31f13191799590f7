"""SAM-like masks: the errors are those that are stated, seeded, and readable as amg.py's files."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gsdff.masks.precomputed import decode_runs

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def sam_like():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "scripts"))
        import sam_like

        yield sam_like


def make_instances() -> np.ndarray:
    """Six squares of 20 pixels a side that touch, and a margin of nothing."""
    squares = np.arange(1, 7).reshape(2, 3).repeat(20, 0).repeat(20, 1)
    return np.pad(squares, 5)


def no_errors(sam_like, **others):
    none = {name: 0 for name in ("cut", "whole_too", "missed", "merged", "border", "highlight")}
    return sam_like.Errors(**none | others)


def test_without_errors_the_masks_are_the_things_in_any_order(sam_like):
    instances = make_instances()
    masks = sam_like.make_masks(instances, no_errors(sam_like), np.random.default_rng(0))
    assert len(masks) == 6
    assert {tuple(np.unique(instances[mask])) for mask in masks} == {(i,) for i in range(1, 7)}
    assert masks.sum() == (instances > 0).sum()


def test_each_error_alone_does_what_it_says(sam_like):
    instances, draws = make_instances(), np.random.default_rng(1)
    cut = sam_like.make_masks(instances, no_errors(sam_like, cut=1.0), draws)
    assert len(cut) > 6 and cut.sum(0).max() == 1 and (cut.any(0) == (instances > 0)).mean() > 0.98
    both = sam_like.make_masks(instances, no_errors(sam_like, cut=1.0, whole_too=1.0), draws)
    assert both.sum(0).max() == 2 and sum(mask.sum() == 400 for mask in both) >= 6
    assert len(sam_like.make_masks(instances, no_errors(sam_like, missed=1.0), draws)) == 0
    assert len(sam_like.make_masks(instances, no_errors(sam_like, merged=1.0), draws)) == 1
    sizes = {int(mask.sum()) for mask in sam_like.make_masks(instances, no_errors(sam_like, border=1), draws)}
    assert sizes <= {18 * 18, 20 * 20 + 4 * 20} and sizes
    cut_out = sam_like.make_masks(instances, no_errors(sam_like, highlight=1.0), draws)
    assert len(cut_out) == 6 and all(300 < mask.sum() < 400 for mask in cut_out)


def test_files_are_read_as_masks_and_depend_on_the_seed_alone(sam_like, tmp_path):
    exact = tmp_path / "exact"
    exact.mkdir()
    Image.fromarray(make_instances().astype(np.uint16)).save(exact / "a.png")
    texts = []
    for name, seed in (("one", 0), ("again", 0), ("other", 1)):
        sam_like.write_masks(exact, tmp_path / name, seed, sam_like.Errors())
        texts.append((tmp_path / name / "a.json").read_text())
    assert texts[0] == texts[1] != texts[2]
    decoded = [decode_runs(record["segmentation"]) for record in json.loads(texts[0])]
    assert all(mask.shape == (50, 70) and mask.sum() >= 25 for mask in decoded)


def test_run_lengths_begin_outside(sam_like):
    for mask in (np.eye(4, 3, dtype=bool), ~np.eye(4, 3, dtype=bool)):
        assert np.array_equal(decode_runs(sam_like.encode_runs(mask)), mask)
