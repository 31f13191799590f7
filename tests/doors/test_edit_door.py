"""`gsdff edit`: what it prints, what it writes, what it refuses."""

import subprocess
import sys
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from PIL import Image
from read_video import read_video
from tiny_answers import NAMES, NUM_CHAIR, write_asked_run
from tiny_run import make_gaussians, write_run

from gsdff import Delete, Move, Recolor, edit, query
from gsdff.edit import EditArguments
from gsdff.editing.edit import EditList
from gsdff.editing.selector import Click
from gsdff.editing.table import OPERATIONS
from gsdff.editing.toml_file import read_edits, write_edits
from gsdff.errors import UserError
from gsdff.export import ExportArguments, export_run
from gsdff.field import base
from gsdff.io.ply import read_ply, write_ply
from gsdff.io.runs import load_run
from gsdff.io.sidecar import Sidecar, sidecar_path
from gsdff.selection import Selection


@pytest.fixture
def run(tmp_path, generator):
    return write_asked_run(tmp_path, generator)


@pytest.fixture
def door(call):
    return lambda *arguments: call(edit, *arguments)


def original(run):
    """Gaussians of the run before any edit, in the frame of the input."""
    loaded = load_run(run.folder)
    return loaded.gaussians.to_input_frame(loaded.frame)


def assert_same(gaussians, expected):
    for (name, ours), (_, theirs) in zip(gaussians.items(), expected.items(), strict=True):
        assert torch.equal(ours, theirs), name


def panels(path):
    """The two renderings of a picture, without titles."""
    with Image.open(path) as picture:
        pixels = np.asarray(picture)[18:].astype(int)
    width = (pixels.shape[1] - 4) // 2
    return pixels[:, :width], pixels[:, width + 4 :]


def files_below(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_delete_takes_out_exactly_what_answers_and_extract_keeps_exactly_that(door, run, tmp_path):
    report, scene, edits = door(run.folder, "--delete", "chair", "--out", tmp_path / "new" / "rest.ply")
    assert report.startswith(f'edit 1 (delete "chair"): {NUM_CHAIR} of 60 Gaussians, ') and "leaves 30" in report
    assert scene == f"scene: {tmp_path / 'new/rest.ply'}" and edits == f"edits: {tmp_path / 'new/rest.toml'}"
    door(run.folder, "--extract", "chair", "--out", tmp_path / "chair.ply")
    whole = original(run)
    assert_same(read_ply(tmp_path / "new" / "rest.ply"), whole.map(lambda tensor: tensor[NUM_CHAIR:]))
    assert_same(read_ply(tmp_path / "chair.ply"), whole.map(lambda tensor: tensor[:NUM_CHAIR]))


def test_what_is_moved_far_away_is_drawn_as_what_is_deleted(door, run, tmp_path):
    lines = door(run.folder, "--move", "chair:0,0,-900", "--views", 0, "b/v2.png", "--out", tmp_path / "far.ply")
    assert lines[-2:] == [f"picture: {tmp_path / name}" for name in ("far_a_v0.png", "far_b_v2.png")]
    door(run.folder, "--delete", "chair", "--all-held-out", "--out", tmp_path / "gone.ply")
    assert sorted(path.name for path in tmp_path.glob("gone_*.png")) == ["gone_a_v0.png", "gone_b_v3.png"]
    before, far = panels(tmp_path / "far_a_v0.png")
    before_too, gone = panels(tmp_path / "gone_a_v0.png")
    assert (far == gone).all() and (before == before_too).all() and (before[:, :10] != gone[:, :10]).any()
    with Image.open(run.data / "images/a/v0.png") as photo:
        assert abs(np.asarray(photo).astype(int) - before).max() <= 1


def test_a_turntable_shows_before_and_after_from_where_the_photos_were(door, run, tmp_path):
    options = ("--turntable", "--turntable-seconds", 0.5, "--out", tmp_path / "a.ply")
    lines = door(run.folder, "--move", "chair:0,0,-900", *options)
    assert lines[-1] == f"video: {tmp_path / 'a_turntable.mp4'}"
    said, frames = read_video(tmp_path / "a_turntable.mp4")
    assert "24 fps" in said and frames.shape == (12, 22 + 18, 2 * 30 + 4, 3)
    before, after = frames[:, 18:, :30].int(), frames[:, 18:, 34:].int()
    changed = abs(before - after).amax((1, 3)) > 60  # [12, 30], columns; the chair is to the left
    assert changed[:, :15].any(1).all() and not changed[:, 17:].any()
    assert abs(after[0] - after[3]).max() > 60  # the camera moves


def test_the_background_is_behind_both_pictures_and_in_the_edits_written(door, run, tmp_path):
    options = ("--views", "a/v0.png", "--background", "white", "--out", tmp_path / "a.ply")
    door(run.folder, "--extract", "chair", *options)
    for panel in panels(tmp_path / "a_a_v0.png"):
        assert (panel[0, 0] == 255).all()
    assert read_edits(tmp_path / "a.toml").background == (1, 1, 1)


def test_the_edits_written_make_the_same_bytes_again(door, run, tmp_path):
    edits = ("--move", "lamp:0.1,0.7,1e-3", "--recolor", "chair+lamp:#2a6fdb", "lamp:0.1,0.2,0.3")
    limits = ("--negative", "wall", "--threshold", 0.6, "--keep-largest", 3, "--grow", 1)
    door(run.folder, *edits, *limits, "--out", tmp_path / "a.ply")
    door(run.folder, "--edits", tmp_path / "a.toml", "--out", tmp_path / "b.ply")
    for ending in (".ply", ".toml"):
        assert (tmp_path / f"a{ending}").read_bytes() == (tmp_path / f"b{ending}").read_bytes()
    limits = {"negatives": ["wall"], "threshold": 0.6, "keep_largest": 3, "grow": 1}
    assert read_edits(tmp_path / "a.toml").edits == (
        Move("lamp", (0.1, 0.7, 1e-3), **limits),
        Recolor(["chair", "lamp"], "#2a6fdb", **limits),
        Recolor("lamp", (0.1, 0.2, 0.3), **limits),
    )


def test_a_hole_is_filled_and_its_file_fills_it_with_the_same_bytes(door, run, tmp_path):
    report, *_ = door(run.folder, "--delete", "chair", "--fill", "--out", tmp_path / "a.ply")
    assert "no plane beside it" in report  # of blobs in the air
    assert read_edits(tmp_path / "a.toml").edits == (Delete("chair", fill=True),)
    door(run.folder, "--edits", tmp_path / "a.toml", "--out", tmp_path / "b.ply")
    assert (tmp_path / "a.ply").read_bytes() == (tmp_path / "b.ply").read_bytes()


def test_fill_without_a_deletion_or_photos_is_refused(door, run, tmp_path):
    with pytest.raises(UserError, match="--fill: no option deletes; add --delete TEXT, or set `fill = true` in the"):
        door(run.folder, "--recolor", "chair:navy", "--fill")
    door(run.folder, "--delete", "lamp", "--out", tmp_path / "a.ply")
    with pytest.raises(UserError, match="photos"):
        door(tmp_path / "a.ply", "--delete", "chair", "--fill")


def test_texts_in_quotes_may_hold_the_signs_that_separate(door, run, tmp_path):
    names = np.array(["a cup: red", "c++ book", "wall"])
    texts = np.load(tmp_path / "maps" / "text_features.npz")
    np.savez(tmp_path / "maps" / "text_features.npz", names=names, vectors=texts["vectors"])
    for given in ("a cup: red", '"a cup: red"'):
        report = door(run.folder, "--delete", given, "--out", tmp_path / "rest.ply")[0]
        assert report.startswith(f'edit 1 (delete "a cup: red"): {NUM_CHAIR} of 60 Gaussians')
    report = door(run.folder, "--recolor", '"c++ book" + "a cup: red":navy', "--out", tmp_path / "blue.ply")[0]
    assert report.startswith('edit 1 (recolor "c++ book" or "a cup: red"): 60 of 60 Gaussians')
    (written,) = read_edits(tmp_path / "blue.toml").edits
    assert written == Recolor(["c++ book", "a cup: red"], "navy")
    with pytest.raises(UserError, match=r"--delete 'c\+\+ book': .* a text with \+ goes in quotes"):
        door(run.folder, "--delete", "c++ book", "--out", tmp_path / "c.ply")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--scale", "chair:1e300"), "--scale 'chair:1e300': .*factor: expected 1e-06 to 1000000, got 1e.300"),
        (
            ("--move", "chair:1e300,0,0"),
            "--move 'chair:1e300,0,0': .*translation: expected three numbers from -1e.09 to",
        ),
        (("--recolor", "chair:nan,0,0"), "--recolor 'chair:nan,0,0': .*color: expected a colour"),
        (("--opacity", "chair:inf"), "--opacity 'chair:inf': .*opacity: expected 1e-06 to 1"),
        (
            ("--rotate", "chair:0,0,1e9"),
            "--rotate 'chair:0,0,1e9': .*euler: expected angles from -36000 to 36000 degrees",
        ),
        (("--move", "chair:5e8,0,0"), r'^edit 1 \(move "chair"\): puts it at coordinates up to 5e.08'),
        (
            ("--scale", "chair:1e6", "chair:1e6"),
            r'^edit 2 \(scale "chair"\): would make 30 of 60 Gaussians that cannot',
        ),
        (("--delete", "chair", "--grow", 10**9), "--grow: expected 0 to 100, got 1000000000"),
        (("--delete", "chair", "--keep-largest", 10**9), "--keep-largest: expected 0 to 1000000, got 1000000000"),
        (("--delete", "chair", "--turntable", "--turntable-seconds", 1e9), "expected a time above 0, at most 3600"),
        (("--delete", "half \udcff"), "--delete: .*"),
    ],
)
def test_absurd_numbers_are_refused_by_the_option_or_the_edit_and_nothing_is_written(
    door, run, tmp_path, options, complaint
):
    before = files_below(tmp_path)
    with pytest.raises(UserError, match=complaint):
        door(run.folder, *options, "--out", tmp_path / "a.ply")
    assert files_below(tmp_path) == before


def test_a_rim_goes_with_what_is_deleted_or_extracted_unless_it_is_told_not_to(door, run, tmp_path):
    ply = export_run(ExportArguments(run.folder))
    rim = original(run)
    rim.features[0] = torch.tensor([0.7, 1, 0])  # more of a lamp, but among chairs; of the threshold, about a tenth
    rim.features[-1] = torch.tensor([0.7, 1, 0])  # the same among lamps
    write_ply(ply, rim)

    def taken(name: str, *options: object) -> int:
        report = door(ply, *options, "--threshold", 0.5, "--out", tmp_path / f"{name}.ply")[0]
        door(ply, "--edits", tmp_path / f"{name}.toml", "--out", tmp_path / "again.ply")
        assert (tmp_path / "again.ply").read_bytes() == (tmp_path / f"{name}.ply").read_bytes()
        return int(report.split(": ")[1].split()[0])

    assert taken("whole", "--delete", "chair") == taken("alone", "--extract", "chair") == NUM_CHAIR
    assert taken("bare", "--delete", "chair", "--no-rim") == taken("grey", "--opacity", "chair:0.5") == NUM_CHAIR - 1
    assert "rim = false" in (tmp_path / "bare.toml").read_text()


def test_edits_are_made_in_the_order_of_the_command_line_after_those_of_the_file(door, run, tmp_path):
    write_edits(tmp_path / "first.toml", EditList([Delete("lamp")]))
    flags = ("--opacity", "chair:0.5", "--duplicate", "chair:1,0,0", "--opacity=chair:0.25", "chair:0.3")
    lines = door(run.folder, *flags, "--scale", "chair:2", "--edits", tmp_path / "first.toml", "--dry-run")
    titles = ["delete", "opacity", "duplicate", "opacity", "opacity", "scale"]
    assert [line.split("(")[1].split()[0] for line in lines] == titles
    assert [line.split(": ")[1].split(" Gaussians")[0] for line in lines[1:4]] == ["30 of 30", "30 of 30", "60 of 60"]


def test_a_dry_run_says_the_same_and_writes_nothing(door, run, tmp_path):
    before = files_below(tmp_path)
    pictures = ("--views", 0, "--turntable", "--turntable-seconds", 0.1)
    options = (run.folder, "--delete", "chair", *pictures, "--out", tmp_path / "new" / "a.ply")
    said = door(*options, "--dry-run")
    assert files_below(tmp_path) == before and not (tmp_path / "new").exists()
    assert door(*options)[:1] == said


def test_an_edited_ply_is_asked_edited_and_exported_as_a_run_is(call, door, run, tmp_path):
    door(run.folder, "--duplicate", "chair:0,0.1,0")
    edited = run.folder / "edited.ply"
    assert call(query, edited, "--text", "chair")[0].startswith("3D: 60 of 90 Gaussians selected")
    lines = door(edited, "--delete", "chair", "--data", run.data, "--views", 0)
    twice = run.folder / "edited_edited.ply"
    assert lines[1] == f"scene: {twice}" and (run.folder / "edited_edited_a_v0.png").is_file()
    once, again = (Sidecar.load(sidecar_path(path)) for path in (edited, twice))
    assert once.texts.keys() == again.texts.keys() == set(NAMES)
    assert torch.equal(once.basis.B, again.basis.B) and once.basis.fingerprint == again.basis.fingerprint
    export_run(ExportArguments(twice, format="ply", out=tmp_path / "c.ply"))
    assert_same(read_ply(tmp_path / "c.ply"), original(run).map(lambda tensor: tensor[NUM_CHAIR:]))


def test_photos_are_read_once_for_edits_that_ask(door, run, monkeypatch, tmp_path):
    loads, ours = [], base.load_scene
    monkeypatch.setattr(base, "load_scene", lambda *arguments: loads.append(arguments) or ours(*arguments))
    door(run.folder, "--delete", "chair", "--views", 0, "--out", tmp_path / "a.ply")
    assert len(loads) == 1 and sidecar_path(tmp_path / "a.ply").is_file()


def test_an_exported_ply_is_edited_as_its_run_is(door, run, tmp_path):
    ply = export_run(ExportArguments(run.folder, out=tmp_path / "away" / "a.ply"))
    ours = door(run.folder, "--delete", "lamp", "--out", tmp_path / "ours.ply")
    assert door(ply, "--delete", "lamp")[:1] == ours[:1]
    assert (tmp_path / "away" / "a_edited.ply").read_bytes() == (tmp_path / "ours.ply").read_bytes()


def test_a_click_means_what_the_photo_showed_before_any_edit(door, run, tmp_path):
    write_edits(tmp_path / "a.toml", EditList([Delete(Click("a/v0.png", 8, 11))]))
    report = door(run.folder, "--edits", tmp_path / "a.toml", "--dry-run")[0]
    assert f"{NUM_CHAIR} of 60 Gaussians" in report
    ply = export_run(ExportArguments(run.folder))
    with pytest.raises(UserError, match=r"edit 1 .*holds no photos to look from; give their folder as --data"):
        door(ply, "--edits", tmp_path / "a.toml")


def test_no_negatives_in_a_file_ask_by_the_plain_cosine(door, run, tmp_path, caplog):
    write_edits(tmp_path / "a.toml", EditList([Delete("chair", negatives=())]))
    with caplog.at_level("INFO", logger="gsdff"):
        door(run.folder, "--edits", tmp_path / "a.toml", "--dry-run")
        door(run.folder, "--delete", "chair", "--dry-run")
    assert '"chair": cosine at least' in caplog.text and '"chair": relevancy at least' in caplog.text


@pytest.mark.parametrize("kind", ["run", "ply"])
def test_a_saved_selection_edits_what_cannot_be_asked(door, tmp_path, generator, kind):
    run = write_run(tmp_path, make_gaussians(generator))
    source = run.folder
    if kind == "ply":
        source = tmp_path / "other.ply"
        write_ply(source, replace(original(run), features=torch.rand(60, 2, generator=generator)))
    mask = torch.arange(60) < 7
    Selection(mask).save(tmp_path / "seven.safetensors", source="a test")
    write_edits(tmp_path / "a.toml", EditList([Delete(tmp_path / "seven.safetensors")]))
    options = ("--edits", tmp_path / "a.toml", "--out", tmp_path / "b.ply", "--views", 0, "--data", run.data)
    assert door(source, *options)[-1] == f"picture: {tmp_path / 'b_a_v0.png'}"
    whole = original(run) if kind == "run" else read_ply(source)
    assert_same(read_ply(tmp_path / "b.ply"), whole.map(lambda tensor: tensor[~mask]))
    assert not sidecar_path(tmp_path / "b.ply").exists()
    hint = "has no features to query; add some" if kind == "run" else "without it the features of the PLY beside it"
    with pytest.raises(UserError, match=hint):
        door(source, "--delete", "chair")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "expected something to do: --edits FILE or --extract, --delete, --recolor"),
        (("--delete",), "--delete: expected a text, got nothing"),
        (("--recolor", "chair:mauve"), "--recolor 'chair:mauve': expected TEXT:COLOR"),
        (("--delete", "chair", "--threshold", 2), "--threshold: expected a score in -1..1, got 2.0"),
        (("--delete", "chair", "--keep-largest", -1), "--keep-largest: expected 0 to 1000000, got -1"),
        (("--delete", "chair", "--background", "mauve"), "--background: expected a colour"),
        (("--delete", "chair", "--out", "a.splat"), "--out a.splat: expected a name ending in .ply"),
        (("--delete", "chair", "--views", 0, "--all-held-out"), "--views and --all-held-out: expected one of them"),
        (("--delete", "chair", "--turntable-seconds", 0), "expected a time above 0, at most 3600, got 0"),
        (("--edits", "nowhere.toml"), "--edits nowhere.toml: no such file or folder"),
        (("--edits", "{malformed}"), "malformed.toml: edit 1: operation: expected one of"),
        (("--edits", "{fine}", "--threshold", 0.5), "--no-rim, --keep-largest, --grow: no option edits"),
        (("--edits", "{fine}", "--no-rim"), "--negative, --threshold, --no-rim, --keep-largest, --grow: no option"),
    ],
)
def test_bad_options_are_refused_before_the_run_is_read(door, tmp_path, options, message):
    (tmp_path / "malformed.toml").write_text('[[edit]]\noperation = "remove"\npositives = "chair"\n')
    (tmp_path / "fine.toml").write_text('[[edit]]\noperation = "delete"\npositives = "chair"\n')
    places = {"malformed": tmp_path / "malformed.toml", "fine": tmp_path / "fine.toml"}
    with pytest.raises(UserError, match=message):
        door(tmp_path, *(str(option).format(**places) for option in options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--delete", "sofa"), r"--delete: .*unknown name .sofa.; did you mean"),
        (("--delete", "chair", "--negative", "chair"), r"edit 1 .*cannot be positive and negative at once"),
        (("--delete", "chair", "--threshold", 1), r"edit 1 .*selects nothing; lower its threshold of 1"),
        (("--delete", "chair", "--delete", "chair"), r"edit 2 .*selects nothing; set a threshold"),
        (("--delete", "chair+lamp", "--threshold", 0), r"edit 1 .*selects all that is left"),
        (("--delete", "chair", "--views", "nowhere"), r"--views nowhere: expected an index from 0 to 9 or the name"),
    ],
)
def test_what_the_scene_does_not_hold_is_refused_and_nothing_written(door, run, tmp_path, options, message):
    before = files_below(tmp_path)
    with pytest.raises(UserError, match=message):
        door(run.folder, *options)
    assert files_below(tmp_path) == before


def test_pictures_of_a_ply_need_its_photos(door, run):
    ply = export_run(ExportArguments(run.folder))
    for option in (("--views", 0), ("--turntable",)):
        with pytest.raises(UserError, match="holds no photos to look from; give their folder as --data"):
            door(ply, "--delete", "chair", *option)
    assert not ply.with_name("scene_edited.ply").exists()


def test_neither_the_source_nor_files_of_others_are_overwritten(door, run, tmp_path):
    ply = export_run(ExportArguments(run.folder))
    before = files_below(tmp_path)
    for source, out, message in (
        (ply, ply, "is the scene being edited; choose another name"),
        (run.folder, ply, "is the scene being edited; choose another name"),
        (run.folder, run.folder / "config.ply", "the edits made would take the place of .*config.toml"),
    ):
        with pytest.raises(UserError, match=message):
            door(source, "--delete", "chair", "--out", out)
    assert files_below(tmp_path) == before


def test_a_file_of_edits_named_as_the_result_is_left_alone(door, run):
    text = '# mine\n[[edit]]\noperation = "delete"\npositives = "chair"\n'
    own = run.folder / "edited.toml"
    own.write_text(text)
    assert len(door(run.folder, "--edits", own)) == 2
    assert own.read_text() == text
    with pytest.raises(UserError, match=r"would take the place of .*edited.toml; choose another name"):
        door(run.folder, "--edits", own, "--move", "lamp:1,0,0")


def test_an_error_is_one_line_and_a_non_zero_exit(run):
    command = [sys.executable, "-m", "gsdff.edit", str(run.folder), "--delete", "sofa"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "error: --delete: " in done.stderr
    assert "Traceback" not in done.stderr and done.stdout == ""


def test_a_parameter_of_the_library_is_named_as_its_option(run):
    for option, value in (("--threshold", "2"), ("--keep-largest", "-1")):
        command = [sys.executable, "-m", "gsdff.edit", str(run.folder), "--delete", "chair", option, value]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 1 and done.stderr.startswith(f"error: {option}: expected ")


def test_every_operation_has_an_option_and_every_limit_the_name_that_edits_have_for_it(call, capsys):
    names = {entry.name for entry in fields(EditArguments)}
    assert OPERATIONS.keys() <= names
    assert {"negatives", "threshold", "rim", "keep_largest", "grow"} <= names & {entry.name for entry in fields(Delete)}
    with pytest.raises(SystemExit):
        call(edit, "--help")
    lines = capsys.readouterr().out.splitlines()
    for name, kind in OPERATIONS.items():
        assert any(f"--{name} {kind.form} ..." in line for line in lines)
