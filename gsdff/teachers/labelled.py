"""A teacher with the true labels: the scene's own label images as maps."""

import hashlib
import logging
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from gsdff.config.options import TeacherConfig
from gsdff.errors import UserError
from gsdff.labels import LabelClass, find_label_images
from gsdff.scene import Scene, View
from gsdff.teachers.texts import TEXT_FILE, TextVectors, name_classes, read_texts
from gsdff.words import fold

log = logging.getLogger("gsdff")


class LabelsTeacher:
    """Teacher that gives every labelled pixel the vector of its class.

    The vectors are one-hot in the order of the class list, so T is the number of classes. With a `text_features.npz`
    beside the label images (names [n], vectors [n, T]) they are the text vectors of the classes instead, and a class
    without one counts as void. Maps have the label image's size, at most the photo's: T x H x W floats, one in memory
    at a time.
    """

    name = "labels"

    def __init__(self, config: TeacherConfig, scene: Scene | None = None, device: torch.device | str = "cpu"):
        assert scene is not None, "this teacher is made from the scene's label images"
        self.images = find_label_images(scene, config.labels)
        classes, source = self.images.classes, self.images.folder / TEXT_FILE
        if texts := read_texts(source):
            self.class_vectors = torch.stack([_vector_of(row, texts) for row in classes])
            texts = name_classes(*_with_vectors(classes, self.class_vectors, str(source))) | texts
        else:
            self.class_vectors = torch.eye(len(classes))
            texts = name_classes(classes, self.class_vectors)
        named = str(source) if source.is_file() else f"the classes of {self.images.folder}"
        self.vocabulary = TextVectors(named, texts)

    @property
    def fingerprint(self) -> str:
        """Hash of the class list and its vectors."""
        digest = hashlib.blake2b(repr(self.images.classes).encode(), digest_size=16)
        digest.update(self.class_vectors.numpy().data)
        return digest.hexdigest()

    def check(self, view: View) -> None:
        """Raises `UserError` if the view has no label image, or one of another shape."""
        self.images.check(view)

    def fingerprint_of(self, view: View) -> str:
        """Hash of the label image's file and of the photo's size, which limits the map's size."""
        return self.images.fingerprint_of(view)

    def extract(self, views: Sequence[View]) -> Iterator[Float[Tensor, "T h w"]]:
        """Yields every view's map of class vectors, zero at void pixels."""
        for view in views:
            yield class_map(self.images.load(view), self.class_vectors)

    def knows(self, name: str) -> bool:
        """Whether a class has this name or text query, or `text_features.npz` lists it."""
        return self.vocabulary.knows(name)

    def text(self, names: Sequence[str]) -> Float[Tensor, "Q T"]:
        """Vectors of the classes with these names or text queries."""
        return self.vocabulary.look_up(names)


def class_map(labels: Shaped[Tensor, "h w"], class_vectors: Float[Tensor, "C T"]) -> Float[Tensor, "T h w"]:
    """Map of the vectors of the classes with the indices in `labels`; zero at VOID and any index that has no class."""
    table = torch.cat([class_vectors, class_vectors.new_zeros(1, class_vectors.shape[1])])
    return table.T[:, labels.long().clamp(max=len(class_vectors))]


def _vector_of(row: LabelClass, texts: dict[str, Tensor]) -> Float[Tensor, "T"]:
    """Text vector of the class's query, or of its name if it has no query; zero if there is none."""
    return texts.get(fold(row.query or row.name), torch.zeros_like(next(iter(texts.values()))))


def _with_vectors(
    classes: list[LabelClass], vectors: Float[Tensor, "C T"], source: str
) -> tuple[list[LabelClass], Float[Tensor, "Q T"]]:
    """Classes that have a vector, and their vectors; logs the others. Raises `UserError` if no class has one."""
    has_one = vectors.any(dim=1)
    missing = [row.name for row, has in zip(classes, has_one.tolist(), strict=True) if not has]
    if len(missing) == len(classes):
        raise UserError(f"{source}: has no vector for any class; expected names such as {', '.join(missing)}")
    if missing:
        log.info("labels teacher: %s has no vector for %s; they count as void", source, ", ".join(missing))
    return [row for row, has in zip(classes, has_one.tolist(), strict=True) if has], vectors[has_one]
