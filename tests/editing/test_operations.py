"""Edits made in Python, from the short form of a command line, and by an operation of one's own."""

from dataclasses import dataclass, fields, replace
from inspect import get_annotations
from pathlib import Path

import pytest
import torch

from gsdff import Delete, Duplicate, Extract, Move, Opacity, Recolor, Rotate, Scale, Stylize
from gsdff.editing.apply import apply_edits
from gsdff.editing.edit import Edit, EditList
from gsdff.editing.operations import operation
from gsdff.editing.selector import Click, Selector
from gsdff.editing.table import OPERATIONS, OperationKind
from gsdff.editing.toml_file import read_edits, write_edits
from gsdff.editing.values import COLOR_NAMES, Vector, parse_color, parse_numbers, read_field
from gsdff.selection import Selection
from tests.tiny_field import make_gaussians

# --- in Python


def test_one_text_is_one_word_and_several_are_alternatives():
    assert Delete("car") == Delete(["car"]) == Delete(("car",)) == Delete(" car ")
    edit = Delete(["car", "bus"], negatives="road", threshold=1)
    assert (edit.positives, edit.negatives, edit.threshold) == (("car", "bus"), ("road",), 1.0)
    assert (edit.selection, edit.click) == (None, None)


def test_a_target_is_texts_a_saved_selection_one_in_memory_or_a_click():
    selection, path, click = Selection(torch.arange(5) < 2), Path("a.safetensors"), Click("v.png", 3, 4)
    assert Extract(path).selection == path and Extract(selection).selection is selection
    assert Extract(click).click == click and Extract(click).positives == ()
    assert [str(Delete(target)) for target in (["chair", "stool"], path, selection, click)] == [
        'delete "chair" or "stool"',
        "delete the selection a.safetensors",
        "delete a selection of 2 Gaussians",
        "delete the click at (3, 4) in v.png",
    ]


def test_values_are_read_by_the_types_of_their_fields():
    assert Recolor("road", "#2a6fdb").color == (42 / 255, 111 / 255, 219 / 255)
    assert Recolor("road", mode="grey").color is None
    edits = (Move("lamp", [1, 0, 2]), Move("lamp", (1.0, 0.0, 2.0)))
    assert edits[0] == edits[1] and hash(edits[0]) == hash(edits[1])
    assert [type(value) for value in edits[0].translation] == [float] * 3
    assert EditList([Delete("car")]) == EditList((Delete("car"),))


def test_an_edit_with_another_value_is_checked_again():
    edit = Scale("lamp", 1.5, rim=False)
    assert replace(edit, grow=2) == Scale("lamp", 1.5, rim=False, grow=2)
    with pytest.raises(ValueError, match="`factor`: expected 1e-06 to"):
        replace(edit, factor=0.0)


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: Delete([]), "`target`: expected texts, the Path of a saved selection, a Selection or a Click"),
        (lambda: Delete(" "), "`target`: expected no empty text"),
        (lambda: Delete("car", threshold=30), "`threshold`: expected a score in -1..1, got 30.0"),
        (lambda: Delete("car", keep_largest=-1), "`keep_largest`: expected 0 to 1000000, got -1"),
        (lambda: Delete("car", only_negatives=True), "`only_negatives`: expected negatives"),
        (lambda: Delete(Click("a", 1, 2), negatives=["b"]), "`negatives` and `temperature`: .*, got a click"),
        (lambda: Delete(Path("a"), threshold=0.5), "`threshold`: expected only with texts or a click"),
        (lambda: Click("a", 1, -1), "expected x and y in pixels, at least 0, got (1, -1)"),
        (lambda: Move("lamp", (1, 2)), "`translation`: expected three numbers"),
        (lambda: Recolor("lamp", "mauve"), "`color`: expected a colour"),
    ],
)
def test_a_mistake_is_an_error_that_names_the_parameter(make, complaint):
    with pytest.raises(ValueError) as error:
        make()
    parts = complaint.split(".*")
    assert str(error.value).startswith(parts[0]) and parts[-1] in str(error.value)


@pytest.mark.parametrize(
    ("kind", "name", "value", "complaint"),
    [
        (Delete, "target", 3, "texts, the Path of a saved selection, a Selection or a Click, got 3"),
        (Delete, "target", ["a", 3], "a text or a list of texts, got ['a', 3]"),
        (Delete, "threshold", "high", "a number, got 'high'"),
        (Delete, "threshold", True, "a number, got True"),
        (Delete, "keep_largest", None, "a whole number, got None"),
        (Delete, "keep_largest", 1.0, "a whole number, got 1.0"),
        (Delete, "rim", 1, "true or false, got 1"),
        (Move, "translation", "abc", "three numbers [x, y, z], got 'abc'"),
        (Recolor, "mode", "paint", "one of hue, tint, grey, got 'paint'"),
        (Stylize, "prompt", 3, "a text, got 3"),
        (EditList, "background", "mauve", 'a colour: "#rrggbb"'),
    ],
)
def test_a_value_of_another_type_is_an_error_that_names_the_parameter(kind, name, value, complaint):
    with pytest.raises(ValueError) as error:
        read_field(kind, name, value)
    assert str(error.value).startswith(f"`{name}`: expected {complaint}")


@pytest.mark.parametrize(
    ("value", "color"),
    [
        ("#2a6fdb", (42 / 255, 111 / 255, 219 / 255)),
        (" #FFF ", (1, 1, 1)),
        ("Navy", (0, 0, 128 / 255)),
        ([0, 0.5, 1], (0, 0.5, 1)),
        ((0.25, 0.5, 1.0), (0.25, 0.5, 1)),
    ],
)
def test_colours(value, color):
    assert parse_color(value) == color


def test_every_colour_name_is_a_colour():
    assert all(parse_color(name) == parse_color(value) for name, value in COLOR_NAMES.items())


@pytest.mark.parametrize("value", ["#12345", "blu", "", 5, None, [1, 2, 3], [0.1, 0.2], [True, 0, 0], ["1", "0", "0"]])
def test_what_is_no_colour_is_refused(value):
    with pytest.raises(ValueError, match="expected a colour"):
        parse_color(value)


# --- on a command line


@pytest.mark.parametrize(
    ("name", "argument", "edit"),
    [
        ("delete", "lamp", Delete("lamp")),
        ("extract", " a red chair + stool", Extract(["a red chair", "stool"])),
        ("recolor", "lamp:#2a6fdb", Recolor("lamp", "#2a6fdb")),
        ("recolor", "lamp: navy", Recolor("lamp", "navy")),
        ("recolor", "lamp:0.2,0.4,1", Recolor("lamp", (0.2, 0.4, 1.0))),
        ("move", "lamp:0.5,-1, 1e-3", Move("lamp", (0.5, -1.0, 0.001))),
        ("move", "clock 12:30:1,0,0", Move("clock 12:30", (1.0, 0.0, 0.0))),
        ("rotate", "lamp:0,90,0", Rotate("lamp", euler=(0.0, 90.0, 0.0))),
        ("rotate", "lamp:0,0,1,90", Rotate("lamp", (0.0, 0.0, 1.0), 90.0)),
        ("scale", "lamp:1.5", Scale("lamp", 1.5)),
        ("duplicate", "lamp:1,0,0", Duplicate("lamp", (1.0, 0.0, 0.0))),
        ("duplicate", "lamp:1,0,0,3", Duplicate("lamp", (1.0, 0.0, 0.0), 3)),
        ("opacity", "lamp:0.3", Opacity("lamp", 0.3)),
        ("stylize", "lamp: a brass lamp, old", Stylize("lamp", "a brass lamp, old")),
        ("delete", "a cup: red", Delete("a cup: red")),
        ("extract", '"c++ book" + a cup: red', Extract(["c++ book", "a cup: red"])),
        ("recolor", "a cup: red:navy", Recolor("a cup: red", "navy")),
        ("recolor", '"c++ book"+"a cup: red" : navy', Recolor(["c++ book", "a cup: red"], "navy")),
        ("stylize", 'lamp:"brass: old, and worn"', Stylize("lamp", "brass: old, and worn")),
        ("delete", 'a 12" disc', Delete('a 12" disc')),
    ],
)
def test_the_short_form_gives_the_edit_a_file_would(name, argument, edit):
    assert operation(name).from_text(argument) == edit


@pytest.mark.parametrize(
    ("name", "argument", "complaint"),
    [
        ("delete", "", "expected TEXT, got an empty text"),
        ("delete", "chair+", "expected TEXT, got an empty text"),
        ("delete", "c++ book", """got an empty text; a text with + goes in quotes: '"c++ book"'"""),
        ("recolor", '"a cup: red', 'got "a cup without a quote at its end'),
        ("recolor", '"a cup:red"', "expected TEXT:COLOR, got no colon"),
        ("recolor", "table", "expected TEXT:COLOR, got no colon"),
        ("recolor", ":red", "expected TEXT:COLOR, got an empty text"),
        ("recolor", "table:", "expected TEXT:COLOR; `color`: expected a colour"),
        ("recolor", "table:blu", "expected a colour"),
        ("recolor", "table:255,0,0", "three numbers in 0..1"),
        ("recolor", "table:black", "black has no hue"),
        ("move", "lamp:1,2", "expected TEXT:X,Y,Z; expected 3 numbers with commas between them, got '1,2'"),
        ("move", "lamp:1,2,x", "expected 3 numbers"),
        ("move", "lamp:1,2,nan", "`translation`: expected three numbers from"),
        ("rotate", "lamp:90", "expected 3 or 4 numbers"),
        ("rotate", "lamp:0,0,0,90", "`axis`: expected a direction"),
        ("scale", "lamp:-1", "`factor`: expected 1e-06 to"),
        ("duplicate", "lamp:1,0,0,1.5", "expected a whole number of copies, got 1.5"),
        ("duplicate", "lamp:1,0,0,inf", "expected a whole number of copies, got inf"),
        ("duplicate", "lamp:1,0,0,0", "`copies`: expected 1 to 100"),
        ("opacity", "lamp:2", "`opacity`: expected 1e-06 to 1"),
        ("stylize", "lamp", "expected TEXT:PROMPT, got no colon"),
        ("stylize", "lamp: ", "expected TEXT:PROMPT; `prompt`: expected a text, got ''"),
    ],
)
def test_a_mistake_is_an_error_that_names_the_form(name, argument, complaint):
    with pytest.raises(ValueError) as error:
        operation(name).from_text(argument)
    assert str(error.value).startswith(f"expected {OPERATIONS[name].form}") and complaint in str(error.value)


# --- the table


def test_the_operations_are_called_so_in_files_and_options():
    names = ["extract", "delete", "recolor", "move", "rotate", "scale", "duplicate", "opacity", "stylize"]
    assert list(OPERATIONS) == names
    assert all(kind.help.endswith(".") for kind in OPERATIONS.values())


def test_no_field_of_an_operation_hides_one_of_all_edits():
    for kind in map(operation, OPERATIONS):
        own = {entry.name for entry in fields(kind)} - {entry.name for entry in fields(Edit)}
        assert get_annotations(kind).keys() == own


@dataclass(frozen=True)
class Jitter(Edit):
    """An operation that is in no file of the package."""

    offset: Vector
    times: int | None = None

    form = "TEXT:X,Y,Z"
    takes_apart = True

    def apply(self, gaussians, mask):
        offset = torch.tensor(self.offset) * (self.times or 1)
        return replace(gaussians, means=gaussians.means + mask[:, None] * offset)

    @classmethod
    def parse_value(cls, value):
        return {"offset": parse_numbers(value, 3)}


def test_a_row_of_the_table_makes_an_operation(generator, monkeypatch, tmp_path):
    monkeypatch.setitem(OPERATIONS, "jitter", OperationKind(f"{__name__}:Jitter", "TEXT:X,Y,Z", "Move at random."))
    edit = operation("jitter").from_text("lamp:1,2,3")
    edits = EditList([edit, Jitter("lamp", (0, 0, 1), 2, threshold=0.5)])
    write_edits(tmp_path / "a.toml", edits)
    assert read_edits(tmp_path / "a.toml") == edits
    gaussians = make_gaussians(6, generator)
    seen: list[Selector] = []
    edited = apply_edits(gaussians, edits.edits, lambda g, s: seen.append(s) or Selection(torch.arange(6) < 2))
    offset = torch.tensor([[1.0, 2, 5]]) * (torch.arange(6) < 2)[:, None]
    torch.testing.assert_close(edited.gaussians.means, gaussians.means + offset)
    assert [(selector.positives, selector.rim) for selector in seen] == [(("lamp",), True)] * 2
    assert [report.num_after for report in edited.reports] == [6, 6]
