"""Colours that follow a text, judged by a stand-in for CLIP that sees mean colours and reads names of colours."""

import re
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from tiny_answers import NUM_CHAIR, write_asked_run
from tiny_run import TinyRun
from torch import Tensor

from gsdff import Stylize
from gsdff.cameras import Camera, WorldFrame
from gsdff.config.options import DataConfig
from gsdff.data import load_scene
from gsdff.editing.context import EditContext, Judge
from gsdff.editing.selector import Click
from gsdff.editing.stylize import ClipLoss
from gsdff.errors import UserError
from gsdff.gaussians import Gaussians
from gsdff.render import render_features, render_rgb

COLORS = {"red": (1.0, 0.0, 0.0), "blue": (0.0, 0.0, 1.0)}
CHAIR = torch.arange(60) < NUM_CHAIR


class MeanColor:
    """A judge to whom a picture is its mean colour, and a text the colour it names, or grey."""

    side = 16

    def see_whole(self, pictures: Tensor) -> Tensor:
        return F.normalize(pictures.mean((2, 3)), dim=1)

    def phrases(self, phrases: Sequence[str]) -> Tensor:
        named = [next((color for name, color in COLORS.items() if name in text), (1.0, 1.0, 1.0)) for text in phrases]
        return F.normalize(torch.tensor(named), dim=1)


@pytest.fixture
def run(tmp_path, generator) -> TinyRun:
    return write_asked_run(tmp_path, generator)


@pytest.fixture
def scene(run) -> Gaussians:
    return run.gaussians.to_working_frame(run.frame)


@pytest.fixture
def cameras(run) -> list[Camera]:
    return [view.camera for view in load_scene(run.data, DataConfig()).views]


def stylize(
    scene: Gaussians, cameras: Sequence[Camera], judge: Judge | None, edit: Stylize | None = None, **options: object
) -> tuple[Gaussians, str]:
    """A chair in the working frame edited, by default red in 40 steps."""
    edit = edit or Stylize("chair", "a red chair", **{"steps": 40, "rate": 0.02, **options})
    return edit.perform(scene, CHAIR, EditContext(WorldFrame(), cameras, judge))


def losses(remark: str) -> tuple[float, float]:
    """Losses of the first and the last steps, as the remark has them."""
    return tuple(map(float, re.search(r"CLIP loss (\S+) -> (\S+)$", remark).groups()))


@pytest.mark.parametrize("source", ["", None])
def test_the_object_becomes_what_the_text_says_and_the_picture_away_from_it_stays(scene, cameras, source):
    held_out, *train = cameras
    styled, remark = stylize(scene, train, MeanColor(), source=source)
    before, after = (render_rgb(gaussians, held_out).image.clamp(0, 1) for gaussians in (scene, styled))
    shown = render_features(scene, held_out, features=CHAIR[:, None].float()).image[..., 0]
    first, last = ((shown[..., None] * image).sum((0, 1)) / shown.sum() for image in (before, after))
    assert last[0] / last.sum() > first[0] / first.sum() + 0.2
    away = shown == 0
    assert away.float().mean() > 0.3 and torch.equal(before[away], after[away])
    first, last = losses(remark)
    assert last < first - 0.15


def test_nothing_but_the_colours_of_the_selected_changes(scene, cameras):
    styled, _ = stylize(scene, cameras, MeanColor(), steps=5)
    for (name, ours), (_, theirs) in zip(styled.items(), scene.items(), strict=True):
        if name in ("sh0", "shN"):
            assert torch.equal(ours[~CHAIR], theirs[~CHAIR]) and (ours[CHAIR] != theirs[CHAIR]).any(), name
        else:
            assert torch.equal(ours, theirs), name


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(scene, cameras):
    one, other, else_ = (stylize(scene, cameras, MeanColor(), steps=5, seed=seed)[0] for seed in (3, 3, 4))
    assert torch.equal(one.sh, other.sh) and not torch.equal(one.sh, else_.sh)


def test_the_first_step_changes_no_colour_by_more_than_the_rate(scene, cameras):
    styled, _ = stylize(scene, cameras, MeanColor(), steps=1, rate=0.03)
    change = (styled.base_colors - scene.base_colors).abs()
    assert 0.029 < change.max() < 0.0301


def test_colours_without_direction_are_stylized_too(scene, cameras):
    plain = replace(scene, shN=scene.shN[:, :0])
    styled, remark = stylize(plain, cameras, MeanColor(), steps=20)
    first, last = losses(remark)
    assert styled.shN.shape == (60, 0, 3) and last < first


def test_without_a_judge_it_says_what_it_would_do_and_does_nothing(scene, cameras):
    styled, remark = stylize(scene, cameras, None)
    assert torch.equal(styled.sh, scene.sh)
    assert remark == "towards 'a red chair', away from 'a chair', 40 steps, by 8 of 10 views"


@pytest.mark.parametrize(
    ("source", "target", "texts"),
    [
        (None, ("chair", "An old stool", "the desk"), ("a chair", "An old stool", "the desk")),
        (" a seat ", "chair", ("a seat",)),
        ("", "chair", ()),
        (None, Click("a.png", 1, 2), ()),
    ],
)
def test_the_sources_are_the_texts_of_the_target_unless_one_is_given(source, target, texts):
    assert Stylize(target, "red", source=source).sources == texts


def test_without_a_source_the_loss_is_one_minus_the_cosine():
    loss = ClipLoss.of(MeanColor(), "red", (), torch.device("cpu"))
    vectors = torch.tensor([[1.0, 0, 0], [0.0, 1, 0], [0.6, 0.8, 0]])
    torch.testing.assert_close(loss(vectors, None), torch.tensor((0 + 1 + 0.4) / 3))


def test_with_a_source_the_loss_is_of_the_change_and_linear_where_that_is_small():
    loss = ClipLoss.of(MeanColor(), "red", ("blue",), torch.device("cpu"))
    torch.testing.assert_close(loss.direction, torch.tensor([0.5**0.5, 0, -(0.5**0.5)]))
    before = torch.tensor([[0.0, 1, 0]]).repeat(3, 1)
    changes = torch.tensor([[0.5, 0, -0.5], [0.0, 0, 0.3], [0.01, 0, -0.01]])
    losses = [float(loss(before[i : i + 1] + changes[i], before[i : i + 1])) for i in range(3)]
    assert losses == pytest.approx([0, 1 + 0.5**0.5, 1 - 0.02 * 0.5**0.5 / 0.1], abs=1e-6)
    vectors = before.clone().requires_grad_()
    loss(vectors, before).backward()  # of no change yet
    torch.testing.assert_close(vectors.grad, (-loss.direction / 0.1 / 3).expand(3, 3))


def test_several_sources_are_averaged():
    loss = ClipLoss.of(MeanColor(), "thing", ("red", "blue"), torch.device("cpu"))
    difference = torch.tensor([3**-0.5 - 0.5**0.5, 3**-0.5, 3**-0.5 - 0.5**0.5])
    torch.testing.assert_close(loss.direction, F.normalize(difference, dim=0))


def test_a_prompt_that_says_the_same_as_its_source_is_refused(scene, cameras):
    edit = Stylize("red chair", "a red chair")
    with pytest.raises(UserError, match="prompt 'a red chair' says the same as its source 'a red chair'"):
        stylize(scene, cameras, MeanColor(), edit)


@pytest.mark.parametrize("judge", [None, MeanColor()])
def test_a_selection_that_no_view_sees_is_refused(scene, cameras, judge):
    away = replace(scene, means=torch.where(CHAIR[:, None], scene.means + 100, scene.means))
    with pytest.raises(
        UserError, match=r"none of the 10 training views shows enough of it .* 0.05% of a photo's pixels"
    ):
        stylize(away, cameras, judge)


def test_a_judge_that_gives_no_numbers_is_complained_about(scene, cameras):
    judge = MeanColor()
    judge.see_whole = lambda pictures: torch.full((len(pictures), 3), torch.nan) * pictures.mean()
    with pytest.raises(UserError, match="values that are no numbers for a picture of it; its weights are damaged"):
        stylize(scene, cameras, judge, steps=2)
