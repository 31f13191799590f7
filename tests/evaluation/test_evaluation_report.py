"""The table of feature scores, and pictures of maps."""

from pathlib import Path

import numpy as np
import torch
from tiny_field import make_scene

from gsdff.evaluation.report import draw_label_maps, draw_pca, features_table
from gsdff.io.pictures import GAP, TITLE_HEIGHT, fit_pca, to_bytes
from gsdff.labels import LabelClass

WIDTH, HEIGHT = 26, 18
BASICS = {
    "teacher": {"name": "lseg", "channels": 512},
    "features": {"dim": 32, "kept_energy": 0.98},
    "num_views": 9,
    "cosine_to_teacher": 0.91234,
}
MAPS = {
    "classes": ["car", "road"],
    "agreement_with_teacher": 0.8765,
    "field": {"speckle_share": 0.01, "view_consistency": 0.95},
    "teacher": {"speckle_share": 0.02, "view_consistency": None},
}


CUTS = {
    "num_things": 5,
    "field": {"3px": 0.71, "5px": 0.72},
    "gaussians": {"3px": 0.61, "5px": None},
    "teacher": {"3px": 0.41, "5px": 0.42},
}
EDGES = {"cuts": CUTS, "text_margin": {"kept": 0.345, "num_pixels": 9}}


def labels_side(shift: float) -> dict:
    return {
        "miou": 0.5 + shift,
        "miou_static": 0.6 + shift,
        "accuracy": 0.7 + shift,
        "boundary_miou": {"3px": 0.3 + shift, "5px": 0.4 + shift},
        "gradient_energy": 0.00123 + shift,
        "iou": {"car": None, "road": 0.8 + shift},
    }


def rows_of(table: str) -> dict[str, list[str]]:
    """Titles and cells of the lines below the header."""
    lines = table.splitlines()
    below = lines[[line.split() for line in lines].index(["field", "teacher"]) + 1 :]
    return {" ".join(line.split()[:-2]): line.split()[-2:] for line in below}


def test_the_table_sets_the_field_beside_its_teacher() -> None:
    labels = {"competing": ["car", "road"], "ignored": ["pole"], "not_in_mean": ["car"], "moving": ["car"]}
    labels |= EDGES
    labels |= {"field": labels_side(0), "teacher": labels_side(0.05)}
    table = features_table(BASICS | {"label_maps": MAPS, "labels": labels})
    assert "32 of 512 channels, 0.9800 of the teacher's energy" in table
    assert "cosine to the teacher (lseg): 0.9123, mean of 9 held-out views" in table
    assert "agreement with the teacher: 0.876" in table
    assert "2 classes compete (car, road)" in table and "do not count (pole)" in table
    assert rows_of(table) == {
        "IoU car": ["-", "-"],
        "IoU road": ["0.800", "0.850"],
        "mean IoU": ["0.500", "0.550"],
        "of static classes": ["0.600", "0.650"],
        "3 px around boundaries": ["0.300", "0.350"],
        "5 px around boundaries": ["0.400", "0.450"],
        "3 px around things, cut out of pixels": ["0.710", "0.410"],
        "3 px around things, cut out of Gaussians": ["0.610", "-"],
        "5 px around things, cut out of pixels": ["0.720", "0.420"],
        "5 px around things, cut out of Gaussians": ["-", "-"],
        "text margin kept": ["0.345", "-"],
        "accuracy": ["0.700", "0.750"],
        "gradient energy": ["0.0012", "0.051"],
        "in speckles": ["0.010", "0.020"],
        "view consistency": ["0.950", "-"],
    }
    widths = {len(line) for line in table.splitlines()[-15:]}
    assert len(widths) == 1  # aligned


def test_nothing_is_said_about_motion_where_nothing_moves() -> None:
    labels = {"competing": ["car", "road"], "ignored": [], "not_in_mean": [], "moving": [], **EDGES}
    table = features_table(BASICS | {"label_maps": MAPS, "labels": {**labels, "field": labels_side(0)} | {
        "teacher": labels_side(0)}})  # fmt: skip
    assert "static" not in table and "do not count" not in table


def test_without_truth_there_are_only_the_scores_that_need_none() -> None:
    table = features_table(BASICS | {"label_maps": MAPS})
    assert list(rows_of(table)) == ["in speckles", "view consistency"]
    assert features_table(BASICS).splitlines()[-1].startswith("cosine to the teacher")
    assert features_table({}) == ""


def test_feature_maps_stand_below_their_titles_and_only_their_direction_is_drawn(
    tmp_path: Path, generator: torch.Generator
) -> None:
    view = make_scene(tmp_path, width=WIDTH, height=HEIGHT).views[0]
    features = torch.nn.functional.normalize(torch.randn(HEIGHT, WIDTH, 5, generator=generator), dim=-1)
    drawn = draw_pca(view, {"teacher": features, "field": 3 * features}, fit_pca(features))
    picture = to_bytes(drawn).numpy()
    assert picture.shape == (TITLE_HEIGHT + HEIGHT, 3 * WIDTH + 2 * GAP, 3)
    photo, teacher, field = (picture[TITLE_HEIGHT:, i * (WIDTH + GAP) :][:, :WIDTH] for i in range(3))
    assert np.array_equal(photo, view.image.numpy())
    assert np.abs(teacher.astype(int) - field).max() <= 1 and teacher.std() > 20


def test_label_maps_take_the_lists_colours_where_every_class_has_one(tmp_path: Path) -> None:
    view = make_scene(tmp_path, width=WIDTH, height=HEIGHT).views[0]
    labels = torch.full((HEIGHT, WIDTH), 255, dtype=torch.uint8)
    labels[0] = 1
    place = TITLE_HEIGHT, WIDTH + GAP
    classes = [LabelClass(0, "a", "a", color=(1, 2, 3)), LabelClass(1, "b", "b", color=(250, 9, 8))]
    picture = to_bytes(draw_label_maps(view, classes, {"field": labels})).numpy()
    assert picture[place].tolist() == [250, 9, 8] and picture[place[0] + 1, place[1]].tolist() == [0, 0, 0]
    assert picture.shape[0] > TITLE_HEIGHT + HEIGHT  # the legend is below
    other = draw_label_maps(view, [classes[0], LabelClass(1, "b", "b")], {"field": labels})
    assert to_bytes(other)[place].tolist() != [250, 9, 8]
