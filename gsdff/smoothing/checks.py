"""What every filter asks of its input."""

from torch import Tensor


def check_map(Z: Tensor) -> None:
    """ValueError for anything but a float map [H, W, K]."""
    if Z.ndim != 3 or not Z.is_floating_point():
        raise ValueError(f"a feature map is floats of shape (H, W, K), got {Z.dtype} of shape {tuple(Z.shape)}")


def check_segments(segments: Tensor, Z: Tensor) -> None:
    """ValueError for anything but integers [H, W] as large as the map."""
    if segments.shape != Z.shape[:2] or segments.is_floating_point() or segments.is_complex():
        raise ValueError(
            f"segments must be integers of shape {tuple(Z.shape[:2])}, "
            f"got {segments.dtype} of shape {tuple(segments.shape)}"
        )
