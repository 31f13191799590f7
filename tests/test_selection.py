"""Selections of Gaussians: set operations, clean-up in space, and their file."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from gsdff.errors import UserError
from gsdff.neighbours import connected_parts
from gsdff.selection import FORMAT, Selection

CLEANERS = {
    "grow": Selection.grow,
    "shrink": Selection.shrink,
    "majority": Selection.majority,
    "keep_largest": Selection.keep_largest,
    "drop_floaters": Selection.drop_floaters,
    "with_rim": lambda it, means, **options: it.with_rim(means, ~Selection.of(it.total), **options),
}
BY_ALL = pytest.mark.parametrize("clean", CLEANERS.values(), ids=CLEANERS)


def chosen(text: str) -> Selection:
    """`chosen("011")`: the last two of three."""
    return Selection(torch.tensor([letter == "1" for letter in text], dtype=torch.bool))


def written(selection: Selection) -> str:
    return "".join("01"[bit] for bit in selection.mask.tolist())


def on_a_line(*places: float) -> Tensor:
    """Means at such places of the x axis."""
    return torch.tensor([[float(x), 0, 0] for x in places]).view(-1, 3)


def nearest_of(means: Tensor, index: int, among: list[int], count: int) -> list[int]:
    """Brute force: the ids of `among`, but for `index`, nearest to it."""
    others = [i for i in among if i != index]
    return sorted(others, key=lambda i: float((means[i] - means[index]).norm()))[:count]


def some_means(generator: torch.Generator, num: int) -> Tensor:
    return torch.randn(num, 3, generator=generator, dtype=torch.float64)


def some_selection(generator: torch.Generator, num: int, share: float = 0.4) -> Selection:
    return Selection(torch.rand(num, generator=generator) < share)


def two_cubes_and_a_stray(generator: torch.Generator) -> Tensor:
    """30 in a cube, 60 in one far off, and one in between."""
    cubes = torch.rand(30, 3, generator=generator), torch.rand(60, 3, generator=generator) + 20
    return torch.cat([*cubes, torch.full((1, 3), 9.0)])


def test_combining_by_hand() -> None:
    a, b = chosen("0011"), chosen("0101")
    assert [written(s) for s in (a & b, a | b, ~a, a - b)] == ["0001", "0111", "1100", "0010"]
    assert (len(a), len(a | b), a.total) == (2, 3, 4)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), max_size=9))
def test_selections_are_sets(rows: list[tuple[bool, bool, bool]]) -> None:
    a, b, c = (Selection(torch.tensor([row[i] for row in rows], dtype=torch.bool)) for i in range(3))
    laws = [
        (~(a & b), ~a | ~b),
        (a & (b | c), (a & b) | (a & c)),
        (~~a, a),
        (a - b, a & ~b),
        (a | ~a, ~Selection.of(len(rows))),
        (a - a, Selection.of(len(rows))),
    ]
    assert all(written(left) == written(right) for left, right in laws)
    assert len(a | b) + len(a & b) == len(a) + len(b) and len(a) + len(~a) == a.total


def test_of_selects_nothing_and_an_empty_selection_is_false() -> None:
    assert Selection.of(5).total == 5 and not Selection.of(5) and chosen("01")


def test_scores_at_the_threshold_are_selected_and_nan_is_not() -> None:
    assert written(Selection.from_scores(torch.tensor([0.4, 0.5, torch.nan, 0.6]), 0.5)) == "0101"


def test_combining_leaves_its_operands_as_they_were(generator: torch.Generator) -> None:
    a, means = chosen("1" * 20 + "0" * 20), some_means(generator, 40)
    for result in (~a, a | a, a & a, *(clean(a, means) for clean in CLEANERS.values())):
        result.mask.fill_(False)
        assert written(a) == "1" * 20 + "0" * 20


@pytest.mark.parametrize("combine", [Selection.__and__, Selection.__or__, Selection.__sub__])
def test_selections_of_different_sizes_do_not_combine(combine) -> None:
    with pytest.raises(ValueError, match="of 3 Gaussians does not go with another selection of 2"):
        combine(chosen("010"), chosen("01"))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("mask", [torch.zeros(3), torch.zeros(3, 1, dtype=torch.bool)])
def test_a_mask_is_one_boolean_for_each(mask: Tensor) -> None:
    with pytest.raises(ValueError, match=r"booleans of shape \(N,\)"):
        Selection(mask)


@BY_ALL
def test_means_of_another_number_or_not_finite_are_refused(clean: Callable) -> None:
    with pytest.raises(ValueError, match="of 3 Gaussians does not go with means of 2"):
        clean(chosen("010"), torch.zeros(2, 3))
    with pytest.raises(ValueError, match="1 of 3 points are not finite"):
        clean(chosen("111"), on_a_line(0, torch.nan, 2))
    with pytest.raises(ValueError, match="at least 1, got 0"):
        clean(chosen("111"), on_a_line(0, 1, 2), neighbours=0)


@BY_ALL
@pytest.mark.parametrize("num", [0, 1, 2, 3, 40])
@pytest.mark.parametrize("selected", [False, True])
def test_nothing_stays_nothing_and_all_of_a_cloud_stays_all(clean, num, selected, generator) -> None:
    selection = ~Selection.of(num) if selected else Selection.of(num)
    means = torch.rand(num, 3, generator=generator)
    assert written(clean(selection, means)) == written(selection)


@BY_ALL
def test_many_at_one_place_are_no_trouble(clean: Callable) -> None:
    assert written(clean(chosen("1" * 20), torch.ones(20, 3))) == "1" * 20


def test_growing_along_a_line_by_hand() -> None:
    means = on_a_line(0, 1.0, 2.1, 3.3, 4.6, 50)
    # nearest: 0-1, 1-0, 2-1, 3-2, 4-3, 5-4
    assert written(chosen("100000").grow(means, neighbours=1)) == "110000"
    assert written(chosen("010000").grow(means, neighbours=1, steps=2)) == "111100"
    assert written(chosen("001100").shrink(means, neighbours=1)) == "000100"
    assert written(chosen("010000").grow(means, neighbours=1, steps=0)) == "010000"


def test_a_rim_by_hand() -> None:
    means = on_a_line(0, 1.0, 2.1, 3.3, 4.6, 50)
    # of two nearest, 0: 1 2, 1: 0 2, 2: 1 3, 3: 2 4, 4: 3 2, 5: 4 3
    start, anything = chosen("100110"), chosen("111111")
    assert written(start.with_rim(means, anything, neighbours=2, quorum=1)) == "111111"
    assert written(start.with_rim(means, anything, neighbours=2, quorum=2)) == "100111"
    assert written(start.with_rim(means, chosen("011000"), neighbours=2, quorum=1)) == "111110"
    assert written(start.with_rim(means, anything, neighbours=2, quorum=3)) == "100110"  # there are no three


def test_a_stray_brings_no_rim_along_and_what_is_clearly_something_else_stays_out(generator: torch.Generator) -> None:
    means = torch.rand(400, 3, generator=generator)
    anything = ~Selection.of(400)
    stray = Selection(torch.arange(400) == 7)
    assert written(stray.with_rim(means, anything)) == written(stray)
    half = Selection(means[:, 0] < 0.5)
    rim = half.with_rim(means, anything) - half
    assert rim and means[rim.mask, 0].max() < 0.8  # takes in what lies beside it, not all there is
    assert not half.with_rim(means, half) - half
    with pytest.raises(ValueError, match="does not go with another selection of 2"):
        half.with_rim(means, chosen("11"))


def test_the_majority_by_hand() -> None:
    means = on_a_line(0, 1.0, 2.1, 3.3, 4.6)
    # of two nearest, 0: 1 2, 1: 0 2, 2: 1 3, 3: 2 4, 4: 3 2
    assert written(chosen("10110").majority(means, neighbours=2)) == "11111"
    assert written(chosen("00100").majority(means, neighbours=2)) == "00000"
    assert written(chosen("11000").majority(means, neighbours=2)) == "11000"


@pytest.mark.parametrize("neighbours", [1, 3, 4])
@pytest.mark.parametrize("steps", [1, 2])
def test_growing_shrinking_and_voting_are_those_of_brute_force(neighbours, steps, generator) -> None:
    means, start = some_means(generator, 50), some_selection(generator, 50)
    near = [nearest_of(means, i, list(range(50)), neighbours) for i in range(50)]
    grown = shrunk = voted = start.mask.tolist()
    for _ in range(steps):
        grown = [grown[i] or any(grown[j] for j in near[i]) for i in range(50)]
        shrunk = [shrunk[i] and all(shrunk[j] for j in near[i]) for i in range(50)]
        votes = [sum(voted[j] for j in near[i]) / neighbours for i in range(50)]
        voted = [voted[i] if votes[i] == 0.5 else votes[i] > 0.5 for i in range(50)]
    assert start.grow(means, neighbours, steps).mask.tolist() == grown
    assert start.shrink(means, neighbours, steps).mask.tolist() == shrunk
    assert start.majority(means, neighbours, steps).mask.tolist() == voted


def test_growing_only_adds_shrinking_only_takes_and_a_vote_has_no_side(generator: torch.Generator) -> None:
    means, a = some_means(generator, 60), some_selection(generator, 60)
    assert not a - a.grow(means) and not a.shrink(means) - a
    assert written((~a).majority(means)) == written(~a.majority(means))
    assert written(a.grow(means, 3).grow(means, 3)) == written(a.grow(means, 3, steps=2))


def test_a_lone_error_on_either_side_is_outvoted() -> None:
    means = on_a_line(*range(10), *range(100, 110))
    assert written(chosen("0001000000" + "1111110111").majority(means, neighbours=4)) == "0" * 10 + "1" * 10


def test_parts_are_numbered_by_their_first_points() -> None:
    ids = torch.tensor([[3], [2], [4], [5], [1], [0]])
    assert connected_parts(ids, torch.ones(6, 1, dtype=torch.bool)).tolist() == [0, 1, 1, 0, 1, 0]
    assert connected_parts(ids, torch.zeros(6, 1, dtype=torch.bool)).tolist() == [0, 1, 2, 3, 4, 5]
    assert connected_parts(torch.zeros(0, 0, dtype=torch.int64), torch.zeros(0, 0, dtype=torch.bool)).tolist() == []


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6])
def test_parts_are_those_of_brute_force(share: float, generator: torch.Generator) -> None:
    ids = torch.randint(40, (40, 3), generator=generator)
    is_link = torch.rand(40, 3, generator=generator) < share
    expected = list(range(40))
    for _ in range(40):  # the lowest number spreads
        for i, j in [(i, int(ids[i, c])) for i, c in is_link.nonzero().tolist()]:
            expected[i] = expected[j] = min(expected[i], expected[j])
    numbers = {first: number for number, first in enumerate(sorted(set(expected)))}
    assert connected_parts(ids, is_link).tolist() == [numbers[first] for first in expected]


def test_the_largest_part_is_kept_without_the_small_one_and_the_stray(generator: torch.Generator) -> None:
    means, every = two_cubes_and_a_stray(generator), ~Selection.of(91)
    assert written(every.keep_largest(means)) == "0" * 30 + "1" * 60 + "0"
    assert written(every.keep_largest(means, parts=2)) == "1" * 90 + "0"
    assert written(every.keep_largest(means, parts=9)) == "1" * 91


def test_an_island_of_fewer_than_k_is_a_part_of_its_own(generator: torch.Generator) -> None:
    means = torch.cat([torch.rand(60, 3, generator=generator), torch.rand(5, 3, generator=generator) + 20])
    assert written((~Selection.of(65)).keep_largest(means, neighbours=8)) == "1" * 60 + "0" * 5


def test_only_what_is_selected_connects() -> None:
    means, gap = on_a_line(*range(10)), chosen("1111001110")
    assert written(gap.keep_largest(means, neighbours=1)) == "1111000000"
    assert written((~gap).keep_largest(means, neighbours=1)) == "0000110000"


def test_weights_say_which_part_is_the_largest(generator: torch.Generator) -> None:
    means, weights = two_cubes_and_a_stray(generator), torch.ones(91)
    weights[:30] = 3
    kept = (~Selection.of(91)).keep_largest(means, weights=weights.requires_grad_())
    assert written(kept) == "1" * 30 + "0" * 61


@pytest.mark.usefixtures("unchecked")
def test_weights_are_one_number_for_each(generator: torch.Generator) -> None:
    with pytest.raises(ValueError, match="of 91 Gaussians does not go with weights of 90"):
        Selection.of(91).keep_largest(two_cubes_and_a_stray(generator), weights=torch.ones(90))


def test_of_equal_parts_the_first_is_kept() -> None:
    means = on_a_line(100, 101, 0, 1, 200, 201)
    assert written((~Selection.of(6)).keep_largest(means, neighbours=1)) == "110000"
    assert written((~Selection.of(6)).keep_largest(means, parts=2, neighbours=1)) == "111100"


def test_no_part_to_keep_makes_no_sense() -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        chosen("11").keep_largest(on_a_line(0, 1), parts=0)


@pytest.mark.parametrize("factor", [1.0, 3.0])
def test_the_largest_part_and_the_floaters_are_those_of_brute_force(factor: float, generator: torch.Generator) -> None:
    means, start = some_means(generator, 80) ** 3, some_selection(generator, 80, 0.6)
    members = start.mask.nonzero()[:, 0].tolist()
    near = {i: nearest_of(means, i, members, 3) for i in members}
    distances = {i: [float((means[i] - means[j]).norm()) for j in near[i]] for i in members}

    def limit(values: list[float]) -> float:
        median = sorted(values)[(len(values) - 1) // 2]
        deviation = sorted(abs(value - median) for value in values)[(len(values) - 1) // 2]
        return median + factor * max(deviation, 0.1 * median)

    longest = limit([d for row in distances.values() for d in row])
    links = {(i, j) for i in members for j, d in zip(near[i], distances[i], strict=True) if d <= longest}
    parts = []
    for i in members:
        reached = {i}
        while more := {b for a, b in links | {(b, a) for a, b in links} if a in reached} - reached:
            reached |= more
        parts.append(reached)
    largest = max(parts, key=len)
    assert start.keep_largest(means, neighbours=3, factor=factor).mask.tolist() == [i in largest for i in range(80)]
    spacing = {i: sum(distances[i]) / 3 for i in members}
    widest = limit(list(spacing.values()))
    expected = [i in spacing and spacing[i] <= widest for i in range(80)]
    assert start.drop_floaters(means, 3, factor=factor).mask.tolist() == expected
    assert 0 < sum(expected) < len(members) and 0 < len(largest) < len(members)


def test_a_floater_goes_and_the_border_of_a_grid_stays() -> None:
    grid = torch.cartesian_prod(*[torch.arange(5.0)] * 3)
    means = torch.cat([grid, torch.full((1, 3), 30.0)])
    assert written((~Selection.of(126)).drop_floaters(means)) == "1" * 125 + "0"


def test_a_floater_beside_others_that_are_not_selected_is_one_all_the_same() -> None:
    means = on_a_line(*range(20), *range(500, 520))
    assert written(chosen("1" * 20 + "1" + "0" * 19).drop_floaters(means)) == "1" * 20 + "0" * 20


def test_neither_unit_nor_place_of_the_scene_matters(generator: torch.Generator) -> None:
    means, a = some_means(generator, 100) ** 3, some_selection(generator, 100)
    for clean in CLEANERS.values():
        assert written(clean(a, 1000 * means + 7)) == written(clean(a, means))


@pytest.mark.parametrize("text", ["", "1", "0", "10110011", "101100111", "0" * 100 + "1"])
def test_a_saved_selection_comes_back(text: str, tmp_path) -> None:
    path = tmp_path / "chair.selection"
    chosen(text).save(path, source="runs/room, 'the chair'")
    assert written(Selection.load(path)) == text and written(Selection.load(path, expected=len(text))) == text
    assert [p.name for p in tmp_path.iterdir()] == ["chair.selection"]


def test_a_selection_of_another_scene_is_refused_and_its_source_named(tmp_path) -> None:
    path = tmp_path / "chair.selection"
    chosen("0110").save(path, source="runs/room")
    with pytest.raises(UserError, match=r"chair.selection: expected .* of 5 Gaussians, got one of 4, from runs/room"):
        Selection.load(path, expected=5)


def test_a_missing_cut_or_foreign_file_is_refused_by_name(tmp_path) -> None:
    path = tmp_path / "chair.selection"
    with pytest.raises(UserError, match=r"chair\.selection: .* no such file"):
        Selection.load(path)
    chosen("1" * 50).save(path, source="")
    whole = path.read_bytes()
    for part in (b"", whole[:5], whole[:-1], whole[: len(whole) // 2], b"not a selection at all"):
        path.write_bytes(part)
        with pytest.raises(UserError, match=r"chair\.selection: cannot be read as a saved selection"):
            Selection.load(path)
    save_file({"B": torch.eye(2)}, path)
    with pytest.raises(UserError, match=f"chair.selection: expected a {FORMAT} file, got None"):
        Selection.load(path)


@pytest.mark.parametrize(
    ("bits", "metadata", "complaint"),
    [
        (torch.zeros(2, dtype=torch.uint8), {"count": "17"}, r"\(2,\) bytes are not 17 bits"),
        (torch.zeros(2, dtype=torch.uint8), {"count": "-3"}, "are not -3 bits"),
        (torch.zeros(2), {"count": "9"}, "are not 9 bits"),
        (torch.zeros(2, dtype=torch.uint8), {"count": "many"}, "are not many bits"),
        (torch.zeros(2, dtype=torch.uint8), {}, "are not  bits"),
    ],
)
def test_a_count_that_does_not_fit_the_bits_is_damage(bits: Tensor, metadata: dict, complaint: str, tmp_path) -> None:
    path = tmp_path / "chair.selection"
    save_file({"bits": bits}, path, {"format": FORMAT, **metadata})
    with pytest.raises(UserError, match=f"chair.selection: .*{complaint}"):
        Selection.load(path)
