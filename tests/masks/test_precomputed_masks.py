"""Segments made beforehand: what is read, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mask_views import make_view
from PIL import Image

from gsdff.cameras import WorldFrame
from gsdff.config.smoothing import MaskConfig
from gsdff.errors import UserError
from gsdff.masks.precomputed import PrecomputedSegmenter, decode_runs
from gsdff.scene import Scene

# pycocotools' encoding of: 4x6 pixels, rows 1 and 2 of columns 2 to 4 inside, and the first pixel
KNOWN = {"size": [4, 6], "counts": "0181J0003"}
KNOWN_MASK = [[1, 0, 0, 0, 0, 0], [0, 0, 1, 1, 1, 0], [0, 0, 1, 1, 1, 0], [0, 0, 0, 0, 0, 0]]
KNOWN_RUNS = [0, 1, 8, 2, 2, 2, 2, 2, 5]


def open_folder(folder: Path, **options: object) -> PrecomputedSegmenter:
    return PrecomputedSegmenter(MaskConfig(folder=folder, **({"min_area": 1} | options)))


def labels_of(folder: Path, **options: object) -> list[list[int]]:
    view = make_view()
    segmenter = open_folder(folder, **options)
    segmenter.check(view)
    labels = segmenter.segment(view, view.image)
    assert labels.dtype == torch.int32 and labels.shape == (4, 6)
    return labels.tolist()


def write_image(path: Path, values: object, dtype: type = np.uint8) -> None:
    Image.fromarray(np.array(values, dtype)).save(path)


def write_json(folder: Path, content: object) -> None:
    (folder / "a.json").write_text(json.dumps(content))


def record(counts: object = KNOWN_RUNS, size: object = (4, 6), score: object = 0.9) -> dict:
    return {"segmentation": {"size": size, "counts": counts}, "predicted_iou": score, "area": 7}


@pytest.mark.parametrize(("dtype", "highest"), [(np.uint8, 255), (np.uint16, 65535)])
def test_ids_of_a_label_image_are_kept(tmp_path: Path, dtype: type, highest: int):
    ids = [[0, 0, 7, 7, 7, 7], [0, 0, 7, 7, 7, 7], [3, 3, 3, 3, 3, 3], [3, 3, 3, 3, 3, highest]]
    write_image(tmp_path / "a.png", ids, dtype)
    assert labels_of(tmp_path) == ids


def test_a_label_image_of_another_size_is_brought_to_the_photos(tmp_path: Path):
    write_image(tmp_path / "a.png", [[1, 2, 0], [3, 4, 5]])
    assert labels_of(tmp_path) == [[1, 1, 2, 2, 0, 0]] * 2 + [[3, 3, 4, 4, 5, 5]] * 2


def test_a_label_image_with_colours_is_refused(tmp_path: Path):
    write_image(tmp_path / "a.png", np.zeros((4, 6, 3)))
    with pytest.raises(UserError, match=r"a\.png: expected one 8- or 16-bit channel of ids, got mode RGB"):
        labels_of(tmp_path)


def test_a_known_mask_is_decoded_from_both_forms():
    for counts in (KNOWN["counts"], KNOWN_RUNS):
        assert decode_runs({"size": [4, 6], "counts": counts}).astype(int).tolist() == KNOWN_MASK


def test_long_and_negative_steps_are_decoded():
    # pycocotools' encoding of 40x50 pixels: rows 3 to 37 of column 5 inside, row 20 of column 30
    segmentation = {"size": [40, 50], "counts": "[6S1fn0nNeI"}
    expected = np.zeros((40, 50), bool)
    expected[3:38, 5], expected[20, 30] = True, True
    assert (decode_runs(segmentation) == expected).all()


@pytest.mark.parametrize("wrap", [list, lambda masks: {"image": {"image_id": 1}, "annotations": masks}])
def test_masks_of_a_json_file_become_a_partition(tmp_path: Path, wrap: type):
    everything = record([0, 24], score=0.5)
    write_json(tmp_path, wrap([record(KNOWN["counts"]), everything]))
    assert labels_of(tmp_path) == (1 + np.array(KNOWN_MASK)).tolist()
    assert labels_of(tmp_path, min_area=8) == [[1] * 6] * 4
    assert labels_of(tmp_path, level="whole") == [[1] * 6] * 4


def test_scores_of_the_json_file_decide_between_masks_that_are_nearly_the_same(tmp_path: Path):
    for scores, last in (((0.9, 0.8), 1), ((0.8, 0.9), 0)):
        write_json(tmp_path, [record([0, 24], score=scores[0]), record([0, 20, 4], score=scores[1])])
        assert labels_of(tmp_path)[3][5] == last


def test_masks_of_another_size_are_brought_to_the_photos(tmp_path: Path):
    write_json(tmp_path, [record([2, 1, 3], size=[2, 3])])
    assert labels_of(tmp_path) == [[0, 0, 1, 1, 0, 0]] * 2 + [[0] * 6] * 2


@pytest.mark.parametrize("empty", [[], {"annotations": []}])
def test_a_file_without_masks_leaves_the_image_without_segments(tmp_path: Path, empty: object):
    write_json(tmp_path, empty)
    assert labels_of(tmp_path) == [[0] * 6] * 4


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ({"masks": []}, "expected a list of masks"),
        (3, "expected a list of masks"),
        ([record(), {"segmentation": KNOWN}], "mask 1: expected a \"predicted_iou\""),
        ([record(score="high")], "mask 0: .*could not convert"),
        ([{"segmentation": [[0, 0, 1, 1]], "predicted_iou": 1}], "mask 0: expected"),
        ([record([3, 4])], "2 runs do not give 4 x 6 pixels"),
        ([record([-1, 25])], "mask 0: .*whole numbers from 0"),
        ([record([0.5, 23.5])], "mask 0: .*whole numbers from 0"),
        ([record(size=[True, 24])], "mask 0: .*whole numbers from 0"),
        ([record(size="46")], "mask 0: .*whole numbers from 0"),
        ([record([10**14], size=[10**7, 10**7])], "mask 0: .*1 runs do not give 10000000 x 10000000 pixels"),
        ([record("o" * 10**6)], "mask 0: .*a run length has too many digits"),
        ([record(score=float("nan"))], "mask 0: .*nan is no score"),
        ([record([0, 24], size=[6, 4])], "is 4x6, its photo street/a.jpg is 6x4; its sides are swapped: .*EXIF"),
        ([record([], size=[0, 0])], "0 runs do not give 0 x 0 pixels"),
        ([record("0181J000")], "mask 0: .*do not give"),
        ([record("018o")], "compressed run lengths are truncated"),
        ([record("01 81")], "' ' is not part of compressed run lengths"),
        ([record([10**30])], "mask 0: expected"),
        ([record("o" * 40 + "0")], "mask 0: expected"),
    ],
)  # fmt: skip
def test_json_files_of_something_else_are_refused(tmp_path: Path, content: object, complaint: str):
    write_json(tmp_path, content)
    with pytest.raises(UserError, match=rf"a\.json: .*{complaint}|a\.json: {complaint}"):
        labels_of(tmp_path)


@pytest.mark.parametrize("content", [b"\xff[", b"[" * 100_000, b""])
def test_a_json_file_that_is_none_is_refused(tmp_path: Path, content: bytes):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.json: cannot be read as a file of masks"):
        labels_of(tmp_path)


def write_folder(folder: Path, table: str = "id,area,predicted_iou\n0,24,0.5\n1,7,0.9\n") -> Path:
    (folder / "a").mkdir()
    write_image(folder / "a" / "0.png", np.full((4, 6), 255))
    write_image(folder / "a" / "1.png", np.array(KNOWN_MASK) * 255)
    (folder / "a" / "metadata.csv").write_text(table)
    return folder / "a"


def test_a_folder_as_amg_writes_it_becomes_a_partition(tmp_path: Path):
    write_folder(tmp_path)
    assert labels_of(tmp_path) == (1 + np.array(KNOWN_MASK)).tolist()


def test_masks_that_the_folders_table_does_not_list_do_not_count(tmp_path: Path):
    write_folder(tmp_path, "id,predicted_iou\n1,0.9\n")
    assert labels_of(tmp_path) == KNOWN_MASK


def test_a_folder_without_its_table_or_a_mask_is_refused(tmp_path: Path):
    folder = write_folder(tmp_path)
    (folder / "1.png").unlink()
    with pytest.raises(UserError, match=r"a/1\.png: missing, but metadata\.csv lists it"):
        labels_of(tmp_path)
    (folder / "metadata.csv").unlink()
    with pytest.raises(UserError, match=r"a\.png: missing; .* \(or a\.json or a/metadata\.csv\)"):
        labels_of(tmp_path)


@pytest.mark.parametrize("score", ["nan", "inf", "1e999"])
def test_scores_that_are_not_finite_are_refused(tmp_path: Path, score: str):
    write_folder(tmp_path, f"id,predicted_iou\n0,{score}\n")
    with pytest.raises(UserError, match=r"metadata\.csv: expected columns id and predicted_iou"):
        labels_of(tmp_path)


@pytest.mark.parametrize("kind", ["image", "runs", "folder"])
def test_masks_of_the_turned_photo_are_refused(tmp_path: Path, kind: str):
    if kind == "image":
        write_image(tmp_path / "a.png", np.ones((6, 4)))
    elif kind == "runs":
        write_json(tmp_path, [record([0, 24], size=[6, 4])])
    else:
        write_image(write_folder(tmp_path) / "1.png", np.ones((6, 4)))
    with pytest.raises(UserError, match=r"is 4x6, its photo street/a\.jpg is 6x4; its sides are swapped: .*EXIF"):
        labels_of(tmp_path)


def test_photos_of_one_stem_have_masks_of_their_own(tmp_path: Path):
    views = [make_view(name=name) for name in ("cam0/a.jpg", "cam1/a.jpg", "cam2/a.jpg")]
    views = Scene(tmp_path, views, torch.zeros(0, 3), torch.zeros(0, 3).byte(), WorldFrame()).views
    (tmp_path / "cam0").mkdir()
    write_image(tmp_path / "cam0" / "a.png", np.full((4, 6), 7))
    write_json(tmp_path, [record([24])])  # a.json: whose would it be
    (tmp_path / "a.json").rename(tmp_path / "cam1_a.json")
    (tmp_path / "cam2").mkdir()
    write_folder(tmp_path / "cam2")
    segmenter = open_folder(tmp_path)
    assert [int(segmenter.segment(view, view.image).max()) for view in views] == [7, 0, 2]
    assert len({segmenter.fingerprint_of(view) for view in views}) == 3


@pytest.mark.parametrize("table", ["id,area\n0,24\n", "id,predicted_iou\n../0,0.5\n", "id,predicted_iou\n0\n"])
def test_a_table_of_something_else_is_refused(tmp_path: Path, table: str):
    write_folder(tmp_path, table)
    with pytest.raises(UserError, match=r"metadata\.csv: expected columns id and predicted_iou"):
        labels_of(tmp_path)


def test_a_label_image_is_read_before_a_json_file_and_that_before_a_folder(tmp_path: Path):
    write_folder(tmp_path)
    write_json(tmp_path, [record([0, 12, 12])])
    assert labels_of(tmp_path) == [[1, 1, 1, 0, 0, 0]] * 4
    write_image(tmp_path / "a.png", np.full((4, 6), 9))
    assert labels_of(tmp_path) == [[9] * 6] * 4


def test_a_view_without_any_is_named_with_what_was_looked_for(tmp_path: Path):
    (tmp_path / "b.png").touch()
    with pytest.raises(UserError, match=r"a\.png: missing; photo street/a\.jpg needs.*or a\.json or a/metadata\.csv"):
        open_folder(tmp_path).check(make_view())


def test_fingerprints_follow_the_files_and_the_settings(tmp_path: Path):
    folder, view = write_folder(tmp_path), make_view()
    seen = [open_folder(tmp_path).fingerprint_of(view)]
    write_image(folder / "1.png", np.zeros((4, 6)))
    seen.append(open_folder(tmp_path).fingerprint_of(view))
    write_json(tmp_path, [])
    seen.append(open_folder(tmp_path).fingerprint_of(view))
    assert len(set(seen)) == 3
    changes = ({}, {"min_area": 2}, {"nms_iou": 0.5}, {"level": "whole"})
    assert len({open_folder(tmp_path, **change).fingerprint for change in changes}) == 4
