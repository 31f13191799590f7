"""Answers that pages share: latent vectors of texts, and scenes as the display modes draw them."""

import logging
import secrets
import threading
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.errors import UserError, shown
from gsdff.field.examples import Seen
from gsdff.field.field import Field
from gsdff.field.query import Query
from gsdff.field.search import PreparedQuery, find, prepare, prepare_vectors
from gsdff.gaussians import Gaussians
from gsdff.latents import MIN_NORM, encode
from gsdff.selection import Selection
from gsdff.teachers import Teacher
from gsdff.viewer.picking import Point, latents_at
from gsdff.viewer.rendering import ALL_ROWS, available_modes, render_mode
from gsdff.viewer.shared_scene import SharedScene
from gsdff.viewer.visible_scene import VisibleScene
from gsdff.viewer.wire.bits import read_bits
from gsdff.viewer.wire.messages import HandEdits, Modify, Scenery

log = logging.getLogger("gsdff")

MOST_REMEMBERED = 10_000
"""Texts whose vectors are remembered, 2 KB each."""
MOST_QUESTIONS = 16


class TextMemory:
    """A teacher as far as it encodes words: each is encoded once, though page and picture both need it."""

    def __init__(self, open_teacher: Callable[[], Teacher]):
        self._open_teacher = open_teacher
        self._vectors: dict[str, Float[Tensor, "T"]] = {}

    @property
    def vocabulary(self) -> object:
        """That of the teacher."""
        return self._open_teacher().vocabulary

    def text(self, names: Sequence[str]) -> Float[Tensor, "Q T"]:
        """Vectors of names, one by one: a batch would make the last bits depend on what else is in it."""
        if len(self._vectors) + len(names) > MOST_REMEMBERED:
            self._vectors.clear()
        for name in names:
            if name not in self._vectors:
                self._vectors[name] = self._open_teacher().text([name])[0]
        return torch.stack([self._vectors[name] for name in names])


def has_words(field: Field) -> bool:
    """Whether a field has features, and a teacher that encodes texts; logs why it has no words."""
    if not field.has_features:
        return False
    try:
        _ = field.vocabulary
    except UserError as error:
        log.warning("no queries: %s", error)
        return False
    return True


@dataclass(frozen=True, eq=False)
class Similar:
    """Likeness of all Gaussians to an example."""

    latents: list[float]
    scores: Float[Tensor, "N"]
    threshold: float
    score_range: tuple[float, float]


@dataclass(frozen=True, eq=False)
class PageEdits:
    """All Gaussians after some edits of a page, and those that are kept."""

    edits: HandEdits
    gaussians: Gaussians
    kept: Bool[Tensor, "N"]


class Answers:
    """Answers about one scene, for all its pages; may be asked from several threads."""

    def __init__(self, shared: SharedScene, version: int = 0):
        self.shared = shared
        self.scene = secrets.token_hex(8)
        """Text by which a page knows its own server's scene."""
        self.version = version
        """State of a scene that trains."""
        self.gaussians: Gaussians = shared.gaussians.to_working_frame(shared.frame)
        self.modes = available_modes(shared)
        field = shared.field
        self.has_words = has_words(field)
        """Whether texts can be encoded; the reason is in the log if not."""
        self._field = replace(field, read=field.read | {"teacher": TextMemory(lambda: field.teacher)})
        self._encoding = threading.Lock()
        self._prepare = lru_cache(MOST_QUESTIONS)(self._look_up)

    def renewed(self) -> "Answers":
        """Answers about the same scene as `shared` has it now, after more steps of its training."""
        newer = copy(self)
        newer.version = self.version + 1
        newer.gaussians = self.shared.gaussians.to_working_frame(self.shared.frame)
        newer._field = replace(self._field, gaussians=self.shared.gaussians)
        return newer

    def encode(self, texts: Sequence[str]) -> Float[Tensor, "Q K"]:
        """Latent vectors Bᵀt of texts; raises `UserError` for a text that the teacher cannot encode."""
        with self._encoding, self.shared.encoding_text():
            vectors = F.normalize(self._field.encode_text(texts), dim=1, eps=MIN_NORM)
        # one by one, so that equal vectors stay equal: a page compares with each of them once
        return torch.cat([encode(vector[None], self._field.B) for vector in vectors])

    def edit(self, edits: HandEdits, before: PageEdits | None = None) -> PageEdits:
        """The Gaussians after a page's edits; goes on from `before`, if these are its edits and more."""
        num = len(self.gaussians)
        if before is None or edits[: len(before.edits)] != before.edits:
            before = PageEdits((), self.gaussians, torch.ones(num, dtype=torch.bool))
        gaussians, kept = before.gaussians, before.kept
        for hand_edit in edits[len(before.edits) :]:
            edit = hand_edit.make(num)
            mask = hand_edit.mask(num)
            kept = kept & edit.kept(mask)
            if edit.kept(mask).all():
                gaussians = edit.apply(gaussians, mask.to(self.shared.device))
        return PageEdits(edits, gaussians, kept)

    def cut(self, scenery: Scenery, edited: PageEdits | None = None) -> tuple[Gaussians, Int[Tensor, "M"]]:
        """The Gaussians that a page shows, after its edits, and their indices before them."""
        edited = edited or self.edit(scenery.edits)
        gaussians, num = edited.gaussians, len(self.gaussians)
        ids = (edited.kept & ~read_bits(scenery.hidden, num)).to(self.shared.device).nonzero()[:, 0]
        return (gaussians if len(ids) == num else gaussians.map(lambda tensor: tensor[ids])), ids

    def show(self, scenery: Scenery, gaussians: Gaussians, ids: Int[Tensor, "M"]) -> VisibleScene:
        """The scene that a page shows, to be rendered: `gaussians` and `ids` are those of `cut`.

        Raises `UserError` for a mode that this scene does not have, and for words that the teacher cannot encode.
        """
        if scenery.mode not in self.modes:
            raise UserError(f"mode {shown(scenery.mode)}: expected one of {', '.join(self.modes)}")
        marked = read_bits(scenery.marked, len(self.gaussians)).to(self.shared.device)
        prepared, classes, question = None, None, scenery.question
        if scenery.mode == "relevancy" and question is not None:
            if question.like:
                example = torch.tensor(question.like, device=self.shared.device)
                prepared = prepare_vectors(self._field, Query(like=Seen(example)))
            else:
                prepared = self._prepare(Query(question.positives, question.negatives))
            prepared = replace(prepared, threshold=question.threshold, score_range=question.score_range)
        if scenery.mode == "classes" and scenery.classes:
            classes = self._prepare(Query(classes=scenery.classes))
        colors = torch.tensor(scenery.class_colors).mul(255).round().byte() if scenery.class_colors else None
        return VisibleScene(
            gaussians,
            marked[ids],
            prepared,
            prepared_classes=classes,
            heat_colors=None if question is None else torch.tensor(question.colors),
            class_colors=colors,
            ids=ids,
        )

    def find_similar(self, visible: VisibleScene, camera: Camera, place: Point) -> Similar:
        """Scores of all Gaussians by their likeness to what a camera shows at a place of its window.

        Raises `UserError` if nothing with features is there.
        """
        latents = latents_at(self.shared, visible, camera, place)
        prepared = prepare(self._field, Query(like=Seen(latents)))
        found = find(self._field, prepared)
        assert prepared.threshold is not None, "only classes have none"
        scores = found.scores.masked_fill(~found.answered, 0.0)
        return Similar(latents.tolist(), scores, prepared.threshold, prepared.score_range)

    def modify(self, request: Modify) -> Bool[Tensor, "N"]:
        """A selection that is grown, shrunk or cleaned, among the Gaussians that are there."""
        num = len(self.gaussians)
        ids = (~read_bits(request.hidden, num)).nonzero()[:, 0]
        mask = read_bits(request.selected, num)
        selection = Selection(mask[ids])
        if not selection:
            raise UserError("nothing is selected")
        means = self.gaussians.means.cpu()[ids]
        mask[ids] = getattr(selection, request.how)(means).mask
        return mask

    def render(
        self, visible: VisibleScene, mode: str, camera: Camera, rows: slice = ALL_ROWS
    ) -> UInt8[Tensor, "h w 3"]:
        """Some rows of an image, as `gsdff query` scores its pixels."""
        with self.shared.render_lock:
            return render_mode(self.shared, visible, mode, camera, rows)

    def _look_up(self, query: Query) -> PreparedQuery:
        with self._encoding, self.shared.encoding_text():
            return prepare_vectors(self._field, query)
