"""Queries, selections and edits of one tab, compared with those of the commands for the same scene."""

import sys
from dataclasses import replace
from functools import partial

import pytest
import torch
from tiny_answers import NUM_CHAIR
from tiny_run import open_field

from gsdff import Delete, Extract, Move, Recolor
from gsdff import edit as edit_door
from gsdff.errors import UserError
from gsdff.export import ExportArguments, export_run
from gsdff.field.examples import Seen
from gsdff.field.query import OneGaussian, Query
from gsdff.field.search import search
from gsdff.io.ply import write_ply
from gsdff.viewer.saving import save_edits
from gsdff.viewer.session import Session
from gsdff.viewer.shared_scene import SharedScene, open_shared_scene

BLUE = partial(Recolor, color=(0.1, 0.2, 0.9))
CHAIRS, LAMPS = slice(0, NUM_CHAIR), slice(NUM_CHAIR, 60)


@pytest.fixture
def session(tiny) -> Session:
    return tiny.session()


def mask_of(*ids: int) -> torch.Tensor:
    mask = torch.zeros(60, dtype=torch.bool)
    mask[list(ids)] = True
    return mask


def assert_same(gaussians, expected) -> None:
    for (name, ours), (_, theirs) in zip(gaussians.items(), expected.items(), strict=True):
        assert torch.equal(ours, theirs), name


def state(session: Session) -> tuple:
    """Values of everything that an action may change."""
    tensors = [session.alive, session.hidden, session.selected, *dict(session.gaussians.items()).values()]
    return [tensor.clone() for tensor in tensors], list(session.edits), list(session.undone)


def assert_unchanged(session: Session, before: tuple) -> None:
    now = state(session)
    assert all(map(torch.equal, now[0], before[0])) and now[1:] == before[1:]


# --- queries


@pytest.mark.parametrize(
    "query",
    [
        Query(positives=("chair",)),
        Query(positives=("chair",), negatives=("wall",)),
        Query(positives=("chair", "wall"), negatives=("lamp",), only_negatives=True),
        Query(like=OneGaussian(NUM_CHAIR + 3)),
    ],
)
def test_a_query_selects_as_the_query_command_does(session, tiny, query):
    session.search(query)
    found = search(tiny.shared.field, query)
    assert 0 < len(found.selection) < 60
    assert torch.equal(session.selected, found.selected) and session.threshold == found.threshold
    assert torch.equal(session.scores, found.scores)


def test_what_has_no_features_is_never_selected(tiny):
    shared = tiny.shared
    shared.gaussians.features[[2, 40]] = 0
    session = tiny.session()
    query = Query(like=OneGaussian(0), threshold=-0.5)  # their cosine, 0, is over it
    session.search(query)
    assert torch.equal(session.selected, search(shared.field, query).selected)
    assert not session.selected[[2, 40]].any() and session.selected[0]
    session.set_threshold(-1.0)
    assert session.selected.sum() == 58


def test_the_threshold_selects_anew_by_the_scores_of_the_last_query(session):
    session.search(Query(positives=("chair",)))
    scores = session.scores
    low, high = float(scores.min()), float(scores.max())
    for threshold, expected in ((low, 60), (high, (scores == scores.max()).sum()), (1.0, 0)):
        session.set_threshold(threshold)
        assert session.selected.sum() == expected and session.visible.threshold == threshold
    session.search(Query(positives=("lamp",)))
    assert session.selected[LAMPS].all() and not session.selected[CHAIRS].any()


def test_the_threshold_of_a_query_that_subtracts_keeps_the_selection_before(session):
    session.select(mask_of(0, 50))
    session.search(Query(positives=("lamp",)), "subtract")
    assert session.selected.nonzero()[:, 0].tolist() == [0]
    session.set_threshold(1.0)
    assert session.selected.nonzero()[:, 0].tolist() == [0, 50]
    session.set_threshold(0.0)
    assert not session.selection


def test_classes_are_those_of_the_door(session, tiny):
    session.segment(("wall", "lamp", "chair"))
    assert torch.equal(session.labels, search(tiny.shared.field, Query(classes=("wall", "lamp", "chair"))).labels)
    assert session.labels[CHAIRS].unique().tolist() == [2] and session.labels[LAMPS].unique().tolist() == [1]


def test_a_name_the_field_does_not_know_changes_nothing(session):
    session.search(Query(positives=("chair",)))
    before, prepared = state(session), session.prepared
    with pytest.raises(UserError, match="sofa"):
        session.search(Query(positives=("sofa",)))
    with pytest.raises(UserError, match="sofa"):
        session.segment(("sofa", "lamp"))
    assert_unchanged(session, before)
    assert session.prepared is prepared and session.prepared_classes is None


def test_a_scene_without_features_refuses_queries_and_can_be_edited(tiny):
    gaussians = replace(tiny.shared.gaussians, features=None)
    session = Session(gaussians, tiny.shared.frame, replace(tiny.shared.field, basis=None))
    with pytest.raises(UserError, match="no features"):
        session.search(Query(positives=("chair",)))
    session.select(mask_of(1))
    session.edit(Delete)
    assert len(session.result()) == 59


# --- the selection


@pytest.mark.parametrize(
    ("selection_mode", "expected"),
    [("replace", [2, 3]), ("add", [1, 2, 3]), ("subtract", [1]), ("intersect", [2])],
)
def test_selections_combine_as_sets(session, selection_mode, expected):
    session.select(mask_of(1, 2))
    session.select(mask_of(2, 3), selection_mode)
    assert session.selected.nonzero()[:, 0].tolist() == expected


def test_invert_grow_and_largest_look_at_what_is_visible_alone(session):
    session.select(mask_of(*range(10)))
    session.edit(Delete)
    session.select(mask_of(*range(10, 20)))
    session.hide()
    session.select(mask_of(20))
    session.modify_selection(lambda selection, means: ~selection)
    assert session.selected.nonzero()[:, 0].tolist() == list(range(21, 60))
    seen = []
    session.modify_selection(lambda selection, means: seen.append(means) or selection.grow(means))
    assert torch.equal(seen[0], session.base.means[20:])
    session.select(~mask_of())
    session.modify_selection(lambda selection, means: selection.keep_largest(means))
    assert session.selection and not session.selection.mask[:20].any()


def test_a_change_where_nothing_is_visible_is_none(session):
    session.select(~mask_of())
    session.hide()
    session.modify_selection(lambda selection, means: ~selection)
    assert not session.selected.any() and len(session.visible.gaussians) == 0


def test_what_is_hidden_is_not_drawn_nor_selected_but_exported(session):
    session.select(mask_of(0, 1, 50))
    session.hide()
    assert not session.selection and len(session.visible.gaussians) == 57
    session.select(~mask_of())
    assert session.selected.sum() == 57
    session.search(Query(positives=("chair",)))
    assert session.selected.sum() == NUM_CHAIR - 2 and session.visible.selected.sum() == NUM_CHAIR - 2
    session.edit(Delete)
    assert len(session.result()) == 60 - (NUM_CHAIR - 2)  # what was out of sight is still there
    session.show_all()
    assert len(session.visible.gaussians) == 32 and not session.selection


def test_the_threshold_brings_nothing_back_that_was_hidden_since(session):
    session.select(mask_of(3))
    session.search(Query(positives=("lamp",)), "add")
    session.hide()
    session.set_threshold(session.threshold)
    assert not session.selection


def test_isolate_hides_all_else(session):
    session.select(mask_of(4, 5))
    session.isolate()
    assert torch.equal(session.visible_ids, torch.tensor([4, 5])) and session.visible.selected.all()
    session.show_all()
    assert len(session.visible.gaussians) == 60 and session.selected.sum() == 2


@pytest.mark.parametrize("action", ["hide", "isolate"])
def test_hiding_needs_a_selection(session, action):
    before = state(session)
    with pytest.raises(UserError, match="nothing is selected"):
        getattr(session, action)()
    assert_unchanged(session, before)


# --- the visible scene


def test_what_is_drawn_is_in_the_working_frame_with_everything_in_the_same_order(session, tiny):
    session.search(Query(positives=("lamp",)))
    session.segment(("chair", "lamp"))
    session.select(mask_of(0))
    session.hide()
    session.select(mask_of(7, 59))
    visible = session.visible
    assert_same(visible.gaussians, session.base.map(lambda tensor: tensor[1:]).to_working_frame(tiny.shared.frame))
    assert torch.equal(visible.selected, session.selected[1:]) and torch.equal(visible.scores, session.scores[1:])
    assert torch.equal(visible.labels, session.labels[1:]) and visible.any_selected


def test_the_same_gaussians_are_shown_until_they_change(session):
    visible = session.visible
    assert session.visible is visible
    session.search(Query(positives=("chair",)))
    session.set_threshold(0.4)
    session.segment(("chair", "lamp"))
    session.modify_selection(lambda selection, means: ~selection)
    session.select(mask_of(3))
    assert session.visible is not visible and session.visible.gaussians is visible.gaussians
    for action in (session.hide, session.show_all):
        before = session.visible.gaussians
        action()
        assert session.visible.gaussians is not before
    session.select(mask_of(3))
    for action in (session.isolate, lambda: session.edit(BLUE), session.undo, session.redo):
        before = session.visible.gaussians
        action()
        assert session.visible.gaussians is not before


def test_a_scene_that_goes_on_training_is_shown_and_answers_anew(session, tiny):
    session.search(Query(positives=("lamp",)))
    session.segment(("chair", "lamp"))
    assert session.visible.selected[LAMPS].all()
    more = tiny.shared.gaussians.map(lambda tensor: torch.cat([tensor, tensor[-1:]]))
    more.means[0] += 1
    more.features[0] = 0
    session.replace_scene(more, replace(tiny.shared.field, gaussians=more))
    visible = session.visible
    assert torch.equal(visible.gaussians.means, tiny.shared.frame.points_to_working(more.means))
    assert visible.selected.nonzero()[:, 0].tolist() == list(range(NUM_CHAIR, 61)) and visible.scores[0].isnan()
    assert visible.labels.tolist()[1:] == [0] * (NUM_CHAIR - 1) + [1] * 31


# --- edits


OPERATIONS = [Delete, Extract, BLUE, partial(Move, translation=(0.3, -2.0, 1e-3))]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_undo_gives_the_scene_as_it_was_and_redo_the_edited_bit_for_bit(session, tiny, operation):
    session.search(Query(positives=("chair",)))
    session.edit(operation)
    edited = session.result()
    assert len(edited) != 60 or not (
        torch.equal(edited.sh0, session.base.sh0) and torch.equal(edited.means, session.base.means)
    )
    session.undo()
    assert_same(session.result(), tiny.shared.gaussians)
    assert session.selected.sum() == NUM_CHAIR  # and can be edited differently
    session.redo()
    assert_same(session.result(), edited)


def test_undo_of_several_goes_back_one_by_one(session):
    results = [session.result()]
    for ids, operation in (
        ((1, 2), Delete),
        ((3, 4), BLUE),
        ((4, 5), partial(Move, translation=(1.0, 0.0, 0.0))),
        ((3,), Delete),
    ):
        session.select(mask_of(*ids))
        session.edit(operation)
        results.append(session.result())
    for expected in results[-2::-1]:
        session.undo()
        assert_same(session.result(), expected)
    for expected in results[1:]:
        session.redo()
        assert_same(session.result(), expected)


def test_a_new_edit_ends_what_could_be_made_again(session):
    session.select(mask_of(1))
    session.edit(Delete)
    session.undo()
    session.edit(BLUE)
    with pytest.raises(UserError, match="nothing to redo"):
        session.redo()
    assert [type(made.edit) for made in session.edits] == [Recolor]


def test_an_edit_of_nothing_changes_nothing(session):
    before = state(session)
    for action in (lambda: session.edit(Delete), session.undo, session.redo):
        with pytest.raises(UserError, match="nothing"):
            action()
        assert_unchanged(session, before)
    with pytest.raises(UserError, match="nothing is selected"):
        session.result(only_selected=True)


def test_what_is_deleted_is_no_selection_any_more(session):
    session.select(mask_of(1))
    session.edit(Delete)
    before = state(session)
    assert not session.selection
    with pytest.raises(UserError, match="nothing is selected"):
        session.edit(BLUE)
    assert_unchanged(session, before)


def test_taking_everything_out_is_refused(session):
    session.select(mask_of(1))
    session.edit(Delete)
    session.undo()
    session.select(~mask_of())
    before = state(session)
    with pytest.raises(UserError, match="nothing would be left"):
        session.edit(Delete)
    assert_unchanged(session, before)
    session.redo()


def test_a_selection_is_exported_alone_and_edited(session):
    session.select(mask_of(1, 2, 3))
    session.edit(partial(Move, translation=(1.0, 0.0, 0.0)))
    session.select(mask_of(2))
    session.edit(Delete)
    session.select(mask_of(1, 2, 3))
    part = session.result(only_selected=True)
    assert torch.allclose(part.means, session.base.means[[1, 3]] + torch.tensor([1.0, 0, 0]))


# --- replayed by the door


@pytest.fixture
def assert_replays(tiny, tmp_path, monkeypatch):
    """Checks that the edit command makes the same bytes from the saved edits as are written from the session."""

    def check(session: Session, shared: SharedScene = tiny.shared) -> None:
        path = save_edits(shared, session)
        options = (shared.field.source, "--edits", path, "--out", tmp_path / "replayed.ply")
        monkeypatch.setattr(sys, "argv", ["edit", *map(str, options)])
        edit_door.main()
        write_ply(tmp_path / "mine.ply", session.result())
        assert (tmp_path / "replayed.ply").read_bytes() == (tmp_path / "mine.ply").read_bytes()

    return check


def search_text(session: Session, *texts: str, negatives: tuple[str, ...] = ()) -> None:
    session.search(Query(positives=texts, negatives=negatives))


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("how", ["text", "threshold", "negative", "click", "box", "added"])
def test_the_edit_door_makes_the_same_of_any_selection(session, assert_replays, how, operation):
    match how:
        case "text":
            search_text(session, "chair")
        case "threshold":
            search_text(session, "chair")
            session.set_threshold(0.123456789)
        case "negative":
            search_text(session, "wall", "lamp", negatives=("chair",))
        case "click":
            session.search(Query(like=Seen(session.base.features[40])))
        case "box":
            session.select(mask_of(2, 3, 31))
        case "added":
            session.select(mask_of(40))
            session.search(Query(positives=("chair",)), "add")
            session.set_threshold(0.3)
    session.edit(operation)
    assert_replays(session)
    assert (not session.edits[0].edit.positives) == (how in ("click", "box", "added"))


def test_edits_in_a_row_replay(session, assert_replays):
    session.select(mask_of(0, 31, 32))
    session.edit(Delete)
    search_text(session, "chair")
    session.edit(BLUE)  # after something of it is gone
    session.edit(partial(Move, translation=(0.0, 0.4, 0.0)))
    session.search(Query(like=Seen(session.base.features[3])))
    session.edit(partial(Recolor, color=(1.0, 0.5, 0.0), mode="tint"))
    search_text(session, "lamp")
    session.edit(partial(Move, translation=(-1.2, 0.0, 0.0)))  # among the chairs
    session.edit(Delete)
    session.undo()
    session.redo()
    assert_replays(session)
    session.undo()
    session.undo()
    assert_replays(session)


@pytest.mark.parametrize("operation", [Delete, Extract, BLUE])
def test_a_rim_goes_along_where_it_does_at_the_door(tiny, assert_replays, operation):
    """One Gaussian is more of a lamp, among the chairs, and one the same among lamps."""
    ply = export_run(ExportArguments(tiny.run.folder))
    gaussians = tiny.shared.gaussians
    gaussians.features[[0, 59]] = torch.tensor([0.7, 1.0, 0.0])
    write_ply(ply, gaussians)
    shared = open_shared_scene(open_field(ply))
    session = Session(shared.gaussians, shared.frame, shared.field)
    search_text(session, "chair")
    session.set_threshold(0.5)
    assert not session.selected[[0, 59]].any()
    session.edit(operation)
    assert session.edits[0].mask[0] == (operation != BLUE) and not session.edits[0].mask[59]
    assert_replays(session, shared)


def test_a_rim_is_not_taken_out_of_what_is_hidden(tiny):
    tiny.shared.gaussians.features[0] = torch.tensor([0.7, 1.0, 0.0])
    session = tiny.session()
    search_text(session, "chair")
    session.set_threshold(0.5)
    session.isolate()
    session.edit(Delete)
    assert session.edits[0].mask.sum() == NUM_CHAIR - 1 and not session.edits[0].edit.positives


def test_hidden_things_stay_when_it_is_replayed(session, assert_replays):
    session.select(mask_of(0, 1))
    session.hide()
    search_text(session, "chair")
    session.show_all()
    session.edit(Delete)
    assert len(session.result()) == 32
    assert_replays(session)


def test_there_are_no_files_of_no_edits(session, tiny):
    with pytest.raises(UserError, match="no edits"):
        save_edits(tiny.shared, session)
    assert not tiny.shared.folder.exists()
