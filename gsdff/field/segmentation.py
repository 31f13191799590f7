"""Segmentation of a scene as files: label maps, labelled Gaussians, points, COCO, pictures."""

import json
import logging
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Integer, UInt8
from torch import Tensor
from tqdm import tqdm

from gsdff.errors import UserError
from gsdff.field.base import FieldBase
from gsdff.field.checks import check_segmentation
from gsdff.field.hit import Hit, draw_classes_over
from gsdff.field.panoptic import ClassedThings, SeenThings
from gsdff.field.query import Query, Space
from gsdff.field.search import PreparedQuery, find, prepare
from gsdff.files.places import check_place, make_folder
from gsdff.files.writing import discard, together, write_text
from gsdff.io.coco import LabelledPhoto, find_parts, to_coco
from gsdff.io.coco_panoptic import to_panoptic
from gsdff.io.pictures import Picture, label_palette, save_png, to_bytes
from gsdff.io.ply import write_ply, write_points
from gsdff.io.sidecar import sidecar_path, write_sidecar
from gsdff.labels import (
    CLASSES_FILE,
    INSTANCES_FOLDER,
    SEGMENT,
    LabelClass,
    show_views,
    write_classes,
    write_instance_image,
    write_label_image,
)
from gsdff.origin import ZERO
from gsdff.ranks import this_job
from gsdff.scene import VOID, View

log = logging.getLogger("gsdff")


@dataclass(frozen=True)
class SegmentationFolder:
    """Paths of the files of an export."""

    path: Path

    @staticmethod
    def choose(source: Path, path: str | Path | None) -> "SegmentationFolder":
        """The folder of this path, or the default for a run or a PLY; raises `UserError` if it holds other files."""
        beside = source.with_name(f"{source.stem}_segmentation") if source.is_file() else source / "segmentation"
        folder = SegmentationFolder(beside if path is None else Path(path))
        folder.check(source)
        return folder

    @property
    def labels(self) -> Path:
        """Label maps `<key>.png`, as `gsdff.labels` reads them; `View.key` is the photo's stem, or its path."""
        return self.path / "labels"

    @property
    def classes(self) -> Path:
        """File of the classes that the labels stand for."""
        return self.labels / CLASSES_FILE

    @property
    def preview(self) -> Path:
        """Photos with the classes' colours over them, named like the label maps."""
        return self.path / "preview"

    @property
    def scene(self) -> Path:
        """The Gaussians with their labels; its sidecar beside it."""
        return self.path / "scene.ply"

    @property
    def points(self) -> Path:
        """Centres of the opaque Gaussians, with colours and labels."""
        return self.path / "points.ply"

    @property
    def coco(self) -> Path:
        """Connected parts of all label maps; written last."""
        return self.path / "coco.json"

    @property
    def instances(self) -> Path:
        """Images of the things of every pixel, named like the label maps, as `gsdff.labels` reads them."""
        return self.path / INSTANCES_FOLDER

    @property
    def panoptic(self) -> Path:
        """Pictures of COCO's panoptic segments, named like the label maps."""
        return self.path / "panoptic"

    @property
    def panoptic_list(self) -> Path:
        """COCO's list of the panoptic segments."""
        return self.path / "panoptic.json"

    @property
    def folders(self) -> tuple[Path, ...]:
        """Folders with a picture per view."""
        return self.labels, self.preview, self.instances, self.panoptic

    @property
    def files(self) -> tuple[Path, ...]:
        """Files beside them."""
        return self.scene, sidecar_path(self.scene), self.points, self.coco, self.panoptic_list

    def check(self, source: Path) -> None:
        """Raises `UserError` if an export would replace the scene itself or other files."""
        check_place(self.path, parameter="folder", is_folder=True)
        if source.is_file() and self.scene.resolve() == source.resolve():
            raise UserError(f"`folder` {self.path}: its {self.scene.name} is being segmented; choose another folder")
        foreign = [path.name for path in (*self.folders, *self.files) if not self._is_ours() and _is_something(path)]
        if foreign:
            raise UserError(
                f"`folder` {self.path}: holds {', '.join(foreign)} already, not of an export; choose another folder"
            )

    def prepare(self, names: Sequence[str]) -> None:
        """Makes the folder and discards the files of an earlier export, whose classes may be others.

        A warning says how many label maps that are none of these names are removed.
        """
        pictures = [path for folder in self.folders for path in folder.rglob("*.png")]
        written = {path.relative_to(self.labels).with_suffix("").as_posix() for path in self.labels.rglob("*.png")}
        if stale := written - set(names):
            message = "%s: removes an earlier export, %d of its %d label maps are of photos that are not labelled now"
            log.warning(message, self.path, len(stale), len(written))
        for path in (*pictures, *self.files):
            discard(path)
        for folder in (self.labels, self.preview):
            make_folder(folder)

    def _is_ours(self) -> bool:
        try:
            return show_views(self.labels)
        except (OSError, UserError):
            return False


def _is_something(path: Path) -> bool:
    """Whether a file is there, or a folder with a file that is not hidden: a killed export leaves empty folders."""
    return any(not child.name.startswith(".") for child in path.iterdir()) if path.is_dir() else path.exists()


@dataclass(frozen=True)
class Segmentation:
    """Contents of an export, in numbers."""

    classes: tuple[str, ...]
    num_views: int
    num_parts: int
    """Annotations in coco.json."""
    num_points: int
    folder: Path
    pixels: list[int]
    """Number per class over all views, and last of none."""
    gaussians: list[int]
    """Number per class, and last of none."""
    num_things: int | None = None
    """Things that some view shows; None if they were not told apart."""


def export_segmentation(
    field: FieldBase,
    query: Query,
    views: Sequence[View],
    folder: SegmentationFolder,
    *,
    space: Space = "2d",
    min_area: int = 1,
    min_opacity: float = 0.5,
    things: bool = False,
) -> Segmentation:
    """Labels all Gaussians and every pixel of the views with the query's classes, and writes the files.

    With `things`, those of the run too: instances/, panoptic/ and panoptic.json.

    Pixels are scored in `space`, Gaussians always by their own latents. coco.json has the connected parts of at least
    `min_area` pixels, points.ply the Gaussians of at least `min_opacity`. Raises `UserError` for words the field does
    not know. Ranks share the views, and the first one writes.
    """
    check_segmentation(min_area, min_opacity)
    prepared = prepare(field, query)
    classed = ClassedThings.of(field, prepared.positives) if things else None
    found = find(field, prepared)
    assert found.labels is not None, "classes give labels"
    if (factor := field.dataset.downscale) > 1:
        log.info("photos are read at 1/%d of their size; label maps and coco.json have that size", factor)
    ranks = this_job()
    ranks.wait()  # until all have looked at the folder
    heads = (folder.scene, folder.classes, folder.coco, *([folder.panoptic_list] if things else []))
    limits = {"min_area": min_area, "min_opacity": min_opacity}
    with together(*heads) if ranks.is_first else nullcontext():
        return _write(folder, field, views, prepared, found, classed, space=space, **limits)


def _write(
    folder: SegmentationFolder,
    field: FieldBase,
    views: Sequence[View],
    prepared: PreparedQuery,
    found: Hit,
    things: ClassedThings | None,
    *,
    space: Space,
    min_area: int,
    min_opacity: float,
) -> Segmentation:
    """Writes all files of an export."""
    assert found.labels is not None, "classes give labels"
    ranks = this_job()
    if ranks.is_first:
        folder.prepare([view.key for view in views])
        about = {"made_by": SEGMENT, "source": str(field.source), "space": space}
        write_classes(folder.classes, _list_classes(found.classes), about)

    def label(view: View) -> _LabelledView:
        seen = found.in_view(view) if space == "3d" else find(field, prepared, view)
        return _label_view(view, seen, min_area, things)

    labelled = ranks.collect(map(label, ranks.share(views)), len(views))
    pixels = torch.zeros(len(found.classes) + 1, dtype=torch.long)
    photos, panoptic = [], []
    for view, each in zip(tqdm(views, desc="segmenting", unit="view"), labelled, strict=True):
        pixels += each.counts
        photos.append(each.photo)
        if ranks.is_first:
            write_label_image(folder.labels / f"{view.key}.png", each.labels)
            save_png(folder.preview / f"{view.key}.png", each.picture)
        if each.things is not None:
            panoptic.append(each.things.photo)
            if ranks.is_first:
                write_instance_image(folder.instances / f"{view.key}.png", each.things.things)
                save_png(folder.panoptic / f"{view.key}.png", each.things.picture)
    is_point = (field.gaussians.opacities >= min_opacity).cpu()
    description = f"{field.source}, segmented by gsdff"
    coco = to_coco(found.classes, photos, description=description)
    if ranks.is_first:
        _save_scene(folder, field, found.labels.cpu(), is_point, things)
        write_text(folder.coco, json.dumps(coco) + "\n")
        if things is not None:
            colors = list(map(tuple, label_palette(len(found.classes)).tolist()))
            content = to_panoptic(found.classes, colors, panoptic, description=description)
            write_text(folder.panoptic_list, json.dumps(content) + "\n")
    return Segmentation(
        classes=found.classes,
        num_views=len(views),
        num_parts=len(coco["annotations"]),
        num_points=int(is_point.sum()),
        folder=folder.path,
        pixels=pixels.tolist(),
        gaussians=_count(found).tolist(),
        num_things=None if things is None else len({s.id for photo in panoptic for s in photo.segments if s.is_thing}),
    )


def format_segmentation(result: Segmentation) -> str:
    """Every class's share of the pixels and of the Gaussians, as aligned text."""
    names = [*result.classes, "(none)"]
    width = max(map(len, names))
    num_pixels, num_gaussians = sum(result.pixels), sum(result.gaussians)
    lines = [f"{'class':{width}}{'pixels':>10}{'Gaussians':>11}"]
    for name, pixels, gaussians in zip(names, result.pixels, result.gaussians, strict=True):
        lines.append(f"{name:{width}}{pixels / num_pixels:>10.1%}{gaussians / num_gaussians:>11.1%}")
    lines.append(
        f"{result.num_views} views with {result.num_parts:,} parts, {result.num_points:,} points of "
        f"{num_gaussians:,} Gaussians" + ("" if result.num_things is None else f", {result.num_things:,} things")
    )
    return "\n".join(lines)


def _list_classes(names: Sequence[str]) -> list[LabelClass]:
    colors = map(tuple, label_palette(len(names)).tolist())
    return [LabelClass(i, name, name, color=color) for i, (name, color) in enumerate(zip(names, colors, strict=True))]


def _count(found: Hit) -> Integer[Tensor, "counts"]:
    """Number of labels per class, and last of none."""
    assert found.labels is not None, "classes give labels"
    counts = found.labels.cpu().flatten().long().bincount(minlength=VOID + 1)
    return torch.cat([counts[: len(found.classes)], counts[VOID:]])


@dataclass(frozen=True)
class _LabelledView:
    """What an export has of one view."""

    photo: LabelledPhoto
    labels: UInt8[Tensor, "H W"]
    picture: Picture
    counts: Integer[Tensor, "counts"]
    """Number of pixels per class, and last of none."""
    things: SeenThings | None


def _label_view(view: View, seen: Hit, min_area: int, things: ClassedThings | None) -> _LabelledView:
    assert seen.labels is not None, "classes give labels"
    labels = seen.labels.cpu()
    height, width = labels.shape
    photo = LabelledPhoto(view.name, height, width, find_parts(labels, min_area=min_area))
    shown = None if things is None else things.look(view, labels)
    return _LabelledView(photo, labels, to_bytes(draw_classes_over(seen)), _count(seen), shown)


def _save_scene(
    folder: SegmentationFolder,
    field: FieldBase,
    labels: UInt8[Tensor, "N"],
    is_point: Bool[Tensor, "N"],
    things: ClassedThings | None,
) -> None:
    gaussians = field.for_files()
    sidecar = field.describe()
    assert sidecar is not None, "its features have a basis"
    write_ply(folder.scene, gaussians, labels=labels if things is None else {"label": labels, **things.columns})
    write_sidecar(folder.scene, sidecar, gaussians.origin)
    colors = to_bytes(gaussians.base_colors)
    # point clouds may have double coordinates, which their programs know to shift by themselves
    positions = gaussians.means if gaussians.origin == ZERO else gaussians.positions
    write_points(folder.points, positions[is_point], colors[is_point], labels[is_point])
