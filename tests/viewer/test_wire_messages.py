"""A page may say a few things to the app's server: everything else is refused, in words."""

import base64
import json
import zlib

import numpy as np
import pytest
import torch

from gsdff.cameras import WorldFrame
from gsdff.editing.operations.delete import Delete
from gsdff.editing.operations.transform import Move, Rotate, Scale
from gsdff.errors import UserError
from gsdff.selection import Selection
from gsdff.viewer.wire.bits import read_bits, read_rows
from gsdff.viewer.wire.messages import (
    MOST_EDITS,
    MOST_SELECTIONS,
    Draw,
    Encode,
    SaveEdits,
    most_bytes,
    read_request,
)
from gsdff.viewer.wire.replies import Pictured, write_answer

WINDOW = {
    "position": [0, 0, -2.5], "wxyz": [1, 0, 0, 0], "focal": [1.2, 1.6], "centre": [0.5, 0.35],
    "width": 40, "height": 30,
}  # fmt: skip

COLORS = [[0, 0, 0], [1, 1, 1]]


WORDS = {"positives": ["a"], "negatives": [], "threshold": 0, "rim": True}
ONE_ROW = base64.b64encode(zlib.compress(b"\x80")).decode()
"""The first Gaussian, as an edit's."""
QUESTION = {"positives": ["a"], "negatives": [], "threshold": 0, "score_range": [0, 1], "colors": COLORS}


def message(kind: str, **fields: object) -> str:
    return json.dumps({"type": kind, "id": 1, **fields})


def draw(window: object = None, **scenery: object) -> str:
    return message("draw", window=WINDOW | (window or {}), scenery={"mode": "colour"} | scenery)


def test_requests_are_read_as_what_they_are():
    assert read_request(message("encode", texts=["red cup", "lamp"])) == Encode(1, ("red cup", "lamp"))
    request = read_request(draw(hidden="gA==", question=None))
    assert isinstance(request, Draw) and request.scenery.hidden == b"\x80" and request.scenery.classes == ()
    request = read_request(message("save_edits", edits=[{"operation": "recolor", "rows": "gA==", "color": [1, 0, 0]}]))
    assert isinstance(request, SaveEdits) and request.edits[0].color == (1, 0, 0)


def test_a_window_is_the_camera_that_it_describes():
    request = read_request(draw({"position": [1, 2, 3], "width": 80, "height": 60}))
    assert isinstance(request, Draw)
    camera = request.window.camera()
    assert (camera.width, camera.height) == (80, 60)
    torch.testing.assert_close(camera.position, torch.tensor([1.0, 2, 3]))
    torch.testing.assert_close(camera.K, torch.tensor([[96.0, 0, 40], [0, 96, 21], [0, 0, 1]]))


def test_an_enormous_window_is_drawn_within_the_limits():
    request = read_request(draw({"width": 30_000, "height": 30_000}))
    assert isinstance(request, Draw)
    camera = request.window.camera()
    assert camera.width == camera.height == 2880
    torch.testing.assert_close(camera.K[0], torch.tensor([1.2 * 2880, 0, 1440]))


BAD = {
    "no JSON": "{",
    "a list": "[]",
    "no type": '{"id": 1}',
    "an unknown type": message("run"),
    "an unknown field": message("encode", texts=["a"], path="/etc/passwd"),
    "no number": '{"type": "encode", "texts": ["a"]}',
    "a negative number": '{"type": "encode", "id": -1, "texts": ["a"]}',
    "a fraction": '{"type": "encode", "id": 1.5, "texts": ["a"]}',
    "no text": message("encode", texts=[]),
    "an empty text": message("encode", texts=[""]),
    "a long text": message("encode", texts=["a" * 1001]),
    "many texts": message("encode", texts=["a"] * 65),
    "a number for a text": message("encode", texts=[5]),
    "deep nesting": "[" * 100_000,
    "a size of nothing": draw({"width": 0}),
    "a size without end": draw({"width": 10**6}),
    "a place far away": draw({"position": [0, 0, 1e300]}),
    "a place that is no number": draw({"position": [0, 0, float("nan")]}),
    "a place in the plane": draw({"position": [0, 0]}),
    "no rotation": draw({"wxyz": [0, 0, 0, 0]}),
    "no focal length": draw({"focal": [0, 1]}),
    "bits that are no base64": draw(hidden="?"),
    "a threshold without end": draw(
        question={"positives": ["a"], "negatives": [], "threshold": 1e9, "score_range": [0, 1], "colors": COLORS}
    ),
    "a question about nothing": draw(
        question={"positives": [], "negatives": [], "threshold": 0.5, "score_range": [0, 1], "colors": COLORS}
    ),
    "one colour": draw(
        question={"positives": ["a"], "negatives": [], "threshold": 0.5, "score_range": [0, 1], "colors": COLORS[:1]}
    ),
    "another operation": message("save_edits", edits=[{"operation": "stylize", "rows": "gA=="}]),
    "a colour too many": message("save_edits", edits=[{"operation": "delete", "rows": "gA==", "color": [1, 0, 0]}]),
    "words of a recolouring": message(
        "save_edits",
        edits=[
            {
                "operation": "recolor",
                "rows": "gA==",
                "color": [1, 0, 0],
                "text": WORDS,
            }
        ],
    ),
    "no words of a deletion by text": message(
        "save_edits",
        edits=[
            {
                "operation": "delete",
                "rows": "gA==",
                "text": WORDS | {"positives": []},
            }
        ],
    ),
    "no colour": message("save_edits", edits=[{"operation": "recolor", "rows": "gA=="}]),
    "a move to nowhere": message("save_edits", edits=[{"operation": "move", "rows": "gA=="}]),
    "a move too far": message(
        "save_edits", edits=[{"operation": "move", "rows": "gA==", "translation": [0, 0, 1e300]}]
    ),
    "a turn without an angle": message(
        "save_edits", edits=[{"operation": "rotate", "rows": "gA==", "axis": [0, 0, 1]}]
    ),
    "a scaling to nothing": message(
        "save_edits", edits=[{"operation": "scale", "rows": "gA==", "factor": 0, "centre": [0, 0, 0]}]
    ),
    "no edits": message("save_edits", edits=[]),
    "too many edits": message("save_edits", edits=[{"operation": "delete", "rows": "gA=="}] * (MOST_EDITS + 1)),
    "colours of other classes": draw(classes=["a", "b"], class_colors=[[1, 0, 0]]),
    "words and an example": draw(
        question={
            "positives": ["a"],
            "negatives": [],
            "threshold": 0,
            "score_range": [0, 1],
            "colors": COLORS,
            "like": [1],
        }
    ),
    "one class": message("name_classes", names=["a"]),
    "a path for a number": message("fetch", saved="../scene.ply"),
    "one keyframe": message("fly", keyframes=[WINDOW], seconds=1),
    "many keyframes": message("fly", keyframes=[WINDOW] * 201, seconds=1),
    "a film without end": message("fly", keyframes=[WINDOW] * 2, seconds=1e9),
    "a place outside": message("find_similar", window=WINDOW, scenery={"mode": "colour"}, place=[2, 0]),
    "another way to modify": message("modify", selected="", hidden="", how="__class__"),
    "a scene without a name": message("follow", scene="a" * 65, version=0, holds=False),
    "bytes": b"{}",
}


def test_a_move_of_the_working_frame_is_one_of_the_world():
    edits = [
        {"operation": "move", "rows": ONE_ROW, "translation": [1, 0, -2]},
        {"operation": "rotate", "rows": ONE_ROW, "axis": [0, 1, 0], "degrees": 30, "centre": [1, 2, 3]},
        {"operation": "scale", "rows": ONE_ROW, "factor": 1.5, "centre": [1, 2, 3]},
    ]
    request = read_request(message("save_edits", edits=edits))
    assert isinstance(request, SaveEdits)
    frame = WorldFrame((10.0, 0.0, -1.0), 2.0)
    move, turn, scale = (edit.make(1, frame) for edit in request.edits)
    assert isinstance(move, Move) and move.translation == (2, 0, -4)
    assert isinstance(turn, Rotate) and (turn.axis, turn.degrees, turn.centre) == ((0, 1, 0), 30, (12, 4, 5))
    assert isinstance(scale, Scale) and (scale.factor, scale.centre) == (1.5, (12, 4, 5))
    here = request.edits[2].make(1)
    assert isinstance(here, Scale) and here.centre == (1, 2, 3)


def test_an_axis_that_is_no_direction_is_refused():
    edit = {"operation": "rotate", "rows": ONE_ROW, "axis": [0, 0, 0], "degrees": 30, "centre": [0, 0, 0]}
    request = read_request(message("save_edits", edits=[edit]))
    assert isinstance(request, SaveEdits)
    with pytest.raises(UserError, match="axis"):
        request.edits[0].make(1)


def test_a_deletion_by_text_has_its_words_or_its_gaussians():
    text = {"positives": ["mug"], "negatives": [], "threshold": 0.25, "rim": True}
    request = read_request(message("save_edits", edits=[{"operation": "delete", "rows": ONE_ROW, "text": text}]))
    assert isinstance(request, SaveEdits)
    assert request.edits[0].make(1, by_text=True) == Delete(("mug",), threshold=0.25)
    assert isinstance(request.edits[0].make(1).target, Selection)


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_what_is_no_request_is_refused(data):
    with pytest.raises(UserError, match=r"^message: "):
        read_request(data)


def test_bits_are_the_gaussians_that_they_name():
    mask = np.random.default_rng(0).random(61) < 0.4
    assert read_bits(np.packbits(mask).tobytes(), 61).tolist() == mask.tolist()
    assert not read_bits(b"", 61).any()


@pytest.mark.parametrize("count", [7, 9])
def test_bits_of_another_scene_are_refused(count):
    with pytest.raises(UserError, match=f"expected 8 bytes for 61 Gaussians, got {count}"):
        read_bits(bytes(count), 61)


def test_deflated_rows_are_the_gaussians_that_they_name():
    bits = np.packbits(np.arange(61) % 3 == 0).tobytes()
    assert read_rows(zlib.compress(bits), 61).tolist() == (np.arange(61) % 3 == 0).tolist()
    assert not read_rows(b"", 61).any()


@pytest.mark.parametrize(
    "data",
    {
        "too many": zlib.compress(bytes(9)),
        "too few": zlib.compress(bytes(7)),
        "a megabyte of them": zlib.compress(bytes(1 << 20)),
        "cut off": zlib.compress(bytes(8))[:-3],
        "more after them": zlib.compress(bytes(8)) + b"x",
        "not deflated": bytes(8),
    }.values(),
)
def test_rows_that_are_none_of_the_scene_are_refused(data):
    with pytest.raises(UserError, match=r"^message: "):
        read_rows(data, 61)


def test_the_largest_message_of_a_page_fits():
    bits = "A" * (4 * -(-125_000 // 3))
    edit = {"operation": "recolor", "rows": bits, "color": [0.123456789] * 3}
    edits = [edit] * (MOST_SELECTIONS - 2) + [edit | {"rows": ""}] * (MOST_EDITS - MOST_SELECTIONS + 2)
    text = draw(hidden=bits, marked=bits, edits=edits, classes=["a" * 100] * 254)
    assert len(text) < most_bytes(1_000_000) < 1.1 * len(text)


def test_an_answer_with_bytes_is_its_length_its_json_and_the_bytes():
    answer = Pictured(7, "depth", 4, 3, True)
    data = write_answer(answer, b"picture")
    assert isinstance(data, bytes)
    size = int.from_bytes(data[:4], "little")
    assert json.loads(data[4 : 4 + size]) == json.loads(write_answer(answer)) and data[4 + size :] == b"picture"
