"""Panoptic format: ids as colours, segments by hand, and every picture against a reader of the format."""

import json

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from panoptic_reader import read_segments

from gsdff.io.coco_panoptic import PanopticPhoto, Segment, encode_ids, find_segments, join_ids, to_panoptic
from gsdff.scene import VOID

CLASSES, COLORS = ("road", "car"), ((1, 2, 3), (4, 5, 6))


def test_ids_are_written_as_red_green_and_blue():
    ids = torch.tensor([[0, 255, 256, 65536 + 2 * 256 + 3]])
    assert encode_ids(ids).tolist() == [[[0, 0, 0], [255, 0, 0], [0, 1, 0], [3, 2, 1]]]


def test_pixels_of_no_thing_are_of_the_segment_of_their_class():
    things = torch.tensor([[0, 0, 2, 1]]).int()
    labels = torch.tensor([[0, VOID, 0, 1]]).byte()
    assert join_ids(things, labels, 2).tolist() == [[3, 0, 2, 1]]


def test_segments_have_the_area_the_box_and_the_class_of_their_thing():
    ids = torch.tensor([[1, 1, 0], [3, 1, 2], [3, 3, 2]])
    assert find_segments(ids, [1, 1]) == [
        Segment(1, 1, 3, (0, 0, 2, 2), True),
        Segment(2, 1, 2, (2, 1, 1, 2), True),
        Segment(3, 0, 3, (0, 1, 2, 2), False),
    ]
    assert find_segments(torch.zeros(2, 2, dtype=torch.long), [1]) == []


def test_what_no_thing_covers_is_a_crowd_only_of_a_class_with_things():
    ids = torch.tensor([[1, 2, 3]])  # a car, the rest of the road, the rest of the cars
    photo = PanopticPhoto("a/x.jpg", "a/x.png", 1, 3, find_segments(ids, [1]))
    content = json.loads(json.dumps(to_panoptic(CLASSES, COLORS, [photo], description="from here")))
    assert content["images"] == [{"id": 1, "file_name": "a/x.jpg", "height": 1, "width": 3}]
    road, car = content["categories"]
    assert road == {"id": 1, "name": "road", "supercategory": "road", "isthing": 0, "color": [1, 2, 3]}
    assert (car["id"], car["isthing"]) == (2, 1)
    (annotation,) = content["annotations"]
    assert (annotation["image_id"], annotation["file_name"]) == (1, "a/x.png")
    rows = [(row["id"], row["category_id"], row["iscrowd"]) for row in annotation["segments_info"]]
    assert rows == [(1, 2, 0), (2, 1, 0), (3, 2, 1)]


@settings(max_examples=50, deadline=None)
@given(arrays(np.int64, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 70_000)))
def test_a_reader_of_the_format_gives_the_ids_back(ids):
    pixels = torch.from_numpy(ids)
    photo = PanopticPhoto("x.jpg", "x.png", *ids.shape, find_segments(pixels, [0] * 66_000 + [1] * 4_000))
    content = to_panoptic(CLASSES, COLORS, [photo])
    segments = read_segments(encode_ids(pixels).numpy(), content["annotations"][0], content["categories"])
    seen = np.zeros_like(ids)
    for row, mask in segments:
        seen[mask] = row["id"]
    assert np.array_equal(seen, ids)
