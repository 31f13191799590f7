"""Metrics of renderings against photos (PSNR, SSIM, LPIPS) and of label maps against ground truth (IoU)."""

import logging
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int, Integer, Shaped
from torch import Tensor

from gsdff.errors import UserError
from gsdff.files.reading import read_torch
from gsdff.scene import VOID

log = logging.getLogger("gsdff")

SSIM_WINDOW = 11

ImageDistance = Callable[[Tensor, Tensor], float]


def psnr(
    image: Float[Tensor, "*shape"], target: Float[Tensor, "*shape"], mask: Bool[Tensor, "H W"] | None = None
) -> float:
    """Peak signal-to-noise ratio in dB of images in [0, 1]: -10 log10 of the mean squared error; inf if identical.

    The mean is over the pixels of `mask`; NaN if there are none.
    """
    _check_same_shape(image, target)
    squares = (image.double() - target.double()).square()
    return float(-10 * (squares if mask is None else squares[mask]).mean().log10())


def ssim(
    image: Float[Tensor, "H W 3"], target: Float[Tensor, "H W 3"], mask: Bool[Tensor, "H W"] | None = None
) -> float:
    """Structural similarity of images in [0, 1], averaged over pixels and channels.

    Wang et al. 2004: Gaussian window of 11 pixels and sigma 1.5, C1 = 0.01², C2 = 0.03², over the pixels whose window
    lies inside the image. torchmetrics, and with it gsplat's and nerfstudio's figures, do the same; INRIA's code pads
    with black instead and so counts the border too. Pixels outside `mask` are black in both images, and the mean is
    over windows around those inside. Raises UserError for images smaller than the window.
    """
    from kornia.metrics import ssim as ssim_map

    _check_same_shape(image, target)
    if min(image.shape[:2]) < SSIM_WINDOW:
        got = f"got {image.shape[1]}x{image.shape[0]}; use a lower `dataset.downscale`"
        raise UserError(f"SSIM needs images of at least {SSIM_WINDOW} pixels a side, {got}")
    batches = (black_outside(picture, mask).permute(2, 0, 1)[None].contiguous() for picture in (image, target))
    likeness = ssim_map(*batches, window_size=SSIM_WINDOW, eps=0.0, padding="valid")
    margin = SSIM_WINDOW // 2
    return float(likeness.mean() if mask is None else likeness[..., mask[margin:-margin, margin:-margin]].mean())


def fit_colors(
    image: Float[Tensor, "H W 3"], target: Float[Tensor, "H W 3"], mask: Bool[Tensor, "H W"] | None = None
) -> Float[Tensor, "3 4"]:
    """The affine map of colours that brings an image nearest to another, by least squares over the mask's pixels."""
    chosen = torch.ones(image.shape[:2], dtype=torch.bool) if mask is None else mask
    colors = image[chosen].double()
    rows = torch.cat([colors, torch.ones(len(colors), 1, dtype=torch.float64)], dim=1)
    return torch.linalg.lstsq(rows, target[chosen].double(), driver="gelsd").solution.T.float()


def black_outside(image: Float[Tensor, "H W 3"], mask: Bool[Tensor, "H W"] | None) -> Float[Tensor, "H W 3"]:
    """The image with black pixels outside the mask."""
    return image if mask is None else torch.where(mask[..., None], image, 0)


def open_lpips(device: torch.device | str, *, download: bool = False) -> ImageDistance | None:
    """Loads LPIPS 0.1 over AlexNet (Zhang et al. 2018): a distance of two [H, W, 3] images in [0, 1], 0 if equal.

    AlexNet's ImageNet weights are read from torch's hub folder, where torchvision keeps them; `download` fetches them.
    Returns None and logs a warning if they are missing. Raises UserError for a file that holds something else, and if
    the download fails.
    """
    from torchvision.models import AlexNet_Weights

    url = AlexNet_Weights.IMAGENET1K_V1.url
    path = Path(torch.hub.get_dir(), "checkpoints", Path(url).name)
    if not path.is_file():
        if not download:
            log.warning("LPIPS is left out: its AlexNet weights are missing, put %s (233 MB) at %s", url, path)
            return None
        _download(url)
    model = _load_lpips(path).to(device)

    @torch.inference_mode()
    def distance(image: Float[Tensor, "H W 3"], target: Float[Tensor, "H W 3"]) -> float:
        _check_same_shape(image, target)
        batches = (picture.to(device).permute(2, 0, 1)[None] for picture in (image, target))
        return float(model(*batches, normalize=True))

    return distance


def confusion_matrix(
    predicted: Integer[Tensor, "*shape"], truth: Integer[Tensor, "*shape"], num_classes: int, *, void: int = VOID
) -> Int[Tensor, "Q Q1"]:
    """Counts of pixels by true class (row) and predicted class (column); matrices of several views add up.

    Pixels whose truth is `void` do not count; the last of the Q + 1 columns counts pixels predicted as `void`, which
    is always wrong. Raises UserError for any other id that is not below `num_classes`.
    """
    _check_same_shape(predicted, truth)
    labelled = truth != void
    rows, columns = truth[labelled].long(), predicted[labelled].long()
    for name, ids in (("true", rows), ("predicted", columns)):
        unknown = ids[((ids < 0) | (ids >= num_classes)) & (ids != void)]
        if len(unknown):
            expected = f"expected {name} labels from 0 to {num_classes - 1} or {void} for none"
            raise UserError(f"{expected}, got {int(unknown[0])}; does the class list belong to these labels?")
    columns = torch.where(columns == void, num_classes, columns)
    counts = torch.bincount(rows * (num_classes + 1) + columns, minlength=num_classes * (num_classes + 1))
    return counts.reshape(num_classes, num_classes + 1)


@dataclass(frozen=True)
class LabelScores:
    """Scores computed from a confusion matrix."""

    iou: Float[Tensor, "Q"]
    """Intersection over union per class; NaN for a class that is neither in the truth nor predicted."""
    miou: float
    """Mean of `iou` over the classes that have one; NaN if nothing is labelled."""
    accuracy: float
    """Share of labelled pixels that are predicted correctly; NaN if nothing is labelled."""
    num_pixels: int
    """Number of labelled pixels."""


def label_scores(confusion: Int[Tensor, "Q Q1"]) -> LabelScores:
    """Intersection over union and accuracy of a confusion matrix (`confusion_matrix`)."""
    confusion = confusion.double()
    correct = confusion.diagonal()
    union = confusion.sum(1) + confusion[:, :-1].sum(0) - correct
    iou = correct / union  # 0 / 0 gives the NaN of an absent class
    num_pixels = int(confusion.sum())
    accuracy = float(correct.sum() / num_pixels) if num_pixels else float("nan")
    return LabelScores(iou.float(), float(iou.nanmean()), accuracy, num_pixels)


def _check_same_shape(a: Shaped[Tensor, "..."], b: Shaped[Tensor, "..."]) -> None:
    if a.shape != b.shape:
        raise ValueError(f"expected two tensors of the same shape, got {tuple(a.shape)} and {tuple(b.shape)}")


def _download(url: str) -> None:
    """Fetches a published file into torch's hub folder, checking the hash in its name."""
    try:
        torch.hub.load_state_dict_from_url(url, map_location="cpu", check_hash=True, weights_only=True)
    except (OSError, HTTPException, RuntimeError) as error:  # RuntimeError: the downloaded file has another hash
        raise UserError(f"could not download {url} ({error}); fetch it by hand, or leave LPIPS out") from error


def _load_lpips(weights: Path) -> torch.nn.Module:
    """The reference LPIPS: linear heads from its wheel, the trunk's weights from `weights`."""
    import lpips

    with warnings.catch_warnings():  # lpips still calls torchvision by a deprecated argument
        warnings.filterwarnings("ignore", category=UserWarning, module=r"torchvision\.models\._utils")
        model = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    what = "torchvision's AlexNet weights"
    state = read_torch(weights, what, "remove it")
    try:
        # lpips slices AlexNet's `features` but keeps their numbers: slice2.3.weight is features.3.weight
        trunk = {name: state[f"features.{name.split('.', 1)[1]}"] for name in model.net.state_dict()}
        model.net.load_state_dict(trunk)
    except (RuntimeError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{weights}: expected {what}, got something else; remove it") from error
    return model.eval().requires_grad_(False)


def finite_or_none(score: float) -> float | None:
    """The score for a JSON file, which has no NaN: None if there was nothing to score."""
    return None if math.isnan(score) else score
