"""Loss of a page by packing, in its picture and in its answers."""

from collections.abc import Sequence
from dataclasses import replace
from statistics import median

from jaxtyping import Float
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.field.field import Field
from gsdff.gaussians import Gaussians
from gsdff.metrics import psnr
from gsdff.viewer.page.dictionary import Dictionary

MOST_WORDS = 30
"""Words whose answers are compared."""


def measure_picture(original: Gaussians, unpacked: Gaussians, cameras: Sequence[Camera], field: Field) -> float:
    """Mean PSNR in dB between renderings of the scene and of what the page has, in the working frame."""
    scores = []
    for camera in cameras:
        images = [_draw(field, gaussians, camera) for gaussians in (unpacked, original)]
        scores.append(psnr(*images))
    return sum(scores) / len(scores)


def measure_answers(field: Field, unpacked: Gaussians, dictionary: Dictionary) -> list[tuple[str, str]]:
    """Facts about answers that differ between the field and the page's latents, as pairs of name and text."""
    page = replace(field, gaussians=replace(field.gaussians, features=unpacked.features), read=dict(field.read))
    facts = []
    if dictionary.classes:
        before, after = (each.segment(list(dictionary.classes)).labels for each in (field, page))
        assert before is not None and after is not None
        facts.append(("best class", f"differs for {float((before != after).double().mean()):.2%} of the Gaussians"))
    shares = {}
    for name in list(dictionary.classes or dictionary.names)[:MOST_WORDS]:
        before, after = (each.query(name).selected for each in (field, page))
        union = int((before | after).sum())
        shares[name] = int((before != after).sum()) / max(union, 1)
    if shares:
        worst = max(shares, key=lambda name: shares[name])
        text = f"differ by {median(shares.values()):.2%} (median of {len(shares)} words), at most {shares[worst]:.2%}"
        facts.append(("selected Gaussians", f"{text} ({worst})"))
    return facts


def _draw(field: Field, gaussians: Gaussians, camera: Camera) -> Float[Tensor, "H W 3"]:
    placed = replace(field, gaussians=gaussians.to_input_frame(field.frame), read=dict(field.read))
    return placed.draw(camera).image.clamp(0, 1)
