"""Segment Anything (Kirillov et al., ICCV 2023): a partition from the masks of its automatic mask generator."""

from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int32, UInt8
from segment_anything import SamAutomaticMaskGenerator, sam_model_registry
from segment_anything.modeling import Sam
from segment_anything.utils.amg import MaskData
from torch import Tensor

from gsdff.config.smoothing import MaskConfig
from gsdff.device import send
from gsdff.errors import UserError
from gsdff.files.reading import read_torch
from gsdff.files.writing import hash_file
from gsdff.masks.partition import partition
from gsdff.scene import View
from gsdff.weights import find_weights, is_downloaded

VERSION = 1
"""Raise it when this code makes other segments from the same weights and settings."""
MODELS = ("vit_b", "vit_l", "vit_h")
REMEDY = "expected a checkpoint as published by segment-anything, such as sam_vit_b_01ec64.pth, which executes no code"


class SamSegmenter:
    """Segmenter with a checkpoint of SAM, published or of the same architectures.

    The constructor reads the checkpoint's table of contents; weights are read for the first image.
    """

    name = "sam"

    def __init__(self, config: MaskConfig, device: torch.device | str = "cpu"):
        self.config = config
        self.device = torch.device(device)
        if config.sam.min_mask_region_area > 0 and find_spec("cv2") is None:
            raise UserError(
                "`masks.sam.min_mask_region_area`: segment-anything needs OpenCV for it, which is not installed; "
                "install opencv-python-headless, or set it to 0"
            )
        self.path = find_checkpoint(config)
        self._state = read_state(self.path)
        self._model = find_model(self._state, self.path, config.sam.model)

    @cached_property
    def fingerprint(self) -> str:
        """Text that identifies the checkpoint's bytes, the settings that matter and this code; reads the file once."""
        sam = self.config.sam
        settings = (
            VERSION, sam.points_per_side, sam.pred_iou_thresh, sam.stability_score_thresh, sam.crop_n_layers,
            sam.min_mask_region_area, self.config.min_area, self.config.nms_iou, self.config.level,
        )  # fmt: skip
        return f"{settings}-{hash_file(self.path)}"

    def check(self, view: View) -> None:
        """Accepts every view."""

    def fingerprint_of(self, view: View) -> str:
        """Empty: nothing but the image matters."""
        return ""

    def segment(self, view: View, image: UInt8[Tensor, "H W 3"]) -> Int32[Tensor, "H W"]:
        """Segments with ids from 1 by falling area, 0 at pixels without a mask."""
        found = self._generator.generate(image.cpu().numpy())
        masks = torch.zeros(len(found), *image.shape[:2], dtype=torch.bool, device=self.device)
        for mask, record in zip(masks, found, strict=True):
            mask.copy_(send(torch.from_numpy(record["segmentation"]), self.device))
        scores = torch.tensor([record["predicted_iou"] for record in found])
        config = self.config
        labels = partition(masks, scores, min_area=config.min_area, nms_iou=config.nms_iou, level=config.level)
        return labels.cpu()

    @cached_property
    def _generator(self) -> "_Generator":
        options = self.config.sam
        return _Generator(
            self._load_network(),
            points_per_side=options.points_per_side,
            points_per_batch=options.points_per_batch,
            pred_iou_thresh=options.pred_iou_thresh,
            stability_score_thresh=options.stability_score_thresh,
            crop_n_layers=options.crop_n_layers,
            min_mask_region_area=options.min_mask_region_area,
        )

    @torch.inference_mode(False)  # it may be loaded inside inference mode and used outside
    def _load_network(self) -> Sam:
        """Loads the network with its weights, in float32; on the CPU they stay in the mapped file.

        On a card the image encoder, which takes nearly all the time, computes in half precision.
        """
        for name, entry in self._state.items():
            if not entry.isfinite().all():
                raise UserError(f"{self.path}: {name} holds NaN or infinite values; {REMEDY}")
        network = make_empty(self._model)
        network.load_state_dict({name: entry.float() for name, entry in self._state.items()}, assign=True)
        if self.device.type == "cuda":
            encoder = network.image_encoder
            encoder.forward = torch.autocast("cuda", torch.float16)(encoder.forward)
            encoder.register_forward_hook(lambda _encoder, _inputs, features: features.float())
        return network.requires_grad_(False).to(self.device)


class _Generator(SamAutomaticMaskGenerator):
    """segment-anything's generator, which would fail on an image without any mask if crops are segmented too."""

    def _process_crop(self, *arguments: Any) -> MaskData:
        data = super()._process_crop(*arguments)
        data["crop_boxes"] = data["crop_boxes"].long().reshape(-1, 4)
        return data


def find_checkpoint(config: MaskConfig) -> Path:
    """Path of the given checkpoint, or of the largest downloaded one of the configured model.

    Raises `UserError` if there is none.
    """
    models = MODELS if config.sam.model == "auto" else (config.sam.model,)
    fetched = [model for model in models if is_downloaded(f"sam_{model}")]
    return find_weights(f"sam_{[models[0], *fetched][-1]}", config.checkpoint)


def read_state(path: Path) -> dict[str, Tensor]:
    """Loads a checkpoint's weights, mapped from the file if its format allows it. Executes nothing in the file."""
    state = read_torch(path, "segment-anything's weights", REMEDY, mapped=True)
    if not isinstance(state, dict) or not all(isinstance(entry, Tensor) for entry in state.values()):
        raise UserError(f"{path}: expected segment-anything's weights by name, got something else")
    return state


def find_model(state: dict[str, Tensor], path: Path, configured: str) -> str:
    """Name of the network that these weights fit: the configured one, or any for `auto`.

    Raises `UserError`, with an entry that does not fit, if there is no such network.
    """
    models = MODELS if configured == "auto" else (configured,)
    misfits = {model: _misfit(state, model) for model in models}
    model = next((model for model, misfit in misfits.items() if misfit is None), None)
    if model is None:
        raise UserError(
            f"{path}: expected weights of segment-anything's {' or '.join(models)}, but {misfits[models[0]]}"
        )
    return model


def make_empty(model: str) -> Sam:
    """Creates the network without memory for its weights, in evaluation mode."""
    with torch.device("meta"):
        return sam_model_registry[model](checkpoint=None)


def _misfit(state: dict[str, Tensor], model: str) -> str | None:
    """Description of the first entry that does not fit the model, None if all entries fit."""
    expected = {name: list(entry.shape) for name, entry in make_empty(model).state_dict().items()}
    for name, shape in expected.items():
        if name not in state:
            return f"it has no entry {name}"
        if list(state[name].shape) != shape:
            return f"{name} has shape {list(state[name].shape)}, in {model} it has {shape}"
        if not state[name].is_floating_point():
            return f"{name} is {state[name].dtype}, in {model} it is float"
    return next((f"it has an entry {name}, unlike {model}" for name in state if name not in expected), None)
