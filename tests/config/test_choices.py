"""The tables of teachers and segmenters: every row tells the truth about its class."""

from inspect import signature
from pkgutil import resolve_name
from typing import get_args, get_type_hints

import pytest

from gsdff.config.choices import SEGMENTERS, TEACHERS, describe
from gsdff.config.options import TeacherConfig
from gsdff.config.smoothing import MaskConfig
from gsdff.teachers.network import NetworkTeacher


@pytest.mark.parametrize("name", TEACHERS)
def test_a_row_of_a_teacher_agrees_with_its_class(name):
    row, kind = TEACHERS[name], resolve_name(TEACHERS[name].location)
    assert kind.name == name
    assert list(signature(kind).parameters)[:3] == ["config", "scene", "device"]
    assert row.encodes_images == issubclass(kind, NetworkTeacher)
    assert row.encodes_text == hasattr(kind, "phrases") == (getattr(kind, "vocabulary", ...) is None)


@pytest.mark.parametrize("name", SEGMENTERS)
def test_a_row_of_a_segmenter_agrees_with_its_class(name):
    kind = resolve_name(SEGMENTERS[name].location)
    assert kind.name == name
    assert list(signature(kind).parameters) == ["config", "device"]


def test_the_options_take_the_names_of_the_tables_and_no_others():
    assert get_args(get_type_hints(TeacherConfig)["name"]) == ("auto", "none", *TEACHERS)
    assert get_args(get_type_hints(MaskConfig)["name"]) == ("auto", "none", *SEGMENTERS)


@pytest.mark.parametrize("table", [TEACHERS, SEGMENTERS])
def test_every_row_is_described(table):
    assert all(f"`{name}`: {row.help}" in describe(table) for name, row in table.items())
