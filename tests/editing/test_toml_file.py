"""Edit lists read, written, and refused with the file and the key."""

import pytest
import torch

from gsdff import Delete, Duplicate, Extract, Move, Opacity, Recolor, Rotate, Scale, Stylize
from gsdff.editing.edit import Edit, EditList
from gsdff.editing.selector import Click
from gsdff.editing.toml_file import read_edits, write_edits
from gsdff.errors import UserError
from gsdff.selection import Selection

EDITS: list[Edit] = [
    Extract(("a red chair", "stool"), negatives="table", only_negatives=True, threshold=0.25, temperature=0.5),
    Delete("lamp", negatives=(), rim=False, threshold=-0.5, majority=2, drop_floaters=True, keep_largest=3, shrink=4),
    Recolor("chair", "#2a6fdb", keep_largest=1),
    Recolor("chair", (0.1, 0.2, 0.3), "tint"),
    Recolor(Click("a photo.jpg", 10, 20), mode="grey", threshold=0.9),
    Move("chair", (0.5, -1, 0)),
    Rotate("chair", axis=(0, 1, 0), degrees=90, centre=(1, 2, 3)),
    Rotate("chair", euler=(10, 20, 30)),
    Scale("chair", 2, (0, 0, 1)),
    Duplicate("chair", (1, 0, 0), 3, (0, 0, 1), 30, None, 0.5),
    Duplicate("chair"),
    Opacity("chair", 0.5),
    Opacity("chair", factor=2.0),
    Stylize("chair", "a wooden chair, carved"),
    Stylize(Click("a.jpg", 1, 2), "a: b", "", 30, 0.5, 2**63 - 1, grow=1),
]


def write(folder, text, name="edits.toml"):
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize("background", [None, (1.0, 1.0, 1.0), (0.123, 0.5, 0.0)])
def test_what_is_written_is_read_back(tmp_path, background):
    edits = EditList((*EDITS, Delete(tmp_path / "sub" / "chair.safetensors")), background)
    write_edits(tmp_path / "edits.toml", edits)
    assert read_edits(tmp_path / "edits.toml") == edits


def test_the_keys_written_are_target_and_limits_then_the_operations_own_then_the_clean_up(tmp_path):
    edit = Recolor("lamp", "#2a6fdb", "tint", keep_largest=1, negatives=["wall"], threshold=0.5)
    write_edits(tmp_path / "edits.toml", EditList([edit], (1.0, 1.0, 1.0)))
    assert (tmp_path / "edits.toml").read_text() == (
        'background = "#ffffff"\n\n[[edit]]\noperation = "recolor"\npositives = [\n    "lamp",\n]\n'
        'negatives = [\n    "wall",\n]\nthreshold = 0.5\ncolor = "#2a6fdb"\nmode = "tint"\nkeep_largest = 1\n'
    )


def test_a_selection_in_memory_is_saved_beside_the_file(tmp_path):
    mask = torch.arange(10) < 3
    write_edits(tmp_path / "mine.toml", EditList([Delete("chair"), Move(Selection(mask), (1, 0, 0), grow=1)]))
    _, moved = read_edits(tmp_path / "mine.toml").edits
    assert moved == Move(tmp_path / "mine_2.safetensors", (1, 0, 0), grow=1)
    assert torch.equal(Selection.load(tmp_path / "mine_2.safetensors", expected=10).mask, mask)


def test_a_file_by_hand(tmp_path):
    path = write(
        tmp_path,
        """
        background = "White"
        [[edit]]
        operation = "recolor"
        positives = ["table", " desk "]
        threshold = 1
        color = "#26d"
        keep_largest = 2
        [[edit]]
        operation = "move"
        selection = "lamp.safetensors"
        translation = [1, 0, -2.5]
        """,
    )
    recolored = Recolor(("table", "desk"), "#2266dd", threshold=1.0, keep_largest=2)
    moved = Move(tmp_path / "lamp.safetensors", (1.0, 0.0, -2.5))
    assert read_edits(path) == EditList((recolored, moved), (1.0, 1.0, 1.0))


@pytest.mark.parametrize("suffix", [".yaml", ".yml", ".YAML"])
def test_yaml_says_the_same_as_toml(tmp_path, suffix):
    text = """
    background: black
    edit:
      - {operation: rotate, positives: lamp, euler: [0, 90, 0], drop_floaters: true}
      - {operation: delete, click: {view: a.png, x: 3, y: 4}}
    """
    assert read_edits(write(tmp_path, text, f"edits{suffix}")) == EditList(
        (
            Rotate("lamp", euler=(0.0, 90.0, 0.0), drop_floaters=True),
            Delete(Click("a.png", 3, 4)),
        ),
        (0.0, 0.0, 0.0),
    )


DELETE = '[[edit]]\noperation = "delete"\npositives = "chair"\n'
MOVE = DELETE.replace("delete", "move")
RECOLOR = DELETE.replace("delete", "recolor")
ROTATE = DELETE.replace("delete", "rotate")
SCALE = DELETE.replace("delete", "scale")
COPY = DELETE.replace("delete", "duplicate")
OPACITY = DELETE.replace("delete", "opacity")
STYLIZE = DELETE.replace("delete", "stylize")
EXTRACT_NOTHING = '[[edit]]\noperation = "extract"\n'


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("edit", "cannot be read as a TOML file of edits"),
        ("", "edit: expected at least one [[edit]] table, got []"),
        ("edit = 3", "edit: expected at least one [[edit]] table, got 3"),
        ("edit = [3]", "edit 1: expected a table of keys and values, got 3"),
        ("edits = 3", "unknown key edits; did you mean [[edit]]?"),
        ('backgroud = "white"', "unknown key backgroud; did you mean background?"),
        ('positive = "chair"\n', "unknown key positive; did you mean positives under an [[edit]]?"),
        ("background = 7\n" + DELETE, "background: expected a colour"),
        ("[[edit]]\n", "edit 1: operation: expected one of extract, delete,"),
        ("[[edit]]\noperation = 3", "edit 1: operation: expected one of extract, delete,"),
        (DELETE + '[[edit]]\noperation = "deletion"', "got 'deletion'; did you mean delete?"),
        (DELETE + '[[edit]]\noperation = "deletion"', "edit 2: operation"),
        (DELETE + "treshold = 3", "edit 1: unknown key treshold of delete; did you mean threshold?"),
        (DELETE + 'color = "red"', "edit 1: unknown key color of delete; it belongs to recolor"),
        (DELETE + "factor = 1", "it belongs to scale and duplicate and opacity"),
        (DELETE + 'threshold = "high"', "edit 1: threshold: expected a number, got 'high'"),
        (DELETE + "threshold = true", "threshold: expected a number, got True"),
        (DELETE + "threshold = 30", "threshold: expected a score in -1..1, got 30"),
        (DELETE + "threshold = nan", "threshold: expected a score in -1..1, got nan"),
        (DELETE + "temperature = 0", "temperature: expected 0.0001 to 10000, got 0"),
        (DELETE + "only_negatives = true", "only_negatives: expected negatives to compare with, got none"),
        (DELETE + "temperature = 1\nnegatives = []", "temperature: expected only with negatives"),
        (DELETE + "negatives = [1]", "negatives: expected a text or a list of texts, got [1]"),
        (DELETE + 'negatives = [" "]', "negatives: expected no empty text, got [' ']"),
        (DELETE + "grow = -1", "edit 1: grow: expected 0 to 100, got -1"),
        (DELETE + "shrink = 1.5", "shrink: expected a whole number, got 1.5"),
        (DELETE + "keep_largest = true", "keep_largest: expected a whole number, got True"),
        (DELETE + "drop_floaters = 1", "drop_floaters: expected true or false, got 1"),
        (DELETE + 'selection = "a"', "edit 1: expected one of positives, selection, click, got positives and sel"),
        (EXTRACT_NOTHING, "expected one of positives, selection, click, got none"),
        (EXTRACT_NOTHING + "positives = []", "expected one of positives, selection, click, got none"),
        (EXTRACT_NOTHING + 'selection = "a"\nthreshold = 0.5', "threshold: expected only with texts or a click"),
        (EXTRACT_NOTHING + 'selection = "a"\nnegatives = "b"', "negatives and temperature: expected only with texts"),
        (EXTRACT_NOTHING + "selection = 3", "selection: expected a text, got 3"),
        (EXTRACT_NOTHING + 'click = "a"', "click: expected { view ="),
        (EXTRACT_NOTHING + 'click = { view = "a", x = 1 }', "click: expected { view ="),
        (EXTRACT_NOTHING + 'click = { view = "a", x = 1, y = -1 }', "click: expected x and y in pixels, at least 0"),
        (EXTRACT_NOTHING + 'click = { view = "a", x = 1, y = 1.5 }', "click: y: expected a whole number, got 1.5"),
        (MOVE, "edit 1: translation: expected one, as move needs it, got none"),
        (MOVE + "translation = [1, 2]", "translation: expected three numbers [x, y, z], got [1, 2]"),
        (
            MOVE + "translation = [1, 2, inf]",
            "translation: expected three numbers from -1e+09 to 1e+09, got [1, 2, inf]",
        ),
        (RECOLOR, "color: expected one for mode hue, got none"),
        (RECOLOR + 'color = "red"\nmode = "grey"', "color: expected none with mode grey"),
        (RECOLOR + 'color = "red"\nmode = "paint"', "mode: expected one of hue, tint, grey, got 'paint'"),
        (RECOLOR + 'color = "black"', "black has no hue"),
        (RECOLOR + "color = [255, 0, 0]", "color: expected a colour"),
        (ROTATE, "axis: expected axis and degrees, or euler, got neither"),
        (ROTATE + "axis = [0, 0, 1]", "axis, degrees: expected both, got only axis"),
        (ROTATE + "degrees = 3", "axis, degrees: expected both, got only degrees"),
        (ROTATE + "axis = [0, 0, 0]\ndegrees = 3", "axis: expected a direction"),
        (ROTATE + "axis = [0, 0, 1]\ndegrees = nan", "degrees: expected -36000 to 36000, got nan"),
        (ROTATE + "axis = [0, 0, 1]\ndegrees = 3\neuler = [0, 0, 1]", "got both"),
        (ROTATE + "euler = [0, 0, nan]", "euler: expected three numbers from"),
        (ROTATE + "euler = [0, 0, 1]\ncentre = [nan, 0, 0]", "centre: expected three numbers from"),
        (SCALE, "factor: expected one, as scale needs it"),
        (SCALE + "factor = 0", "factor: expected 1e-06 to 1000000, got 0"),
        (COPY + "copies = 0", "copies: expected 1 to 100, got 0"),
        (COPY + "factor = 1000", "factor: expected 0.01 to 100"),
        (OPACITY, "opacity, factor: expected one of them, got neither"),
        (OPACITY + "opacity = 1\nfactor = 1", "opacity, factor: expected one of them, got both"),
        (OPACITY + "opacity = 0", "opacity: expected 1e-06 to 1 (delete removes), got 0"),
        (OPACITY + "factor = inf", "factor: expected 1e-06 to 1000000, got inf"),
        (STYLIZE, "edit 1: prompt: expected one, as stylize needs it, got none"),
        (STYLIZE + 'prompt = " "', "prompt: expected a text, got ' '"),
        (STYLIZE + 'prompt = "a"\nsteps = 0', "steps: expected 1 to 100000, got 0"),
        (STYLIZE + 'prompt = "a"\nrate = nan', "rate: expected 1e-06 to 1, got nan"),
        (STYLIZE + 'prompt = "a"\nseed = -1', "seed: expected 0 or more, in 63 bits, got -1"),
        (DELETE + 'prompt = "a"', "unknown key prompt of delete; it belongs to stylize"),
    ],
)
def test_a_mistake_is_an_error_that_names_file_edit_and_key(tmp_path, text, complaint):
    path = write(tmp_path, text)
    with pytest.raises(UserError) as error:
        read_edits(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ") and complaint in message and "\n" not in message


def test_a_file_of_another_kind_or_none_is_refused(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_edits(tmp_path / "none.toml")
    with pytest.raises(UserError, match=r"ends in \.toml, \.yaml, \.yml"):
        read_edits(write(tmp_path, DELETE, "edits.json"))
