"""Edit files and selections, through what `gsdff edit` calls."""

from pathlib import Path
from random import Random

import torch
from fuzz_net import Format, expect
from fuzz_splats import check_gaussians, make_basis, make_gaussians

import gsdff
from gsdff.config.options import TeacherConfig
from gsdff.editing.toml_file import read_edits, write_edits
from gsdff.field.field import Field
from gsdff.io.sidecar import Sidecar
from gsdff.selection import Selection

EDITS = """
background = "white"

[[edit]]
operation = "recolor"
positives = ["chair"]
negatives = ["wall"]
threshold = 0.6
color = "#2a6fdb"
keep_largest = 1
grow = 2

[[edit]]
operation = "move"
selection = "some.safetensors"
translation = [0.5, 0.0, 1.0]

[[edit]]
operation = "rotate"
positives = ["lamp"]
euler = [10.0, 0.0, 5.0]
threshold = 0.4
rim = false

[[edit]]
operation = "scale"
positives = ["lamp", "chair"]
factor = 1.5
threshold = 0.4

[[edit]]
operation = "duplicate"
positives = "lamp"
translation = [0.5, 0.0, 1.0]
copies = 2
threshold = 0.4

[[edit]]
operation = "opacity"
positives = ["chair"]
opacity = 0.5
threshold = 0.4

[[edit]]
operation = "delete"
positives = ["chair"]
threshold = 0.9
"""
DFF = """
edit_config:
  query_type: text
  texts: [chair, lamp, wall]
  positive_ids: [0]
  score_threshold: 0.5
  operations: [extraction]
"""
OWN = """
background: white
edit:
  - operation: recolor
    positives: [chair]
    color: "#2a6fdb"
    threshold: 0.5
  - operation: opacity
    selection: some.safetensors
    opacity: 0.25
"""


def make_field() -> Field:
    basis = make_basis()
    texts = dict(zip(("chair", "lamp", "wall"), basis.B.T, strict=True))
    return Field(
        Path("scene.ply"), make_gaussians(), basis, sidecar=Sidecar(basis, TeacherConfig("precomputed"), texts)
    )


def write_edit_files(folder: Path) -> None:
    (folder / "edits.toml").write_text(EDITS)
    (folder / "dff.yaml").write_text(DFF)
    (folder / "own.yaml").write_text(OWN)
    Selection(torch.arange(30) % 3 == 0).save(folder / "some.safetensors", source="a test")


def replay(path: Path) -> None:
    """Makes the edits of a file, and writes and reads them again."""
    edits = read_edits(path)
    field = make_field()
    edited = field.edit(*edits.edits)
    if len(edited.gaussians):
        check_gaussians(edited.gaussians)
    expect(edited.gaussians.means.abs().max() < 1e30 if len(edited) else True, "Gaussians beyond all distances")
    again = path.with_name("again.toml")
    write_edits(again, edits)
    expect(len(read_edits(again).edits) == len(edits.edits), "written and read, there are other edits")


def read_toml(folder: Path, random: Random) -> None:
    replay(folder / "edits.toml")


def read_yaml(folder: Path, random: Random) -> None:
    """Either file, of which one was changed."""
    replay(folder / "dff.yaml")
    replay(folder / "own.yaml")


def read_selection(folder: Path, random: Random) -> None:
    """The file itself, and an edit that names it."""
    selection = Selection.load(folder / "some.safetensors", expected=30)
    expect(selection.total == 30, "a selection of other Gaussians")
    gsdff.Delete(folder / "some.safetensors")
    edited = make_field().edit(gsdff.Delete(folder / "some.safetensors")) if 0 < len(selection) < 30 else None
    expect(edited is None or len(edited) == 30 - len(selection), "other Gaussians were deleted")


FORMATS = (
    Format("edits-toml", "gsdff/editing", write_edit_files, read_toml, ("edits.toml",), 2.5),
    Format("edits-yaml", "gsdff/editing", write_edit_files, read_yaml, ("*.yaml",), 2),
    Format("selection", "gsdff/selection", write_edit_files, read_selection, ("some.safetensors",), 1),
)
