"""Edits in their order, on rows of Gaussians that are called by the first of their features."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from gsdff import Delete, Duplicate, Extract, Move, Opacity, Recolor, Rotate, Scale, Stylize
from gsdff.cameras import Camera, WorldFrame
from gsdff.editing.apply import apply_edits
from gsdff.editing.context import EditContext
from gsdff.editing.edit import Edit
from gsdff.editing.functional import delete, extract, recolor, set_opacity, transform
from gsdff.editing.selector import Click, Selector
from gsdff.errors import UserError
from gsdff.gaussians import Gaussians
from gsdff.rotation import axis_angle_to_matrix, euler_to_matrix
from gsdff.selection import Selection
from tests.tiny_field import make_gaussians

NAMES = ["chair", "table", "wall"]
PER_NAME = 20
NUM = len(NAMES) * PER_NAME
CAMERA = Camera(torch.eye(4), torch.eye(3), 8, 8)


@pytest.fixture
def scene(generator) -> Gaussians:
    """Twenty Gaussians a name, each name's around its own x = 0, 10, 20."""
    gaussians = make_gaussians(NUM, generator)
    ids = torch.arange(NUM) // PER_NAME
    means = gaussians.means + 10.0 * ids[:, None] * torch.tensor([1.0, 0, 0])
    sh0 = torch.randn(NUM, 1, 3, generator=generator)
    return replace(gaussians, means=means, sh0=sh0, features=ids[:, None].float())


def called(gaussians: Gaussians, *names: str) -> torch.Tensor:
    """Those of these names, as a mask."""
    return torch.isin(gaussians.features[:, 0].long(), torch.tensor([NAMES.index(name) for name in names]))


def select(gaussians: Gaussians, selector: Selector) -> Selection:
    known = [name for name in selector.positives if name in NAMES]
    return Selection(called(gaussians, *known)) if known else Selection.of(len(gaussians))


def saved(path, mask: torch.Tensor) -> Path:
    Selection(mask).save(path, source="a test")
    return path


def assert_same(one: Gaussians, other: Gaussians) -> None:
    for name, tensor in one.items():
        torch.testing.assert_close(getattr(other, name), tensor.detach(), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (Extract("table"), extract),
        (Delete("table"), delete),
        (Recolor("table", (0.2, 0.5, 0.9), "tint"), lambda g, m: recolor(g, m, (0.2, 0.5, 0.9), "tint")),
        (Recolor("table", mode="grey"), lambda g, m: recolor(g, m, None, "grey")),
        (Move("table", (1, 2, 3)), lambda g, m: transform(g, m, translation=(1, 2, 3))),
        (
            Rotate("table", (0, 0, 1), 30, centre=(1, 0, 0)),
            lambda g, m: transform(g, m, rotation=axis_angle_to_matrix((0, 0, 1), 30), centre=(1, 0, 0)),
        ),
        (Rotate("table", euler=(10, 20, 30)), lambda g, m: transform(g, m, rotation=euler_to_matrix((10, 20, 30)))),
        (Scale("table", 2, (0, 1, 0)), lambda g, m: transform(g, m, scale=2, centre=(0, 1, 0))),
        (Opacity("table", 0.5), lambda g, m: set_opacity(g, m, opacity=0.5)),
        (Opacity("table", factor=0.5), lambda g, m: set_opacity(g, m, factor=0.5)),
    ],
    ids=lambda value: getattr(value, "__name__", None) or str(value),
)
def test_each_edit_is_the_function_of_its_name(scene, edit, expected):
    mask = called(scene, "table")
    assert_same(apply_edits(scene, [edit], select).gaussians, expected(scene, mask))
    assert_same(edit.apply(scene, mask), expected(scene, mask))


def test_copies_are_each_moved_turned_and_scaled_once_more(scene):
    mask = called(scene, "chair")
    edit = Duplicate("chair", (0, 0, 5), 2, axis=(0, 0, 1), degrees=90, factor=0.5)
    result = apply_edits(scene, [edit], select).gaussians
    assert len(result) == NUM + 2 * PER_NAME
    assert_same(result.map(lambda tensor: tensor[:NUM]), scene)
    for i in (1, 2):
        options = {"translation": (0, 0, 5 * i), "scale": 0.5**i, "rotation": axis_angle_to_matrix((0, 0, 1), 90 * i)}
        copies = extract(transform(scene, mask, **options), mask)
        got = result.map(lambda tensor, i=i: tensor[NUM + (i - 1) * PER_NAME : NUM + i * PER_NAME])
        torch.testing.assert_close(got.means, copies.means, atol=1e-5, rtol=0)
        torch.testing.assert_close(got.log_scales, copies.log_scales)
        assert torch.equal(got.features, copies.features)


def test_every_edit_sees_what_the_ones_before_left(scene):
    seen = []

    def spy(gaussians, selector):
        seen.append((len(gaussians), selector.positives[0]))
        return select(gaussians, selector)

    apply_edits(scene, [Duplicate("chair"), Delete("table"), Extract("wall")], spy)
    assert seen == [(NUM, "chair"), (NUM + PER_NAME, "table"), (NUM, "wall")]


def test_the_order_of_edits_matters(scene):
    copy, shift_both = Duplicate("chair", (0, 0, 5)), Move(["chair", "table"], (0, 0, 1))
    both = apply_edits(scene, [copy, shift_both], select).reports
    original = apply_edits(scene, [shift_both, copy], select).reports
    assert (both[1].num_selected, original[0].num_selected) == (3 * PER_NAME, 2 * PER_NAME)
    turn = Rotate("chair", (0, 0, 1), 90, centre=(0, 0, 0))
    shift = Move("chair", (5, 0, 0))
    one = apply_edits(scene, [turn, shift], select).gaussians.means[0]
    other = apply_edits(scene, [shift, turn], select).gaussians.means[0]
    torch.testing.assert_close(one - other, torch.tensor([5.0, -5, 0]))
    with pytest.raises(UserError, match=r'edit 2 \(extract "chair"\): selects nothing'):
        apply_edits(scene, [Delete("chair"), Extract("chair")], select)


def test_a_dry_run_changes_nothing_and_reports_the_same(scene):
    edits = [Duplicate("chair", (1, 0, 0), 2), Delete("table"), Scale("chair", 2, keep_largest=1)]
    given = scene.map(torch.clone)
    wet, dry = apply_edits(scene, edits, select), apply_edits(scene, edits, select, dry_run=True)
    assert dry.gaussians is scene and dry.reports == wet.reports
    assert_same(given, scene)
    assert len(wet.gaussians) == NUM + PER_NAME


def test_nothing_given_is_changed_and_no_gradient_is_left(scene):
    trained = scene.map(lambda tensor: tensor.requires_grad_())
    given = trained.map(torch.clone)
    result = apply_edits(trained, [Move("chair", (1, 0, 0)), Opacity("wall", 0.5)], select).gaussians
    assert_same(given, trained)
    assert not any(tensor.requires_grad for _, tensor in result.items())


def test_no_edits_leave_the_scene(scene):
    edited = apply_edits(scene, [], select)
    assert edited.reports == ()
    assert_same(edited.gaussians, scene)


def test_a_report_by_hand(scene):
    means = torch.zeros(NUM, 3)
    means[:4] = torch.tensor([[0.0, 0, 0], [4, 0, 0], [0, 2, 0], [0, 0, 1]])
    logits = torch.zeros(NUM)
    logits[1] = math.log(3)  # an opacity of 0.75, where all others have 0.5
    placed = replace(scene, means=means, logit_opacities=logits)
    (report,) = apply_edits(
        placed, [Delete("four")], lambda g, s: Selection(torch.arange(NUM) < 4), dry_run=True
    ).reports
    assert (report.num_selected, report.num_before, report.num_after) == (4, NUM, NUM - 4)
    assert report.opacity_share == pytest.approx(2.25 / (0.5 * NUM + 0.25))
    assert report.centre == pytest.approx((4 * 0.75 / 2.25, 2 * 0.5 / 2.25, 0.5 / 2.25))
    assert report.size == pytest.approx((4, 2, 1))
    assert report.title == 'edit 1 (delete "four")'
    assert str(report) == (
        'edit 1 (delete "four"): 4 of 60 Gaussians, 7.4% of the opacity, '
        "centre (1.33, 0.444, 0.222), size (4, 2, 1), leaves 56"
    )


def test_the_size_leaves_single_strays_out(generator):
    gaussians = make_gaussians(200, generator)
    means = torch.rand(200, 3, generator=generator)
    means[0] = 1000
    everything = lambda g, s: ~Selection.of(len(g))  # noqa: E731
    (report,) = apply_edits(replace(gaussians, means=means), [Opacity("all", 0.5)], everything).reports
    assert max(report.size) < 1


def test_what_cannot_be_seen_has_a_centre_and_no_share(scene):
    invisible = replace(scene, logit_opacities=torch.full((NUM,), -math.inf))
    (report,) = apply_edits(invisible, [Move("table", (0, 0, 1))], select).reports
    assert report.opacity_share == 0
    assert report.centre == pytest.approx(scene.means[called(scene, "table")].mean(0).tolist(), abs=1e-5)


# --- clean-up


def line(generator, xs) -> Gaussians:
    """A Gaussian at each x of a line."""
    gaussians = make_gaussians(len(xs), generator)
    return replace(gaussians, means=torch.tensor(xs)[:, None] * torch.tensor([1.0, 0, 0]))


def left_by(gaussians, mask, **cleanup) -> list[bool]:
    """The selection after its clean-up, as what a deletion takes out."""
    result = apply_edits(gaussians, [Opacity("it", 0.9, **cleanup)], lambda g, s: Selection(mask)).gaussians
    return torch.isclose(result.opacities, torch.tensor(0.9)).tolist()


def test_the_clean_up_is_what_selections_offer(generator):
    gaussians = make_gaussians(80, generator)
    mask, means = torch.rand(80, generator=generator) < 0.4, gaussians.means
    it = Selection(mask)
    for cleanup, expected in (
        ({"majority": 2}, it.majority(means, steps=2)),
        ({"drop_floaters": True}, it.drop_floaters(means)),
        ({"grow": 1}, it.grow(means)),
        ({"grow": 2, "shrink": 1}, it.grow(means, steps=2).shrink(means)),
        ({"majority": 1, "grow": 1}, it.majority(means).grow(means)),
        ({}, it),
    ):
        assert left_by(gaussians, mask, **cleanup) == expected.mask.tolist()


def test_only_what_is_taken_apart_goes_with_its_rim(scene):
    asked = []

    def remember(gaussians, selector):
        asked.append(selector.rim)
        return select(gaussians, selector)

    others = Opacity("chair", 0.5), Recolor("chair", mode="grey"), Move("chair", (1, 2, 3))
    for edit in (Delete("chair"), Extract("chair"), *others, Delete("chair", rim=False)):
        apply_edits(scene, [edit], remember)
    assert asked == [True, True, False, False, False, False]


def test_the_largest_part_is_the_one_of_most_opacity(generator):
    gaussians = line(generator, [0.1 * i for i in range(20)] + [100 + 0.1 * i for i in range(12)])
    logits = torch.cat([torch.full((20,), -9.0), torch.full((12,), 1.0)])
    gaussians = replace(gaussians, logit_opacities=logits)
    everything = torch.ones(32, dtype=torch.bool)
    assert left_by(gaussians, everything, keep_largest=1) == [False] * 20 + [True] * 12
    assert left_by(gaussians, everything, keep_largest=2) == [True] * 32


def test_a_clean_up_that_leaves_nothing_is_an_error(scene):
    with pytest.raises(UserError, match=r'edit 1 \(delete "chair"\): .* its clean-up removes all 20 Gaussians'):
        apply_edits(scene, [Delete("chair", shrink=50)], lambda g, s: Selection(torch.arange(NUM) % 3 == 0))


# --- saved selections


def test_a_saved_selection_is_of_the_scene_before_the_edits(scene, tmp_path):
    mask = torch.arange(NUM) % 2 == 0
    edits = [Delete("chair"), Extract(saved(tmp_path / "even.safetensors", mask))]
    result = apply_edits(scene, edits, select).gaussians
    assert_same(result, extract(scene, mask & ~called(scene, "chair")))
    result = apply_edits(scene, [Extract("wall"), edits[1]], select).gaussians
    assert_same(result, extract(scene, mask & called(scene, "wall")))


def test_copies_are_in_no_saved_selection(scene, tmp_path):
    last = torch.arange(NUM) == NUM - 1
    edits = [Duplicate("wall", copies=2), Delete(saved(tmp_path / "last.safetensors", last))]
    edited = apply_edits(scene, edits, select)
    assert edited.reports[1].num_selected == 1 and len(edited.gaussians) == NUM + 2 * PER_NAME - 1
    # as many as at first, but not the same ones: a mask that fits by chance would take the wrong one
    again = [Delete("chair"), Duplicate("table"), edits[1]]
    assert_same(
        extract(apply_edits(scene, again, select).gaussians, torch.arange(NUM - 1) < 2 * PER_NAME - 1),
        delete(scene, called(scene, "chair") | last),
    )


def test_a_selection_of_another_scene_is_refused_before_any_edit(scene, tmp_path):
    other = torch.ones(NUM - PER_NAME, dtype=torch.bool)
    path = saved(tmp_path / "other.safetensors", other)

    def never(gaussians, selector):
        raise AssertionError("asked too early")

    with pytest.raises(UserError, match=rf"edit 2 \(.*\): {path}: expected a selection of 60 Gaussians, got one of 40"):
        apply_edits(scene, [Delete("chair"), Delete(path)], never)
    with pytest.raises(UserError, match=r"edit 2 \(.*\): expected a selection of 60 Gaussians, got one of 40"):
        apply_edits(scene, [Delete("chair"), Delete(Selection(other))], never)


def test_a_selection_in_memory_is_the_same_as_one_in_a_file(scene, tmp_path):
    mask = torch.arange(NUM) % 2 == 0
    path = saved(tmp_path / "even.safetensors", mask)
    results = [apply_edits(scene, [Delete("chair"), Extract(target)], select) for target in (path, Selection(mask))]
    assert_same(results[0].gaussians, results[1].gaussians)
    assert results[1].reports[1].title == "edit 2 (extract a selection of 30 Gaussians)"


def test_a_missing_selection_is_an_error_of_its_edit(scene, tmp_path):
    with pytest.raises(UserError, match=r"edit 1 \(delete the selection .*there is no such file"):
        apply_edits(scene, [Delete(tmp_path / "none.safetensors")], select)


def test_a_saved_selection_of_which_nothing_is_left_is_an_error(scene, tmp_path):
    edits = [Delete("chair"), Delete(saved(tmp_path / "a.safetensors", called(scene, "chair")))]
    with pytest.raises(UserError, match=r"edit 2 .*selects nothing; edits before it removed all of it"):
        apply_edits(scene, edits, select)


# --- selections of nothing and of everything


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (Delete("sofa"), 'edit 2 (delete "sofa"): selects nothing; set a threshold, or select by something else'),
        (Delete("sofa", threshold=0.7), 'edit 2 (delete "sofa"): selects nothing; lower its threshold of 0.7, or'),
        (Delete(Click("v.png", 1, 2)), "edit 2 (delete the click at (1, 2) in v.png): selects nothing; set a"),
    ],
)
def test_an_empty_selection_names_the_edit(scene, edit, message, dry_run):
    with pytest.raises(UserError) as error:
        apply_edits(scene, [Delete("chair"), edit], select, dry_run=dry_run)
    assert str(error.value).startswith(message)


def test_an_edit_that_leaves_nothing_is_an_error(scene):
    with pytest.raises(UserError, match=r'edit 2 \(delete "table" or "wall"\): .*nothing would be'):
        apply_edits(scene, [Delete("chair"), Delete(["table", "wall"])], select)


def test_what_cannot_be_selected_names_the_edit(scene):
    def refuse(gaussians, selector):
        raise UserError("this field does not know 'sofa'")

    with pytest.raises(UserError, match=r'^edit 1 \(delete "sofa"\): this field does not know'):
        apply_edits(scene, [Delete("sofa")], refuse)


@dataclass(frozen=True)
class Brighten(Stylize):
    """Needs a context, as `Stylize` does, and remarks on it."""

    def perform(self, gaussians, mask, context):
        if not context.cameras:
            raise UserError("no view shows it")
        return replace(
            gaussians, sh0=gaussians.sh0 + mask[:, None, None]
        ), f"{int(mask.sum())} as {self.prompt} as can be"


@pytest.mark.parametrize("dry_run", [False, True])
def test_an_edit_that_needs_photos_gets_them_and_its_remark_is_reported(scene, dry_run):
    edits: list[Edit] = [Delete("chair"), Brighten("table", "bright")]
    context = EditContext(WorldFrame(), [CAMERA], None)
    edited = apply_edits(scene, edits, select, context=context, dry_run=dry_run)
    assert str(edited.reports[1]).endswith("; 20 as bright as can be") and ";" not in str(edited.reports[0])
    mask = called(scene, "chair")
    expected = scene if dry_run else delete(replace(scene, sh0=scene.sh0 + called(scene, "table")[:, None, None]), mask)
    assert_same(edited.gaussians, expected)


def test_what_an_edit_refuses_names_it(scene):
    context = EditContext(WorldFrame(), [], None)
    with pytest.raises(UserError, match=r'^edit 1 \(brighten "table"\): no view shows it'):
        apply_edits(scene, [Brighten("table", "bright")], select, context=context)
