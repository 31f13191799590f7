"""Camera paths of simple set-ups of cameras, whose paths are known."""

import math
from dataclasses import replace

import pytest
import torch

from gsdff.cameras import Camera
from gsdff.io.camera_paths import find_up, interpolate, orbit
from gsdff.rotation import axis_angle_to_matrix

K = torch.tensor([[50.0, 0, 32], [0, 50, 24], [0, 0, 1]])
CENTRE = torch.tensor([3.0, -2.0, 5.0], dtype=torch.float64)
UP = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)


def look(position, target, up=UP):
    """A camera at a point, looking at another, its horizon level."""
    position, target = (torch.as_tensor(point, dtype=torch.float64) for point in (position, target))
    forward = torch.nn.functional.normalize(target - position, dim=0)
    right = torch.nn.functional.normalize(torch.linalg.cross(forward, up), dim=0)
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = torch.stack([right, torch.linalg.cross(forward, right), forward], dim=1)
    pose[:3, 3] = position
    return Camera(torch.linalg.inv(pose).float(), K, 64, 48)


def on_circle(degrees, radius=2.0, height=1.0):
    """A camera on a circle about `CENTRE`, above it, looking at it."""
    angle = math.radians(degrees)
    return look(CENTRE + torch.tensor([radius * math.cos(angle), radius * math.sin(angle), height]), CENTRE)


def stacked_viewmats(cameras):
    return torch.stack([camera.viewmat for camera in cameras])


def around_centre(cameras):
    """Azimuths in degrees, distances from the axis and heights."""
    x, y, z = torch.stack([camera.position.double() - CENTRE for camera in cameras]).unbind(-1)
    return torch.rad2deg(torch.atan2(y, x)), torch.hypot(x, y), z


def forwards(cameras):
    return torch.stack([camera.camtoworld[:3, 2] for camera in cameras])


def assert_cameras(cameras):
    """Rigid, right-handed, of the size and focal length of those here."""
    R = torch.stack([camera.viewmat[:3, :3] for camera in cameras])
    torch.testing.assert_close(R @ R.mT, torch.eye(3).expand_as(R), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(R), torch.ones(len(R)), atol=1e-5, rtol=0)
    for camera in cameras:
        assert (camera.width, camera.height) == (64, 48) and camera.viewmat.dtype == camera.K.dtype == torch.float32


def test_cameras_on_a_circle_give_that_circle_from_the_first_one_on():
    flight = orbit([on_circle(degrees) for degrees in range(20, 380, 30)], 36)
    expected = [on_circle(20 + 10 * i) for i in range(36)]
    torch.testing.assert_close(stacked_viewmats(flight), stacked_viewmats(expected), atol=1e-4, rtol=0)
    assert_cameras(flight)


def test_a_circle_stays_one_in_any_frame(generator):
    turn = torch.eye(4, dtype=torch.float64)
    turn[:3, :3], turn[:3, 3] = axis_angle_to_matrix((1, 2, 3), 130), torch.tensor([7.0, 8, 9])

    def moved(camera):
        return replace(camera, viewmat=(camera.viewmat.double() @ torch.linalg.inv(turn)).float())

    cameras = [on_circle(degrees, 2 + 0.1 * (degrees % 40 == 0)) for degrees in range(0, 360, 20)]
    flights = orbit([moved(camera) for camera in cameras], 12), [moved(camera) for camera in orbit(cameras, 12)]
    torch.testing.assert_close(*map(stacked_viewmats, flights), atol=1e-4, rtol=0)


def test_an_oval_of_cameras_gives_a_path_between_its_radii_that_follows_it():
    cameras = []
    for degrees in range(0, 360, 10):
        angle = math.radians(degrees)
        offset = torch.tensor([3 * math.cos(angle), 2 * math.sin(angle), 0.5])
        cameras.append(look(CENTRE + offset, CENTRE))
    _, radii, heights = around_centre(orbit(cameras, 4))
    assert (radii[[0, 2]] > 2.8).all() and (radii[[1, 3]] < 2.2).all()
    assert (radii >= 2).all() and (radii <= 3).all() and (abs(heights - 0.5) < 0.1).all()


def test_cameras_on_one_side_stay_in_their_arc_there_and_back(caplog):
    with caplog.at_level("INFO", logger="gsdff"):
        flight = orbit([on_circle(degrees) for degrees in range(-50, 51, 10)], 48)
    azimuths, radii, heights = around_centre(flight)
    torch.testing.assert_close(radii, torch.full_like(radii, 2), atol=1e-3, rtol=0)
    torch.testing.assert_close(heights, torch.full_like(heights, 1), atol=1e-3, rtol=0)
    torch.testing.assert_close(azimuths[[0, 12, 24, 36]], torch.tensor([0, 50, 0, -50]).double(), atol=1e-2, rtol=0)
    steps = azimuths.diff(append=azimuths[:1]).abs()
    assert steps.max() < 50 * 2 * math.pi / 48 and "one side of what they look at" in caplog.text
    assert "their 100 degrees" in caplog.text
    assert_cameras(flight)


def test_an_arc_across_the_seam_of_azimuths_is_the_same_arc():
    azimuths, *_ = around_centre(orbit([on_circle(degrees) for degrees in range(130, 231, 10)], 48))
    assert (torch.remainder(azimuths, 360) >= 129.9).all() and (torch.remainder(azimuths, 360) <= 230.1).all()


def test_an_arc_seen_from_above_keeps_its_horizon_level():
    flight = orbit([on_circle(degrees, radius=1.5, height=1.5) for degrees in range(-60, 61, 10)], 24)
    rights = torch.stack([camera.camtoworld[:3, 0] for camera in flight])
    assert rights[:, 2].abs().max() < 0.01


def test_a_grid_that_looks_forward_is_swept_and_not_turned_about():
    cameras = [look((x, y, 0.0), (0, 0, 10), -torch.eye(3).double()[1]) for y in (-1.0, 0, 1) for x in (-1.0, 0, 1)]
    flight = orbit(cameras, 24)
    positions = torch.stack([camera.position for camera in flight])
    assert positions[:, 0].abs().max() < 1.05 and positions[:, 0].abs().max() > 0.9
    assert positions[:, 1:].abs().max() < 0.2 and (forwards(flight)[:, 2] > 0.99).all()


def test_most_cameras_say_what_is_looked_at():
    inner = [look(CENTRE + o, CENTRE + 2 * o) for o in (torch.tensor([0.5, 0, 0]), torch.tensor([0, -0.5, 0]))]
    flight = orbit([*(on_circle(degrees) for degrees in range(0, 360, 30)), *inner], 12)
    _, radii, _ = around_centre(flight)
    torch.testing.assert_close(radii, torch.full_like(radii, 2), atol=1e-3, rtol=0)


def drive(generator, count=60):
    """Down a street with a bend, a hand's tremble in the directions."""
    cameras = []
    for i in range(count):
        z = 10 * i / (count - 1)
        tremble = 0.02 * torch.randn(2, generator=generator)
        target = (0.01 * (z + 3) ** 2 + float(tremble[0]), float(tremble[1]), z + 3)
        cameras.append(look((0.01 * z**2, 0.0, z), target, -torch.eye(3).double()[1]))
    return cameras


def test_a_drive_is_followed_forwards_smoothly_and_evenly(generator, caplog):
    cameras = drive(generator)
    with caplog.at_level("INFO", logger="gsdff"):
        flight = orbit(cameras, 100)
    assert "no common point" in caplog.text
    assert_cameras(flight)
    positions = torch.stack([camera.position for camera in flight])
    theirs = torch.stack([camera.position for camera in cameras])
    assert torch.cdist(positions, theirs).min(1).values.max() < 0.1
    assert (positions[0] - theirs[0]).norm() < 0.5 and (positions[-1] - theirs[-1]).norm() < 0.5
    steps = positions.diff(dim=0)
    assert (steps[:, 2] > 0).all() and steps.norm(dim=-1).max() < 1.6 * steps.norm(dim=-1).min()
    trembling, flown = (forwards(cams).diff(n=2, dim=0).norm(dim=-1).mean() for cams in (cameras, flight))
    assert flown < trembling / 5


def test_cameras_that_look_out_from_the_middle_turn_where_they_are():
    offsets = [torch.tensor([math.cos(a), math.sin(a), 0.0]) for a in torch.arange(0, 5, 0.2).tolist()]
    flight = orbit([look(CENTRE + 0.3 * o, CENTRE + 2 * o) for o in offsets], 30)
    assert around_centre(flight)[1].max() < 0.31
    outwards = torch.stack([camera.position for camera in flight]).double() - CENTRE
    assert (torch.cosine_similarity(outwards, forwards(flight).double()) > 0.95).all()


def test_parallel_cameras_and_a_single_one_have_nothing_to_turn_about():
    side = [look((x, 0, 0), (x, 5, 0)) for x in (0.0, 1.0, 2.0)]
    flight = orbit(side, 5)
    torch.testing.assert_close(torch.stack([c.position[0] for c in flight]), torch.tensor([0, 0.5, 1, 1.5, 2]))
    for camera in orbit(side[:1], 3):
        torch.testing.assert_close(camera.viewmat, side[0].viewmat)


def test_a_path_through_keyframes_begins_and_ends_at_them_and_passes_each(generator):
    positions = torch.randn(6, 3, generator=generator).double() * 2
    keyframes = [look(p, p + torch.randn(3, generator=generator).double()) for p in positions]
    flight = interpolate(keyframes, 4001)
    assert_cameras(flight)
    ours, theirs = stacked_viewmats(flight), stacked_viewmats(keyframes)
    torch.testing.assert_close(ours[[0, -1]], theirs[[0, -1]], atol=1e-5, rtol=0)
    distances = torch.cdist(ours.flatten(1), theirs.flatten(1))
    nearest = distances.argmin(0)
    assert distances.min(0).values.max() < 0.02 and (nearest.diff() > 0).all()
    jumps = ours.diff(dim=0).flatten(1).norm(dim=-1)
    assert jumps.max() < 0.02


def test_even_keyframes_are_frames_of_the_path_and_a_circle_stays_nearly_one():
    keyframes = [on_circle(degrees) for degrees in range(0, 181, 30)]
    flight = interpolate(keyframes, 61)
    torch.testing.assert_close(stacked_viewmats(flight[::10]), stacked_viewmats(keyframes), atol=1e-5, rtol=0)
    azimuths, radii, heights = around_centre(flight)
    assert (abs(radii - 2) < 0.02).all() and (abs(heights - 1) < 1e-5).all()
    assert (abs(azimuths.diff()[:-1] - 3) < 0.5).all()


def test_two_keyframes_are_joined_by_a_straight_line_and_the_shorter_turn():
    first, last = look((0, 0, 0), (0, 1, 0)), look((2, 0, 0), (3, 0, 0))
    middle = interpolate([first, last], 3)[1]
    torch.testing.assert_close(middle.position, torch.tensor([1.0, 0, 0]))
    half = math.sqrt(0.5)
    torch.testing.assert_close(middle.camtoworld[:3, 2], torch.tensor([half, half, 0]))


def test_turning_on_the_spot_and_zooming_take_time_too():
    here = look((1, 1, 1), (2, 1, 1))
    zoomed = replace(here, K=K * torch.tensor([[2.0], [2.0], [1.0]]))
    turned = look((1, 1, 1), (1, 2, 1))
    focal = [float(camera.K[0, 0]) for camera in interpolate([here, zoomed], 3)]
    assert focal == pytest.approx([50, 75, 100])
    directions = forwards(interpolate([here, turned], 7))
    torch.testing.assert_close(directions[3], torch.tensor([math.sqrt(0.5), math.sqrt(0.5), 0]))


def test_a_keyframe_given_twice_in_a_row_counts_once():
    a, b, c = on_circle(0), on_circle(40), on_circle(90)
    twice, once = interpolate([a, a, b, b, c, c], 20), interpolate([a, b, c], 20)
    torch.testing.assert_close(stacked_viewmats(twice), stacked_viewmats(once), atol=1e-5, rtol=0)
    assert len(interpolate([a, a], 5)) == 5 and len(interpolate([a, b], 1)) == 1


def test_quaternions_signs_do_not_matter():
    keyframes = [on_circle(degrees) for degrees in range(0, 721, 45)]
    assert (abs(around_centre(interpolate(keyframes, 200))[1] - 2) < 0.05).all()
    flight = interpolate(keyframes, 200)
    towards = torch.nn.functional.normalize(CENTRE - torch.stack([c.position for c in flight]).double(), dim=-1)
    assert ((towards * forwards(flight)).sum(-1) > 0.999).all()


@pytest.mark.parametrize("path", [orbit, interpolate])
@pytest.mark.parametrize(("count", "num_frames"), [(0, 5), (3, 0), (3, -1)])
def test_a_path_of_nothing_is_refused(path, count, num_frames):
    with pytest.raises(ValueError, match=f"a path needs cameras and frames, got {count} and {num_frames}"):
        path([on_circle(40 * i) for i in range(count)], num_frames)


def test_keyframes_of_different_sizes_are_refused():
    with pytest.raises(ValueError, match="keyframes must be of one size"):
        interpolate([on_circle(0), on_circle(40).resized(32, 24)], 5)


def test_up_is_what_horizons_are_level_to_though_all_look_down_from_one_side():
    cameras = [on_circle(degrees, radius=2.0, height=3.0) for degrees in (-20.0, 0.0, 25.0)]
    torch.testing.assert_close(find_up(cameras), UP, atol=1e-2, rtol=0)  # the mean, which breaks ties, pulls a little
    mean = torch.stack([-camera.viewmat[1, :3] for camera in cameras]).mean(0)
    assert mean @ UP.float() / mean.norm() < 0.9  # that of the cameras' own ups leans
    with pytest.raises(ValueError, match="cameras"):
        find_up([])
