"""Things of a field as a list: names by text, places, sizes, and the views that show each best."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int32, Integer
from torch import Tensor
from tqdm import tqdm

from gsdff.editing.edit import Edit
from gsdff.errors import UserError
from gsdff.field.base import FieldBase
from gsdff.latents import MIN_NORM, text_cosine
from gsdff.run_folder import RunFolder
from gsdff.scene import View
from gsdff.selection import Selection
from gsdff.things import Things
from gsdff.things.store import load_things
from gsdff.words import ThingNumber, read_thing

RIM_SHARE = 0.15
"""Share of a Gaussian in a thing from which it goes with the thing that is taken from its surroundings: of the demo's
21 things 13 can be deleted to 95 % with 1 % of the others changed, against 8 from a share of 0.3 on."""
CUT_RIM_SHARE = 0.05
"""The same share if Gaussians across borders are cut, and little is left in a rim: 17 of 21 things, against 15 from a
share of 0.1 or 0.15 on."""
OUTSIDE = 0.02
"""Share of a thing's Gaussians, by opacity, that its box leaves out at either end of every axis: strays."""
BEST_VIEWS = 3
SHRINK = 4
"""Factor by which views are drawn smaller to find those that show a thing best."""
CHANNELS = 64
"""Things that are drawn in one pass, so that memory does not grow with their number."""


@dataclass(frozen=True)
class SceneObject:
    """A thing of a scene. Lengths and positions are in the units of the input's world frame."""

    id: int
    """Number from 1, by falling area in the views."""
    name: str | None
    """Best of the names that compete, by the cosine with the thing's mean feature; None if there are no names."""
    score: float
    next_name: str | None
    """The second best."""
    next_score: float
    centroid: tuple[float, float, float]
    """Mean of its Gaussians, weighted by opacity."""
    box_centre: tuple[float, float, float]
    axes: tuple[tuple[float, float, float], ...]
    """Unit vectors of its oriented box's sides, longest first."""
    size: tuple[float, float, float]
    """Lengths of the sides."""
    num_gaussians: int
    num_parts: int
    pixels: float
    """Area in the masks of all training views."""
    confidence: float
    """Mean lead of its Gaussians' membership over their next one, in [0, 1]."""
    views: tuple[str, ...]
    """Photos that show most of it, best first; empty without photos."""


def read_things(field: FieldBase) -> Things:
    """The things of a field's run; raises `UserError` if there are none, or if edits have changed the Gaussians."""
    if field.run is None:
        raise UserError(f"{field.source}: a PLY has no things; give the folder of the run that it comes from")
    if field.edits:
        raise UserError(f"{field.source}: has been edited; its things are those of the run, ask before the edits")
    return load_things(RunFolder(field.run.folder).things, len(field.gaussians))


def find_members(things: Things, named: ThingNumber) -> Bool[Tensor, "N"]:
    """The Gaussians of a thing, or of one part of it; raises `UserError` for a number that there is not."""
    if not 1 <= named.number <= len(things):
        raise UserError(f"{named}: expected a thing from 1 to {len(things)} (`gsdff objects` lists them)")
    is_of = things.instance_ids == named.number
    if named.part is None:
        return is_of
    num_parts = int(things.parts[is_of].max()) if is_of.any() else 0
    if not 1 <= named.part <= num_parts:
        raise UserError(f"{named}: expected a part from 1 to {num_parts} of thing:{named.number}")
    return is_of & (things.parts == named.part)


def select_thing(field: FieldBase, named: ThingNumber, *, rim: bool = False) -> Selection:
    """The Gaussians of a thing, with `rim` those on its border that are more its neighbours' too.

    A part has no rim, since only things have a share of every Gaussian. Raises `UserError` for a number that there is
    not.
    """
    things = read_things(field)
    is_of = find_members(things, named)
    if rim and named.part is None:
        assert field.run is not None, "a field with things has a run"
        is_cut = field.run.config.smoothing.things.borders.rounds > 0
        least = CUT_RIM_SHARE if is_cut else RIM_SHARE
        is_of = is_of | ((things.members == named.number) & (things.shares >= least)).any(1)
    return Selection(is_of.to(field.device))


def replace_things(field: FieldBase, edit: Edit) -> Edit:
    """The edit with things by their numbers ("thing:12") replaced by the selection of their Gaussians."""
    found = [read_thing(text) for text in edit.positives]
    if not any(found):
        return edit
    if not all(found):
        raise UserError(f"{edit}: expected texts or things by number, got both; make two edits of it")
    rim = edit.rim and edit.takes_apart
    masks = [select_thing(field, named, rim=rim).mask for named in found if named is not None]
    options = {"negatives": None, "threshold": None, "temperature": None, "only_negatives": False}
    return replace(edit, target=Selection(torch.stack(masks).any(0)), **options)


@torch.no_grad()
def list_objects(field: FieldBase, names: Sequence[str] = ()) -> list[SceneObject]:
    """All things, with the best of these names; by default of the teacher's vocabulary, if it is closed.

    Raises `UserError` if the run has no things, and for a name that the teacher does not know.
    """
    things = read_things(field)
    named = _name(field, things, names)
    views = _rank_views(field, things)
    ids, confidences = things.instance_ids, things.confidences
    objects = []
    for number in range(1, len(things) + 1):
        mask = ids == number
        if not mask.any():
            continue
        centroid, centre, axes, size = _measure(field, mask)
        objects.append(
            SceneObject(
                number, *named[number - 1], centroid, centre, axes, size, int(mask.sum()),
                int(things.parts[mask].max()), float(things.sizes[number - 1]), float(confidences[mask].mean()),
                views[number - 1],
            )
        )  # fmt: skip
    return objects


def score_things(field: FieldBase, things: Things, texts: Float[Tensor, "Q T"]) -> Float[Tensor, "things Q"]:
    """Cosines of the things' mean features with texts; on the CPU."""
    unit = F.normalize(field.latents, dim=1, eps=MIN_NORM)
    weights = (things.shares[:, 0].to(unit) ** 4 * field.gaussians.opacities)[:, None]
    ids = things.instance_ids.long().to(unit.device)
    means = unit.new_zeros(len(things) + 1, unit.shape[1]).index_add_(0, ids, unit * weights)[1:]
    return text_cosine(means, texts, field.B).cpu()


def _name(field: FieldBase, things: Things, names: Sequence[str]) -> list[tuple[str | None, float, str | None, float]]:
    """Best and second best name of every thing, with their cosines."""
    candidates = list(names) or ([] if field.vocabulary is None else [*field.vocabulary.vectors])
    if not candidates:
        return [(None, float("nan"), None, float("nan"))] * len(things)
    texts = field.encode_text(candidates)
    cosines = score_things(field, things, texts)
    named = []
    for row in cosines:
        order = row.argsort(descending=True, stable=True).tolist()
        first = order[0]
        # names of one meaning, such as plurals, have one vector: the next is the first that differs
        others = [i for i in order[1:] if not torch.equal(texts[i], texts[first])]
        second = (candidates[others[0]], float(row[others[0]])) if others else (None, float("nan"))
        named.append((candidates[first], float(row[first]), *second))
    return named


def _measure(field: FieldBase, mask: Tensor) -> tuple[tuple, tuple, tuple, tuple]:
    """Centroid, and centre, axes and size of the oriented box, along the principal axes of the means."""
    gaussians = field.gaussians
    mask = mask.to(field.device)
    points, weights = gaussians.positions[mask], gaussians.opacities[mask].double()
    weights = weights / weights.sum()
    centroid = weights @ points
    apart = points - centroid
    axes = torch.linalg.eigh(apart.T @ (apart * weights[:, None]))[1].flip(1)
    if torch.linalg.det(axes) < 0:
        axes = torch.cat([axes[:, :2], -axes[:, 2:]], dim=1)
    along = apart @ axes
    low, high = (_weighted_quantile(along, weights, share) for share in (OUTSIDE, 1 - OUTSIDE))
    centre = centroid + axes @ ((low + high) / 2)
    rows = tuple(tuple(axis) for axis in axes.T.tolist())
    return tuple(centroid.tolist()), tuple(centre.tolist()), rows, tuple((high - low).tolist())


def _weighted_quantile(values: Float[Tensor, "P D"], weights: Float[Tensor, "P"], share: float) -> Float[Tensor, "D"]:
    ordered, order = values.sort(dim=0)
    reached = weights[order].cumsum(0) >= share
    return ordered.gather(0, reached.to(torch.uint8).argmax(0, keepdim=True))[0]


def draw_things(field: FieldBase, things: Things, view: View, shrink: int = 1) -> Int32[Tensor, "H W"]:
    """The thing of every pixel of a view, 0 for none: the one with most of the rendered memberships."""
    camera = view.camera
    camera = camera.resized(max(1, camera.width // shrink), max(1, camera.height // shrink))
    members, shares = things.members.to(field.device), things.shares.to(field.device)
    return choose_things(members, shares, len(things), lambda values: field.blend(camera, values))


def choose_things(
    members: Integer[Tensor, "N M"],
    shares: Float[Tensor, "N M"],
    num_things: int,
    blend: Callable[[Float[Tensor, "N D"]], Float[Tensor, "H W D"]],
) -> Int32[Tensor, "H W"]:
    """The thing with most of the memberships of Gaussians that `blend` renders, 0 for none."""
    members = members.long()
    best = drawn = None
    for start in range(0, num_things + 1, CHANNELS):
        num = min(CHANNELS, num_things + 1 - start)
        columns = members - start
        is_here = (columns >= 0) & (columns < num)
        values = shares.new_zeros(len(shares), num).scatter_add_(1, columns.clamp(0, num - 1), shares * is_here)
        if start == 0:
            values[:, 0] = 1 - shares.sum(1).clamp(0, 1)
        most, index = blend(values).max(-1)
        index = start + index.int()
        drawn = index if best is None or drawn is None else torch.where(most > best, index, drawn)
        best = most if best is None else torch.maximum(most, best)
    assert drawn is not None, "there is always a column, for none"
    return drawn


def _rank_views(field: FieldBase, things: Things) -> list[tuple[str, ...]]:
    """The photos with the largest areas of each thing."""
    if not field.has_photos:
        return [()] * len(things)
    views = [field.scene.views[i] for i in field.scene.train_ids]
    areas = torch.zeros(len(views), len(things) + 1)
    for row, view in zip(areas, tqdm(views, desc="views", unit="view", leave=False), strict=True):
        row += draw_things(field, things, view, SHRINK).flatten().bincount(minlength=len(row)).to(row)
    best = areas[:, 1:].topk(min(BEST_VIEWS, len(views)), dim=0)
    return [
        tuple(views[i].name for i, area in zip(ids, found, strict=True) if area > 0)
        for ids, found in zip(best.indices.T.tolist(), best.values.T.tolist(), strict=True)
    ]
