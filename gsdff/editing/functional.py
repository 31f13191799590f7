"""Edits of selected Gaussians: pure functions from Gaussians and a mask to Gaussians.

Every function raises ValueError for a mask that is not N booleans or selects nothing. Inputs are never modified, and
results have no gradient; attributes that an edit does not change are shared with the input, not copied.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import inf, log
from typing import Literal, TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gsdff.editing.values import EditValueError, Number
from gsdff.gaussians import SH_C0, Gaussians
from gsdff.rotation import check_rotation, matrices_to_quats, multiply_quats, quats_to_matrices, rotate_sh

RecolorMode = Literal["hue", "tint", "grey"]
Triple: TypeAlias = Sequence[float | int] | Float[Tensor, "3"]
"""x, y and z, or red, green and blue."""
LUMINANCE = (0.2126, 0.7152, 0.0722)
"""Weights of Rec. 709, applied to the colours as they are stored (of photos: gamma-encoded)."""
MIN_OPACITY, MAX_OPACITY = 1e-8, 1 - 1e-6
"""Least and largest stored opacities: their logits are finite, and the rasteriser draws from 1/255 to 0.999 anyway."""
COARSEST = 0.01
"""Largest rounding of moved positions, as a share of the size of what is moved."""
_DARKEST = 1 / 255  # a darker mean colour has no hue to speak of
_SMALLEST_SHARE = 0.1  # of the luminance, for any channel: bounds the factor by which a tint multiplies noise


def extract(gaussians: Gaussians, mask: Bool[Tensor, "N"]) -> Gaussians:
    """The selected Gaussians, in their order."""
    return _checked(gaussians, mask).map(lambda tensor: tensor[mask])


def delete(gaussians: Gaussians, mask: Bool[Tensor, "N"]) -> Gaussians:
    """All Gaussians but the selected ones, in their order; none if all are selected."""
    return _checked(gaussians, mask).map(lambda tensor: tensor[~mask])


def recolor(gaussians: Gaussians, mask: Bool[Tensor, "N"], color: Triple | None, mode: RecolorMode) -> Gaussians:
    """The scene with the selected colours c changed to A c, from every direction, A of `recolor_matrix`.

    A is linear, so it acts on the coefficients of every band: shN' = A shN, sh0' = A sh0 + (A 1 - 1) / 2C0, where the
    last term makes up for the 0.5 in "colour = 0.5 + C0 sh0 + ...". The luminance of every selected Gaussian in every
    direction is kept, and with it shading and order. A rendered luminance differs only where the rasteriser clamps a
    negative channel to 0; grey and hue keep the order even there.

    `color` is RGB in 0..1; grey ignores it. Raises ValueError for another colour, and for an unknown mode.
    """
    fixed = _checked(gaussians, mask)
    A = recolor_matrix(_mean_color(fixed, mask), color, mode).to(fixed.means.device)
    shift = (A.sum(1) - 1) * 0.5 / SH_C0
    sh0 = fixed.sh0[mask].double() @ A.T + shift
    return replace(fixed, sh0=_put(fixed.sh0, mask, sh0), shN=_put(fixed.shN, mask, fixed.shN[mask].double() @ A.T))


def recolor_matrix(mean: Float[Tensor, "3"], color: Triple | None, mode: RecolorMode) -> Float[Tensor, "3 3"]:
    """Linear map A of RGB that recolours a selection of this mean colour and keeps the luminance w.c; float64, CPU.

    - grey: A = 1 wᵀ, every channel becomes the luminance.
    - hue: A = p wᵀ, every colour becomes its luminance times p, a colour of luminance 1 and the target's hue:
      p = 1 + s (t / w.t - 1). The chroma s is the target's (1), or less so that no channel of the mean exceeds 1:
      luminance and full chroma do not always fit, a light blue is a pale one.
    - tint: A = G + 1 (w - G w)ᵀ with G = diag(p w.m / m), m the mean: multiplies by target/mean, which keeps the
      differences in hue within the selection, and adds as much grey as the luminance lost.
    """
    w = torch.tensor(LUMINANCE, dtype=torch.float64)
    ones = torch.ones_like(w)
    if mode == "grey":
        return torch.outer(ones, w)
    if mode not in ("hue", "tint"):
        raise ValueError(f'`mode`: expected "hue", "tint" or "grey", got {mode!r}')
    target = _checked_color(color, mode)
    mean = mean.detach().cpu().double().clamp(min=_DARKEST)
    luminance = w @ mean
    chroma = target / (w @ target) - 1
    room = 1 / luminance - 1
    p = 1 + chroma * (room / chroma.max().clamp(min=1e-9)).clamp(0, 1)
    if mode == "hue":
        return torch.outer(p, w)
    gains = p / (mean / luminance).clamp(min=_SMALLEST_SHARE)
    return gains.diag() + torch.outer(ones, w - gains * w)


def transform(
    gaussians: Gaussians,
    mask: Bool[Tensor, "N"],
    *,
    rotation: Float[Tensor, "3 3"] | None = None,
    translation: Triple | None = None,
    scale: Number = 1.0,
    centre: Triple | None = None,
) -> Gaussians:
    """The scene with the selected Gaussians scaled, rotated and then moved: x' = scale R (x - centre) + centre + t.

    `centre` None takes their opacity-weighted mean. Their shapes and their colours in all bands turn with them.
    Computed in float64. Raises ValueError for an R that is no rotation, a scale that is not above 0, numbers that are
    not finite, and places so far off that they would be rounded to a coarse grid.
    """
    moved = _moved(extract(gaussians, mask), rotation, translation, scale, centre)
    fixed = gaussians.map(torch.detach)
    changed = {name: _put(getattr(fixed, name), mask, getattr(moved, name)) for name in _MOVABLE}
    return replace(fixed, **changed)


def duplicate(
    gaussians: Gaussians,
    mask: Bool[Tensor, "N"],
    *,
    rotation: Float[Tensor, "3 3"] | None = None,
    translation: Triple | None = None,
    scale: Number = 1.0,
    centre: Triple | None = None,
) -> Gaussians:
    """The scene followed by copies of the selected Gaussians, with features, transformed as by `transform`."""
    copies = _moved(extract(gaussians, mask), rotation, translation, scale, centre)
    originals = gaussians.map(torch.detach)
    both = {name: torch.cat([tensor, getattr(copies, name)]) for name, tensor in originals.items()}
    return replace(originals, **both)


def set_opacity(
    gaussians: Gaussians, mask: Bool[Tensor, "N"], *, opacity: Number | None = None, factor: Number | None = None
) -> Gaussians:
    """The scene with the selected opacities set, or multiplied and kept above 0 and below 1.

    Raises ValueError unless exactly one of opacity, in (0, 1], and factor, finite and above 0, is given.
    """
    fixed = _checked(gaussians, mask)
    old = fixed.logit_opacities[mask].double().sigmoid()
    if opacity is not None and factor is None:
        if not 0 < opacity <= 1:
            raise ValueError(f"`opacity`: expected above 0 and at most 1, got {opacity}")
        new = torch.full_like(old, opacity)
    elif factor is not None and opacity is None:
        if not 0 < factor < inf:
            raise ValueError(f"`factor`: expected more than 0 and finite, got {factor}")
        new = old * factor
    else:
        raise ValueError(f"`opacity`, `factor`: expected one of them, got {'neither' if factor is None else 'both'}")
    logits = new.clamp(MIN_OPACITY, MAX_OPACITY).logit()
    return replace(fixed, logit_opacities=_put(fixed.logit_opacities, mask, logits))


_MOVABLE = ("means", "quats", "log_scales", "shN")
"""The attributes that `_moved` changes."""


def _moved(
    selected: Gaussians,
    rotation: Float[Tensor, "3 3"] | None,
    translation: Triple | None,
    scale: Number,
    centre: Triple | None,
) -> Gaussians:
    """These Gaussians, all of them transformed."""
    if not 0 < scale < inf:
        raise ValueError(f"`scale`: expected more than 0 and finite, got {scale}")
    means = selected.means.double()
    shift = means.new_zeros(3) if translation is None else _checked_point(translation, "translation", means)
    if centre is None:
        pivot = _weighted(means, selected)
    else:
        pivot = _checked_point(centre, "centre", means) - means.new_tensor(selected.origin)
    offsets, turned = means - pivot, selected
    if rotation is not None:
        check_rotation(rotation)
        quat = matrices_to_quats(rotation.detach().to(means))
        R = quats_to_matrices(quat)  # orthonormal to the last digit, where the given one may be of float32
        offsets = offsets @ R.T
        quats = multiply_quats(quat, selected.quats.double()).to(selected.quats.dtype)
        turned = replace(selected, quats=quats, shN=rotate_sh(selected.shN, R))
    exact = offsets * scale + pivot + shift
    moved = exact.to(selected.means.dtype)
    size = max(float((exact.amax(0) - exact.amin(0)).max()), scale * float(selected.scales.max()))
    if COARSEST * size < (rounding := float((moved - exact).abs().max())) < inf:
        raise EditValueError(
            f"puts it at coordinates up to {float(exact.abs().max()):.3g}, where positions are rounded by "
            f"{rounding:.2g}, too coarse for its size of {size:.2g}; expected it nearer, or larger"
        )
    return replace(turned, means=moved, log_scales=selected.log_scales + log(scale))


def _checked(gaussians: Gaussians, mask: Bool[Tensor, "N"]) -> Gaussians:
    """The Gaussians without gradient; ValueError if the mask does not fit them or selects none."""
    expected = f"`mask`: expected {len(gaussians)} booleans, one per Gaussian"
    if mask.dtype != torch.bool:
        raise ValueError(f"{expected}, got {mask.dtype}")
    if tuple(mask.shape) != (len(gaussians),):
        raise ValueError(f"{expected}, got shape {tuple(mask.shape)}")
    if not mask.any():
        raise ValueError(f"`mask`: expected some of the {len(gaussians)} Gaussians to be selected, got none")
    return gaussians.map(torch.detach)


def _checked_color(color: Triple | None, mode: str) -> Float[Tensor, "3"]:
    """The target colour as float64; ValueError for black, which has no hue."""
    if color is None:
        raise ValueError(f'`color`: expected one for mode "{mode}", got none')
    target = torch.as_tensor(color, dtype=torch.float64).cpu()
    if target.shape != (3,) or not ((target >= 0) & (target <= 1)).all():
        raise ValueError(f"`color`: expected three numbers in 0..1 (red, green, blue), got {color}")
    if not target.any():
        raise ValueError('`color`: black has no hue to give; expected another colour, or mode "grey"')
    return target


def _checked_point(point: Triple, name: str, like: Tensor) -> Float[Tensor, "3"]:
    values = torch.as_tensor(point).detach().to(like)
    if values.shape != (3,) or not values.isfinite().all():
        raise ValueError(f"`{name}`: expected three finite numbers, got {point}")
    return values


def _mean_color(gaussians: Gaussians, mask: Bool[Tensor, "N"]) -> Float[Tensor, "3"]:
    """Opacity-weighted mean of the selected constant colours."""
    selected = extract(gaussians, mask)
    return _weighted(selected.base_colors.double().clamp(min=0), selected)


def _weighted(values: Float[Tensor, "N 3"], gaussians: Gaussians) -> Float[Tensor, "3"]:
    """Mean weighted by opacity; a softmax of log opacities, as opacities may all be next to 0."""
    log_opacities = torch.nn.functional.logsigmoid(gaussians.logit_opacities.double().clamp(min=-1e3))
    return log_opacities.softmax(0) @ values


def _put(tensor: Tensor, mask: Bool[Tensor, "N"], rows: Tensor) -> Tensor:
    """A copy with other rows of the selected Gaussians."""
    result = tensor.clone()
    result[mask] = rows.to(tensor.dtype)
    return result
