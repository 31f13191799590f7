"""The one place that says how close two rasterisers must be.

A rasteriser jumps where alpha crosses 1/255 and where the transmittance reaches its stop, and bends where alpha reaches
its clamp. Two precisions may put a pixel that lies close to such a place, in the *boundary band*, on different sides.
So comparisons are tight inside; in the band few pixels may differ, and without a preferred direction.
"""

from math import sqrt

import torch
from jaxtyping import Bool, Float
from torch import Tensor

RENDER_ATOL = 1e-4
"""Largest difference of a render or alpha outside the band, for values up to 1."""
GRADIENT_RTOL = 1e-3
"""Largest difference of a gradient, relative to the largest entry of its tensor."""
ROW_RTOL = 1e-3
"""Largest difference of one Gaussian's gradient, relative to its own size..."""
ROW_ATOL = 5e-5
"""...plus this much of the largest entry: what float32 leaves of sums that cancel."""
BAND = (3e-4, 3e-4, 3e-3)
"""Margins of the band at the alpha cut-off, the alpha clamp and the transmittance stop, where many alphas multiply."""
MAX_FLIP_RATIO = 0.25
"""Largest share of the band's pixels that may differ."""


def boundary_band(margins: Float[Tensor, "*P 3"], band: tuple[float, float, float] = BAND) -> Bool[Tensor, "*P"]:
    """Pixels that finite precision may put on the other side of a jump, from the twin's `meta["margins"]`."""
    return (margins < torch.tensor(band, dtype=margins.dtype)).any(-1)


def assert_close(
    actual: Float[Tensor, "*P D"],
    expected: Float[Tensor, "*P D"],
    *,
    band: Bool[Tensor, "*P"] | None = None,
    atol: float = RENDER_ATOL,
    max_flip_ratio: float = MAX_FLIP_RATIO,
) -> None:
    """Tight outside the band; inside it, few pixels differ and about as many up as down.

    `atol` is for values up to 1 and grows with the largest expected value, as depths are larger.
    """
    assert actual.shape == expected.shape, f"shape {tuple(actual.shape)}, expected {tuple(expected.shape)}"
    assert actual.isfinite().all(), "not finite"
    difference = actual.double().cpu() - expected.double().cpu()
    if difference.numel() == 0:
        return
    atol *= max(1.0, float(expected.detach().abs().max()))
    worst = difference.abs().amax(-1)  # [*P]
    band = torch.zeros_like(worst, dtype=torch.bool) if band is None else band
    inside = worst[~band]
    if len(inside):
        at = torch.unravel_index(torch.where(band, 0, worst).argmax(), worst.shape)
        assert inside.max() <= atol, (
            f"{(inside > atol).sum()} of {len(inside)} pixels differ, at {[int(i) for i in at]} by {inside.max():.2e}"
        )

    flips = band & (worst > atol)
    n_flips, n_band = int(flips.sum()), int(band.sum())
    assert n_flips <= 2 + max_flip_ratio * n_band, f"{n_flips} of {n_band} pixels in the boundary band differ"
    sums = difference.sum(-1)[flips]
    n_up = int((sums > 0).sum())
    assert abs(2 * n_up - n_flips) <= 2 + 3 * sqrt(n_flips), f"{n_up} of {n_flips} flips go up"


def assert_gradients_close(
    actual: Tensor, expected: Tensor, name: str = "gradient", rtol: float = GRADIENT_RTOL
) -> None:
    """Close relative to the tensor's largest entry, and row by row (Gaussian by Gaussian) relative to the row.

    Cotangents must be zero at the pixels of the boundary band: there a gradient is of either side.
    """
    assert actual.shape == expected.shape, f"{name}: shape {tuple(actual.shape)}, expected {tuple(expected.shape)}"
    assert actual.isfinite().all(), f"{name}: not finite"
    if expected.numel() == 0:
        return
    rows = expected.detach().double().cpu().reshape(len(expected), -1)
    differences = (actual.detach().double().cpu().reshape(len(expected), -1) - rows).abs().amax(-1)
    sizes, largest = rows.abs().amax(-1), float(rows.abs().max())
    assert differences.max() <= rtol * largest, f"{name}: off by {differences.max() / largest:.2e} of the largest"
    excess = differences - (ROW_RTOL * rtol / GRADIENT_RTOL * sizes + ROW_ATOL * rtol / GRADIENT_RTOL * largest)
    worst = int(excess.argmax())
    assert excess[worst] <= 0, (
        f"{name}: {int((excess > 0).sum())} rows are off, row {worst} by {differences[worst]:.2e} "
        f"where it is {sizes[worst]:.2e} and the largest {largest:.2e}"
    )
