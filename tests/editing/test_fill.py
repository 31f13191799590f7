"""Filling of holes: a box on a coloured floor is deleted, of which no view sees what it stands on."""

import math
from dataclasses import replace

import pytest
import torch

from gsdff.cameras import Camera, WorldFrame
from gsdff.editing.context import EditContext
from gsdff.editing.fill import fill_hole, spread
from gsdff.editing.hole import find_hole, find_shares, find_unsupported
from gsdff.editing.operations.delete import Delete
from gsdff.editing.planes import HoleView, ThingBox, find_planes
from gsdff.gaussians import SH_C0, Gaussians
from gsdff.render import render_rgb

GREEN, RED, BLUE = (0.2, 0.6, 0.3), (0.8, 0.1, 0.1), (0.1, 0.1, 0.9)


def blobs(means: torch.Tensor, color: tuple[float, float, float], scale: float) -> Gaussians:
    num = len(means)
    return Gaussians(
        means=means,
        quats=torch.tensor([1.0, 0, 0, 0]).repeat(num, 1),
        log_scales=torch.full((num, 3), math.log(scale)),
        logit_opacities=torch.full((num,), 4.0),
        sh0=((torch.tensor(color) - 0.5) / SH_C0).repeat(num, 1, 1),
        shN=torch.zeros(num, 0, 3),
    )


def grid(low: list[float], high: list[float], steps: list[int]) -> torch.Tensor:
    axes = [torch.linspace(*ends) for ends in zip(low, high, steps, strict=True)]
    return torch.stack([axis.flatten() for axis in torch.meshgrid(*axes, indexing="ij")], 1)


def joined(*parts: Gaussians) -> Gaussians:
    tensors = {name: torch.cat([getattr(part, name) for part in parts]) for name, _ in parts[0].items()}
    return replace(parts[0], **tensors)


def looking_at_centre(angle: float, height: float) -> Camera:
    """A camera around the z axis."""
    centre = torch.tensor([2 * math.cos(angle), 2 * math.sin(angle), height])
    forward = torch.nn.functional.normalize(torch.tensor([0, 0, 0.1]) - centre, dim=0)
    right = torch.nn.functional.normalize(torch.linalg.cross(forward, torch.tensor([0.0, 0, 1])), dim=0)
    pose = torch.eye(4)
    pose[:3, :3] = torch.stack([right, torch.linalg.cross(forward, right), forward], 1)
    pose[:3, 3] = centre
    K = torch.tensor([[140.0, 0, 64], [0, 140.0, 48], [0, 0, 1]])
    return Camera(torch.linalg.inv(pose), K, 128, 96)


CAMERAS = [looking_at_centre(0.7 * index, 1.2) for index in range(9)]
FLOOR = grid([-1.2, -1.2, 0], [1.2, 1.2, 0], [49, 49, 1])
BOX = grid([-0.25, -0.25, 0.05], [0.25, 0.25, 0.45], [9, 9, 7])


@pytest.fixture
def scene() -> tuple[Gaussians, torch.Tensor]:
    """A green floor without what is below a red box, with a blue blob there that no view sees; which is the box."""
    seen = FLOOR[FLOOR[:, :2].abs().amax(1) > 0.22]
    hidden = blobs(torch.tensor([[0.0, 0.0, 0.0]]), BLUE, 0.08)
    whole = joined(blobs(seen, GREEN, 0.03), hidden, blobs(BOX, RED, 0.04))
    return whole, torch.arange(len(whole)) >= len(seen) + 1


def delete(scene: Gaussians, mask: torch.Tensor, *, fill: bool) -> tuple[Gaussians, str]:
    edit, context = Delete("box", fill=fill), EditContext(WorldFrame((1, 2, 3), 2.0), CAMERAS, None)
    world = scene.to_input_frame(context.frame)
    after, remark = edit.perform(world, edit.extend(world, mask, context), context)
    return after.to_working_frame(context.frame), remark


def test_what_no_view_saw_gets_the_plane_and_the_colour_around_it(scene):
    whole, mask = scene
    above = looking_at_centre(0.3, 2.5)
    truth = render_rgb(blobs(FLOOR, GREEN, 0.03), above).image
    hole = find_hole(find_shares(whole, mask, [above])[0])
    errors = {}
    for fill in (False, True):
        after, remark = delete(whole, mask, fill=fill)
        errors[fill] = float((render_rgb(after, above).image - truth)[hole].abs().mean())
        assert ("new Gaussians continue 1 plane" in remark) == fill
    assert errors[True] < 0.25 * errors[False]


def test_what_only_the_hole_shows_goes_with_the_thing_and_all_else_stays(scene):
    whole, mask = scene
    rest = whole.map(lambda tensor: tensor[~mask])
    found = find_unsupported(rest, CAMERAS, find_shares(whole, mask, CAMERAS))
    assert bool(found[-1])  # the blob below the box
    is_far = rest.means[:, :2].abs().amax(1) > 0.4
    assert not found[is_far].any()
    filled, _ = delete(whole, mask, fill=True)
    kept = int((~found).sum())
    torch.testing.assert_close(filled.means[:kept], rest.means[~found])
    assert len(filled) > kept


def test_new_gaussians_lie_in_the_plane_below_the_thing_alone(scene):
    whole, mask = scene
    (new,) = fill_hole(whole, mask, CAMERAS)
    assert new.means[:, 2].abs().max() < 0.05 and new.means[:, :2].abs().max() < 0.5


def test_what_other_views_see_behind_a_thing_is_not_filled():
    floor = blobs(FLOOR, GREEN, 0.03)
    lifted = blobs(BOX + torch.tensor([0, 0, 0.6]), RED, 0.04)
    whole = joined(floor, lifted)
    mask = torch.arange(len(whole)) >= len(floor)
    above = [looking_at_centre(0.7 * index, height) for index in range(9) for height in (0.8, 2.0)]
    assert fill_hole(whole, mask, above) == []


def test_the_same_hole_is_filled_with_the_same_bits(scene):
    first, second = (delete(*scene, fill=True)[0] for _ in range(2))
    assert all(torch.equal(one, other) for (_, one), (_, other) in zip(first.items(), second.items(), strict=True))


def test_a_thing_that_no_view_shows_leaves_nothing_to_fill(scene):
    whole, mask = scene
    behind = whole.map(torch.clone)
    behind.means[mask] += torch.tensor([0, 0, 50.0])
    after, remark = delete(behind, mask, fill=True)
    assert remark.startswith("no plane beside it") and len(after) == int((~mask).sum())


def test_values_between_known_ones_are_on_a_straight_line():
    values = torch.zeros(1, 6, 2)
    values[0, 0], values[0, 5] = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 5.0])
    is_known = torch.tensor([[True, False, False, False, False, True]])
    got = spread(values, is_known, ~is_known)
    torch.testing.assert_close(got[0, :, 0], torch.linspace(1, 0, 6), atol=0.05, rtol=0)
    torch.testing.assert_close(got[0, :, 1], torch.linspace(0, 5, 6), atol=0.25, rtol=0)


def test_new_gaussians_get_features_of_their_surroundings_and_no_reliability(scene):
    whole, mask = scene
    whole.features = torch.where(mask[:, None], torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0]))
    whole.reliability = torch.ones(len(whole))
    extended = Delete("box", fill=True).extend(whole, mask, EditContext(WorldFrame(), CAMERAS, None))
    (new,) = fill_hole(whole, extended, CAMERAS)
    assert new.features is not None and new.reliability is not None
    assert (new.features[:, 0] > 0.8).all() and not new.features[:, 1].any() and not new.reliability.any()


def surroundings(whole: Gaussians, mask: torch.Tensor) -> list[HoleView]:
    """Views from before a wall at larger y, without what is masked."""
    cameras = [looking_at_centre(angle, height) for angle in (-2.6, -2.1, -1.6, -1.1, -0.6) for height in (0.8, 1.6)]
    rest, shares = whole.map(lambda tensor: tensor[~mask]), find_shares(whole, mask, cameras)
    return [HoleView.of(rest, camera, find_hole(share)) for camera, share in zip(cameras, shares, strict=True)]


WALL = grid([-1.2, 0.35, 0], [1.2, 0.35, 1.2], [49, 1, 25])


def test_a_picture_on_the_wall_shows_the_wall_although_half_of_it_is_in_the_wall():
    """What hangs on a wall is seen from one side only, so that training puts it before and behind the wall."""
    picture = grid([-0.3, 0.28, 0.3], [0.3, 0.42, 0.7], [15, 8, 12])
    whole = joined(blobs(WALL, BLUE, 0.03), blobs(picture, RED, 0.02))
    mask = torch.arange(len(whole)) >= len(WALL)
    box = ThingBox.around(picture)
    (plane,) = find_planes(
        surroundings(whole, mask), picture, box, 0.3 * box.diagonal, torch.Generator().manual_seed(0)
    )
    assert plane.normal[1] < -0.98 and abs(plane.offset + 0.35) < 0.05


def test_a_floor_and_a_wall_are_found_apart_and_no_plane_across_their_corner():
    floor = FLOOR[FLOOR[:, 1] < 0.36]
    whole = joined(blobs(floor, GREEN, 0.03), blobs(WALL, BLUE, 0.03), blobs(BOX, RED, 0.04))
    mask = torch.arange(len(whole)) >= len(floor) + len(WALL)
    box = ThingBox.around(BOX)
    planes = find_planes(surroundings(whole, mask), BOX, box, 0.4 * box.diagonal, torch.Generator().manual_seed(0))
    expected = torch.tensor([[0.0, 0, 1], [0, -1, 0]])
    assert len(planes) == 2
    assert ((torch.stack([plane.normal for plane in planes]) @ expected.T).amax(0) > 0.98).all()
