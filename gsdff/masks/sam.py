"""Segment Anything (Kirillov et al., ICCV 2023): the automatic mask generator, its masks made a partition."""

import pickle
import zipfile
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int32, UInt8
from segment_anything import SamAutomaticMaskGenerator, sam_model_registry
from segment_anything.utils.amg import MaskData
from torch import Tensor, nn

from gsdff.config.smoothing import MaskConfig
from gsdff.errors import UserError
from gsdff.files import hash_file
from gsdff.masks.partition import partition
from gsdff.scene import View
from gsdff.weights import find_weights, is_fetched

VERSION = 1
"""Raised where this code makes other segments of the same weights and settings."""
MODELS = ("vit_b", "vit_l", "vit_h")


class SamSegmenter:
    """Segments of a SAM checkpoint, the published ones or any other of the same classes.

    Making one reads the checkpoint's list of contents; weights are read when the first image comes.
    """

    name = "sam"

    def __init__(self, config: MaskConfig, device: torch.device | str = "cpu"):
        self.config = config
        self.device = torch.device(device)
        if config.sam.min_mask_region_area > 0 and find_spec("cv2") is None:
            raise UserError(
                "--masks.sam.min-mask-region-area: segment-anything needs OpenCV for it, which is not installed; "
                "install opencv-python-headless, or leave it at 0"
            )
        self.path = find_checkpoint(config)
        self._state = read_state(self.path)
        self._model = find_model(self._state, self.path, config.sam.model)

    @cached_property
    def fingerprint(self) -> str:
        """Of the checkpoint's bytes, of the settings that count, and of this code; reads the whole file once."""
        sam = self.config.sam
        settings = (
            VERSION, sam.points_per_side, sam.pred_iou_thresh, sam.stability_score_thresh, sam.crop_n_layers,
            sam.min_mask_region_area, self.config.min_area, self.config.nms_iou, self.config.level,
        )  # fmt: skip
        return f"{settings}-{hash_file(self.path)}"

    def check(self, view: View) -> None:
        """Any view will do."""

    def fingerprint_of(self, view: View) -> str:
        """Nothing but the image counts."""
        return ""

    def segment(self, view: View, image: UInt8[Tensor, "H W 3"]) -> Int32[Tensor, "H W"]:
        """Ids from 1 by falling area, 0 where no mask was found."""
        found = self._generator.generate(image.cpu().numpy())
        masks = torch.zeros(len(found), *image.shape[:2], dtype=torch.bool)
        for mask, record in zip(masks, found, strict=True):
            mask.copy_(torch.from_numpy(record["segmentation"]))
        scores = torch.tensor([record["predicted_iou"] for record in found])
        config = self.config
        return partition(masks, scores, min_area=config.min_area, nms_iou=config.nms_iou, level=config.level)

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

    @torch.inference_mode(False)  # it may be asked for inside inference mode, and used outside
    def _load_network(self) -> nn.Module:
        """The network with its weights, in float32; on the CPU they stay in the mapped file."""
        network = make_empty(self._model)
        network.load_state_dict({name: entry.float() for name, entry in self._state.items()}, assign=True)
        return network.requires_grad_(False).to(self.device)


class _Generator(SamAutomaticMaskGenerator):
    """segment-anything's, which trips over an image without any mask when it asks on crops too."""

    def _process_crop(self, *arguments: Any) -> MaskData:
        data = super()._process_crop(*arguments)
        data["crop_boxes"] = data["crop_boxes"].long().reshape(-1, 4)
        return data


def find_checkpoint(config: MaskConfig) -> Path:
    """The checkpoint given, otherwise the largest of the model asked for that has been fetched; `UserError` if none."""
    models = MODELS if config.sam.model == "auto" else (config.sam.model,)
    fetched = [model for model in models if is_fetched(f"sam_{model}")]
    return find_weights(f"sam_{[models[0], *fetched][-1]}", config.checkpoint)


def read_state(path: Path) -> dict[str, Tensor]:
    """The weights in a checkpoint, mapped from the file and not yet read where its format lets them; runs nothing."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path}: cannot be read without executing what it holds besides weights; expected a checkpoint as "
            f"segment-anything publishes them, such as sam_vit_b_01ec64.pth"
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        raise UserError(f"{path}: damaged or no checkpoint; expected one of segment-anything's") from error
    if not isinstance(state, dict) or not all(isinstance(entry, Tensor) for entry in state.values()):
        raise UserError(f"{path}: expected the weights of segment-anything by name, got something else")
    return state


def find_model(state: dict[str, Tensor], path: Path, asked: str) -> str:
    """Which network these weights are of; `UserError` naming an entry where it is none, or not the one asked for."""
    models = MODELS if asked == "auto" else (asked,)
    misfits = {model: _misfit(state, model) for model in models}
    model = next((model for model, misfit in misfits.items() if misfit is None), None)
    if model is None:
        raise UserError(
            f"{path}: expected weights of segment-anything's {' or '.join(models)}, but {misfits[models[0]]}"
        )
    return model


def make_empty(model: str) -> nn.Module:
    """The network without memory for its weights, in evaluation mode."""
    with torch.device("meta"):
        return sam_model_registry[model](checkpoint=None)


def _misfit(state: dict[str, Tensor], model: str) -> str | None:
    """The first entry that does not fit the model, None where all do."""
    expected = {name: list(entry.shape) for name, entry in make_empty(model).state_dict().items()}
    for name, shape in expected.items():
        if name not in state:
            return f"it has no entry {name}"
        if list(state[name].shape) != shape:
            return f"{name} has shape {list(state[name].shape)} where {model} has {shape}"
    return next((f"it has an entry {name}, which {model} has not" for name in state if name not in expected), None)
