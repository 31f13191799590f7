"""Masks of a run: their images, when they are renewed, and when they are reused."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_field import Distillation, random_photos
from torch import Tensor

from gsdff.config.options import TrainConfig
from gsdff.config.smoothing import MaskConfig, SegmentFilterConfig, SmoothingConfig, VariationConfig
from gsdff.errors import UserError
from gsdff.io.runs import RunFolder
from gsdff.masks.store import MaskStore
from gsdff.render import render_rgb
from gsdff.scene import View
from gsdff.training import view_masks as segments
from gsdff.training.feature_loss import check_features
from gsdff.training.view_data import ViewData
from gsdff.training.view_masks import ViewSegments, check_masks, render_picture

SAM = SmoothingConfig(sam=SegmentFilterConfig("consistency"))


@dataclass
class Halves:
    """A segmenter that cuts every view in two at a column, and records the images."""

    column: int = 6
    name: str = "halves"
    fingerprint: str = "1"
    seen: dict[str, list[Tensor]] = field(default_factory=dict)
    device: torch.device | None = None

    def check(self, view: View) -> None:
        if view.stem == "missing":
            raise UserError("missing.png: missing")

    def fingerprint_of(self, view: View) -> str:
        return ""

    def segment(self, view: View, image: Tensor) -> Tensor:
        self.seen.setdefault(view.stem, []).append(image)
        labels = torch.ones(image.shape[:2], dtype=torch.int32)
        labels[:, self.column :] = 2
        return labels


@pytest.fixture
def segmenter(monkeypatch: pytest.MonkeyPatch) -> Halves:
    halves = Halves()

    def open_segmenter(config: MaskConfig, device: torch.device) -> Halves:
        halves.device = device
        return halves

    monkeypatch.setattr(segments, "open_segmenter", open_segmenter)
    return halves


@pytest.fixture
def ready(tmp_path: Path, generator: torch.Generator) -> Distillation:
    """A distillation with random photos, and with Gaussians of random colours."""
    ready = Distillation.write(tmp_path, generator)
    ready.gaussians.sh0 = torch.randn(ready.gaussians.sh0.shape, generator=generator)
    config = replace(ready.config, smoothing=SAM, masks=MaskConfig("felzenszwalb"))
    return replace(ready, scene=random_photos(ready.scene, generator), config=config)


def shown(segmenter: Halves) -> dict[str, Tensor]:
    """The one image that was segmented of every view; clears the record."""
    images = {stem: images[0] for stem, images in segmenter.seen.items() if len(images) == 1}
    assert len(images) == len(segmenter.seen)
    segmenter.seen.clear()
    return images


TRAINING = [f"v{i}" for i in range(1, 8)]


@pytest.mark.parametrize("mode", ["classic", "antialiased"])
def test_masks_are_made_of_the_scene_as_stage_1_left_it(ready: Distillation, segmenter: Halves, mode: str) -> None:
    ready.gaussians.rasterize_mode = mode
    ready.prepare()
    images = shown(segmenter)
    assert list(images) == TRAINING  # not of the held-out views
    for view in (ready.scene.views[i] for i in ready.scene.train_ids):
        rendered = render_rgb(ready.gaussians, view.camera).image
        assert images[view.stem].dtype == torch.uint8
        assert torch.equal(images[view.stem], (rendered.clamp(0, 1) * 255).round().byte())
    assert not torch.equal(images["v3"], ready.scene.views[3].image)
    assert segmenter.device == torch.device("cpu")
    assert sorted(path.stem for path in RunFolder(ready.run).masks.glob("*.png")) == TRAINING


def test_masks_are_made_of_the_photos_where_these_are_asked_for(ready: Distillation, segmenter: Halves) -> None:
    ready.prepare(masks=MaskConfig("felzenszwalb", source="photo"))
    images = shown(segmenter)
    assert list(images) == TRAINING
    assert all(torch.equal(images[f"v{i}"], ready.scene.views[i].image) for i in ready.scene.train_ids)


def test_a_drawing_takes_no_gradient_and_stays_within_its_range(ready: Distillation) -> None:
    gaussians = ready.gaussians.map(lambda tensor: tensor.clone().requires_grad_())
    gaussians.sh0 = gaussians.sh0 * 100
    picture = render_picture(gaussians, ready.scene.views[1])
    assert not picture.requires_grad and picture.dtype == torch.uint8 and picture.shape == (9, 13, 3)
    assert picture.max() == 255 and picture.min() == 0


@pytest.mark.parametrize(
    "smoothing",
    [SmoothingConfig(), SmoothingConfig(tv=VariationConfig(1.0)), SmoothingConfig(tv=VariationConfig(segments=True))],
)
def test_without_need_no_masks_are_made(ready: Distillation, segmenter: Halves, smoothing: SmoothingConfig) -> None:
    ready.prepare(smoothing=smoothing)
    assert segmenter.seen == {} and not RunFolder(ready.run).masks.exists()


def test_variation_inside_segments_needs_masks_too(ready: Distillation, segmenter: Halves) -> None:
    ready.prepare(smoothing=SmoothingConfig(tv=VariationConfig(1.0, segments=True)))
    assert list(shown(segmenter)) == TRAINING


def test_masks_are_reused_while_the_scene_is_the_same_and_made_anew_when_it_is_not(
    ready: Distillation, segmenter: Halves
) -> None:
    ready.prepare()
    shown(segmenter)
    ready.prepare()
    assert segmenter.seen == {}
    ready.gaussians.sh0 = -ready.gaussians.sh0
    ready.prepare()
    assert list(shown(segmenter)) == TRAINING


def test_a_resumed_run_keeps_what_is_on_disk_though_the_scene_has_moved_on(
    ready: Distillation, segmenter: Halves
) -> None:
    ready.prepare()
    shown(segmenter)
    ready.gaussians.sh0 = -ready.gaussians.sh0
    segmenter.column = 2
    _, (term,) = ready.prepare(lift=False)
    assert segmenter.seen == {}
    labels = smoothing_labels(ready)
    assert (labels[:, :6] == 1).all() and (labels[:, 6:] == 2).all() and term.smoothing_losses


def test_a_resumed_run_makes_masks_that_are_gone(ready: Distillation, segmenter: Halves) -> None:
    ready.prepare()
    shown(segmenter)
    (RunFolder(ready.run).masks / "v5.png").unlink()
    ready.prepare(lift=False)
    assert list(shown(segmenter)) == ["v5"]


def smoothing_labels(ready: Distillation) -> Tensor:
    """Labels of view 3, as the next session would read them."""
    return ViewSegments(ready.config, ready.scene, RunFolder(ready.run), ViewData(ready.scene.views, "cpu"))[3]


def test_masks_are_made_anew_every_so_many_steps_of_stage_2(ready: Distillation, segmenter: Halves) -> None:
    features, (term,) = ready.prepare(masks=MaskConfig("felzenszwalb", refresh=4))
    gaussians = ready.carrying(features)
    gaussians.sh0 = -gaussians.sh0
    images, segmenter.column = shown(segmenter), 2
    losses = {}
    for step in range(100, 104):
        losses[step] = term(gaussians, 3, step)[1]["smooth_sam"]
        assert segmenter.seen == {}
    assert term(gaussians, 3, 104)[1]["smooth_sam"] != losses[100]  # it uses the new ones
    anew = shown(segmenter)
    assert list(anew) == TRAINING and not torch.equal(anew["v3"], images["v3"])
    assert (smoothing_labels(ready)[:, 2:] == 2).all()
    term(gaussians, 3, 105)
    term(gaussians, 3, 108)  # the scene has not changed since
    assert segmenter.seen == {}
    gaussians.sh0 = gaussians.sh0 + 1
    term(gaussians, 3, 112)
    assert list(shown(segmenter)) == TRAINING


def test_filtered_maps_and_weights_by_purity_follow_new_masks(ready: Distillation, segmenter: Halves) -> None:
    for form in ("target", "consistency"):
        smoothing = SmoothingConfig(sam=SegmentFilterConfig(form, weight=1.0))
        segmenter.column = 6
        features, (term,) = ready.prepare(smoothing=smoothing, masks=MaskConfig("felzenszwalb", refresh=4))
        gaussians, before = ready.carrying(features), {}
        before[100], _ = term(gaussians, 3, 100)
        moved = replace(gaussians, sh0=-gaussians.sh0)
        segmenter.column = 2
        after, _ = term(moved, 3, 104)
        fresh = replace(ready, gaussians=moved)
        _, (expected,) = fresh.prepare(smoothing=smoothing)  # from the start, with the masks as they are now
        assert after == expected(moved, 3, 104)[0] != before[100]


def test_runs_on_one_scene_can_share_their_masks(ready: Distillation, segmenter: Halves, tmp_path: Path) -> None:
    masks = MaskConfig("felzenszwalb", cache=tmp_path / "shared")
    ready.prepare(masks=masks)
    assert list(shown(segmenter)) == TRAINING
    other = replace(ready, run=tmp_path / "other")
    other.run.mkdir()
    other.prepare(masks=masks)
    assert segmenter.seen == {}
    own, others = (RunFolder(run).masks for run in (ready.run, other.run))
    for stem in TRAINING:  # in the cache under its fingerprint; each run has a copy
        (cached,) = (tmp_path / "shared" / stem).glob("*.png")
        assert cached.read_bytes() == (own / f"{stem}.png").read_bytes() == (others / f"{stem}.png").read_bytes()
    segmenter.fingerprint, segmenter.column = "2", 2
    other.prepare(masks=masks)
    assert list(shown(segmenter)) == TRAINING  # with other settings: the cache keeps both, the first run its own
    assert len([*(tmp_path / "shared" / "v3").glob("*.png")]) == 2
    for run, columns in ((ready, 6), (other, 2)):
        masks_of_run = MaskStore(RunFolder(run.run).masks)
        assert int((masks_of_run.load(ready.scene.views[3]) == 1).sum(1)[0]) == columns


def test_what_fits_in_memory_is_read_once(ready: Distillation, segmenter: Halves) -> None:
    ready.prepare()
    views = ViewSegments(ready.config, ready.scene, RunFolder(ready.run), ViewData(ready.scene.views, "cpu"))
    assert views.are_complete() and views[3].dtype == torch.int32 and views[3].shape == (9, 13)
    (RunFolder(ready.run).masks / "v3.png").unlink()
    assert views[3] is views[3] and not views.are_complete()
    with pytest.raises(UserError, match=r"v3\.png: missing or damaged"):
        ViewSegments(ready.config, ready.scene, RunFolder(ready.run), ViewData(ready.scene.views, "cpu"))[3]


@pytest.mark.parametrize("smoothing", [SAM, SmoothingConfig(tv=VariationConfig(1.0, segments=True))])
def test_no_masks_where_they_are_needed_is_an_error_before_training(
    ready: Distillation, smoothing: SmoothingConfig
) -> None:
    config = replace(ready.config, masks=MaskConfig("none"), smoothing=smoothing)
    with pytest.raises(UserError, match=r"`masks\.name` none: smoothing inside segments .* needs masks; expected sam"):
        check_features(config, ready.scene)
    check_features(replace(config, smoothing=SmoothingConfig()), ready.scene)


def test_a_missing_precomputed_mask_of_a_training_view_is_found_before_training(
    ready: Distillation, tmp_path: Path
) -> None:
    folder = tmp_path / "given"
    folder.mkdir()
    for stem in TRAINING:  # the held-out views need none
        Image.fromarray(np.ones((9, 13), np.uint8)).save(folder / f"{stem}.png")
    config = replace(ready.config, masks=MaskConfig("precomputed", folder=folder))
    check_features(config, ready.scene)
    (folder / "v4.png").unlink()
    with pytest.raises(UserError, match=r"v4"):
        check_features(config, ready.scene)
    check_features(replace(config, smoothing=SmoothingConfig()), ready.scene)


def test_a_check_asks_the_segmenter_about_the_training_views(ready: Distillation, segmenter: Halves) -> None:
    views = [replace(view, name="missing.png") if i == 2 else view for i, view in enumerate(ready.scene.views)]
    scene = replace(ready.scene, views=views)
    with pytest.raises(UserError, match=r"missing\.png: missing"):
        check_masks(ready.config, scene)
    check_masks(TrainConfig(), scene)
    assert segmenter.seen == {}
