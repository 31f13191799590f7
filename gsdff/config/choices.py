"""Tables of the teachers and segmenters that an option chooses by name.

A new one is a file with its class and a row here; the choices of `--teacher` and `--masks`, and their help, follow from
the rows. The classes are named, not imported, so that `--help` loads no network.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple


class TeacherKind(NamedTuple):
    """Facts about a teacher that are needed before its module is imported."""

    location: str
    """Module and class, called with a `TeacherConfig`, the scene (or None) and the device."""
    help: str
    reads_scene: bool = False
    """Whether it is made from the scene's label images and cannot be opened without the scene."""
    encodes_text: bool = False
    """Whether it encodes any text; the others have a closed `vocabulary`, which may be empty."""
    encodes_images: bool = False
    """Whether it encodes any image, so that an image file can be an example."""
    reads: tuple[str, ...] = ()
    """Options of `TeacherConfig` that it reads; a run with another teacher refuses them."""


TEACHERS = {
    "lseg": TeacherKind(
        "gsdff.teachers.lseg:LSegTeacher",
        "LSeg (Li et al. 2022), pixels in CLIP's text space, from its published checkpoint",
        encodes_text=True,
        encodes_images=True,
        reads=("checkpoint", "size", "multi_scale", "batch"),
    ),
    "clip": TeacherKind(
        "gsdff.teachers.clip:ClipTeacher",
        "dense features of any ViT of open_clip, patches in its text space (MaskCLIP)",
        encodes_text=True,
        encodes_images=True,
        reads=("model", "pretrained", "size", "batch"),
    ),
    "dino": TeacherKind(
        "gsdff.teachers.dino:DinoTeacher",
        "patch features of DINO, DINOv2, DINOv3 or another plain ViT of timm; no text queries",
        encodes_images=True,
        reads=("model", "pretrained", "size", "batch"),
    ),
    "precomputed": TeacherKind(
        "gsdff.teachers.precomputed:PrecomputedTeacher",
        "feature maps read from the folder `teacher.maps`",
        reads=("maps",),
    ),
    "labels": TeacherKind(
        "gsdff.teachers.labelled:LabelsTeacher",
        "the true class of every pixel, from the scene's label images",
        reads_scene=True,
        reads=("labels",),
    ),
    "toy": TeacherKind(
        "gsdff.teachers.toy:ToyTeacher",
        "a network simulated from label images: blurred, noisy and sometimes wrong",
        reads_scene=True,
        reads=("labels", "toy"),
    ),
}


class SegmenterKind(NamedTuple):
    """Facts about a segmenter that are needed before its module is imported."""

    location: str
    """Module and class, called with a `MaskConfig` and the device."""
    help: str
    reads: tuple[str, ...] = ()
    """Options of `MaskConfig` that it reads, but not all segmenters do; a run with another one refuses them."""


SEGMENTERS = {
    "sam": SegmenterKind(
        "gsdff.masks.sam:SamSegmenter",
        "segment-anything's automatic masks, from a published checkpoint",
        reads=("checkpoint", "min_area", "nms_iou", "level", "sam"),
    ),
    "felzenszwalb": SegmenterKind(
        "gsdff.masks.felzenszwalb:FelzenszwalbSegmenter",
        "graph-based segments by colour, without a network",
        reads=("felzenszwalb",),
    ),
    "precomputed": SegmenterKind(
        "gsdff.masks.precomputed:PrecomputedSegmenter",
        "label images or masks read from the folder `masks.folder`",
        reads=("folder", "min_area", "nms_iou", "level"),
    ),
}


if TYPE_CHECKING:  # a type checker cannot see which names the tables hold
    TeacherName = str
    SegmenterName = str
else:
    TeacherName = Literal[("auto", "none", *TEACHERS)]
    SegmenterName = Literal[("auto", "none", *SEGMENTERS)]


def describe(table: Mapping[str, TeacherKind] | Mapping[str, SegmenterKind]) -> str:
    """Help text that lists the rows of a table, one a line, to follow another line."""
    return "".join(f"\n`{name}`: {kind.help}." for name, kind in table.items())
