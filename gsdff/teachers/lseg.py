"""LSeg (Li et al., ICLR 2022): maps in CLIP's text space, from its one published checkpoint."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, reduce
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gsdff.config.options import TeacherConfig
from gsdff.errors import UserError
from gsdff.files.reading import check_file, reading
from gsdff.files.writing import hash_file
from gsdff.scene import Scene
from gsdff.teachers.backbones import make_clip, tokenize
from gsdff.teachers.lseg_network import CELL, MULTIPLE, LSegNetwork, published_name
from gsdff.teachers.network import NetworkTeacher, fit, resize, slide
from gsdff.weights import find_weights

SIZE = 480
"""Longer side of a photo in the published tests, and side of the windows in training, in pixels."""
SCALES = (0.75, 1.0, 1.25, 1.75)
"""Scales of a photo in the published tests."""
STRIDE = 320
"""Distance of windows in the published tests, two thirds of their side."""
VERSION = 1
"""Raise it when this code makes other maps from the same weights and settings."""
TEXT_MODEL = "ViT-B-32-quickgelu"
REMEDY = (
    "expected demo_e200.ckpt as published, download it again; of another file that you trust, save the weights without "
    "executing code later: torch.save({'state_dict': torch.load(FILE, weights_only=False)['state_dict']}, NEW)"
)
TEXT_BATCH = 64
"""Number of names in one pass of the text tower."""
_SMALLEST_IMAGE_TOWER = {"image_size": 32, "patch_size": 32, "layers": 1, "width": 64}
"""Image tower that open_clip requires of a model; it is removed again."""


class LSegTeacher(NetworkTeacher):
    """Maps [512, h, w] at half the resolution the network sees, and text vectors of the same space.

    The constructor reads the checkpoint's table of contents. The weights are read for the first map or text, the image
    tower of CLIP never. Names are encoded without a sentence around them, as LSeg was trained.
    """

    name = "lseg"
    vocabulary = None

    def __init__(self, config: TeacherConfig, scene: Scene | None = None, device: torch.device | str = "cpu"):
        super().__init__(config, scene, device)
        self.size = config.size or SIZE
        self.path = find_weights("lseg", config.checkpoint)
        with torch.device("meta"):
            self._empty_network = LSegNetwork()
        shapes = {published_name(name): entry.shape for name, entry in self._empty_network.state_dict().items()}
        self._entries = read_entries(self.path, {**shapes, **TEXT_SHAPES})
        self._texts: dict[str, Float[Tensor, "T"]] = {}

    @cached_property
    def fingerprint(self) -> str:
        """Text that identifies the checkpoint's bytes, size, scales and this code; reads the whole file once."""
        scales = SCALES if self.config.multi_scale else (1.0,)
        return f"{self.name}-{VERSION}-{self.size}-{scales}-{hash_file(self.path)}"

    def encode(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B T h w"]:
        """Maps of photos in [0, 1]; with `multi_scale` the sum over all scales, at the resolution of scale 1."""
        if not self.config.multi_scale:
            return self._run(self._at_scale(images, 1.0))
        height, width = images.shape[2:]
        height, width = fit(height, width, self.size, MULTIPLE)
        maps = (self._run_mirrored(self._at_scale(images, scale)) for scale in SCALES)
        return reduce(torch.add, (resize(features, height // CELL, width // CELL) for features in maps))

    def knows(self, name: str) -> bool:
        """Any name can be encoded."""
        return True

    def text(self, names: Sequence[str]) -> Float[Tensor, "Q T"]:
        """Unit vectors of these names, float32 on the CPU."""
        return self.phrases(names)

    @torch.no_grad()
    def phrases(self, phrases: Sequence[str]) -> Float[Tensor, "Q T"]:
        """Unit vectors of unaltered phrases, float32 on the CPU; each passes the text tower only once."""
        new = [phrase for phrase in dict.fromkeys(phrases) if phrase not in self._texts]
        for start in range(0, len(new), TEXT_BATCH):
            batch = new[start : start + TEXT_BATCH]
            vectors = self._text_tower.encode_text(tokenize(TEXT_MODEL, batch).to(self.device))
            self._texts.update(zip(batch, self.to_unit(vectors), strict=True))
        return torch.stack([self._texts[phrase] for phrase in phrases])

    @cached_property
    def _network(self) -> nn.Module:
        """The image network with its weights; in float32 on the CPU they stay in the mapped file."""
        weights = {name: self._weight(published_name(name)) for name in self._empty_network.state_dict()}
        self._empty_network.load_state_dict(weights, assign=True)
        return self._empty_network.requires_grad_(False).eval().to(self.device)

    @cached_property
    def _text_tower(self) -> Any:
        """The text tower of CLIP ViT-B/32, whose parts have the same names in open_clip as in OpenAI's code."""
        with _quiet_about_weights():
            clip = make_clip(TEXT_MODEL, vision_cfg=_SMALLEST_IMAGE_TOWER)
        del clip.visual, clip.logit_scale
        clip.load_state_dict({name: self._weight(f"clip_pretrained.{name}") for name in clip.state_dict()}, assign=True)
        return clip.requires_grad_(False).to(self.device)

    def _weight(self, name: str) -> Tensor:
        entry = self._entries[name]
        return entry.float() if entry.is_floating_point() else entry

    def _at_scale(self, images: Float[Tensor, "B 3 H W"], scale: float) -> Float[Tensor, "B 3 h w"]:
        """The network's input for a scale: photos resized, in [-1, 1]."""
        height, width = images.shape[2:]
        return resize(images, *fit(height, width, round(self.size * scale), MULTIPLE)) * 2 - 1

    def _run(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B T H/2 W/2"]:
        """Float32 maps of the network, which runs in half precision on a CUDA card."""
        with torch.autocast(self.device.type, torch.float16, enabled=self.device.type == "cuda"):
            return self._network(images).float()

    def _run_mirrored(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B T H/2 W/2"]:
        """Sum of the maps of the photos and of the mirrored photos, mirrored back.

        Photos larger than a window are encoded in windows; if only one side is larger, the other is padded with black,
        as published. Smaller photos are encoded whole, as without `multi_scale`.
        """

        def run_both(part: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B T h/2 w/2"]:
            return self._run(part) + self._run(part.flip(3)).flip(3)

        height, width = images.shape[2:]
        if max(height, width) <= SIZE:
            return run_both(images)
        padded = F.pad(images, (0, max(0, SIZE - width), 0, max(0, SIZE - height)), value=-1.0)
        return slide(run_both, padded, SIZE, STRIDE, CELL)[:, :, : height // CELL, : width // CELL]


def _text_shapes(width: int = 512, layers: int = 12) -> dict[str, torch.Size]:
    """Shapes of the checkpoint's entries of CLIP ViT-B/32's text tower, by name without the leading `net.`."""
    shapes = {
        "positional_embedding": (77, width),
        "text_projection": (width, width),
        "token_embedding.weight": (49408, width),
        "ln_final.weight": (width,),
        "ln_final.bias": (width,),
    }
    linear = {"attn.in_proj_": (3, 1), "attn.out_proj.": (1, 1), "mlp.c_fc.": (4, 1), "mlp.c_proj.": (1, 4)}
    for layer in (f"transformer.resblocks.{number}." for number in range(layers)):
        for name, (out, into) in linear.items():
            shapes |= {f"{layer}{name}weight": (out * width, into * width), f"{layer}{name}bias": (out * width,)}
        for name in ("ln_1", "ln_2"):
            shapes |= {f"{layer}{name}.weight": (width,), f"{layer}{name}.bias": (width,)}
    return {f"clip_pretrained.{name}": torch.Size(shape) for name, shape in shapes.items()}


TEXT_SHAPES = _text_shapes()


class _Ignored:
    """Stand-in for any class that a checkpoint mentions beside its weights; it keeps nothing and does nothing."""

    def __init__(self, *args: object):
        pass

    def __setstate__(self, state: object) -> None:
        pass


def read_entries(path: Path, shapes: dict[str, torch.Size]) -> dict[str, Tensor]:
    """Maps the `net.` entries of these names in a Lightning checkpoint from the file, without reading them yet.

    Nothing in the file is executed: objects of other classes (callbacks, hyper-parameters) become inert stand-ins.
    Raises `UserError` if the file is not such a checkpoint, or if an entry is missing or has another shape.
    """
    what = "LSeg's checkpoint"
    check_file(path, what)
    with reading(path, what, REMEDY):
        leftovers = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        with torch.serialization.safe_globals([(_Ignored, name) for name in leftovers]):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    state = checkpoint.get("state_dict") if isinstance(checkpoint, dict) else None
    if not isinstance(state, dict):
        raise UserError(f"{path}: has no state_dict; expected LSeg's demo_e200.ckpt as published")
    for name, shape in shapes.items():
        entry = state.get(f"net.{name}")
        if not isinstance(entry, Tensor):
            raise UserError(f"{path}: has no entry net.{name}; expected LSeg's demo_e200.ckpt (ViT-L/16) as published")
        if entry.shape != shape:
            raise UserError(
                f"{path}: net.{name} has shape {list(entry.shape)}, expected {list(shape)} as in LSeg's demo_e200.ckpt "
                f"(ViT-L/16); the checkpoint is of another network"
            )
        if entry.ndim and not entry.is_floating_point():  # counters alone are whole numbers
            raise UserError(f"{path}: net.{name} is {entry.dtype}, expected floats; {REMEDY}")
    return {name: state[f"net.{name}"] for name in shapes}


@contextmanager
def _quiet_about_weights() -> Iterator[None]:
    """Drops open_clip's warning, on the root logger, about a model without weights: they are loaded right after."""
    root = logging.getLogger()

    def is_other(record: logging.LogRecord) -> bool:
        return "No pretrained weights" not in record.getMessage()

    root.addFilter(is_other)
    try:
        yield
    finally:
        root.removeFilter(is_other)
