"""What one tab asks, selects and edits, against the doors that ask and edit the same scene."""

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
from gsdff.viewer.document import Document
from gsdff.viewer.saving import save_edits
from gsdff.viewer.world import World, open_world

BLUE = partial(Recolor, color=(0.1, 0.2, 0.9))
CHAIRS, LAMPS = slice(0, NUM_CHAIR), slice(NUM_CHAIR, 60)


@pytest.fixture
def document(tiny) -> Document:
    return tiny.document()


def mask_of(*ids: int) -> torch.Tensor:
    mask = torch.zeros(60, dtype=torch.bool)
    mask[list(ids)] = True
    return mask


def assert_same(gaussians, expected) -> None:
    for (name, ours), (_, theirs) in zip(gaussians.items(), expected.items(), strict=True):
        assert torch.equal(ours, theirs), name


def state(document: Document) -> tuple:
    """All that an action may change, by value."""
    tensors = [document.alive, document.hidden, document.selected, *dict(document.gaussians.items()).values()]
    return [tensor.clone() for tensor in tensors], list(document.edits), list(document.undone)


def assert_unchanged(document: Document, before: tuple) -> None:
    now = state(document)
    assert all(map(torch.equal, now[0], before[0])) and now[1:] == before[1:]


# --- questions


@pytest.mark.parametrize(
    "query",
    [
        Query(positives=("chair",)),
        Query(positives=("chair",), negatives=("wall",)),
        Query(positives=("chair", "wall"), negatives=("lamp",), only_negatives=True),
        Query(like=OneGaussian(NUM_CHAIR + 3)),
    ],
)
def test_a_question_selects_what_it_selects_at_the_door(document, tiny, query):
    document.ask(query)
    found = search(tiny.world.field, query)
    assert 0 < len(found.selection) < 60
    assert torch.equal(document.selected, found.selected) and document.threshold == found.threshold
    assert torch.equal(document.scores, found.scores)


def test_what_has_no_features_is_never_selected(tiny):
    world = tiny.world
    world.gaussians.features[[2, 40]] = 0
    document = tiny.document()
    query = Query(like=OneGaussian(0), threshold=-0.5)  # their cosine, 0, is over it
    document.ask(query)
    assert torch.equal(document.selected, search(world.field, query).selected)
    assert not document.selected[[2, 40]].any() and document.selected[0]
    document.set_threshold(-1.0)
    assert document.selected.sum() == 58


def test_the_threshold_selects_anew_among_the_last_questions_scores(document):
    document.ask(Query(positives=("chair",)))
    scores = document.scores
    low, high = float(scores.min()), float(scores.max())
    for threshold, expected in ((low, 60), (high, (scores == scores.max()).sum()), (1.0, 0)):
        document.set_threshold(threshold)
        assert document.selected.sum() == expected and document.shown.threshold == threshold
    document.ask(Query(positives=("lamp",)))
    assert document.selected[LAMPS].all() and not document.selected[CHAIRS].any()


def test_the_threshold_of_a_question_that_adds_leaves_what_was_there(document):
    document.select(mask_of(0, 50))
    document.ask(Query(positives=("lamp",)), "subtract")
    assert document.selected.nonzero()[:, 0].tolist() == [0]
    document.set_threshold(1.0)
    assert document.selected.nonzero()[:, 0].tolist() == [0, 50]
    document.set_threshold(0.0)
    assert not document.selection


def test_classes_are_those_of_the_door(document, tiny):
    document.ask_classes(("wall", "lamp", "chair"))
    assert torch.equal(document.labels, search(tiny.world.field, Query(classes=("wall", "lamp", "chair"))).labels)
    assert document.labels[CHAIRS].unique().tolist() == [2] and document.labels[LAMPS].unique().tolist() == [1]


def test_a_name_the_field_does_not_know_changes_nothing(document):
    document.ask(Query(positives=("chair",)))
    before, asked = state(document), document.asked
    with pytest.raises(UserError, match="sofa"):
        document.ask(Query(positives=("sofa",)))
    with pytest.raises(UserError, match="sofa"):
        document.ask_classes(("sofa", "lamp"))
    assert_unchanged(document, before)
    assert document.asked is asked and document.classes is None


def test_a_scene_without_features_refuses_questions_and_can_be_edited(tiny):
    gaussians = replace(tiny.world.gaussians, features=None)
    document = Document(gaussians, tiny.world.frame, replace(tiny.world.field, basis=None))
    with pytest.raises(UserError, match="no features"):
        document.ask(Query(positives=("chair",)))
    document.select(mask_of(1))
    document.edit(Delete)
    assert len(document.result()) == 59


# --- the selection


@pytest.mark.parametrize(
    ("combine", "expected"),
    [("replace", [2, 3]), ("add", [1, 2, 3]), ("subtract", [1]), ("within", [2])],
)
def test_selections_combine_as_sets(document, combine, expected):
    document.select(mask_of(1, 2))
    document.select(mask_of(2, 3), combine)
    assert document.selected.nonzero()[:, 0].tolist() == expected


def test_invert_grow_and_largest_look_at_what_is_visible_alone(document):
    document.select(mask_of(*range(10)))
    document.edit(Delete)
    document.select(mask_of(*range(10, 20)))
    document.hide()
    document.select(mask_of(20))
    document.change(lambda selection, means: ~selection)
    assert document.selected.nonzero()[:, 0].tolist() == list(range(21, 60))
    seen = []
    document.change(lambda selection, means: seen.append(means) or selection.grow(means))
    assert torch.equal(seen[0], document.base.means[20:])
    document.select(~mask_of())
    document.change(lambda selection, means: selection.keep_largest(means))
    assert document.selection and not document.selection.mask[:20].any()


def test_a_change_where_nothing_is_visible_is_none(document):
    document.select(~mask_of())
    document.hide()
    document.change(lambda selection, means: ~selection)
    assert not document.selected.any() and len(document.shown.gaussians) == 0


def test_what_is_hidden_is_not_drawn_nor_selected_but_exported(document):
    document.select(mask_of(0, 1, 50))
    document.hide()
    assert not document.selection and len(document.shown.gaussians) == 57
    document.select(~mask_of())
    assert document.selected.sum() == 57
    document.ask(Query(positives=("chair",)))
    assert document.selected.sum() == NUM_CHAIR - 2 and document.shown.selected.sum() == NUM_CHAIR - 2
    document.edit(Delete)
    assert len(document.result()) == 60 - (NUM_CHAIR - 2)  # what was out of sight is still there
    document.show_all()
    assert len(document.shown.gaussians) == 32 and not document.selection


def test_the_threshold_brings_nothing_back_that_was_hidden_since(document):
    document.select(mask_of(3))
    document.ask(Query(positives=("lamp",)), "add")
    document.hide()
    document.set_threshold(document.threshold)
    assert not document.selection


def test_isolate_hides_all_else(document):
    document.select(mask_of(4, 5))
    document.isolate()
    assert torch.equal(document.visible_ids, torch.tensor([4, 5])) and document.shown.selected.all()
    document.show_all()
    assert len(document.shown.gaussians) == 60 and document.selected.sum() == 2


@pytest.mark.parametrize("action", ["hide", "isolate"])
def test_hiding_needs_a_selection(document, action):
    before = state(document)
    with pytest.raises(UserError, match="nothing is selected"):
        getattr(document, action)()
    assert_unchanged(document, before)


# --- what is drawn


def test_what_is_drawn_is_in_the_working_frame_with_everything_in_the_same_order(document, tiny):
    document.ask(Query(positives=("lamp",)))
    document.ask_classes(("chair", "lamp"))
    document.select(mask_of(0))
    document.hide()
    document.select(mask_of(7, 59))
    shown = document.shown
    assert_same(shown.gaussians, document.base.map(lambda tensor: tensor[1:]).to_working_frame(tiny.world.frame))
    assert torch.equal(shown.selected, document.selected[1:]) and torch.equal(shown.scores, document.scores[1:])
    assert torch.equal(shown.labels, document.labels[1:]) and shown.any_selected


def test_the_same_gaussians_are_shown_until_they_change(document):
    shown = document.shown
    assert document.shown is shown
    document.ask(Query(positives=("chair",)))
    document.set_threshold(0.4)
    document.ask_classes(("chair", "lamp"))
    document.change(lambda selection, means: ~selection)
    document.select(mask_of(3))
    assert document.shown is not shown and document.shown.gaussians is shown.gaussians
    for action in (document.hide, document.show_all):
        before = document.shown.gaussians
        action()
        assert document.shown.gaussians is not before
    document.select(mask_of(3))
    for action in (document.isolate, lambda: document.edit(BLUE), document.undo, document.redo):
        before = document.shown.gaussians
        action()
        assert document.shown.gaussians is not before


def test_a_scene_that_goes_on_training_is_shown_and_answers_anew(document, tiny):
    document.ask(Query(positives=("lamp",)))
    document.ask_classes(("chair", "lamp"))
    assert document.shown.selected[LAMPS].all()
    more = tiny.world.gaussians.map(lambda tensor: torch.cat([tensor, tensor[-1:]]))
    more.means[0] += 1
    more.features[0] = 0
    document.rebase(more, replace(tiny.world.field, gaussians=more))
    shown = document.shown
    assert torch.equal(shown.gaussians.means, tiny.world.frame.points_to_working(more.means))
    assert shown.selected.nonzero()[:, 0].tolist() == list(range(NUM_CHAIR, 61)) and shown.scores[0].isnan()
    assert shown.labels.tolist()[1:] == [0] * (NUM_CHAIR - 1) + [1] * 31


# --- edits


OPERATIONS = [Delete, Extract, BLUE, partial(Move, translation=(0.3, -2.0, 1e-3))]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_undo_gives_the_scene_as_it_was_and_redo_the_edited_bit_for_bit(document, tiny, operation):
    document.ask(Query(positives=("chair",)))
    document.edit(operation)
    edited = document.result()
    assert len(edited) != 60 or not (
        torch.equal(edited.sh0, document.base.sh0) and torch.equal(edited.means, document.base.means)
    )
    document.undo()
    assert_same(document.result(), tiny.world.gaussians)
    assert document.selected.sum() == NUM_CHAIR  # and can be edited in another way
    document.redo()
    assert_same(document.result(), edited)


def test_undo_of_several_goes_back_one_by_one(document):
    results = [document.result()]
    for ids, operation in (
        ((1, 2), Delete),
        ((3, 4), BLUE),
        ((4, 5), partial(Move, translation=(1.0, 0.0, 0.0))),
        ((3,), Delete),
    ):
        document.select(mask_of(*ids))
        document.edit(operation)
        results.append(document.result())
    for expected in results[-2::-1]:
        document.undo()
        assert_same(document.result(), expected)
    for expected in results[1:]:
        document.redo()
        assert_same(document.result(), expected)


def test_a_new_edit_ends_what_could_be_made_again(document):
    document.select(mask_of(1))
    document.edit(Delete)
    document.undo()
    document.edit(BLUE)
    with pytest.raises(UserError, match="nothing to redo"):
        document.redo()
    assert [type(made.edit) for made in document.edits] == [Recolor]


def test_an_edit_of_nothing_changes_nothing(document):
    before = state(document)
    for action in (lambda: document.edit(Delete), document.undo, document.redo):
        with pytest.raises(UserError, match="nothing"):
            action()
        assert_unchanged(document, before)
    with pytest.raises(UserError, match="nothing is selected"):
        document.result(only_selected=True)


def test_what_is_deleted_is_no_selection_any_more(document):
    document.select(mask_of(1))
    document.edit(Delete)
    before = state(document)
    assert not document.selection
    with pytest.raises(UserError, match="nothing is selected"):
        document.edit(BLUE)
    assert_unchanged(document, before)


def test_taking_everything_out_is_refused(document):
    document.select(mask_of(1))
    document.edit(Delete)
    document.undo()
    document.select(~mask_of())
    before = state(document)
    with pytest.raises(UserError, match="nothing would be left"):
        document.edit(Delete)
    assert_unchanged(document, before)
    document.redo()


def test_a_selection_is_exported_alone_and_edited(document):
    document.select(mask_of(1, 2, 3))
    document.edit(partial(Move, translation=(1.0, 0.0, 0.0)))
    document.select(mask_of(2))
    document.edit(Delete)
    document.select(mask_of(1, 2, 3))
    part = document.result(only_selected=True)
    assert torch.allclose(part.means, document.base.means[[1, 3]] + torch.tensor([1.0, 0, 0]))


# --- replayed by the door


@pytest.fixture
def assert_replays(tiny, tmp_path, monkeypatch):
    """That the door makes the same bytes of the saved edits as are written of the document."""

    def check(document: Document, world: World = tiny.world) -> None:
        path = save_edits(world, document)
        options = (world.field.source, "--edits", path, "--out", tmp_path / "replayed.ply")
        monkeypatch.setattr(sys, "argv", ["edit", *map(str, options)])
        edit_door.main()
        write_ply(tmp_path / "mine.ply", document.result())
        assert (tmp_path / "replayed.ply").read_bytes() == (tmp_path / "mine.ply").read_bytes()

    return check


def ask_text(document: Document, *texts: str, negatives: tuple[str, ...] = ()) -> None:
    document.ask(Query(positives=texts, negatives=negatives))


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("how", ["text", "threshold", "negative", "click", "box", "added"])
def test_the_edit_door_makes_the_same_of_any_selection(document, assert_replays, how, operation):
    match how:
        case "text":
            ask_text(document, "chair")
        case "threshold":
            ask_text(document, "chair")
            document.set_threshold(0.123456789)
        case "negative":
            ask_text(document, "wall", "lamp", negatives=("chair",))
        case "click":
            document.ask(Query(like=Seen(document.base.features[40])))
        case "box":
            document.select(mask_of(2, 3, 31))
        case "added":
            document.select(mask_of(40))
            document.ask(Query(positives=("chair",)), "add")
            document.set_threshold(0.3)
    document.edit(operation)
    assert_replays(document)
    assert (not document.edits[0].edit.positives) == (how in ("click", "box", "added"))


def test_edits_in_a_row_replay(document, assert_replays):
    document.select(mask_of(0, 31, 32))
    document.edit(Delete)
    ask_text(document, "chair")
    document.edit(BLUE)  # after something of it is gone
    document.edit(partial(Move, translation=(0.0, 0.4, 0.0)))
    document.ask(Query(like=Seen(document.base.features[3])))
    document.edit(partial(Recolor, color=(1.0, 0.5, 0.0), mode="tint"))
    ask_text(document, "lamp")
    document.edit(partial(Move, translation=(-1.2, 0.0, 0.0)))  # among the chairs
    document.edit(Delete)
    document.undo()
    document.redo()
    assert_replays(document)
    document.undo()
    document.undo()
    assert_replays(document)


@pytest.mark.parametrize("operation", [Delete, Extract, BLUE])
def test_a_rim_goes_along_where_it_does_at_the_door(tiny, assert_replays, operation):
    """One that is more of a lamp, among the chairs, and one that is the same among lamps."""
    ply = export_run(ExportArguments(tiny.run.folder))
    gaussians = tiny.world.gaussians
    gaussians.features[[0, 59]] = torch.tensor([0.7, 1.0, 0.0])
    write_ply(ply, gaussians)
    world = open_world(open_field(ply))
    document = Document(world.gaussians, world.frame, world.field)
    ask_text(document, "chair")
    document.set_threshold(0.5)
    assert not document.selected[[0, 59]].any()
    document.edit(operation)
    assert document.edits[0].mask[0] == (operation != BLUE) and not document.edits[0].mask[59]
    assert_replays(document, world)


def test_a_rim_is_not_taken_out_of_what_is_hidden(tiny):
    tiny.world.gaussians.features[0] = torch.tensor([0.7, 1.0, 0.0])
    document = tiny.document()
    ask_text(document, "chair")
    document.set_threshold(0.5)
    document.isolate()
    document.edit(Delete)
    assert document.edits[0].mask.sum() == NUM_CHAIR - 1 and not document.edits[0].edit.positives


def test_hidden_things_stay_when_it_is_replayed(document, assert_replays):
    document.select(mask_of(0, 1))
    document.hide()
    ask_text(document, "chair")
    document.show_all()
    document.edit(Delete)
    assert len(document.result()) == 32
    assert_replays(document)


def test_there_are_no_files_of_no_edits(document, tiny):
    with pytest.raises(UserError, match="no edits"):
        save_edits(tiny.world, document)
    assert not tiny.world.folder.exists()
