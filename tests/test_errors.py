"""Which valid name an error suggests."""

import pytest

from gsdff.errors import nearest


@pytest.mark.parametrize(
    ("name", "valid", "expected"),
    [
        ("plant", ["plate", "potted plant", "planter"], "potted plant"),
        ("Plant", ["plate", "potted plant"], "potted plant"),
        ("plan", ["clan", "potted plant"], "potted plant"),
        ("plant", ["plant", "potted plant"], "plant"),
        ("gren", ["grey", "green", "gr"], "green"),
        ("bar stool", ["bar", "car stool"], "car stool"),
        ("stage1.window", ["stage1.widow", "smoothing.sam.window"], "smoothing.sam.window"),
        (
            "smoothing.gaussian.windw",
            ["smoothing.sam.window", "smoothing.gaussian.window"],
            "smoothing.gaussian.window",
        ),
        ("step", ["stage1_from", "stage1.steps", "checkpoint_every"], "stage1.steps"),
        ("anything", ["z"], "z"),
    ],
)
def test_the_nearest_name(name, valid, expected):
    assert nearest(name, valid) == expected
    assert nearest(name, reversed(valid)) == expected
