"""Scores of features: computed by hand, files that are written, views and pixels that are left out."""

import dataclasses
import json
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from tiny_field import make_gaussians, make_scene

from gsdff.cameras import WorldFrame
from gsdff.config.options import FeatureConfig, TeacherConfig, TrainConfig
from gsdff.errors import UserError
from gsdff.evaluation.features import check_scored_classes, evaluate_features
from gsdff.evaluation.report import features_table
from gsdff.field.field import Field
from gsdff.field.load import field_of_run
from gsdff.gaussians import Gaussians
from gsdff.io.pictures import GAP, TITLE_HEIGHT
from gsdff.io.runs import LoadedRun
from gsdff.latents import Basis
from gsdff.render import render_features
from gsdff.scene import Scene

WIDTH, HEIGHT = 26, 18
TEXT = torch.eye(5)[:3]  # road, sky, car
CLASSES = [
    {"id": 4, "name": "road"},
    {"id": 1, "name": "pole", "text_query": None},
    {"id": 2, "name": "car", "text_query": "automobile", "moves": True},
    {"id": 7, "name": "sky"},
    {"id": 8, "name": "tram"},
]
ROAD, POLE, CAR, SKY, TRAM = 4, 1, 2, 7, 8


@dataclasses.dataclass(frozen=True)
class Fixture:
    run: LoadedRun
    scene: Scene
    out: Path

    @property
    def maps(self) -> Path:
        return self.run.config.teacher.maps

    def field(self, scene: Scene | None = None, **changes) -> Field:
        """The run as a field, with some of its parts changed."""
        return field_of_run(dataclasses.replace(self.run, **changes), "cpu", scene=scene or self.scene)

    def evaluate(self, *, classes: Sequence[str] = (), **changes) -> dict:
        return evaluate_features(self.field(**changes), self.out, classes=classes)


def write_map(ready: Fixture, stem: str, features: torch.Tensor) -> None:
    torch.save(features, ready.maps / f"{stem}_fmap_CxHxW.pt")


def write_labels(ready: Fixture, stem: str, ids: np.ndarray) -> None:
    (ready.scene.root / "labels").mkdir(exist_ok=True)
    (ready.scene.root / "classes.json").write_text(json.dumps({"classes": CLASSES}))
    Image.fromarray(ids.astype(np.uint8)).save(ready.scene.root / "labels" / f"{stem}.png")


def constant_map(direction: torch.Tensor) -> torch.Tensor:
    return direction[:, None, None].expand(5, 8, 8).clone()


@pytest.fixture
def ready(tmp_path: Path, generator: torch.Generator) -> Fixture:
    """40 Gaussians with 4 latents of 5 channels, all of them road; a teacher that predicts road everywhere."""
    maps, folder = tmp_path / "maps", tmp_path / "run"
    maps.mkdir()
    folder.mkdir()
    np.savez(maps / "text_features.npz", names=np.array(["road", "sky", "automobile"]), vectors=TEXT.numpy())
    Basis(torch.eye(5)[:, :4].contiguous(), 0.9, "precomputed", "f").save(folder / "basis.safetensors")
    gaussians = make_gaussians(40, generator, dim=4)
    gaussians.features = torch.eye(4)[0].expand(40, 4).clone()
    config = TrainConfig(teacher=TeacherConfig("precomputed", maps), features=FeatureConfig(4))
    scene = make_scene(tmp_path / "scene", width=WIDTH, height=HEIGHT)
    scene.root.mkdir()
    run = LoadedRun(folder, config, gaussians, WorldFrame(), 7)
    ready = Fixture(run, scene, tmp_path / "evaluation")
    for view in scene.views:
        write_map(ready, view.stem, constant_map(TEXT[0]))
    return ready


def coverage(gaussians: Gaussians, scene: Scene, view_id: int) -> np.ndarray:
    return render_features(gaussians, scene.views[view_id].camera).image.any(-1).numpy()


def test_scores_by_hand(ready: Fixture) -> None:
    """One view is half road, half sky; the other is half void, pole and tram, which do not count, and half car."""
    left = np.arange(WIDTH) < WIDTH // 2
    write_labels(ready, "v0", np.where(left, ROAD, SKY) * np.ones((HEIGHT, 1)))
    others = np.full((HEIGHT, WIDTH), CAR)
    others[:, left] = 255
    others[:, :4], others[:, 4:8] = POLE, TRAM
    write_labels(ready, "v8", others)
    labels = ready.evaluate()["labels"]
    assert labels["competing"] == ["car", "road", "sky"] and labels["queries"] == ["automobile", "road", "sky"]
    assert labels["ignored"] == ["pole", "tram"] and labels["moving"] == ["car"]
    half = HEIGHT * WIDTH // 2
    assert labels["num_pixels"] == 3 * half and labels["num_views"] == 2
    # The teacher predicts road everywhere: a third is right, and two thirds are wrongly road.
    assert labels["teacher"]["iou"] == pytest.approx({"car": 0, "road": 1 / 3, "sky": 0})
    assert labels["teacher"]["miou"] == pytest.approx(1 / 9)
    assert labels["teacher"]["miou_static"] == pytest.approx(1 / 6)
    assert labels["teacher"]["accuracy"] == pytest.approx(1 / 3)
    # The field predicts road where there is a Gaussian and nothing elsewhere, which is wrong too.
    covered = [coverage(ready.run.gaussians, ready.scene, i) for i in (0, 8)]
    right, answered = covered[0][:, left].sum(), covered[0].sum() + covered[1][:, ~left].sum()
    assert 0 < right < half
    assert labels["field"]["accuracy"] == pytest.approx(right / (3 * half))
    assert labels["field"]["iou"]["road"] == pytest.approx(right / (half + answered - right))
    # The teacher leads by 1 where there is road, and so does the field where it shows something.
    assert labels["text_margin"]["num_pixels"] == half
    assert labels["text_margin"]["kept"] == pytest.approx(right / half)
    # Around the road, the teacher is right inside and wrong outside; the sky is missed inside and right outside; the
    # car ends at void only.
    assert list(labels["cuts"]["things"]) == ["car", "road", "sky"]
    assert labels["cuts"]["things"]["car"]["teacher"]["3px"] is None
    assert labels["cuts"]["teacher"]["3px"] == pytest.approx(((1 / 2 + 0) / 2 + (0 + 1 / 2) / 2) / 2)
    # All Gaussians are road: pixels and Gaussians show the same.
    assert labels["cuts"]["gaussians"] == labels["cuts"]["field"]


def antialiased(gaussians: Gaussians) -> Gaussians:
    """The Gaussians in the mode of maps coarser than the photo."""
    return dataclasses.replace(gaussians, rasterize_mode="antialiased")


def test_a_field_that_shows_its_teacher_has_cosine_one_and_the_truth_in_its_own_words_scores_one(
    ready: Fixture, generator: torch.Generator
) -> None:
    latents = torch.randn(40, 4, generator=generator)
    gaussians = dataclasses.replace(ready.run.gaussians, features=latents)
    ids = torch.tensor([CAR, ROAD, SKY])
    for i in ready.scene.test_ids:
        view = ready.scene.views[i]
        small = render_features(antialiased(gaussians), view.camera.resized(8, 8)).image
        write_map(ready, view.stem, F.pad(small, (0, 1)).permute(2, 0, 1).contiguous())
        large = render_features(gaussians, view.camera).image
        answers = ids[large[..., [2, 0, 1]].argmax(-1)].masked_fill(~large.any(-1), 255)
        write_labels(ready, view.stem, answers.numpy())
    result = ready.evaluate(gaussians=gaussians)
    assert result["cosine_to_teacher"] == pytest.approx(1, abs=1e-5)
    assert result["labels"]["field"]["miou"] == pytest.approx(1)
    assert result["labels"]["field"]["accuracy"] == pytest.approx(1)


def test_the_part_of_the_teacher_outside_the_basis_counts_against_the_field(ready: Fixture) -> None:
    tilted = torch.tensor([0.6, 0.0, 0.0, 0.0, 0.8])  # the last channel is not in the basis
    gaussians = ready.run.gaussians
    for i in ready.scene.test_ids:
        write_map(ready, ready.scene.views[i].stem, constant_map(tilted))
    seen = [
        render_features(antialiased(gaussians), ready.scene.views[i].camera.resized(8, 8)).image.any(-1).float().mean()
        for i in ready.scene.test_ids
    ]
    # 0.6 where something is rendered, 0 elsewhere.
    assert ready.evaluate()["cosine_to_teacher"] == pytest.approx(0.6 * float(sum(seen)) / 2, abs=1e-5)


def test_lengths_of_features_change_no_score(ready: Fixture, generator: torch.Generator) -> None:
    write_labels(ready, "v0", np.full((HEIGHT, WIDTH), ROAD))
    gaussians = dataclasses.replace(ready.run.gaussians, features=torch.randn(40, 4, generator=generator))
    longer = dataclasses.replace(gaussians, features=4 * gaussians.features)
    one, other = ready.evaluate(gaussians=gaussians), ready.evaluate(gaussians=longer)
    assert one["labels"] == other["labels"]
    assert one["cosine_to_teacher"] == pytest.approx(other["cosine_to_teacher"], abs=1e-6)


def test_what_is_returned_is_plain_and_every_held_out_view_has_pictures(ready: Fixture) -> None:
    write_labels(ready, "v0", np.full((HEIGHT, WIDTH), ROAD))
    result = ready.evaluate()
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result["num_views"] == 2 and result["labels"]["num_views"] == 1
    pictures = {path.stem: np.asarray(Image.open(path)) for path in ready.out.glob("*.png")}
    assert sorted(pictures) == ["v0_labels", "v0_pca", "v8_labels", "v8_pca"]
    for name, panels in {"v0_labels": 4, "v0_pca": 3, "v8_labels": 3, "v8_pca": 3}.items():  # v8 has no ground truth
        assert pictures[name].shape[1] == panels * WIDTH + (panels - 1) * GAP
    # v0's photo, truth, teacher and field: all road, but for the pixels that no Gaussian covers.
    panels = [pictures["v0_labels"][TITLE_HEIGHT:, i * (WIDTH + GAP) :][:HEIGHT, :WIDTH] for i in range(4)]
    assert not panels[0].any() and np.array_equal(panels[1], panels[2])
    assert np.array_equal(panels[3].any(-1), coverage(ready.run.gaussians, ready.scene, 0))


def test_a_class_nobody_sees_has_no_score_rather_than_zero(ready: Fixture) -> None:
    write_labels(ready, "v0", np.full((HEIGHT, WIDTH), ROAD))
    teacher = ready.evaluate()["labels"]["teacher"]
    assert teacher["iou"] == {"car": None, "road": 1.0, "sky": None} and teacher["miou"] == 1


def test_without_labels_or_classes_there_are_cosines_and_pca_pictures_only(ready: Fixture) -> None:
    result = ready.evaluate()
    assert "labels" not in result and "label_maps" not in result and len(result["views"]) == 2
    assert "cosine to the teacher" in features_table(result)
    assert sorted(path.name for path in ready.out.iterdir()) == ["v0_pca.png", "v8_pca.png"]


def test_a_teacher_without_text_is_compared_by_cosine_only_even_where_there_are_labels(ready: Fixture) -> None:
    write_labels(ready, "v0", np.full((HEIGHT, WIDTH), ROAD))
    (ready.maps / "text_features.npz").unlink()
    result = ready.evaluate()
    assert "labels" not in result and "label_maps" not in result
    assert sorted(path.name for path in ready.out.iterdir()) == ["v0_pca.png", "v8_pca.png"]


def test_classes_are_asked_for_where_nothing_is_labelled(ready: Fixture) -> None:
    """The field predicts road where there is a Gaussian, its teacher everywhere."""
    result = ready.evaluate(classes=("sky", "road"))
    maps = result["label_maps"]
    assert maps["classes"] == maps["queries"] == ["sky", "road"] and "labels" not in result
    covered = np.stack([coverage(ready.run.gaussians, ready.scene, i) for i in (0, 8)])
    assert 0.5 < covered.mean() < 1
    assert maps["agreement_with_teacher"] == pytest.approx(covered.mean())
    assert maps["teacher"]["speckle_share"] == 0 and maps["teacher"]["view_consistency"] == 1
    assert sorted(path.name for path in ready.out.glob("*_labels.png")) == ["v0_labels.png", "v8_labels.png"]


def test_a_point_whose_teacher_changes_its_mind_is_inconsistent_and_its_field_is_not(ready: Fixture) -> None:
    """Three blobs: one visible in all views, one hidden behind it, and one too faint for a surface point."""
    gaussians = ready.run.gaussians.map(lambda tensor: tensor[:3].clone())
    gaussians.means = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.6, 0.0, 0.0]])
    gaussians.log_scales = torch.full((3, 3), -1.5)
    gaussians.logit_opacities = torch.tensor([7.0, 7.0, -0.5])
    write_map(ready, "v8", constant_map(TEXT[1]))
    maps = ready.evaluate(gaussians=gaussians, classes=("road", "sky"))["label_maps"]
    assert maps["num_points"] == 1
    assert maps["field"]["view_consistency"] == 1 and maps["teacher"]["view_consistency"] == 0


def test_the_teachers_scores_are_blended_not_its_labels(ready: Fixture) -> None:
    """Road scores high on the left, sky low on the right: the border is where the blended scores are equal."""
    feature_map = constant_map(TEXT[0])
    feature_map[:, :, 4:] = constant_map(torch.tensor([0.0, 0.3, 0.0, 0.0, 0.91**0.5]))[:, :, 4:]
    write_map(ready, "v0", feature_map)
    # The centres of the map's middle pixels are at 11.375 and 14.625. Between, road leads while 1 - t > 0.3 t, up to
    # 13.87: in column 13 too, whose centre is at 13.5 and thus in a pixel of the map that is sky.
    true = np.where(np.arange(WIDTH) <= 13, ROAD, SKY) * np.ones((HEIGHT, 1))
    write_labels(ready, "v0", true)
    assert ready.evaluate()["labels"]["teacher"]["accuracy"] == 1


def test_instance_maps_are_the_segments_where_there_are_any(ready: Fixture) -> None:
    write_labels(ready, "v0", np.full((HEIGHT, WIDTH), ROAD))
    feature_map = constant_map(TEXT[0])
    feature_map[:, :, 4:] = constant_map(TEXT[1])[:, :, 4:]
    write_map(ready, "v0", feature_map)
    labels = ready.evaluate()["labels"]
    assert labels["segments"] == "labels" and labels["teacher"]["gradient_energy"] > 0
    # Instances one column wide: no pair crosses from road to sky.
    (ready.scene.root / "instances").mkdir()
    columns = np.tile(np.arange(1, WIDTH + 1, dtype=np.uint16), (HEIGHT, 1))
    Image.fromarray(columns).save(ready.scene.root / "instances" / "v0.png")
    labels = ready.evaluate()["labels"]
    assert labels["segments"] == "instances" and labels["teacher"]["gradient_energy"] == pytest.approx(0, abs=1e-9)
    # All are road, so that none has a border that a text could cut along.
    assert labels["cuts"]["num_things"] == WIDTH and labels["cuts"]["teacher"] == {"3px": None, "5px": None}


def test_the_teachers_maps_are_not_kept(ready: Fixture, monkeypatch: pytest.MonkeyPatch) -> None:
    class Watched:
        """A teacher that checks that its maps are released before the next one is made."""

        name = "watched"

        def knows(self, name: str) -> bool:
            return False

        def extract(self, views: Sequence) -> Iterator[torch.Tensor]:
            given = []
            for _ in views:
                assert all(kept() is None for kept in given[:-1])  # the last is let go when this one comes
                feature_map = constant_map(TEXT[0])
                given.append(weakref.ref(feature_map))
                yield feature_map
                del feature_map

    monkeypatch.setattr("gsdff.field.base.open_teacher", lambda *_: Watched())
    scene = dataclasses.replace(ready.scene, held_out=(0, 2, 4, 6, 8))
    assert evaluate_features(ready.field(scene), ready.out)["num_views"] == 5


def test_a_view_the_teacher_says_nothing_about_has_no_cosine(ready: Fixture) -> None:
    write_map(ready, "v8", torch.zeros(5, 8, 8))
    result = ready.evaluate()
    assert result["views"]["v8.png"]["cosine_to_teacher"] is None
    assert result["cosine_to_teacher"] == result["views"]["v0.png"]["cosine_to_teacher"]


def test_questions_are_checked_before_anything_is_rendered(ready: Fixture) -> None:
    check_scored_classes(ready.field(), None, ("road", "sky"))
    with pytest.raises(UserError, match="does not know 'zebra'"):
        check_scored_classes(ready.field(), None, ("road", "zebra"))
    with pytest.raises(UserError, match="nowhere: no such folder"):
        check_scored_classes(ready.field(), ready.out / "nowhere", ())
    blind = ready.field(gaussians=dataclasses.replace(ready.run.gaussians, features=None))
    with pytest.raises(UserError, match="run: has no features"):
        check_scored_classes(blind, None, ("road", "sky"))


def test_a_run_without_features_is_left_alone(ready: Fixture) -> None:
    gaussians = dataclasses.replace(ready.run.gaussians, features=None)
    assert ready.evaluate(gaussians=gaussians) == {} and features_table({}) == ""
    assert not ready.out.exists()


@pytest.mark.parametrize("lost", ["basis.safetensors", "v8_fmap_CxHxW.pt"])
def test_a_lost_file_is_named(ready: Fixture, lost: str) -> None:
    folder = ready.run.folder if lost.startswith("basis") else ready.maps
    (folder / lost).unlink()
    with pytest.raises(UserError, match=lost):
        ready.evaluate()
