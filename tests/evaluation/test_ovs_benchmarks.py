"""Benchmarks on a run whose selections are known: chairs on the left, lamps on the right."""

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_ovs_labels import thing, write_frame, write_masks
from tiny_answers import NUM_CHAIR, write_asked_run
from tiny_run import HEIGHT, WIDTH, TinyRun, open_field

from gsdff import evaluate
from gsdff.errors import UserError
from gsdff.evaluation.ovs.benchmarks import score_ovs
from gsdff.evaluation.ovs.labels import find_views, read_lerf_ovs
from gsdff.evaluation.ovs.lerf import score_lerf_ovs
from gsdff.evaluation.ovs.options import OvsOptions
from gsdff.evaluation.ovs.report import format_ovs
from gsdff.evaluation.ovs.texts import describe_texts, prepare_text
from gsdff.export import ExportArguments, export_run
from gsdff.field.field import Field
from gsdff.io.pictures import GAP, TITLE_HEIGHT
from gsdff.render import render_features

SIZE = (WIDTH, HEIGHT)
EVERYWHERE = [[0, 0], [WIDTH - 1, 0], [WIDTH - 1, HEIGHT - 1], [0, HEIGHT - 1]]
LEFT, RIGHT = [0, 0, WIDTH // 2 - 1, HEIGHT - 1], [WIDTH // 2, 0, WIDTH - 1, HEIGHT - 1]
PLAIN = OvsOptions(filter_size=1, majority_size=1)


@pytest.fixture
def run(tmp_path, generator) -> TinyRun:
    return write_asked_run(tmp_path, generator)


@pytest.fixture
def labels(tmp_path) -> Path:
    """Labels of two held-out photos: all pixels are chair and lamp; boxes are right, then wrong."""
    folder = tmp_path / "label"
    right = thing("chair", EVERYWHERE, bbox=LEFT), thing("lamp", EVERYWHERE, bbox=RIGHT)
    wrong = (thing("chair", EVERYWHERE, bbox=RIGHT),)
    write_frame(folder, "v0", *right, size=SIZE)
    write_frame(folder, "v3", *wrong, size=SIZE)
    for stem, photo in (("v0", "a/v0.png"), ("v3", "b/v3.png")):  # several photos have these stems
        path = folder / f"{stem}.json"
        path.write_text(path.read_text().replace(f"{stem}.jpg", photo))
    return folder


def alpha_of(run: TinyRun, name: str, kept: slice) -> torch.Tensor:
    field = open_field(run.folder)
    gaussians = field.gaussians.map(lambda tensor: tensor[kept]).to_working_frame(field.scene.frame)
    return render_features(gaussians, field.find_view(name).camera).alpha[..., 0]


def test_lerf_ovs_by_hand(run, labels):
    """The truth is the whole picture, so that an IoU is the share of pixels in the mask."""
    result, path = score_ovs(open_field(run.folder), "lerf-ovs", labels, options=PLAIN)
    assert path == run.folder / "evaluation" / "lerf-ovs.json" and json.loads(path.read_text()) == result
    assert (result["num_frames"], result["num_frames_held_out"]) == (2, 2)
    frames = result["frames"]
    assert [(name, [*rows]) for name, rows in frames.items()] == [
        ("a/v0.png", ["chair", "lamp"]),
        ("b/v3.png", ["chair"]),
    ]
    assert [row["is_hit"] for rows in frames.values() for row in rows.values()] == [True, True, False]
    # 2D: latents are [a, b, 0], unit text vectors are the axes. Relevancy is that of a / |z| against the greater of
    # b / |z| and 0 (wall), its threshold 0.7 of the way from the least to the largest.
    field = open_field(run.folder)
    a, b = field.blend(field.find_view("a/v0.png"))[..., :2].unbind(-1)
    length = torch.hypot(a, b)
    relevancy = torch.where(length > 1e-6, torch.sigmoid((a - b) / length.clamp_min(1e-6) / 0.1), 0)
    share = (relevancy > relevancy.min() + 0.7 * (relevancy.max() - relevancy.min())).double().mean()
    assert 0.05 < share < 0.5 and frames["a/v0.png"]["chair"]["iou_2d"] == pytest.approx(float(share))
    # 3D: the thirty chairs drawn alone
    for name, rows in frames.items():
        share = (alpha_of(run, name, slice(None, NUM_CHAIR)) > 0.7).double().mean()
        assert share > 0.02 and rows["chair"]["iou_3d"] == pytest.approx(float(share))
    assert result["categories"]["chair"]["num_gaussians"] == NUM_CHAIR
    assert result["categories"]["lamp"]["num_gaussians"] == 60 - NUM_CHAIR


def test_means_are_over_pairs_of_category_and_frame(run, labels):
    result, _ = score_ovs(open_field(run.folder), "lerf-ovs", labels, options=PLAIN)
    rows = [row for some in result["frames"].values() for row in some.values()]
    assert result["mean"]["num"] == 3
    assert result["mean"]["localization"] == pytest.approx(2 / 3)
    assert result["categories"]["chair"]["localization"] == 0.5 and result["categories"]["lamp"]["localization"] == 1
    for key in ("iou_2d", "iou_3d"):
        assert result["mean"][key] == pytest.approx(sum(row[key] for row in rows) / 3)
    above = [row["iou_3d"] > 0.25 for row in rows]
    assert result["mean"]["accuracy_0.25"] == pytest.approx(sum(above) / 3)


def test_macro_means_are_over_categories_and_micro_means_over_pixels(run, labels):
    """The truth is the whole picture in all three pairs, so that the micro IoU is the share of all pixels."""
    result, _ = score_ovs(open_field(run.folder), "lerf-ovs", labels, options=PLAIN)
    assert result["macro"]["localization"] == pytest.approx((0.5 + 1) / 2)
    first, second = result["frames"].values()
    by_hand = ((first["chair"]["iou_3d"] + second["chair"]["iou_3d"]) / 2 + first["lamp"]["iou_3d"]) / 2
    assert result["macro"]["iou_3d"] == pytest.approx(by_hand)
    assert result["micro"]["iou_2d"] == pytest.approx(result["mean"]["iou_2d"])
    corner = thing("lamp", [[0, 0], [3, 0], [3, 1], [0, 1]])
    write_frame(labels, "v3", corner, size=SIZE)
    (labels / "v3.json").write_text((labels / "v3.json").read_text().replace("v3.jpg", "b/v3.png"))
    result, _ = score_ovs(open_field(run.folder), "lerf-ovs", labels, options=PLAIN)
    pixels = [row["pixels"] for rows in result["frames"].values() for row in rows.values()]
    assert [counts["truth"] for counts in pixels] == [WIDTH * HEIGHT, WIDTH * HEIGHT, 8]
    common = sum(counts["common_3d"] for counts in pixels)
    union = sum(counts["truth"] + counts["mask_3d"] - counts["common_3d"] for counts in pixels)
    assert result["micro"]["iou_3d"] == pytest.approx(common / union) != result["mean"]["iou_3d"]


def test_the_strict_line_is_over_frames_that_were_not_trained_on(run, labels):
    held_out, _ = score_ovs(open_field(run.folder), "lerf-ovs", labels, options=PLAIN)
    assert held_out["strict"] == {key: held_out[key] for key in ("mean", "macro", "micro")}
    (labels / "v3.json").write_text((labels / "v3.json").read_text().replace("b/v3.png", "b/v2.png"))
    mixed, _ = score_ovs(open_field(run.folder), "lerf-ovs", labels, options=PLAIN)
    assert mixed["mean"]["num"] == 3 and mixed["strict"]["mean"]["num"] == 2 and mixed["num_frames_held_out"] == 1
    assert mixed["strict"]["mean"]["localization"] == 1 and mixed["mean"]["localization"] < 1
    flags = [row["is_held_out"] for rows in mixed["frames"].values() for row in rows.values()]
    assert flags == [True, True, False]
    (labels / "v0.json").unlink()
    trained, _ = score_ovs(open_field(run.folder), "lerf-ovs", labels, options=PLAIN)
    assert trained["strict"] is None and "no strict line" in format_ovs(trained)


def test_every_query_has_a_line_in_the_log(run, labels):
    result, path = score_ovs(open_field(run.folder), "lerf-ovs", labels, options=PLAIN)
    with path.with_name("lerf-ovs_queries.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["frame"], line["text"]) for line in lines] == [
        ("a/v0.png", "chair"),
        ("a/v0.png", "lamp"),
        ("b/v3.png", "chair"),
    ]
    row = result["frames"]["a/v0.png"]["chair"]
    assert lines[0]["is_held_out"] == "True" and float(lines[0]["iou_2d"]) == row["iou_2d"]
    assert [int(lines[0]["peak_x"]), int(lines[0]["peak_y"])] == row["peak"]
    assert int(lines[0]["pixels_truth"]) == WIDTH * HEIGHT
    assert int(lines[0]["pixels_common_2d"]) / (WIDTH * HEIGHT) == pytest.approx(row["iou_2d"])
    assert 0 <= float(lines[0]["relevancy_min"]) < float(lines[0]["relevancy_max"]) <= 1


def test_of_several_levels_each_text_takes_the_one_that_knows_it_best(run, labels):
    """A second field, of whose Gaussians all are half lamp, answers less surely to chair and no surer to lamp."""
    field = open_field(run.folder)
    assert field.gaussians.features is not None
    weaker = replace(field.gaussians, features=field.gaussians.features + torch.tensor([0.0, 0.5, 0.0]))
    other = replace(field, gaussians=weaker)
    alone, _ = score_ovs(field, "lerf-ovs", labels, options=PLAIN)
    both, _ = score_ovs(field, "lerf-ovs", labels, options=PLAIN, levels=[other])
    assert both["frames"] == alone["frames"] and "best of 2 levels" in both["protocol"]["2d"]
    turned, _ = score_ovs(other, "lerf-ovs", labels, options=PLAIN, levels=[field])
    row = turned["frames"]["a/v0.png"]["chair"]
    assert row["level"] == 1 and row["iou_2d"] == alone["frames"]["a/v0.png"]["chair"]["iou_2d"]
    split = replace(field.scene, held_out=(0,))
    other.read = {**field.read, "scene": split}
    strict, _ = score_ovs(field, "lerf-ovs", labels, options=PLAIN, levels=[other])
    assert strict["num_frames_held_out"] == 1 and strict["strict"]["mean"]["num"] == 2  # b/v3 was trained on by one
    with pytest.raises(UserError, match="`levels`: expected none for 3d-ovs"):
        score_ovs(field, "3d-ovs", labels, levels=[other])


def test_the_mask_of_a_pixels_relevancy_is_what_the_picture_shows(run, labels):
    score_ovs(open_field(run.folder), "lerf-ovs", labels, options=PLAIN)
    folder = run.folder / "evaluation" / "lerf-ovs"
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["a_v0_00_chair.png", "a_v0_01_lamp.png", "b_v3_00_chair.png"]
    picture = np.asarray(Image.open(folder / names[0]))[TITLE_HEIGHT:]
    photo, truth, heat, answer, covered = (picture[:, i * (WIDTH + GAP) :][:, :WIDTH] for i in range(5))
    assert np.array_equal(photo, truth) and (heat == [0, 255, 0]).all(-1).any()
    assert np.array_equal(answer[11, 8], photo[11, 8]) and not np.array_equal(answer[11, 21], photo[11, 21])
    assert np.array_equal(covered[11, 8], photo[11, 8]) and not np.array_equal(covered[11, 21], photo[11, 21])


def test_labels_of_a_picture_twice_as_large_score_the_same_with_windows_twice_as_large(run, labels):
    windows = OvsOptions(filter_size=5, majority_size=3)
    small, _ = score_ovs(open_field(run.folder), "lerf-ovs", labels, options=windows)
    for path in labels.glob("*.json"):
        frame = json.loads(path.read_text())
        frame["info"] |= {"width": 2 * WIDTH, "height": 2 * HEIGHT}
        for entry in frame["objects"]:
            entry["segmentation"] = [[2 * x, 2 * y] for x, y in entry["segmentation"]]
            entry["bbox"] = [2 * side for side in entry["bbox"]]
        path.write_text(json.dumps(frame))
    options = replace(windows, filter_size=10, majority_size=5)
    large, _ = score_ovs(open_field(run.folder), "lerf-ovs", labels, options=options)
    assert large["frames"] == small["frames"]


def hidden_chairs(run: TinyRun) -> Field:
    """A field whose lamps hide the chairs from the first camera."""
    field = open_field(run.folder)
    means = field.gaussians.means.clone()
    means[NUM_CHAIR:] = means[:NUM_CHAIR] - torch.tensor([0.0, 0.0, 0.8])
    opaque = torch.full_like(field.gaussians.logit_opacities, 6.0)
    return replace(field, gaussians=replace(field.gaussians, means=means, logit_opacities=opaque))


def test_drawn_alone_nothing_hides_what_answers_and_in_the_scene_it_may_be_hidden(run, labels, tmp_path):
    field, frames = hidden_chairs(run), read_lerf_ovs(labels)[:1]
    views = find_views(frames, field.scene)
    found = {
        how: score_lerf_ovs(field, frames, views, replace(PLAIN, occlusion=how), tmp_path / how)
        for how in ("alone", "scene")
    }
    alone, scene = (found[how]["frames"]["a/v0.png"] for how in ("alone", "scene"))
    assert alone["chair"]["iou_3d"] > 0.02 and scene["chair"]["iou_3d"] < 0.2 * alone["chair"]["iou_3d"]
    assert scene["lamp"]["iou_3d"] > 0.02
    assert (
        "drawn alone" in found["alone"]["protocol"]["3d"] and "drawn in the scene" in found["scene"]["protocol"]["3d"]
    )


def test_argmax_gives_every_gaussian_to_the_nearest_of_the_labels_texts(run, labels):
    """With a single text, all Gaussians have the largest cosine with it, lamps too."""
    argmax = replace(PLAIN, select="argmax")
    both, _ = score_ovs(open_field(run.folder), "lerf-ovs", labels, options=argmax)
    assert both["categories"]["chair"]["num_gaussians"] == NUM_CHAIR
    (labels / "v0.json").unlink()
    one, _ = score_ovs(open_field(run.folder), "lerf-ovs", labels, options=argmax)
    assert one["categories"]["chair"]["num_gaussians"] == 60 and "largest cosine" in one["protocol"]["3d"]


def test_what_nothing_answers_to_scores_zero(run, labels):
    """No Gaussian is a wall: the selection is empty, and can be drawn."""
    text = (labels / "v3.json").read_text().replace("chair", "wall")
    (labels / "v3.json").write_text(text)
    result, _ = score_ovs(open_field(run.folder), "lerf-ovs", labels, options=PLAIN)
    wall = result["categories"]["wall"]
    assert wall["num_gaussians"] == 0 and wall["iou_3d"] == 0 and wall["accuracy_0.25"] == 0


def test_what_was_done_is_said_with_its_negatives(run, labels):
    said = score_ovs(open_field(run.folder), "lerf-ovs", labels)[0]["protocol"]
    assert "all 2 other names that the field knows, as it lacks object, things, stuff, texture" in said["2d"]
    assert said["texts"] == (
        "vectors by name, of the precomputed teacher; published: bare words, of open_clip's ViT-B-16 with weights "
        "laion2b_s34b_b88k"
    )
    assert "without OpenGaussian's filters" in said["3d"]
    assert "mean filter of 30 px" in said["2d"] and "cut above 0.4" in said["2d"] and "above 0.7" in said["3d"]


class WordsOfAnyKind:
    """A text encoder that knows all words, and keeps what it was given."""

    name, vocabulary = "clip", None

    def __init__(self, vectors: torch.Tensor):
        self.vectors, self.given = vectors, []

    def phrases(self, phrases: Sequence[str]) -> torch.Tensor:
        self.given += phrases
        return self.vectors[[len(phrase) % len(self.vectors) for phrase in phrases]]

    def text(self, names: Sequence[str]) -> torch.Tensor:
        return self.phrases([f"my {name}" for name in names])


@pytest.mark.parametrize(
    ("prompt", "given", "said"),
    [
        (
            "{}",
            "mug",
            "bare words, of the clip teacher (ViT-B-16-quickgelu with weights openai); published: bare words",
        ),
        ("one {}", "one mug", "in 'one {}', of the clip"),
        ("", "my mug", "in the teacher's own sentences, of the clip"),
    ],
)
def test_texts_and_negatives_are_bare_words_unless_a_sentence_is_wanted(run, prompt, given, said):
    field = open_field(run.folder)
    teacher = WordsOfAnyKind(torch.nn.functional.normalize(torch.randn(7, 5), dim=1))
    assert field.run is not None
    config = replace(field.run.config, teacher=replace(field.run.config.teacher, name="clip"))
    field = replace(field, run=replace(field.run, config=config), read={"vocabulary": None, "teacher": teacher})
    options = OvsOptions(prompt=prompt)
    prepare_text(field, "mug", options)
    assert teacher.given == [given, *(given.replace("mug", word) for word in ("object", "things", "stuff", "texture"))]
    assert describe_texts(field, options, "CLIP").startswith(said)


def test_a_teacher_that_knows_names_only_takes_no_sentences(run, labels):
    with pytest.raises(
        UserError, match=r"`ovs.prompt` 'a {}': the precomputed teacher of .* knows names, no sentences"
    ):
        score_ovs(open_field(run.folder), "lerf-ovs", labels, options=OvsOptions(prompt="a {}"))


def answered(run: TinyRun) -> np.ndarray:
    """Labels of the pixels of a/v0 by argmax: 0 chair, 1 lamp, 255 nothing."""
    field = open_field(run.folder)
    latents = field.blend(field.find_view("a/v0.png"))
    return latents.argmax(-1).masked_fill(latents.norm(dim=-1) < 1e-6, 255).numpy()


def test_3d_ovs_by_hand(run, tmp_path):
    """The truth is the field's own prediction, except that half of the lamp's pixels have no class."""
    answer = answered(run)
    ys, xs = np.nonzero(answer == 1)
    lamp = answer == 1
    lamp[ys[::2], xs[::2]] = False
    masks = {"chair": answer == 0, "lamp": lamp, "wall": np.zeros(answer.shape, bool)}
    root = write_masks(tmp_path / "segmentations", {"00": masks}, ["chair", "lamp", "wall"])
    result, path = score_ovs(open_field(run.folder), "3d-ovs", root)
    assert path.name == "3d-ovs.json" and json.loads(path.read_text()) == result
    kept = lamp.sum() / (answer == 1).sum()
    assert result["categories"]["chair"] == {"iou": 1, "class_accuracy": 1}
    assert result["categories"]["lamp"] == {"iou": pytest.approx(kept), "class_accuracy": 1}
    assert result["categories"]["wall"] == {"iou": None, "class_accuracy": None}  # neither in the truth nor predicted
    assert result["mean"]["iou"] == pytest.approx((1 + kept) / 2) and result["mean"]["class_accuracy"] == 1
    wrong = ((answer == 1) & ~lamp).sum()
    assert result["mean"]["accuracy"] == pytest.approx(1 - wrong / answer.size)
    assert result["macro"]["iou"] == result["mean"]["iou"]  # a view has one pair for each class
    shown = (answer != 255).sum()
    assert result["micro"]["iou"] == pytest.approx((shown - wrong) / shown)
    assert result["strict"] == {key: result[key] for key in ("mean", "macro", "micro")}
    assert [file.name for file in (path.with_suffix("")).iterdir()] == ["a_v0.png"]


def test_3d_ovs_by_relevancy_takes_each_class_alone(run, tmp_path):
    answer = answered(run)
    root = write_masks(tmp_path / "s", {"00": {"chair": answer == 0, "lamp": answer == 1}}, ["chair", "lamp"])
    plain = replace(PLAIN, answer="relevancy")
    result, _ = score_ovs(open_field(run.folder), "3d-ovs", root, options=plain)
    labels = tmp_path / "label"
    write_frame(labels, "v0", thing("chair", EVERYWHERE), size=SIZE)
    (labels / "v0.json").write_text((labels / "v0.json").read_text().replace("v0.jpg", "a/v0.png"))
    lerf, _ = score_ovs(open_field(run.folder), "lerf-ovs", labels, options=PLAIN)
    # all of its mask are chairs, so that the share of chairs in it is the mask's size over theirs
    share = lerf["mean"]["iou_2d"] * answer.size / (answer == 0).sum()
    assert result["categories"]["chair"]["class_accuracy"] == pytest.approx(share)
    assert "each class alone: " in result["protocol"]["2d"] and "localization" not in result["protocol"]["2d"]


def test_a_ply_scores_what_its_run_does(run, labels, tmp_path):
    ply = export_run(ExportArguments(run.folder, out=tmp_path / "away" / "scene.ply"))
    ours, _ = score_ovs(open_field(run.folder), "lerf-ovs", labels)
    theirs, path = score_ovs(open_field(ply, data=run.data), "lerf-ovs", labels)
    assert theirs["frames"] == ours["frames"] and path == tmp_path / "away" / "scene_evaluation" / "lerf-ovs.json"
    with pytest.raises(UserError, match="holds no photos to look from; give their folder as `data`"):
        score_ovs(open_field(ply), "lerf-ovs", labels)


def test_names_that_cannot_be_asked_for_are_all_named_before_anything_is_rendered(run, labels, monkeypatch):
    monkeypatch.setattr(Field, "render", lambda *args: pytest.fail("rendered"))
    text = (labels / "v0.json").read_text()
    (labels / "v0.json").write_text(text.replace('"lamp"', '"zebra"').replace('"chair"', '"tiger"'))
    with pytest.raises(
        UserError, match=r"label: labels tiger, zebra, which .*tiny .*does not know; it knows chair, lamp, wall\."
    ):
        score_ovs(open_field(run.folder), "lerf-ovs", labels)
    (run.folder.parents[1] / "maps" / "text_features.npz").unlink()
    with pytest.raises(UserError, match="knows no text"):
        score_ovs(open_field(run.folder), "lerf-ovs", labels)


def test_labels_of_another_scene_are_refused_before_anything_is_rendered(run, labels, monkeypatch):
    monkeypatch.setattr(Field, "render", lambda *args: pytest.fail("rendered"))
    write_frame(labels, "frame_00041", thing("chair"), size=SIZE)
    with pytest.raises(UserError, match=r"frame_00041.json: no photo of .* its photos are a/v0.png"):
        score_ovs(open_field(run.folder), "lerf-ovs", labels)


@pytest.fixture
def door(call):
    return lambda *arguments: "\n".join([*call(evaluate, *arguments), ""])


def test_the_door_prints_what_was_done_and_a_row_by_category(door, run, labels):
    out = door(run.folder, "--benchmark", "lerf-ovs", "--labels", labels, "--ovs.threshold", "0.3")
    assert out.startswith(f"2 labelled photos, 2 of them held out, of {labels}\ntexts: ")
    assert "cut above 0.3" in out
    table = [line.split() for line in out.split("\n\n")[1].splitlines()]
    assert [row[0] for row in table[1:]] == ["chair", "lamp", "mean", "macro", "micro", *["strict:"] * 3]
    assert table[1][1] == "2" and table[1][3] == "0.500" and table[1][4] == str(NUM_CHAIR)
    assert f"written to {run.folder / 'evaluation' / 'lerf-ovs.json'}" in out


def test_the_door_prints_a_row_by_class(door, run, tmp_path):
    answer = answered(run)
    root = write_masks(tmp_path / "s", {"00": {"chair": answer == 0, "lamp": answer == 1}}, ["chair", "lamp"])
    out = door(run.folder, "--benchmark", "3d-ovs", "--labels", root)
    table = [line.split() for line in out.split("\n\n")[1].splitlines()]
    assert table[1:3] == [["chair", "1.000", "1.000"], ["lamp", "1.000", "1.000"]]
    assert table[3] == ["mean", "over", "pairs", "1.000", "1.000"]
    assert "accuracy over all pixels: 1.000" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--benchmark", "lerf-ovs"), "--benchmark lerf-ovs: expected the folder of its labels, --labels DIR"),
        (("--benchmark", "3d-ovs", "--labels", "x", "--classes", "a", "b"), "go without --benchmark"),
        (("--ovs.alpha", "0.5"), "--ovs goes with --benchmark"),
        (("--levels", "x"), "--levels goes with --benchmark lerf-ovs"),
        (("--benchmark", "3d-ovs", "--labels", "x", "--levels", "y"), "--levels goes with --benchmark lerf-ovs"),
        (("--benchmark", "3d-ovs", "--labels", "x", "--ovs.alpha", "2"), "--ovs.alpha: expected a number"),
    ],
)
def test_options_that_do_not_go_together_are_refused_before_the_run_is_read(door, tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        door(tmp_path / "nowhere", *options)
