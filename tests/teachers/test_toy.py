"""The toy teacher: each of its faults alone, and that they always come out the same."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gsdff.cameras import Camera, WorldFrame
from gsdff.config.options import TeacherConfig, ToyConfig
from gsdff.errors import UserError
from gsdff.scene import VOID, Scene, View
from gsdff.teachers import open_teacher
from gsdff.teachers.toy import ToyTeacher, _blur, _log_once

FLAWLESS = ToyConfig(channels=16, size=8, blur=0.0, noise=0.0, mistakes=0.0)
CLASSES = ["wall", "floor", "chair", "lamp", "clock"]
HALVES = np.repeat([[0, 2]], 16, 0).repeat(16, 1).astype(np.uint8)
"""Wall and chair side by side, 32 x 16."""


def make_view(name: str = "a.jpg", width: int = 32, height: int = 16) -> View:
    camera = Camera(torch.eye(4), torch.eye(3), width, height)
    return View(name, camera, torch.zeros(height, width, 3, dtype=torch.uint8))


def make_scene(root: Path, labels: dict[str, np.ndarray], instances: dict[str, np.ndarray] | None = None) -> Scene:
    for folder, images in (("labels", labels), ("instances", instances or {})):
        for stem, ids in images.items():
            (root / folder).mkdir(exist_ok=True)
            Image.fromarray(ids).save(root / folder / f"{stem}.png")
    (root / "classes.json").write_text(json.dumps(CLASSES))
    views = [make_view(f"{stem}.jpg", *reversed(ids.shape)) for stem, ids in labels.items()]
    return Scene(root, views, torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.uint8), WorldFrame())


def make_teacher(scene: Scene, toy: ToyConfig = FLAWLESS, **changes) -> ToyTeacher:
    return ToyTeacher(TeacherConfig("toy", toy=replace(toy, **changes)), scene)


def patches(count: int) -> np.ndarray:
    """`count` x `count` things of 4 x 4 pixels, numbered from 1."""
    return np.arange(1, count**2 + 1, dtype=np.uint16).reshape(count, count).repeat(4, 0).repeat(4, 1)


def test_a_teacher_without_faults_shows_the_class_vectors(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, {"a": HALVES})
    teacher = make_teacher(scene)
    (features,) = teacher.extract(scene.views)
    wall, chair = teacher.class_vectors[0], teacher.class_vectors[2]
    assert features.shape == (16, 4, 8)
    torch.testing.assert_close(features[:, :, :4], wall[:, None, None].expand(-1, 4, 4))
    torch.testing.assert_close(features[:, :, 4:], chair[:, None, None].expand(-1, 4, 4))


def test_class_vectors_have_unit_length_and_follow_the_seed(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, {"a": HALVES})
    first, again, other = (make_teacher(scene, seed=seed).class_vectors for seed in (0, 0, 1))
    torch.testing.assert_close(first.norm(dim=1), torch.ones(5))
    assert torch.equal(first, again) and not torch.allclose(first, other, atol=0.1)


def test_a_pixel_across_a_border_shows_the_mean_of_its_area(tmp_path: Path) -> None:
    labels = np.zeros((4, 8), np.uint8)
    labels[:, 3:] = 2  # a quarter of the first of two pixels, all of the second
    scene = make_scene(tmp_path, {"a": labels})
    teacher = make_teacher(scene, size=2)
    (features,) = teacher.extract(scene.views)
    wall, chair = teacher.class_vectors[0], teacher.class_vectors[2]
    mixed = 0.75 * wall + 0.25 * chair
    torch.testing.assert_close(features[:, 0, 0], mixed / mixed.norm())
    torch.testing.assert_close(features[:, 0, 1], chair)


@given(length=st.integers(1, 60), std=st.floats(0, 10))
@settings(max_examples=50, deadline=None)
def test_a_blur_keeps_constants_and_is_symmetric_about_the_middle(length: int, std: float) -> None:
    weights = _blur(length, std)
    torch.testing.assert_close(weights.sum(1), torch.ones(length))
    torch.testing.assert_close(weights, weights.flip(0, 1))


def test_the_blur_has_the_standard_deviation_asked_for() -> None:
    row = _blur(101, 3.0)[50].double()
    offsets = torch.arange(101).double() - 50
    assert float((row * offsets**2).sum().sqrt()) == pytest.approx(3.0, abs=1e-4)


def test_blur_mixes_neighbours_and_leaves_what_is_far_from_the_border(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, {"a": HALVES})
    teacher = make_teacher(scene, size=32, blur=1.0)
    (features,) = teacher.extract(scene.views)
    cosine = torch.einsum("thw,t->hw", features, teacher.class_vectors[0])
    torch.testing.assert_close(cosine[:, :10], torch.ones(16, 10))
    assert bool((cosine[:, 15] < 0.999).all() and (cosine[:, 15] > cosine[:, 16]).all())


def test_what_is_mostly_void_stays_zero_under_blur_and_noise(tmp_path: Path) -> None:
    labels = HALVES.copy()
    labels[:, 13:] = VOID  # the fourth pixel of eight is void by three quarters
    scene = make_scene(tmp_path, {"a": labels})
    (features,) = make_teacher(scene, blur=2.0, noise=1.0, mistakes=1.0).extract(scene.views)
    assert bool(features[:, :, :3].any(0).all()) and not bool(features[:, :, 3:].any())


def test_every_answer_has_unit_length_whatever_the_faults(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, {"a": HALVES})
    (features,) = make_teacher(scene, blur=1.0, noise=2.0, mistakes=0.5).extract(scene.views)
    torch.testing.assert_close(features.norm(dim=0), torch.ones(4, 8))
    assert features.dtype == torch.float32


def test_noise_has_the_length_asked_for_in_a_direction_of_its_own_at_every_pixel(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, {"a": np.zeros((16, 16), np.uint8)})
    teacher = make_teacher(scene, size=16, noise=0.5)
    (features,) = teacher.extract(scene.views)
    truth = teacher.class_vectors[0]
    along = torch.einsum("thw,t->hw", features, truth)
    # |u + 0.5 d| = 1 / s brings s (u + 0.5 d) to unit length, and s follows from its part along u and across it.
    across = (1 - along**2).clamp_min(0).sqrt()
    assert float(across.max()) <= 0.5 + 1e-4  # asin of the length is the largest angle
    pixels = features.flatten(1).T - along.flatten()[:, None] * truth
    assert int(torch.linalg.matrix_rank(pixels)) == 15  # all directions but that of the class itself
    directions = pixels / pixels.norm(dim=1, keepdim=True)
    assert float(directions.mean(0).norm()) < 0.2


def test_noise_is_of_full_rank(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, {"a": np.zeros((16, 16), np.uint8)})
    (features,) = make_teacher(scene, size=16, noise=0.5).extract(scene.views)
    singular = torch.linalg.svdvals(features.flatten(1))
    assert float(singular[1] / singular[-1]) < 2.5  # after the class's own direction none stands out


def test_the_same_seed_gives_the_same_map_and_another_seed_another(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, {"a": HALVES})
    maps = [next(make_teacher(scene, noise=0.5, seed=seed).extract(scene.views)) for seed in (0, 0, 1)]
    assert torch.equal(maps[0], maps[1]) and not torch.allclose(maps[0], maps[2], atol=0.1)


def test_noise_differs_between_views_of_the_same_sight_and_not_with_their_order(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, {"a": HALVES, "b": HALVES})
    teacher = make_teacher(scene, noise=0.5)
    a, b = teacher.extract(scene.views)
    b_first, a_second = teacher.extract(scene.views[::-1])
    assert not torch.allclose(a, b, atol=0.1)
    assert torch.equal(a, a_second) and torch.equal(b, b_first)


def test_nothing_is_drawn_from_the_global_randomness(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, {"a": HALVES})
    before = torch.random.get_rng_state()
    next(make_teacher(scene, noise=0.5, mistakes=0.5).extract(scene.views))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_mistaken_thing_is_shown_as_one_other_class_all_over(tmp_path: Path) -> None:
    things = patches(4)
    scene = make_scene(tmp_path, {"a": np.full((16, 16), 2, np.uint8)}, {"a": things})
    teacher = make_teacher(scene, size=16, mistakes=0.5)
    (features,) = teacher.extract(scene.views)
    shown = torch.einsum("thw,qt->qhw", features, teacher.class_vectors).argmax(0)
    by_thing = [shown[torch.from_numpy(things == number)].unique().tolist() for number in range(1, 17)]
    assert all(len(classes) == 1 for classes in by_thing)
    mistaken = [classes[0] for classes in by_thing if classes != [2]]
    assert len(mistaken) == 8 and len(set(mistaken)) > 1


@pytest.mark.parametrize("mistakes", [0.0, 0.1, 0.3, 1.0])
def test_the_share_of_mistaken_things_is_the_one_asked_for(tmp_path: Path, mistakes: float) -> None:
    stems = [f"v{i}" for i in range(40)]
    labels = np.full((12, 12), 1, np.uint8)
    scene = make_scene(tmp_path, dict.fromkeys(stems, labels), dict.fromkeys(stems, patches(3)))
    teacher = make_teacher(scene, size=3, mistakes=mistakes)
    wrong = [
        (torch.einsum("thw,qt->qhw", features, teacher.class_vectors).argmax(0) != 1).float().mean()
        for features in teacher.extract(scene.views)
    ]
    # Of 9 things in a view one more or less is chance: at most 0.5 / 9 per view, 0.009 in the mean over 40.
    error = 0.0 if mistakes in (0.0, 1.0) else 0.027
    assert float(torch.stack(wrong).mean()) == pytest.approx(mistakes, abs=error)


def test_other_views_err_about_other_things(tmp_path: Path) -> None:
    stems = [f"v{i}" for i in range(12)]
    labels = np.full((16, 16), 1, np.uint8)
    scene = make_scene(tmp_path, dict.fromkeys(stems, labels), dict.fromkeys(stems, patches(4)))
    teacher = make_teacher(scene, size=4, mistakes=0.25)
    wrong = torch.stack([(teacher.class_vectors[1] @ f.flatten(1)) < 0.99 for f in teacher.extract(scene.views)])
    assert wrong.sum(1).tolist() == [4] * 12
    assert len({tuple(row) for row in wrong.tolist()}) > 8


def test_without_instances_a_whole_class_is_a_thing(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, {"a": HALVES})
    teacher = make_teacher(scene, mistakes=0.5)
    (features,) = teacher.extract(scene.views)
    (clean,) = make_teacher(scene).extract(scene.views)
    differs = (features - clean).abs().amax((0, 1)) > 0.01
    assert differs.tolist() in ([True] * 4 + [False] * 4, [False] * 4 + [True] * 4)


def test_a_list_of_one_class_leaves_nothing_to_mistake_it_for(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, {"a": np.zeros((8, 8), np.uint8)})
    (tmp_path / "classes.json").write_text('["wall"]')
    teacher = make_teacher(scene, mistakes=1.0)
    (features,) = teacher.extract(scene.views)
    torch.testing.assert_close(features, teacher.class_vectors[0][:, None, None].expand(-1, 8, 8))


def test_the_clean_map_is_the_truth_at_the_size_of_the_labels(tmp_path: Path) -> None:
    labels = HALVES.copy()
    labels[0] = VOID
    scene = make_scene(tmp_path, {"a": labels})
    teacher = make_teacher(scene, noise=3.0, mistakes=1.0)
    clean = teacher.clean(scene.views[0])
    assert clean.shape == (16, 16, 32) and not bool(clean[:, 0].any())
    assert torch.equal(clean[:, 5, 3], teacher.class_vectors[0])
    assert torch.equal(clean[:, 5, 20], teacher.class_vectors[2])


def test_a_map_is_no_finer_than_the_labels(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, {"a": HALVES, "b": np.zeros((1, 40), np.uint8)})
    shapes = [features.shape for features in make_teacher(scene, size=36).extract(scene.views)]
    assert shapes == [(16, 16, 32), (16, 1, 36)]


def test_text_answers_the_class_vectors_and_lists_them_for_other_names(tmp_path: Path) -> None:
    teacher = make_teacher(make_scene(tmp_path, {"a": HALVES}))
    assert torch.equal(teacher.text(["Lamp", "wall"]), teacher.class_vectors[[3, 0]])
    assert teacher.knows("clock") and not teacher.knows("sky")
    with pytest.raises(UserError, match=r"toy teacher, .* unknown name 'sky'.* Known: wall, floor, chair, lamp"):
        teacher.text(["sky"])


def test_a_view_without_labels_or_instances_is_refused_before_anything_starts(tmp_path: Path) -> None:
    teacher = make_teacher(make_scene(tmp_path, {"a": HALVES, "b": HALVES}, {"a": HALVES}))
    teacher.check(make_view("a.jpg"))
    for ask in (teacher.check, teacher.fingerprint_of, lambda view: next(teacher.extract([view]))):
        with pytest.raises(UserError, match=r"instances/b\.png: missing; photo b\.jpg"):
            ask(make_view("b.jpg"))
        with pytest.raises(UserError, match=r"labels/c\.png: missing; photo c\.jpg"):
            ask(make_view("c.jpg"))


def test_the_fingerprint_changes_with_every_setting_and_with_the_classes(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, {"a": HALVES})
    changes = ({}, {"channels": 17}, {"size": 9}, {"blur": 0.1}, {"noise": 0.1}, {"mistakes": 0.1}, {"seed": 1})
    prints = [make_teacher(scene, **change).fingerprint for change in changes]
    assert prints[0] == make_teacher(scene).fingerprint
    (tmp_path / "classes.json").write_text(json.dumps([*CLASSES, "sky"]))
    prints.append(make_teacher(scene).fingerprint)
    assert len(set(prints)) == len(changes) + 1


def test_the_fingerprint_of_a_view_changes_with_labels_instances_and_photo_size(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, {"a": HALVES}, {"a": HALVES})
    teacher = make_teacher(scene)
    prints = [teacher.fingerprint_of(make_view()), teacher.fingerprint_of(make_view(width=31))]
    for folder in ("labels", "instances"):
        Image.fromarray(HALVES.T.copy()).save(tmp_path / folder / "a.png")
        prints.append(teacher.fingerprint_of(make_view()))
    assert len(set(prints)) == 4 and prints[-1] == teacher.fingerprint_of(make_view())


def test_it_says_once_that_it_is_a_simulation(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "gsdff")
    _log_once.cache_clear()
    scene = make_scene(tmp_path, {"a": HALVES})
    for _ in range(2):
        assert open_teacher(TeacherConfig("toy"), scene).name == "toy"
    assert caplog.text.count("simulated from label images, without a network") == 1
