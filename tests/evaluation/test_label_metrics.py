"""Agreement, boundaries, speckles, gradient energy and consistency: by hand, by their properties, and their errors."""

import math

import pytest
import torch
from tiny_field import make_camera

from gsdff.cameras import Camera
from gsdff.evaluation.label_metrics import (
    MIN_ALPHA,
    Mean,
    agreement,
    boundary_distance,
    gradient_energy,
    speckles,
    view_consistency,
    visible_pixels,
)
from gsdff.scene import VOID


def random_map(generator: torch.Generator, height: int = 20, width: int = 30, num_classes: int = 3) -> torch.Tensor:
    """Blocks of four by four pixels, some of them void."""
    blocks = torch.randint(0, num_classes + 1, (height // 4 + 1, width // 4 + 1), generator=generator)
    labels = blocks.repeat_interleave(4, 0).repeat_interleave(4, 1)[:height, :width]
    return torch.where(labels == num_classes, VOID, labels).byte()


def test_means_add_up_and_the_mean_of_nothing_is_no_number() -> None:
    assert (Mean(1.0, 4) + Mean(2.0, 2)).value == 0.5
    assert math.isnan(Mean().value) and (Mean() + Mean(3.0, 4)).value == 0.75


def test_agreement_counts_the_pixels_the_reference_answers() -> None:
    reference = torch.tensor([[0, 1, 2], [VOID, VOID, 2]], dtype=torch.uint8)
    predicted = torch.tensor([[0, 2, VOID], [VOID, 1, 2]], dtype=torch.uint8)
    assert agreement(predicted, reference) == Mean(2, 4)


def test_a_map_agrees_with_itself_and_views_add_up(generator: torch.Generator) -> None:
    one, other = random_map(generator), random_map(generator)
    assert agreement(one, one).value == 1
    both = agreement(torch.stack([one, other]), torch.stack([other, other]))
    assert both == agreement(one, other) + agreement(other, other)


@pytest.mark.usefixtures("unchecked")
def test_agreement_refuses_maps_of_different_size() -> None:
    with pytest.raises(ValueError, match=r"same size, got \(2, 3\) and \(3, 2\)"):
        agreement(torch.zeros(2, 3), torch.zeros(3, 2))


def test_pixels_along_a_straight_boundary_are_at_half_odd_distances() -> None:
    ids = torch.tensor([[4] * 5 + [9] * 4] * 3)
    assert boundary_distance(ids).tolist() == [[4.5, 3.5, 2.5, 1.5, 0.5, 0.5, 1.5, 2.5, 3.5]] * 3
    assert ((boundary_distance(ids) <= 3).sum(1) == 6).all()  # three on either side


def test_distances_to_a_lone_pixel_are_euclidean() -> None:
    ids = torch.zeros(5, 5, dtype=torch.uint8)
    ids[2, 2] = 1
    # the points around it are at (2.5, 2), (1.5, 2), (2, 2.5), (2, 1.5)
    distance = boundary_distance(ids)
    assert distance[2, 2] == 0.5 and distance[2, 4] == 1.5
    assert distance[1, 1] == pytest.approx(math.hypot(1, 0.5))
    assert distance[0, 0] == pytest.approx(math.hypot(2, 1.5))


def test_void_has_no_boundaries_and_a_gap_of_void_hides_one() -> None:
    ids = torch.tensor([[1, 1, VOID, VOID, 2, 2]] * 2, dtype=torch.uint8)
    assert boundary_distance(ids).isinf().all()
    assert boundary_distance(ids, void=0)[0].tolist() == [1.5, 0.5, 0.5, 0.5, 0.5, 1.5]
    assert boundary_distance(torch.full((3, 4), 7)).isinf().all()


def boundary_distance_by_definition(ids: torch.Tensor) -> torch.Tensor:
    """The distance by brute force, over all pixels and boundary points."""
    height, width = ids.shape
    points = []
    for y in range(height):
        for x in range(width):
            for below, right in ((1, 0), (0, 1)):
                if y + below < height and x + right < width:
                    a, b = int(ids[y, x]), int(ids[y + below, x + right])
                    if a != b and VOID not in (a, b):
                        points.append((y + below / 2, x + right / 2))
    places = torch.stack(torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"), -1)
    return (places[:, :, None] - torch.tensor(points)).norm(dim=-1).amin(-1)


def test_boundary_distance_is_its_definition_and_blind_to_names(generator: torch.Generator) -> None:
    ids = random_map(generator)
    distance = boundary_distance(ids)
    torch.testing.assert_close(distance, boundary_distance_by_definition(ids))
    torch.testing.assert_close(boundary_distance(ids.T), distance.T)
    renamed = torch.tensor([30, 10, 20, *range(3, 256)])[ids.long()]
    assert torch.equal(boundary_distance(renamed), distance)


def test_speckles_are_components_below_the_area() -> None:
    labels = torch.zeros(10, 10, dtype=torch.uint8)
    labels[0, :3] = 1  # three pixels
    labels[5, 5] = labels[6, 6] = 1  # touch at a corner only: two of one pixel
    labels[9, 6:] = VOID  # four without a label
    assert speckles(labels, min_area=50) == Mean(3 + 2 + 4, 100)
    assert speckles(labels, min_area=4) == Mean(5, 100)
    assert speckles(labels, min_area=3) == Mean(2, 100)
    assert speckles(labels, min_area=1) == Mean(0, 100)


def test_components_of_different_labels_do_not_join() -> None:
    checks = (torch.arange(12)[:, None] + torch.arange(12)) % 2
    assert speckles(checks, min_area=2).value == 1
    assert speckles(torch.zeros(6, 8, dtype=torch.uint8)).value == 1  # 48 pixels are a speckle themselves
    assert speckles(torch.zeros(5, 10, dtype=torch.uint8)).value == 0


def test_more_speckles_the_larger_the_area_whatever_the_labels_are_called(generator: torch.Generator) -> None:
    labels = random_map(generator)
    shares = [speckles(labels, min_area=area).value for area in (1, 17, 40, 100, 601)]
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] == 1
    renamed = torch.tensor([2, 0, 1, *range(3, 256)])[labels.long()]
    assert [speckles(renamed, min_area=area).value for area in (1, 17, 40, 100, 601)] == shares


def test_gradient_energy_by_hand() -> None:
    right, up = [1.0, 0.0], [0.0, 2.0]
    features = torch.tensor([[right, up, right], [right, right, [-3.0, 0.0]]])
    everything = torch.zeros(2, 3, dtype=torch.int32)
    # across: 2 2 | 0 4; down: 0 2 4
    assert gradient_energy(features, everything, none=255) == Mean(14, 7)
    # the last column is a segment of its own: across 2 | 0; down 0 2 4
    segments = torch.tensor([[0, 0, 1], [0, 0, 1]])
    assert gradient_energy(features, segments, none=255) == Mean(8, 5)
    # without the first segment, the pair within the last column is left
    assert gradient_energy(features, segments, none=0) == Mean(4, 1)
    # a pixel without a feature is in no pair
    features[0, 2] = 0
    assert gradient_energy(features, segments, none=255) == Mean(4, 4)


def test_gradient_energy_knows_directions_only(generator: torch.Generator) -> None:
    features = torch.randn(8, 9, 4, generator=generator)
    segments = torch.randint(0, 3, (8, 9), generator=generator)
    energy = gradient_energy(features, segments, none=255)
    assert 0 < energy.value < 4
    lengths = torch.rand(8, 9, 1, generator=generator) + 0.1
    rotation = torch.linalg.qr(torch.randn(7, 4, generator=generator)).Q  # B z has seven channels
    same = gradient_energy(lengths * features @ rotation.T, segments, none=255)
    assert same.count == energy.count and same.value == pytest.approx(energy.value, rel=1e-5)
    transposed = gradient_energy(features.transpose(0, 1), segments.T, none=255)
    assert transposed.value == pytest.approx(energy.value, rel=1e-5)


def test_constant_features_have_no_energy_and_single_pixels_no_pairs() -> None:
    constant = torch.tensor([3.0, 4.0]).expand(5, 6, 2)
    assert gradient_energy(constant, torch.zeros(5, 6, dtype=torch.int32), none=255).value == 0
    assert gradient_energy(constant, torch.arange(30).reshape(5, 6), none=255).count == 0


@pytest.mark.usefixtures("unchecked")
def test_gradient_energy_refuses_segments_of_another_size() -> None:
    with pytest.raises(ValueError, match=r"same size, got \(3, 2\) and \(2, 3\)"):
        gradient_energy(torch.zeros(2, 3, 4), torch.zeros(3, 2), none=0)


CAMERA = Camera(torch.eye(4), torch.tensor([[10.0, 0, 4], [0, 10, 3], [0, 0, 1]]), width=8, height=6)


@pytest.mark.parametrize(
    ("point", "pixel"),
    [
        ((0.0, 0.0, 2.0), 3 * 8 + 4),
        ((-0.01, -0.01, 2.0), 2 * 8 + 3),  # left of and above the principal point
        ((0.78, 0.58, 2.0), 5 * 8 + 7),
        ((0.82, 0.0, 2.0), -1),  # right of the image
        ((0.0, -0.62, 2.0), -1),  # above it
        ((0.05, 0.05, 2.03), 28),  # a little behind the surface
        ((0.05, 0.05, 1.97), 28),
        ((0.05, 0.05, 2.05), -1),  # behind it
        ((0.05, 0.05, 1.95), -1),  # in front of it
        ((0.0, 0.0, -2.0), -1),  # behind the camera
        ((0.0, 0.0, 0.0), -1),
    ],
)
def test_a_point_is_seen_in_its_pixel_if_it_lies_on_the_surface(point: tuple, pixel: int) -> None:
    depth, alpha = torch.full((6, 8), 2.0), torch.full((6, 8), MIN_ALPHA)
    assert visible_pixels(torch.tensor([point]), CAMERA, depth, alpha).tolist() == [pixel]
    assert visible_pixels(torch.tensor([point]), CAMERA, depth, alpha - 0.01).tolist() == [-1]  # no surface


def test_every_pixel_sees_the_points_lifted_from_its_own_depth(generator: torch.Generator) -> None:
    camera = make_camera(0.3)
    depth = 2 + torch.rand(camera.height, camera.width, generator=generator)
    y, x = torch.meshgrid(torch.arange(camera.height), torch.arange(camera.width), indexing="ij")
    rays = torch.stack([x + 0.5, y + 0.5, torch.ones(x.shape)], -1) @ torch.linalg.inv(camera.K).T
    in_camera = (rays * depth[..., None]).reshape(-1, 3)
    points = in_camera @ camera.camtoworld[:3, :3].T + camera.camtoworld[:3, 3]
    visible = visible_pixels(points, camera, depth, torch.ones_like(depth))
    assert torch.equal(visible, torch.arange(depth.numel()))


@pytest.mark.usefixtures("unchecked")
def test_seen_pixels_refuses_a_depth_map_of_another_camera() -> None:
    with pytest.raises(ValueError, match=r"same size, got \(8, 6\) and \(6, 8\)"):
        visible_pixels(torch.zeros(1, 3), CAMERA, torch.zeros(8, 6), torch.zeros(8, 6))
    with pytest.raises(ValueError, match=r"same size, got \(8, 6\) and \(6, 8\)"):
        visible_pixels(torch.zeros(1, 3), CAMERA, torch.zeros(6, 8), torch.zeros(8, 6))


def test_consistency_is_the_chance_that_two_views_agree() -> None:
    labels = torch.tensor([[3, 3, 3, 3, VOID], [3, 3, 4, 4, VOID], [3, 4, 5, 3, VOID]], dtype=torch.uint8)
    visible = torch.ones(3, 5, dtype=torch.bool)
    every = view_consistency(labels, visible)
    assert every.total == pytest.approx(1 + 1 / 3 + 0 + 1 / 3 + 1) and every.count == 5
    visible[2, :4] = False  # 3 3, 3 3, 3 4, 3 4, and three without a label
    assert view_consistency(labels, visible) == Mean(3, 5)
    visible[1, 0] = False  # visible in one view: no pair
    assert view_consistency(labels, visible) == Mean(2, 4)


def test_points_that_keep_their_label_are_consistent_in_any_order_of_views(generator: torch.Generator) -> None:
    visible = torch.rand(6, 40, generator=generator) > 0.4
    kept = torch.randint(0, 5, (40,), generator=generator).byte().expand(6, 40)
    assert view_consistency(kept, visible).value == 1
    labels = torch.randint(0, 5, (6, 40), generator=generator).byte()
    order = torch.randperm(6, generator=generator)
    score = view_consistency(labels, visible)
    assert view_consistency(labels[order], visible[order]).value == pytest.approx(score.value)
    assert 0.1 < score.value < 0.35  # two random labels of five agree in one case of five
    assert view_consistency(torch.where(visible, labels, 99), visible) == score  # unseen labels do not matter


def test_no_view_no_consistency() -> None:
    assert view_consistency(torch.zeros(1, 4, dtype=torch.uint8), torch.ones(1, 4, dtype=torch.bool)).count == 0
    assert view_consistency(torch.zeros(3, 0, dtype=torch.uint8), torch.ones(3, 0, dtype=torch.bool)).count == 0


@pytest.mark.usefixtures("unchecked")
def test_consistency_refuses_labels_of_other_points() -> None:
    with pytest.raises(ValueError, match="same size"):
        view_consistency(torch.zeros(3, 4, dtype=torch.uint8), torch.ones(3, 5, dtype=torch.bool))
