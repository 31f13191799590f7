"""Edits with absurd values are refused by name, or drawn; files of edits may be no such thing, or far too long."""

import itertools
import math
import os
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from random_gaussians import make_gaussians

from gsdff import Delete, Duplicate, Move, Opacity, Scale
from gsdff.editing import apply, toml_file, yaml_file
from gsdff.editing.apply import apply_edits
from gsdff.editing.edit import Edit
from gsdff.editing.operations import operation
from gsdff.editing.table import OPERATIONS
from gsdff.editing.toml_file import read_edits
from gsdff.errors import UserError
from gsdff.selection import Selection

NUM = 30
HALF = torch.arange(NUM) < NUM // 2
NEEDED = {
    "recolor": {"color": "red"}, "move": {"translation": (1, 0, 0)}, "rotate": {"euler": (1, 2, 3)},
    "scale": {"factor": 2}, "opacity": {"opacity": 0.5}, "stylize": {"prompt": "gold"},
}  # fmt: skip
"""Fields that an operation has no default for."""
NUMBERS = (0, -1, 1e300, -1e300, math.inf, -math.inf, math.nan, 1e-300, 5e-324, 1e9, 1e10, 10**30, 10**400, -(10**5000))
OTHERS = (
    True,
    None,
    "",
    "x",
    "half \ud800",
    "c" * 5000,
    (),
    (1, 2),
    {},
    b"red",
    1j,
    object(),
    np.zeros(3),
    torch.eye(2),
)
TRIPLES = (*((number, 0, 0) for number in NUMBERS), [math.nan] * 3, (1, 2, 3, 4), ("1", "2", "3"), torch.ones(3))
NESTED = "[" * 3000 + "]" * 3000


@pytest.fixture
def scene():
    gaussians = make_gaussians(NUM)
    return replace(gaussians, log_scales=gaussians.log_scales.clamp(-5, -1))


def select(gaussians, selector) -> Selection:
    """The first half."""
    return Selection(torch.arange(len(gaussians)) < NUM // 2)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", [name for name in OPERATIONS if name != "stylize"])
def test_whatever_the_values_of_an_edit_it_is_refused_or_gives_what_can_be_drawn(name, scene):
    kind, num_refused, num_made = operation(name), 0, 0
    for key in (entry.name for entry in fields(kind)):
        for value in (*NUMBERS, *OTHERS, *TRIPLES):
            values = {**NEEDED.get(name, {}), "target": "chair", key: value}
            try:
                after = apply_edits(scene, [kind(**values)], select).gaussians
            except UserError as error:
                num_refused += 1
                assert len(str(error)) < 500, (key, value)
                continue
            num_made += 1
            for attribute, tensor in after.items():
                assert tensor.isfinite().all(), (attribute, key, value)
            assert after.means.abs().max() < 1e18 and after.log_scales.abs().max() < 40
    assert num_refused > 200 and num_made > 10


@pytest.mark.usefixtures("unchecked")
def test_stylize_refuses_absurd_values():
    for values in ({"steps": 10**9}, {"rate": math.nan}, {"rate": 1e-300}, {"seed": 2**64}, {"prompt": "\ud800"}):
        with pytest.raises(UserError, match=rf"^`{next(iter(values))}`: "):
            operation("stylize")(**{"target": "chair", "prompt": "gold", **values})


@pytest.mark.parametrize(
    ("edits", "complaint"),
    [
        (
            [Scale("chair", 1e6), Scale("chair", 1e6)],
            'edit 2 (scale "chair"): would make 15 of 30 Gaussians that cannot',
        ),
        ([Scale("chair", 1e-6)] * 2, 'edit 2 (scale "chair"): puts it at coordinates up to '),
        ([Duplicate("chair", copies=100, factor=100)], 'edit 1 (duplicate "chair"): would make '),
        (
            [Move("chair", (1e9, 0, 0))],
            'edit 1 (move "chair"): puts it at coordinates up to 1e+09, where positions are',
        ),
        (
            [Scale("chair", 0.001, (1e6, 0, 0))],
            'edit 1 (scale "chair"): puts it at coordinates up to 9.99e+05, where positions',
        ),
    ],
)
def test_an_edit_that_would_make_what_cannot_be_drawn_is_named(scene, edits, complaint):
    with pytest.raises(UserError) as error:
        apply_edits(scene, edits, select)
    assert str(error.value).startswith(complaint)


@dataclass(frozen=True)
class Spoil(Edit):
    """Gives the selection a colour, or another attribute, that is no number."""

    attribute: str = "sh0"

    def apply(self, gaussians, mask):
        values = getattr(gaussians, self.attribute).clone()
        values[mask] = math.nan
        return replace(gaussians, **{self.attribute: values})


@pytest.mark.parametrize("attribute", ["means", "quats", "log_scales", "logit_opacities", "sh0", "shN", "features"])
def test_no_operation_can_make_values_that_are_no_numbers(scene, attribute):
    scene = replace(scene, features=torch.ones(NUM, 2))
    with pytest.raises(UserError, match=rf'edit 1 \(spoil "chair"\): would make 15 of {NUM} Gaussians that cannot'):
        apply_edits(scene, [Spoil("chair", attribute)], select)


def test_what_could_not_be_drawn_before_is_no_fault_of_an_edit(scene):
    broken = replace(scene, log_scales=torch.where(torch.arange(NUM)[:, None] == 3, -math.inf, scene.log_scales))
    after = apply_edits(broken, [Move("chair", (1, 0, 0)), Duplicate("chair", (1, 0, 0), 2)], select).gaussians
    assert len(after) == 2 * NUM
    with pytest.raises(UserError, match="would make 14 of 30"):
        apply_edits(broken, [Spoil("chair")], select)


def test_an_opacity_of_nothing_stays_a_number(scene):
    faint = replace(scene, logit_opacities=torch.full((NUM,), -900.0))
    after = apply_edits(faint, [Opacity("chair", factor=0.5)], select).gaussians
    assert after.logit_opacities.isfinite().all()


def test_copies_of_copies_have_a_limit(scene, monkeypatch):
    monkeypatch.setattr(apply, "MOST_GAUSSIANS", 100)
    edits = [Duplicate("chair", (i, 0, 0)) for i in range(20)]
    with pytest.raises(
        UserError, match=r'edit 5 \(duplicate "chair"\): would make 105 Gaussians, expected at most 100'
    ):
        apply_edits(scene, edits, select)


def test_a_selection_that_many_edits_name_is_read_once(scene, tmp_path, monkeypatch):
    Selection(HALF).save(tmp_path / "half.safetensors", source="a test")
    reads, load = [], Selection.load
    monkeypatch.setattr(Selection, "load", lambda path, expected: reads.append(path) or load(path, expected=expected))
    apply_edits(scene, [Opacity(tmp_path / "half.safetensors", 0.5)] * 20, select)
    assert len(reads) == 1


# --- files

DELETE = '[[edit]]\noperation = "delete"\npositives = "chair"\n'
LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join(['*' + a] * 9)}]\n" for a, b in itertools.pairwise("abcdefghi")
)
MERGES = "a: &a {k: 1}\n" + "".join(
    f"{b}: &{b} {{<<: [{', '.join(['*' + a] * 9)}]}}\n" for a, b in itertools.pairwise("abcdefghi")
)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (DELETE + "grow = 1000000000", "edit 1: grow: expected 0 to 100, got 1000000000"),
        (DELETE + f"grow = {'9' * 400}", "edit 1: grow: expected 0 to 100, got a whole number of about 398 digits"),
        (
            DELETE + f"keep_largest = 0x{'f' * 6000}",
            "keep_largest: expected 0 to 1000000, got a whole number of about 72",
        ),
        (
            DELETE + f"shrink = {'9' * 5000}",
            "cannot be read as a TOML file of edits (it has a whole number of more than 4,300 digits)",
        ),
        (DELETE + f"threshold = {NESTED}", "cannot be read as a TOML file of edits (nested too deep)"),
        (DELETE + f"{'a.' * 3000}b = 1", "unknown key a of delete"),
        ("edit." + "a." * 3000 + "b = 1", "edit: expected at least one [[edit]] table, got {'a': {'a': "),
        (DELETE + 'negatives = "' + "c" * 10**6 + '"', "negatives: expected a text of at most 1,000 characters"),
        (DELETE.replace("delete", "d" * 10**6), "operation: expected one of extract"),
        (DELETE.replace('"chair"', str(["a"] * 20_000)), "positives: expected at most 10,000 texts"),
        ("edit = [" + "[]," * 20_000 + "]", "edit: expected at most 10,000 edits, got 20,000"),
        ("# " + "x" * 10_000_000, "expected a file of edits of at most 10,000,000 bytes, it has 10,000,002"),
    ],
    ids=range(12),
)
def test_a_toml_file_has_limits(tmp_path, text, complaint):
    (tmp_path / "edits.toml").write_text(text)
    with pytest.raises(UserError) as error:
        read_edits(tmp_path / "edits.toml")
    assert complaint in str(error.value) and len(str(error.value)) < 600 and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (LAUGHS, "(it has more than 200,000 values, with its aliases written out); correct it"),
        (MERGES, "(it has more than 200,000 values, with its aliases written out)"),
        ("edit: &a {edit: *a}", "(it has more than 200,000 values"),
        ("texts: &a [*a]\noperations: deletion", "(it has more than 200,000 values"),
        ("- " * 5000, "(nested too deep)"),
        ("[" * 5000, "(nested too deep)"),
        ("texts: [a, b]\ntexts: [c, d]\noperations: deletion", "(the key 'texts' is given twice)"),
        ("edit:\n- {operation: delete, positives: a, positives: b}", "(the key 'positives' is given twice)"),
        ("? [a, b]\n: c", "while constructing a mapping"),
        ("texts: [a, b]\npositive_ids: 0x" + "f" * 6000 + "\noperations: deletion", "got a whole number of about 72"),
        ("texts: [a, b]\nscore_threshold: " + "9" * 400 + "\noperations: deletion", "threshold: expected a score in"),
        (
            "texts: [a, b]\npositive_ids: &x {a: 1}\noperations: deletion",
            "expected indices of texts, 0 to 1, got {'a': 1}",
        ),
        ("a: \x07", "special characters are not allowed"),
    ],
    ids=range(13),
)
def test_a_yaml_file_has_limits(tmp_path, text, complaint):
    (tmp_path / "edits.yaml").write_text(text)
    with pytest.raises(UserError) as error:
        read_edits(tmp_path / "edits.yaml")
    assert complaint in str(error.value) and len(str(error.value)) < 600 and "\n" not in str(error.value)


def test_a_yaml_file_may_have_aliases_and_merged_keys(tmp_path):
    text = "edit:\n- &first {operation: delete, positives: &it [chair], grow: 1}\n- {<<: *first, grow: 2}\n"
    (tmp_path / "edits.yaml").write_text(text)
    assert read_edits(tmp_path / "edits.yaml").edits == (Delete("chair", grow=1), Delete("chair", grow=2))
    assert yaml_file.MOST_VALUES > 100 * toml_file.MOST_EDITS / 10


@pytest.mark.parametrize("ending", ["toml", "yaml"])
def test_what_is_no_file_of_edits_is_refused_and_does_not_hang(tmp_path, ending):
    path = tmp_path / f"edits.{ending}"
    with pytest.raises(UserError, match="there is no such file"):
        read_edits(path)
    path.mkdir()
    with pytest.raises(UserError, match="expected a file of edits, it is a folder"):
        read_edits(path)
    path.rmdir()
    os.mkfifo(path)
    with pytest.raises(UserError, match="expected a file of edits, it is a pipe or a device"):
        read_edits(path)
    path.unlink()
    path.symlink_to(path)
    with pytest.raises(UserError, match="a link that leads back to itself"):
        read_edits(path)
    path.unlink()
    path.touch()
    os.truncate(path, 1 << 40)
    with pytest.raises(
        UserError, match="expected a file of edits of at most 10,000,000 bytes, it has 1,099,511,627,776"
    ):
        read_edits(path)


def test_a_file_with_a_byte_order_mark_or_windows_lines_is_read(tmp_path):
    path = Path(tmp_path / "edits.toml")
    for data in (b"\xef\xbb\xbf" + DELETE.replace("\n", "\r\n").encode(), DELETE.encode("utf-16")):
        path.write_bytes(data)
        assert read_edits(path).edits == (Delete("chair"),)
