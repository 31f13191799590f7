"""Questions with known answers, of pixels and of Gaussians, and questions that make no sense."""

import itertools
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_answers import NAMES, NUM_CHAIR, write_asked_run
from tiny_run import HEIGHT, WIDTH, open_field

from gsdff import Delete, Move, Opacity, Recolor
from gsdff.config.options import TeacherConfig
from gsdff.errors import UserError
from gsdff.export import ExportArguments, export_run
from gsdff.field import search as searching
from gsdff.field.query import Box, OneGaussian, PictureFile, Pixel, Query
from gsdff.field.relevancy import DEFAULT_NEGATIVES
from gsdff.field.search import search
from gsdff.scene import VOID

CHAIR, LAMP = (8, 11), (21, 11)
"""Pixels of view 0 that show one thing only."""
QUERIES = {
    "text": Query(positives=("chair",)),
    "negatives": Query(positives=("chair",), negatives=("lamp", "wall")),
    "lerf": Query(positives=("chair",), method="lerf", temperature=0.3),
    "cosine": Query(positives=("chair",), method="cosine"),
    "threshold": Query(positives=("chair",), threshold=0.5),
    "classes": Query(positives=("chair",), classes=NAMES),
    "pixel": Query(like=Pixel(0, *CHAIR)),
    "pixel with negatives": Query(like=Pixel("a/v0.png", *CHAIR), negatives=("lamp",)),
    "box": Query(like=Box(0, 7, 10, 10, 13)),
    "gaussian": Query(like=OneGaussian(3)),
}
EVERY_QUERY = pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES.keys())


@pytest.fixture
def run(tmp_path, generator):
    return write_asked_run(tmp_path, generator)


@pytest.fixture
def field(run):
    return open_field(run.folder)


@EVERY_QUERY
def test_the_gaussians_of_what_is_asked_for_are_selected_and_no_others(field, query):
    answer = search(field, query)
    assert answer.space == "3d" and answer.scores.shape == (60,)
    assert answer.selected.tolist() == (torch.arange(60) < NUM_CHAIR).tolist()
    assert len(answer.selection) == NUM_CHAIR


@EVERY_QUERY
def test_the_pixels_of_what_is_asked_for_light_up_and_no_others(field, query):
    view = field.find_view(0)
    answer = search(field, query, view)
    assert answer.space == "2d" and answer.scores.shape == answer.selected.shape == (HEIGHT, WIDTH)
    assert answer.selected[CHAIR[1], CHAIR[0]] and not answer.selected[LAMP[1], LAMP[0]]
    assert answer.selected[:, : WIDTH // 2].any() and not answer.selected[:, WIDTH // 2 + 2 :].any()
    assert not (answer.selected & ~answer.answered).any() and not answer.selected[0, 0]


@EVERY_QUERY
def test_gaussians_drawn_in_a_view_light_up_where_the_pixels_do(field, query):
    view = field.find_view(0)
    drawn, pixels = search(field, query).in_view(view), search(field, query, view)
    assert drawn.space == "3d" and drawn.scores.shape == (HEIGHT, WIDTH)
    assert torch.equal(drawn.answered, pixels.answered)
    assert (drawn.selected == pixels.selected).float().mean() > 0.97  # they blend otherwise where two things meet


@EVERY_QUERY
def test_a_ply_answers_as_its_run_does_to_the_bit(run, field, query, tmp_path):
    exported = open_field(export_run(ExportArguments(run.folder, out=tmp_path / "away" / "a.ply")), data=run.data)
    for view in (None, "a/v2.png"):
        ours, theirs = (search(each, query, view and each.find_view(view)) for each in (field, exported))
        assert torch.equal(ours.scores, theirs.scores) and torch.equal(ours.selected, theirs.selected)
        assert ours.threshold == theirs.threshold


def test_scores_by_hand(field):
    query = Query(positives=("chair",), negatives=("lamp",), only_negatives=True, temperature=0.5)
    scores = search(field, query).scores
    torch.testing.assert_close(scores[0], torch.tensor(2.0).sigmoid())  # cosines 1 and 0
    torch.testing.assert_close(scores[-1], torch.tensor(-2.0).sigmoid())
    torch.testing.assert_close(search(field, QUERIES["cosine"]).scores, (torch.arange(60) < NUM_CHAIR).float())


def test_several_texts_are_alternatives(field):
    for method in ("relevancy", "lerf", "cosine"):
        scores = search(field, Query(positives=("chair", "lamp"), method=method)).scores
        assert (scores > 0.9).all(), method


def test_the_best_class_wins_and_where_nothing_is_none_does(field):
    assert search(field, Query(classes=NAMES)).labels.tolist() == [0] * NUM_CHAIR + [1] * (60 - NUM_CHAIR)
    pixels = search(field, Query(classes=NAMES), field.find_view(0))
    assert pixels.labels[CHAIR[::-1]] == 0 and pixels.labels[LAMP[::-1]] == 1 and pixels.labels[0, 0] == VOID
    assert pixels.threshold is None and not pixels.selected.any()


def test_a_box_is_the_mean_of_its_latents(field):
    one = Query(like=Box(0, CHAIR[0], CHAIR[1], CHAIR[0] + 1, CHAIR[1] + 1))
    assert torch.equal(search(field, one).scores, search(field, Query(like=Pixel(0, *CHAIR))).scores)
    both = search(field, Query(like=Box(0, 0, 0, WIDTH, HEIGHT))).scores
    assert ((both > 0.3) & (both < 0.95)).all()


def test_a_threshold_is_suggested_by_the_gaussians_for_all_views(field):
    answers = [search(field, QUERIES["text"], view and field.find_view(view)) for view in (None, 1, 8)]
    assert len({answer.threshold for answer in answers}) == 1 and 0 < answers[0].threshold < 1
    assert search(field, QUERIES["threshold"]).threshold == 0.5


def test_without_negatives_a_closed_vocabulary_gives_its_other_names_and_says_so_once(field, caplog):
    searching._log_once.cache_clear()
    with caplog.at_level("INFO", logger="gsdff"):
        first = search(field, QUERIES["text"]).scores
        search(field, QUERIES["text"])
    assert caplog.text.count("compared with its other 2 names, as it does not know object, things, stuff, tex") == 1
    torch.testing.assert_close(first, search(field, QUERIES["negatives"]).scores)


def test_default_negatives_are_the_usual_ones_where_they_are_known(field, caplog):
    words = dict(zip(DEFAULT_NEGATIVES, torch.eye(5), strict=False))
    field.vocabulary.vectors.update(words)
    scores = search(field, QUERIES["text"]).scores
    torch.testing.assert_close(scores, search(field, Query(("chair",), tuple(words), only_negatives=True)).scores)
    search(field, Query(positives=("stuff",)))  # is not compared with itself
    assert "compared with" not in caplog.text


def test_a_negative_takes_from_what_answers_and_adds_nothing(field):
    field.vocabulary.vectors.update(zip(DEFAULT_NEGATIVES, torch.eye(5), strict=False))
    alone, against = (search(field, Query(("chair",), negatives)).scores for negatives in ((), ("lamp",)))
    assert (against <= alone).all() and against[-1] < 0.5 * alone[-1]
    torch.testing.assert_close(search(field, Query(("chair",), ("stuff",))).scores, alone)  # it is one of them already


def test_two_names_of_one_thing_are_not_compared(field):
    field.vocabulary.vectors["seat"] = field.vocabulary.vectors["chair"]
    torch.testing.assert_close(search(field, QUERIES["text"]).scores, search(field, QUERIES["negatives"]).scores)


def test_a_vocabulary_of_one_name_has_nothing_to_compare_with(field):
    for name in ("lamp", "wall"):
        field.vocabulary.vectors.pop(name)
    with pytest.raises(UserError, match="knows nothing else to compare with; name fewer of them, or score by cosine"):
        search(field, QUERIES["text"])


@pytest.mark.parametrize("query", [Query(("sofa",)), Query(("chair",), ("sofa",)), Query(classes=("chair", "sofa"))])
def test_an_unknown_class_is_refused_wherever_it_stands(field, query):
    with pytest.raises(UserError, match=r"unknown name 'sofa'; did you mean '\w+'\? Known: chair, lamp, wall"):
        search(field, query)


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (Pixel(0, WIDTH, 3), f"`pixel` 0 {WIDTH} 3: expected a pixel of the photo, .* a/v0.png has 30x22 pixels"),
        (Pixel(0, 3, -1), "`pixel` 0 3 -1: expected a pixel of the photo"),
        (Pixel(0, 0, 0), "`pixel` 0 0 0: the field shows nothing there; choose another place"),
        (Pixel("c.png", 0, 0), "`pixel` c.png: expected an index"),
        (Box("c.png", 0, 0, 1, 1), "`box` c.png: expected an index"),
        (Box(0, 5, 5, 5, 8), "`box` 0 5 5 5 8: expected X0 < X1 and Y0 < Y1 within the photo; a/v0.png has 30x22"),
        (Box(0, 5, 5, 9, 23), "`box` 0 5 5 9 23: expected X0 < X1"),
        (Box(0, 0, 0, 1, 1), "`box` 0 0 0 1 1: the field shows nothing there"),
        (OneGaussian(60), "`gaussian` 60: expected an index from 0 to 59"),
        (OneGaussian(-1), "`gaussian` -1: expected an index from 0 to 59"),
        (PictureFile(Path("cat.png")), "`image` cat.png: the precomputed teacher does not encode images"),
    ],
)
def test_an_example_that_is_not_there_is_refused(field, example, message):
    with pytest.raises(UserError, match=message):
        search(field, Query(like=example))


def test_a_gaussian_without_features_is_no_example_and_never_selected(field):
    field.latents[0] = 0
    with pytest.raises(UserError, match="`gaussian` 0: it has no features; choose another place"):
        search(field, Query(like=OneGaussian(0)))
    answer = search(field, Query(positives=("chair",), method="cosine", threshold=-2.0))
    assert not answer.selected[0] and not answer.answered[0] and answer.selected[1:].all()


def test_features_that_are_no_numbers_are_refused(field):
    field.latents[:] = torch.nan
    with pytest.raises(UserError, match="none of its 60 Gaussians has features to score"):
        search(field, QUERIES["text"])


def test_a_view_of_something_else_is_refused(field):
    field.gaussians.means[:] += 1000
    with pytest.raises(UserError, match=r"no features to score in a/v0\.png; is that a photo of this scene\?"):
        search(field, QUERIES["text"], field.find_view(0))


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({}, "expected one thing to search for: `positives`, `classes`, or one example"),
        ({"positives": ("chair",), "like": OneGaussian(0)}, "one thing to search for.* got a text and an example"),
        ({"positives": (" ",)}, r"a text to search for is empty \(' '\): expected a word"),
        ({"positives": ("chair",), "negatives": ("",)}, "a text to search for is empty"),
        ({"positives": ("chair",), "negatives": ("Chair",)}, "chair cannot be positive and negative at once"),
        ({"positives": ("chair",), "only_negatives": True}, "`only_negatives`: needs `negatives` to compare with"),
        ({"positives": ("chair",), "negatives": ("lamp",), "method": "cosine"}, "cosine: compares with nothing"),
        ({"positives": ("chair",), "prompts": ("a photo",)}, r"`prompts` 'a photo': expected one \{\} for the name"),
        (
            {"positives": ("chair",), "temperature": 0.0},
            "`temperature`: expected a positive number, 0.0001 to 10000, got 0",
        ),
        (
            {"positives": ("chair",), "temperature": float("nan")},
            "`temperature`: expected a positive number, 0.0001 to 10000, got nan",
        ),
        (
            {"positives": ("chair",), "threshold": float("nan")},
            "`threshold`: expected a number from -10 to 10, got nan",
        ),
        ({"positives": ("chair",), "method": "argmax"}, "`classes`: expected two different names or more, got none"),
        ({"classes": ("chair",)}, "`classes`: expected two different names or more, got 'chair'"),
        ({"classes": ("chair", "Chair")}, "`classes`: expected two different names"),
        ({"classes": NAMES, "method": "lerf"}, "`method` lerf: classes are assigned by argmax"),
        ({"classes": NAMES, "negatives": ("sofa",)}, "`classes`: expected at most `positives` beside them"),
        ({"classes": NAMES, "like": OneGaussian(0)}, "`classes`: expected at most `positives` beside them"),
        ({"classes": NAMES, "threshold": 0.5}, "`threshold`: not used with `classes`"),
        ({"classes": NAMES, "positives": ("sofa",)}, "`positives` 'sofa': expected some of the `classes`, chair, lamp"),
        ({"like": OneGaussian(0), "method": "lerf"}, "`method` lerf: an example needs `negatives`"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused_before_there_is_a_field(question, message):
    with pytest.raises(UserError, match=message):
        Query(**question)


def test_answers_are_not_written_into_the_field(field):
    before = field.latents.clone()
    search(field, QUERIES["text"], field.find_view(0))
    assert torch.equal(field.latents, before) and re.match("cpu", str(field.device))


def test_photos_are_not_needed_to_ask_gaussians(run, field):
    (run.data / "transforms.json").unlink()
    assert len(search(field, QUERIES["text"]).selection) == NUM_CHAIR


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Pixel(0, 1.5, 2), "`Pixel`: `x`: expected a whole number, got 1.5"),
        (lambda: Pixel(0, 1, None), "`Pixel`: `y`: expected a whole number, got None"),
        (lambda: Box(0, 1, 1, "9", 9), "`Box`: `x1`: expected a whole number, got '9'"),
        (lambda: OneGaussian(math.nan), "`OneGaussian`: `index`: expected a whole number, got nan"),
        (lambda: PictureFile(3), "`PictureFile`: expected the path of a picture, got 3"),
        (lambda: Query(like="chair"), "`like`: expected an example such as Pixel"),
        (lambda: Query("chair", temperature=1e-300), "`temperature`: expected a positive number, 0.0001 to 10000"),
        (lambda: Query("chair", threshold=10**400), "`threshold`: .*, got a whole number of about 398 digits"),
        (lambda: Query("half \ud800"), r"`positives`: expected a text in UTF-8, got 'half \\ud800'"),
        (lambda: Query("c" * 10**6), "`positives`: expected a text of at most 1,000 characters, got one of 1,000,000"),
        (lambda: Query(["c"] * 10**5), "`positives`: expected at most 10,000 texts, got more"),
        (lambda: Query(classes=map(str, range(300))), "two different names or more, at most 254, got '0', .*300 names"),
    ],
)
def test_values_of_another_kind_or_size_are_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()


@pytest.mark.usefixtures("unchecked")
def test_numbers_of_numpy_and_torch_are_numbers(field):
    view, x = np.int64(0), torch.tensor(3)
    assert search(field, Query(like=Pixel(view, x, np.int32(11)))).scores.shape == (60,)


def test_a_photo_whose_index_has_thousands_of_digits_is_refused(field):
    with pytest.raises(UserError, match="expected an index from 0 to 9"):
        field.find_view("9" * 5000)


def test_a_picture_that_cannot_be_read_is_refused(field, tmp_path):
    Image.new("RGB", (3, 3)).save(tmp_path / "ok.png")
    (tmp_path / "torn.png").write_bytes((tmp_path / "ok.png").read_bytes()[:40])
    config = replace(field.run.config, teacher=TeacherConfig("clip"))
    field = replace(field, run=replace(field.run, config=config))
    for name, message in (("none.png", "no such file"), ("torn.png", "cannot be read as a picture")):
        with pytest.raises(UserError, match=f"{name}: {message}"):
            search(field, Query(like=PictureFile(tmp_path / name)))


def test_many_edits_score_the_same_features_for_the_same_words_once(field, monkeypatch):
    edits = [Opacity("chair", 0.5), Recolor("lamp", "navy"), Move("lamp", (0.01, 0, 0))] * 3
    alone = field
    for edit in edits:
        alone = alone.edit(edit)
    counted = []
    score = searching.score_latents
    monkeypatch.setattr(searching, "score_latents", lambda *args: counted.append(1) or score(*args))
    together = field.edit(*edits)
    assert len(counted) == 2  # for chair and for lamp, when their thresholds are suggested
    for name, tensor in together.gaussians.items():
        assert torch.equal(tensor, getattr(alone.gaussians, name)), name
    del counted[:]
    rest = field.edit(Opacity("chair", 0.5), Delete("lamp"), *[Opacity("chair", factor=0.9)] * 20)
    assert len(rest) == 60 - NUM_CHAIR and len(counted) == 3  # once more for those that are left


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda field: field.query("chair", view=1.5), "`view` 1.5: expected the name of a photo or its index"),
        (lambda field: field.query("chair", view=10**5000), "`view` a whole number of about 49.* digits: expected"),
        (lambda field: field.query("chair", space=["2d"]), r"`space` \['2d'\]: expected 2d or 3d"),
        (lambda field: field.query(torch.tensor(3.0)), "`positives`: expected a text or a list of texts, got tensor"),
        (lambda field: field.query(itertools.repeat("chair")), "`positives`: expected at most 10,000 texts, got more"),
        (lambda field: field.render(0, np.zeros(3)), r"`kind` array.*: expected rgb, features, depth or alpha"),
        (
            lambda field: field.save("a.ply", format="PLY"),
            "`format` 'PLY': expected ply, splat, compressed, spz",
        ),
        (lambda field: field.save("a.ply", features="all"), "`features` 'all': expected latent, decoded or none"),
        (lambda field: field.save(3), "`path`: expected a path, got 3"),
        (lambda field: field.choose_views(1.5), "`views`: expected names of photos or indices, got 1.5"),
        (lambda field: field.choose_views((), all_held_out=2), "`all_held_out`: expected true or false, got 2"),
        (lambda field: field.save_segmentation(["chair", "lamp"], 3), "`folder`: expected a path, got 3"),
        (lambda field: field.save_segmentation(["chair", "lamp"], "x", space="4d"), "`space` '4d': expected 2d or 3d"),
        (
            lambda field: field.save_segmentation(["chair", "lamp"], "x", min_area=math.inf),
            "`min_area` inf: expected a wh",
        ),
        (
            lambda field: field.save_segmentation(["chair", "lamp"], "x", min_opacity="1"),
            "`min_opacity` '1': expected a n",
        ),
        (lambda field: field.knows(3), "`name`: expected a text, got 3"),
        (lambda field: field.to(3.5), "`device`: expected auto, cpu, cuda or one card such as cuda:0, got 3.5"),
        (lambda field: field.evaluate(labels=3), "`labels`: expected a path, got 3"),
    ],
)
def test_arguments_of_another_kind_are_refused_by_name(field, ask, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=f"^{message}"):
        ask(field)
    assert sorted(tmp_path.rglob("*")) == before


def test_gaussians_with_a_gradient_are_searched_drawn_and_saved(field, tmp_path):
    trained = replace(field, gaussians=field.gaussians.map(lambda tensor: tensor.clone().requires_grad_()))
    assert len(trained.query("chair").selection) == NUM_CHAIR
    assert (
        trained.query("chair", view=0).save(tmp_path / "a.png")
        and trained.query("chair", view=0, space="3d").picture.any()
    )
    assert trained.query(Pixel(0, 3, 11)).save(tmp_path / "a.safetensors")
    assert trained.save_segmentation(["chair", "lamp"], tmp_path / "out", views=[0]).num_views == 1
    assert len(trained.edit(Delete("chair", grow=1, keep_largest=1))) < 60
