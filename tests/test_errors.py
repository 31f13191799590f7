"""Which valid name an error suggests."""

import pytest

from gsdff.errors import nearest, shown


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


def test_a_value_in_a_message_is_short_whatever_it_is():
    nested: list = []
    for _ in range(5000):
        nested = [nested]
    own: list = []
    own.append(own)
    for value in (
        nested,
        own,
        [0] * 10**6,
        "c" * 10**6,
        {"a": {"b": {"c": {"d": {"e": 1}}}}},
        10**5000,
        -(16**6000),
        object(),
    ):
        assert len(shown(value)) < 400
    for value in (3, -2.5, "it's", None, True, [1, 2, 3], (1, "a"), {"a": 1}, float("nan")):
        assert shown(value) == repr(value)
    assert shown(10**5000) == "a whole number of about 4983 digits"
