"""Edits in short."""

import pytest

from gsdff.editing.flags import (
    PARSERS,
    parse_delete,
    parse_duplicate,
    parse_extract,
    parse_move,
    parse_opacity,
    parse_recolor,
    parse_rotate,
    parse_scale,
    parse_stylize,
)
from gsdff.editing.operations import (
    Delete,
    Duplicate,
    EditStep,
    Extract,
    Move,
    Opacity,
    Recolor,
    Rotate,
    Scale,
    Selector,
    Stylize,
    parse_color,
)
from gsdff.errors import UserError

LAMP = Selector(("lamp",))


@pytest.mark.parametrize(
    ("parse", "argument", "step"),
    [
        (parse_delete, "lamp", EditStep(Delete(), LAMP)),
        (parse_extract, " a red chair + stool", EditStep(Extract(), Selector(("a red chair", "stool")))),
        (parse_recolor, "lamp:#2a6fdb", EditStep(Recolor(parse_color("#2a6fdb")), LAMP)),
        (parse_recolor, "lamp: navy", EditStep(Recolor(parse_color("navy")), LAMP)),
        (parse_recolor, "lamp:0.2,0.4,1", EditStep(Recolor((0.2, 0.4, 1.0)), LAMP)),
        (parse_move, "lamp:0.5,-1, 1e-3", EditStep(Move((0.5, -1.0, 0.001)), LAMP)),
        (parse_move, "clock 12:30:1,0,0", EditStep(Move((1.0, 0.0, 0.0)), Selector(("clock 12:30",)))),
        (parse_rotate, "lamp:0,90,0", EditStep(Rotate(euler=(0.0, 90.0, 0.0)), LAMP)),
        (parse_rotate, "lamp:0,0,1,90", EditStep(Rotate((0.0, 0.0, 1.0), 90.0), LAMP)),
        (parse_scale, "lamp:1.5", EditStep(Scale(1.5), LAMP)),
        (parse_duplicate, "lamp:1,0,0", EditStep(Duplicate((1.0, 0.0, 0.0)), LAMP)),
        (parse_duplicate, "lamp:1,0,0,3", EditStep(Duplicate((1.0, 0.0, 0.0), 3), LAMP)),
        (parse_opacity, "lamp:0.3", EditStep(Opacity(0.3), LAMP)),
        (parse_stylize, "lamp: a brass lamp, old", EditStep(Stylize("a brass lamp, old"), LAMP)),
    ],
)
def test_a_shorthand_gives_the_step_a_file_would(parse, argument, step):
    assert parse(argument) == step
    assert PARSERS[step.name] is parse


def test_every_operation_has_a_shorthand():
    assert PARSERS.keys() == EditStep.OPERATIONS.keys()


@pytest.mark.parametrize(
    ("parse", "argument", "complaint"),
    [
        (parse_delete, "", "expected TEXT, got an empty text"),
        (parse_delete, "chair+", "expected TEXT, got an empty text"),
        (parse_delete, "chair:0.5", "expected TEXT without a value; thresholds belong in an edit file"),
        (parse_recolor, "table", "expected TEXT:COLOR, got no colon"),
        (parse_recolor, ":red", "expected TEXT:COLOR, got an empty text"),
        (parse_recolor, "table:", "expected TEXT:COLOR; expected a colour"),
        (parse_recolor, "table:blu", "expected a colour"),
        (parse_recolor, "table:255,0,0", "three numbers in 0..1"),
        (parse_recolor, "table:black", "black has no hue"),
        (parse_move, "lamp:1,2", "expected TEXT:X,Y,Z; expected 3 numbers with commas between them, got '1,2'"),
        (parse_move, "lamp:1,2,x", "expected 3 numbers"),
        (parse_move, "lamp:1,2,nan", "translation: expected three finite numbers"),
        (parse_rotate, "lamp:90", "expected 3 or 4 numbers"),
        (parse_rotate, "lamp:0,0,0,90", "axis: expected a direction"),
        (parse_scale, "lamp:-1", "factor: expected more than 0"),
        (parse_duplicate, "lamp:1,0,0,1.5", "expected a whole number of copies, got 1.5"),
        (parse_duplicate, "lamp:1,0,0,inf", "expected a whole number of copies, got inf"),
        (parse_duplicate, "lamp:1,0,0,0", "copies: expected 1 to 100"),
        (parse_opacity, "lamp:2", "opacity: expected above 0"),
        (parse_stylize, "lamp", "expected TEXT:PROMPT, got no colon"),
        (parse_stylize, "lamp: ", "expected TEXT:PROMPT; prompt: expected a text, got ''"),
    ],
)
def test_a_mistake_is_an_error_that_names_the_flag_and_what_it_should_be(parse, argument, complaint):
    with pytest.raises(UserError) as error:
        parse(argument)
    name = parse.__name__.removeprefix("parse_")
    assert str(error.value).startswith(f"--{name} {argument!r}: ") and complaint in str(error.value)
