"""Label maps as COCO: runs by hand, and every file against pycocotools."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco_masks
from pycocotools.coco import COCO

from gsdff.io.coco import LabelledPhoto, Part, find_parts, to_coco
from gsdff.scene import VOID

# pycocotools 2.0.11 decodes with an __array__ of before numpy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

CLASSES = ("road", "tree", "car")


def parts_of(rows: list[list[int]], **options: int) -> list[Part]:
    return find_parts(torch.tensor(rows, dtype=torch.uint8), **options)


def photo(name: str, labels: torch.Tensor, **options: int) -> LabelledPhoto:
    return LabelledPhoto(name, *labels.shape, find_parts(labels, **options))


def masks_of(parts: list[Part], shape: tuple[int, int]) -> list[np.ndarray]:
    """Masks that pycocotools decodes from their runs."""
    return [
        coco_masks.decode(coco_masks.frPyObjects({"size": list(shape), "counts": part.counts}, *shape))
        for part in parts
    ]


def test_runs_go_down_the_columns_and_start_outside():
    first, second = parts_of([[0, 0, 1], [0, 1, 1]])
    assert first == Part(label=0, area=3, bbox=(0, 0, 2, 2), counts=[0, 3, 3])
    assert second == Part(label=1, area=3, bbox=(1, 0, 2, 2), counts=[3, 3])


def test_a_part_around_another_has_a_hole():
    ring, middle = parts_of([[2, 2, 2], [2, 0, 2], [2, 2, 2]])
    assert ring == Part(label=2, area=8, bbox=(0, 0, 3, 3), counts=[0, 4, 1, 4])
    assert middle == Part(label=0, area=1, bbox=(1, 1, 1, 1), counts=[4, 1, 4])


def test_pixels_of_a_class_that_touch_at_a_corner_only_are_two_parts():
    assert [(part.label, part.area) for part in parts_of([[0, 1], [1, 0]])] == [(0, 1), (1, 1), (1, 1), (0, 1)]


def test_the_foot_of_a_column_does_not_touch_the_head_of_the_next():
    assert [part.bbox for part in parts_of([[1, 0], [1, 1], [0, 1]]) if part.label == 0] == [(0, 2, 1, 1), (1, 0, 1, 1)]


def test_no_answer_is_no_part():
    assert parts_of([[VOID, VOID], [VOID, VOID]]) == []
    assert [part.area for part in parts_of([[VOID, 1, VOID]])] == [1]


def test_small_parts_are_left_out_and_the_others_unchanged():
    rows = [[0, 1, 1, 0], [0, 1, 2, 0]]
    assert [part.area for part in parts_of(rows)] == [2, 3, 1, 2]
    assert parts_of(rows, min_area=2) == [part for part in parts_of(rows) if part.area >= 2]
    assert parts_of(rows, min_area=4) == []


@settings(max_examples=60, deadline=None)
@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.sampled_from([0, 1, 2, VOID])))
def test_pycocotools_sees_every_pixel_once_with_the_same_boxes_and_areas(labels):
    parts = find_parts(torch.from_numpy(labels))
    seen = np.full(labels.shape, VOID, dtype=np.uint8)
    for part, mask in zip(parts, masks_of(parts, labels.shape), strict=True):
        assert (seen[mask == 1] == VOID).all() and all(count > 0 for count in part.counts[1:])
        seen[mask == 1] = part.label
        encoded = coco_masks.encode(np.asfortranarray(mask))
        assert coco_masks.area(encoded) == part.area and tuple(coco_masks.toBbox(encoded)) == part.bbox
    assert np.array_equal(seen, labels)


def test_the_file_loads_with_pycocotools_and_gives_the_label_maps(tmp_path, generator, capsys):
    maps = {f"a/v{i}.png": torch.randint(0, 3, (7, 5 + i), generator=generator).byte() for i in range(2)}
    maps["a/v1.png"][:, 0] = VOID
    dataset = to_coco(CLASSES, [photo(name, labels) for name, labels in maps.items()], description="two")
    (tmp_path / "coco.json").write_text(json.dumps(dataset))
    coco = COCO(tmp_path / "coco.json")
    coco.info()
    assert "description: two" in capsys.readouterr().out
    assert [row["name"] for row in coco.loadCats([1, 2, 3])] == list(CLASSES) and coco.getCatIds() == [1, 2, 3]
    for image in coco.loadImgs(coco.getImgIds()):
        labels = maps[image["file_name"]]
        assert (image["height"], image["width"]) == tuple(labels.shape)
        seen = torch.full_like(labels, VOID)
        for annotation in coco.loadAnns(coco.getAnnIds(imgIds=image["id"], iscrowd=False)):
            seen[torch.from_numpy(coco.annToMask(annotation)) == 1] = annotation["category_id"] - 1
        assert torch.equal(seen, labels)


def test_ids_count_from_1_over_all_photos():
    labels = torch.tensor([[0, 1]], dtype=torch.uint8)
    dataset = to_coco(CLASSES, [photo("a.png", labels), photo("b.png", labels)])
    assert [(row["id"], row["image_id"], row["category_id"]) for row in dataset["annotations"]] == [
        (1, 1, 1), (2, 1, 2), (3, 2, 1), (4, 2, 2)
    ]  # fmt: skip
    assert [row["id"] for row in dataset["images"]] == [1, 2]
    assert all("score" not in row and row["iscrowd"] == 0 for row in dataset["annotations"])


@pytest.mark.parametrize("photos", [[], [LabelledPhoto("a.png", 2, 2, [])]])
def test_nothing_found_is_a_data_set_too(tmp_path, photos):
    (tmp_path / "coco.json").write_text(json.dumps(to_coco(CLASSES, photos)))
    assert COCO(tmp_path / "coco.json").getAnnIds() == []
