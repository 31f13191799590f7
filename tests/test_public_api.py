"""The Python API as its page shows it: one object, results as pictures, words and paths as people write them."""

import ast
import inspect
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_answers import NAMES, NUM_CHAIR, write_asked_run
from tiny_run import HEIGHT, WIDTH, make_gaussians, write_run

import gsdff
from gsdff.editing.table import OPERATIONS
from gsdff.io.ply import read_ply, write_ply

PACKAGE = Path(gsdff.__file__).parent


@pytest.fixture
def run(tmp_path, generator):
    return write_asked_run(tmp_path, generator)


@pytest.fixture
def field(run):
    return gsdff.load(run.folder, device="cpu")


# --- the package itself


def test_importing_gsdff_loads_neither_torch_nor_numpy():
    code = "import sys, gsdff; gsdff.__version__; print([m for m in ('torch', 'numpy', 'tyro') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there_documented_and_typed():
    stub = ast.parse((PACKAGE / "__init__.pyi").read_text())
    typed = {alias.name: node.module for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert typed == {name: f"gsdff.{module}" for name, module in gsdff.PUBLIC.items()}
    assert (PACKAGE / "py.typed").is_file()
    for name in gsdff.PUBLIC:
        assert name in dir(gsdff) and name in gsdff.__all__
        value = getattr(gsdff, name)
        doc = inspect.getdoc(value)
        assert doc and not doc.startswith(f"{name}("), f"{name} has no docstring of its own"


def test_every_operation_is_public():
    classes = {kind.location.partition(":")[2] for kind in OPERATIONS.values()}
    assert classes <= gsdff.PUBLIC.keys()


def test_a_name_that_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        _ = gsdff.lod


# --- loading


def test_strings_are_paths(run, tmp_path):
    field = gsdff.load(str(run.folder), device="cpu")
    ply = field.save(str(tmp_path / "away" / "a.ply"))
    again = gsdff.load(str(ply), data=str(run.data), device="cpu")
    assert isinstance(ply, Path) and torch.equal(again.gaussians.means, field.gaussians.means)
    assert torch.equal(again.query("chair").scores, field.query("chair").scores)


def test_any_3dgs_ply_is_a_field_whose_features_are_optional(tmp_path, generator):
    write_ply(tmp_path / "other.ply", make_gaussians(generator))
    field = gsdff.load(tmp_path / "other.ply", device="cpu")
    assert len(field) == 60 and not field.has_features and not field.has_photos
    assert repr(field) == f"<gsdff.Field {tmp_path / 'other.ply'}: 60 Gaussians, no features, on cpu>"
    with pytest.raises(gsdff.UserError, match=r"other\.ply: expected features"):
        field.query("chair")
    with pytest.raises(gsdff.UserError, match="give their folder as `data`"):
        field.render(0)


def test_a_field_is_one_line(field, run):
    assert repr(field) == (
        f"<gsdff.Field {run.folder}: 60 Gaussians, 3 latent channels of 5 (precomputed teacher), on cpu>"
    )


# --- queries


def test_a_query_scores_gaussians_or_with_a_view_pixels(field):
    hit = field.query("chair", negatives=["lamp"], only_negatives=True)
    assert hit.scores.shape == hit.selected.shape == (60,) and hit.threshold is not None
    assert hit.selected.tolist() == [True] * NUM_CHAIR + [False] * (60 - NUM_CHAIR)
    assert torch.equal(hit.selected, hit.scores >= hit.threshold) and len(hit.selection) == NUM_CHAIR
    seen = field.query("chair", view=3)
    assert seen.scores.shape == (HEIGHT, WIDTH) and seen.space == "2d" and seen.view.name == "a/v3.png"
    drawn = field.query("chair", view=3, space="3d")
    assert drawn.space == "3d" and torch.equal(drawn.selected, field.query("chair").in_view(3).selected)


def test_a_string_is_one_word_and_not_its_letters(field):
    assert torch.equal(field.query("chair").scores, field.query(["chair"]).scores)
    assert torch.equal(field.query("chair", negatives="lamp").scores, field.query("chair", negatives=["lamp"]).scores)
    with pytest.raises(gsdff.UserError, match="unknown name 'sofa'"):
        field.query("sofa")


def test_an_example_is_shown_in_place_of_words(field):
    assert field.query(gsdff.OneGaussian(0)).selected[:NUM_CHAIR].all()
    assert torch.equal(
        field.query(gsdff.Pixel(0, 8, 11)).scores, field.query(gsdff.Query(like=gsdff.Pixel(0, 8, 11))).scores
    )


def test_segments_are_the_best_class_of_everything(field):
    hit = field.segment(NAMES)
    assert hit.labels.tolist() == [0] * NUM_CHAIR + [1] * (60 - NUM_CHAIR)
    assert field.segment(NAMES, view="a/v3.png").labels.shape == (HEIGHT, WIDTH)
    assert repr(hit) == "<gsdff.Hit: chair 30, lamp 30, wall 0 of 60 Gaussians>"


@pytest.mark.usefixtures("unchecked")
def test_messages_speak_of_parameters(field):
    with pytest.raises(gsdff.UserError, match=r"`view` 77: expected an index from 0 to 9"):
        field.query("chair", view=77)
    with pytest.raises(gsdff.UserError, match=r"`space` '4d': expected 2d or 3d"):
        field.query("chair", space="4d")
    with pytest.raises(gsdff.UserError, match=r"`kind` 'colour': expected rgb, features, depth or alpha"):
        field.render(0, kind="colour")


# --- pictures


@pytest.mark.parametrize(("kind", "channels"), [("rgb", 3), ("features", 3), ("depth", 1), ("alpha", 1)])
def test_renderings_are_arrays_and_pictures(field, kind, channels, tmp_path):
    rendering = field.render(view=3, kind=kind)
    assert rendering.shape == np.asarray(rendering).shape == (HEIGHT, WIDTH, channels)
    assert rendering._repr_png_().startswith(b"\x89PNG")
    with Image.open(rendering.save(tmp_path / f"{kind}.png")) as picture:
        assert picture.size == (WIDTH, HEIGHT)
    assert np.load(rendering.save(str(tmp_path / "a.npy"))).shape == rendering.shape
    assert repr(rendering) == f"<gsdff.Rendering: {kind} of a/v3.png, {HEIGHT} x {WIDTH} x {channels}>"


def test_without_a_view_the_first_held_out_photo_is_rendered(field):
    assert field.render().view.name == "a/v0.png"
    assert field._repr_png_() == field.render()._repr_png_()


def test_a_hit_is_saved_as_pictures_or_as_a_selection(field, tmp_path):
    names = [path.name for path in field.query("chair", view=3).save(tmp_path / "car.png")]
    assert names == ["car.png", "car_mask.png", "car_overlay.png"] and (tmp_path / "car_mask.png").is_file()
    hit = field.query("chair")
    hit.save(str(tmp_path / "car.safetensors"))
    assert torch.equal(gsdff.Selection.load(tmp_path / "car.safetensors").mask, hit.selected)
    hit.save(tmp_path / "gaussians.png")  # drawn in the first held-out photo
    with Image.open(tmp_path / "gaussians_mask.png") as picture:
        assert picture.size == (WIDTH, HEIGHT)
    assert hit._repr_png_().startswith(b"\x89PNG")
    with pytest.raises(gsdff.UserError, match=r"`path` .*car\.jpg: expected a name ending in \.png or \.safetensors"):
        hit.save(tmp_path / "car.jpg")


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (lambda field: field.query("chair", method="foo"), "`method` 'foo': expected one of relevancy, lerf, cosine"),
        (
            lambda field: field.query("chair", threshold="0.5"),
            "`threshold`: expected a number from -10 to 10, got '0.5'",
        ),
        (
            lambda field: field.query("chair", temperature="hot"),
            "`temperature`: expected a positive number, 0.0001 to 10000, got 'hot'",
        ),
        (lambda field: field.query(3), "`positives`: expected a text or a list of texts, got 3"),
        (lambda field: field.query(b"chair"), "`positives`: expected a text or a list of texts, got b'chair'"),
        (lambda field: field.segment(["chair", 3]), "`classes`: expected a text or a list of texts, got ['chair', 3]"),
        (lambda field: field.query("chair", view=1.0), "`view` 1.0: expected the name of a photo or its index"),
        (lambda field: field.render(True), "`view` True: expected the name of a photo or its index"),
        (lambda field: field.encode_text([]), "`names`: expected one text or several, got none"),
        (lambda field: field.to("gpu"), "`device` 'gpu': expected auto, cpu, cuda or one card such as cuda:0"),
        (lambda field: field.edit([gsdff.Delete("chair")]), "write a star before a list: edit(*edits)"),
        (
            lambda _: gsdff.Delete(3),
            "`target`: expected texts, the Path of a saved selection, a Selection or a Click, got 3",
        ),
        (lambda field: gsdff.Delete(field.query("chair")), "; a Hit has a Selection, `hit.selection`"),
        (lambda _: gsdff.load(3), "`source`: expected the path of a run's folder or of a PLY, got 3"),
        (
            lambda _: gsdff.fit(gsdff.TrainConfig()),
            '`data`: expected the path of a folder, or "demo", got TrainConfig(',
        ),
        (lambda _: gsdff.fit(iterations=2.5), "`iterations`: expected a whole number of steps, at least 1, got 2.5"),
        (lambda _: gsdff.fit(iterations="20"), "`iterations`: expected a whole number of steps, at least 1, got '20'"),
    ],
)
def test_values_of_a_wrong_kind_are_user_errors(field, unchecked, mistake, message):
    with pytest.raises(gsdff.UserError) as error:
        mistake(field)
    assert message in str(error.value)


def test_a_view_may_be_a_numpy_integer_and_one_view_or_word_needs_no_list(field, unchecked):
    assert torch.equal(field.query("chair", view=np.int64(2)).scores, field.query("chair", view=2).scores)
    assert field.choose_views(2) == field.choose_views([2]) == field.choose_views(field.find_view(2).name)
    assert torch.equal(field.encode_text("chair"), field.encode_text(["chair"]))


# --- edits


def test_edits_give_another_field_and_leave_this_one(field, tmp_path):
    edited = field.edit(gsdff.Delete("chair"), gsdff.Recolor("lamp", "#2a6fdb"))
    assert len(field) == 60 and len(edited) == 60 - NUM_CHAIR and len(edited.edits) == 2
    assert repr(edited).endswith("2 edits, on cpu>")
    assert len(read_ply(edited.save(tmp_path / "edited.ply"))) == len(edited)
    again = gsdff.load(tmp_path / "edited.ply", device="cpu")
    assert again.query("lamp").selected.all()


def test_mistakes_in_edits_are_user_errors_that_name_the_parameter(field, unchecked):
    with pytest.raises(gsdff.UserError, match=r"^`edits`: expected edits such as gsdff.Delete.*, got 'chair'$"):
        field.edit("chair")
    with pytest.raises(gsdff.UserError, match=r"^`color`: expected a colour: .*; got 'bluu'$"):
        gsdff.Recolor("lamp", "bluu")
    with pytest.raises(gsdff.UserError, match=r"^`factor`: expected 1e-06 to 1000000, got 0"):
        gsdff.Scale("lamp", 0)
    with pytest.raises(gsdff.UserError, match=r"^`axis`: expected axis and degrees, or euler, got neither$"):
        gsdff.Rotate("lamp")


def test_an_edited_scene_never_takes_the_place_of_the_one_it_came_from(field, run, tmp_path):
    original = field.save(run.folder / "scene.ply").read_bytes()
    edited = field.edit(gsdff.Delete("chair"))
    with pytest.raises(gsdff.UserError, match=r"scene\.ply: is the scene being edited; choose another name"):
        edited.save(run.folder / "scene.ply")
    again = gsdff.load(run.folder / "scene.ply", device="cpu").edit(gsdff.Delete("chair"))
    with pytest.raises(gsdff.UserError, match=r"scene\.ply: is the scene being edited"):
        again.save(run.folder / "scene.ply")
    assert (run.folder / "scene.ply").read_bytes() == original
    with pytest.raises(gsdff.UserError, match=r"is named as a compressed PLY; expected `format` compressed"):
        field.save(tmp_path / "small.compressed.ply", format="ply")


def test_values_of_edits_may_be_arrays(field, unchecked):
    moved, as_list = (field.edit(gsdff.Move("chair", offset)) for offset in (np.array([1, 0, 0]), [1, 0, 0]))
    assert torch.equal(moved.gaussians.means, as_list.gaussians.means)
    assert gsdff.Recolor("chair", torch.tensor([1.0, 0, 0])).color == gsdff.Recolor("chair", "red").color


def test_any_object_that_is_a_path_is_one(run, unchecked):
    class Place:
        def __fspath__(self):
            return str(run.folder)

    assert len(gsdff.load(Place(), device="cpu")) == 60


def test_an_edit_of_a_selection_is_one_of_a_hit(field):
    assert len(field.edit(gsdff.Delete(field.query("chair").selection))) == 60 - NUM_CHAIR
    assert len(field.edit(gsdff.Extract("chair"), gsdff.Duplicate("chair", (1, 0, 0), copies=2))) == 3 * NUM_CHAIR


def test_a_dry_run_reports_and_changes_nothing(field):
    dry = field.edit(gsdff.Delete("chair"), dry_run=True)
    assert len(dry) == 60 and dry.edits[0].num_selected == NUM_CHAIR


# --- files and scores


def test_a_field_is_saved_in_the_format_of_its_name(field, tmp_path):
    assert read_ply(field.save(tmp_path / "a.ply", features="none")).features is None
    assert field.save(tmp_path / "a.splat").stat().st_size == 32 * 60
    with pytest.raises(gsdff.UserError, match=r"`path` .*a\.png: expected a name ending in \.ply for `format` ply"):
        field.save(tmp_path / "a.png")


def test_a_segmentation_is_a_folder(field, tmp_path):
    result = field.save_segmentation(NAMES, tmp_path / "out", views=[0, "a/v3.png"], min_area=1)
    assert result.folder == tmp_path / "out" and result.num_views == 2
    assert {"labels", "coco.json", "scene.ply", "points.ply", "preview"} <= {p.name for p in result.folder.iterdir()}


def test_evaluation_scores_the_held_out_views(tmp_path, generator):
    run = write_run(tmp_path, make_gaussians(generator))
    scores = gsdff.load(run.folder, device="cpu").evaluate()
    assert scores.images["mean"]["psnr"] > 54
    assert json.loads((run.folder / "evaluation" / "metrics.json").read_text())["images"] == scores.images


def test_a_ply_is_scored_as_its_run_is(tmp_path, generator):
    run = write_run(tmp_path, make_gaussians(generator))
    field = gsdff.load(run.folder, device="cpu")
    ply = gsdff.load(field.save(tmp_path / "a.ply"), data=run.data, device="cpu")
    assert ply.evaluate().images["mean"]["psnr"] == pytest.approx(field.evaluate().images["mean"]["psnr"], abs=0.01)
    assert (tmp_path / "a_evaluation" / "metrics.json").is_file()


# --- training


def test_a_run_is_trained_and_comes_back_as_a_field(tmp_path, generator, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = write_run(tmp_path / "made", make_gaussians(generator))
    options = {"stage1.max_gaussians": 200, "dataset.random_points": 80}
    field = gsdff.fit(str(run.data), iterations=12, out="runs/mine", options=options, device="cpu")
    assert field.source == Path("runs/mine") and field.run.step == 12 and not field.has_features
    with pytest.raises(gsdff.UserError, match="holds a run already; continue it with `resume`"):
        gsdff.fit(str(run.data), out="runs/mine", device="cpu")
    with pytest.raises(gsdff.UserError, match=r"unknown key stage1\.step; did you mean stage1\.steps\?"):
        gsdff.fit(str(run.data), out="runs/other", options={"stage1.step": 3}, device="cpu")


def test_iterations_are_divided_between_the_stages_as_the_preset_does(tmp_path, generator):
    run = write_asked_run(tmp_path / "made", generator)
    options = {"stage1.steps": 30, "stage2.steps": 10, "stage1.max_gaussians": 200, "features.dim": 3}
    options |= {"dataset.random_points": 80}
    labels = run.data / "labels"
    labels.mkdir()
    for i in range(5):
        Image.fromarray(np.full((HEIGHT, WIDTH), i % 2, np.uint8)).save(labels / f"v{i}.png")
    (run.data / "classes.json").write_text(json.dumps({"classes": [{"id": 0, "name": "a"}, {"id": 1, "name": "b"}]}))
    for folder in "b":  # stems must be unique for a teacher
        for path in (run.data / "images" / folder).iterdir():
            path.rename(path.with_name(f"w{path.name[1:]}"))
    text = (run.data / "transforms.json").read_text().replace("images/b/v", "images/b/w")
    (run.data / "transforms.json").write_text(text)
    for i in range(5):
        Image.fromarray(np.full((HEIGHT, WIDTH), i % 2, np.uint8)).save(labels / f"w{i}.png")
    field = gsdff.fit(run.data, teacher="labels", iterations=8, out=tmp_path / "run", options=options, device="cpu")
    assert (field.run.config.stage1.steps, field.run.config.stage2.steps) == (6, 2)
    assert field.has_features and field.query("a").scores.shape == (len(field),)
