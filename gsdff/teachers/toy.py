"""A teacher simulated from label images: coarse, blurred, noisy and sometimes wrong, by amounts that are options.

Features with a network's errors can so be compared with known true ones, without any weights. Scores reached with it do
not predict those of a real network.
"""

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import cache

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from gsdff.config.options import TeacherConfig
from gsdff.files.reading import read_bytes
from gsdff.labels import ENDINGS, INSTANCES_FOLDER, LABEL_IMAGE, find_label_images, read_instances
from gsdff.latents import area_shares
from gsdff.photo_files import require_file
from gsdff.scene import VOID, Scene, View
from gsdff.teachers.labelled import class_map
from gsdff.teachers.texts import TextVectors, name_classes

log = logging.getLogger("gsdff")

_VERSION = 1
"""Raise it when this code makes other maps from the same labels and settings."""


class ToyTeacher:
    """Teacher whose maps of random class vectors of unit length are degraded in this order:

    1. Some objects in a view get another class of the list. An object is all pixels with one id in the folder
       `instances` beside the label images; without that folder, or for id 0, all pixels of a class in the view.
    2. A pixel of the map is the mean over its area, so classes mix at borders; it is zero if more than half of its area
       is void.
    3. A Gaussian blur mixes classes further; then vectors are normalised to unit length.
    4. A vector of random direction in all T channels is added to every pixel, and the sum is normalised.

    All random numbers depend on `toy.seed` and the photo's name: a view always has the same errors, different from
    those of other views.
    """

    name = "toy"

    def __init__(self, config: TeacherConfig, scene: Scene | None = None, device: torch.device | str = "cpu"):
        assert scene is not None, "this teacher is made from the scene's label images"
        self.settings = config.toy
        self.images = find_label_images(scene, config.labels)
        instances = self.images.folder.parent / INSTANCES_FOLDER
        self.instances = instances if instances.is_dir() else None
        shape = len(self.images.classes), self.settings.channels
        self.class_vectors: Float[Tensor, "C T"] = F.normalize(torch.randn(shape, generator=self._draws("classes")))
        texts = name_classes(self.images.classes, self.class_vectors)
        self.vocabulary = TextVectors(f"toy teacher, the classes of {self.images.folder}", texts)
        _log_once()

    @property
    def fingerprint(self) -> str:
        """Hash of the settings and the class list."""
        made_of = json.dumps([_VERSION, asdict(self.settings), repr(self.images.classes), self.instances is None])
        return hashlib.blake2b(made_of.encode(), digest_size=16).hexdigest()

    def check(self, view: View) -> None:
        """Raises `UserError` if the view has no label image, or no instances although the scene has some."""
        self.images.check(view)
        if self.instances is not None:
            require_file(self.instances, view, ENDINGS, LABEL_IMAGE)

    def fingerprint_of(self, view: View) -> str:
        """Hash of the label image's and the instances' files and of the photo's size, which limits the map's size."""
        self.images.find(view)
        instances = b""
        if self.instances is not None:
            instances = read_bytes(require_file(self.instances, view, ENDINGS, LABEL_IMAGE), LABEL_IMAGE)
        return self.images.fingerprint_of(view, instances)

    def extract(self, views: Sequence[View]) -> Iterator[Float[Tensor, "T h w"]]:
        """Yields the views' degraded maps."""
        for view in views:
            yield self._degrade(view)

    def clean(self, view: View) -> Float[Tensor, "T H W"]:
        """Map without errors: the class vector of every pixel of the label image, zero at void."""
        return class_map(self.images.load(view), self.class_vectors)

    def knows(self, name: str) -> bool:
        """Whether a class has this name or text query."""
        return self.vocabulary.knows(name)

    def text(self, names: Sequence[str]) -> Float[Tensor, "Q T"]:
        """Vectors of the classes with these names or text queries."""
        return self.vocabulary.look_up(names)

    def _degrade(self, view: View) -> Float[Tensor, "T h w"]:
        labels = self.images.load(view)
        seen = self._mistake(view, labels)
        height, width = labels.shape
        scale = min(1.0, self.settings.size / max(height, width))
        h, w = (max(1, round(side * scale)) for side in (height, width))
        down, across = area_shares(height, h), area_shares(width, w)
        is_answered = down @ (labels != VOID).float() @ across.T >= 0.5
        down, across = _blur(h, self.settings.blur) @ down, _blur(w, self.settings.blur) @ across
        mixed = self.class_vectors.new_zeros(self.settings.channels, h, w)
        for index in seen[seen != VOID].unique().tolist():
            share = down @ (seen == index).float() @ across.T
            mixed += self.class_vectors[index, :, None, None] * share
        noise = F.normalize(torch.randn(mixed.shape, generator=self._draws("noise", view)), dim=0)
        noisy = F.normalize(mixed, dim=0) + self.settings.noise * noise
        return F.normalize(noisy, dim=0) * is_answered

    def _mistake(self, view: View, labels: UInt8[Tensor, "H W"]) -> UInt8[Tensor, "H W"]:
        """Labels in which the view's mistaken objects have another class, each with the same probability."""
        codes = labels.long()
        if self.instances is not None:
            size = labels.shape[1], labels.shape[0]
            path = require_file(self.instances, view, ENDINGS, LABEL_IMAGE)
            codes = codes + 256 * read_instances(path, view, size)
        objects = codes[labels != VOID].unique()
        num_classes = len(self.class_vectors)
        if num_classes == 1:
            return labels
        draws = self._draws("mistakes", view)
        # a share of few objects is not a whole number: it is rounded at random, so that the mean over views is right
        count = int(self.settings.mistakes * len(objects) + torch.rand((), generator=draws, dtype=torch.float64))
        mistaken = objects[torch.randperm(len(objects), generator=draws)[:count]]
        steps = torch.randint(1, num_classes, (count,), generator=draws)
        seen = labels.clone()
        for code, step in zip(mistaken.tolist(), steps.tolist(), strict=True):
            seen[codes == code] = (code % 256 + step) % num_classes
        return seen

    def _draws(self, purpose: str, view: View | None = None) -> torch.Generator:
        """Random generator for this purpose and view alone."""
        key = json.dumps([self.settings.seed, purpose, view and view.key])
        seed = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=7).digest(), "big")
        return torch.Generator().manual_seed(seed)


def _blur(length: int, std: float) -> Float[Tensor, "length length"]:
    """Matrix of a Gaussian blur: row i is a Gaussian around pixel i, and every row sums to 1, also at the border."""
    if std == 0:
        return torch.eye(length)
    pixels = torch.arange(length, dtype=torch.float64)
    return torch.softmax(-(((pixels[:, None] - pixels) / std) ** 2) / 2, dim=1).float()


@cache
def _log_once() -> None:
    """Logs that there is no network, once per process."""
    log.info("toy teacher: simulated from label images, without a network")
