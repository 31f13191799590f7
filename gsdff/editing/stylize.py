"""Stylizing: the colours of selected Gaussians follow a text, as CLIP reads pictures of them; all else stays.

The edit of CLIP-NeRF (Wang et al., CVPR 2022) held to a selection, as Distilled Feature Fields (Kobayashi et al.,
NeurIPS 2022) does. In every step one training view that shows the selection, the more of it the likelier, is rendered
around it, and several crops of that picture, each its own tilted square (Text2Mesh, Michel et al., CVPR 2022), are
compared with the text. Every other crop shows the selection alone on a random colour: what is around it cannot change,
and shall not answer for it.

Two losses. With a source text ("a chair"), that what a crop's vector has moved by since before the edit points from the
source to the prompt (directional loss, StyleGAN-NADA, Gal et al., 2022); without one, that the crop's vector points to
the prompt. The first is the default wherever the selector has a text: it asks for the difference alone, so that what
object and surroundings are does not count, and there is no one picture that is best for every view. A small pull holds
colours near the first.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor
from tqdm import tqdm

from gsdff.cameras import Camera
from gsdff.config.options import TeacherConfig
from gsdff.editing.crops import LEAST_SHARE, Crops, Sight, Stage, find_sights
from gsdff.editing.operations import EditStep, Selector, Stylize
from gsdff.errors import UserError
from gsdff.gaussians import SH_C0, Gaussians

log = logging.getLogger("gsdff")

ANCHOR = 0.1
"""Weight of the mean squared change of the colours."""
BANDS_RATE = 1 / 20
"""The rate of the higher bands by that of the constant one, as 3DGS trains them."""
LEAST_CHANGE = 0.1
"""Shorter changes of a unit vector have no direction yet: the directional loss is linear below."""


class Judge(Protocol):
    """What compares pictures with texts: CLIP, or a test's stand-in."""

    side: int
    """Pixels along each side of the pictures it takes."""

    def see_whole(self, pictures: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B T"]:
        """Unit vectors of pictures in [0, 1], differentiable."""

    def phrases(self, phrases: Sequence[str]) -> Float[Tensor, "Q T"]:
        """Unit vectors of texts, on the CPU."""


def open_judge(model: str | None, pretrained: str | None, device: torch.device | str) -> Judge:
    """CLIP with its weights loaded; None takes the clip teacher's defaults. `UserError` where they cannot be had."""
    from gsdff.teachers.clip import ClipTeacher

    config = TeacherConfig("clip", model=model, pretrained=pretrained)
    judge = ClipTeacher(config, device=device, options="clip_")
    log.info("stylizing by CLIP %s, %d pixels a side", judge.source.model, judge.side)  # which loads it
    return judge


def stylize(
    gaussians: Gaussians,
    mask: Bool[Tensor, "N"],
    cameras: Sequence[Camera],
    judge: Judge | None,
    step: EditStep,
) -> tuple[Gaussians, str]:
    """The Gaussians with sh0 and shN of the selected ones optimised by the step, a `Stylize`; and what was done.

    Gaussians and cameras are of one frame, whichever. Without a judge nothing is done but said. On a CPU the same
    input, seed and number of threads give the same bytes. `UserError` for a selection that no camera sees and for a
    prompt that says the same as its source.
    """
    operation = step.operation
    assert isinstance(operation, Stylize)
    source = source_texts(operation, step.selector)
    aim = None if judge is None else Aim.of(judge, operation.prompt, source, gaussians.means.device)
    fixed = gaussians.map(torch.detach)
    sights = find_sights(fixed, mask, cameras)
    if not sights:
        raise UserError(
            f"none of the {len(cameras)} training views shows enough of it to stylize by: expected {LEAST_SHARE:.2%} "
            "of a photo's pixels; select something else, or more of it (grow)"
        )
    away = f", away from {' or '.join(map(repr, source))}" if source else ""
    plan = f"towards {operation.prompt!r}{away}, {operation.steps} steps, by {len(sights)} of {len(cameras)} views"
    if judge is None:
        return gaussians, plan
    windows = [sight.window(judge.side) for sight in sights]
    colors, losses = _optimise(Stage(fixed, mask, windows), judge, aim, operation, sights)
    tenth = max(1, len(losses) // 10)
    first, last = losses[:tenth].mean(), losses[-tenth:].mean()
    return colors, f"{plan}, CLIP loss {first:.3f} -> {last:.3f}"


def source_texts(operation: Stylize, selector: Selector) -> tuple[str, ...]:
    """What the selection is said to look like before; none leaves the prompt alone.

    A selector's text becomes "a TEXT" where no article leads it: a prompt is a phrase too, and the difference between
    the two shall not be an article.
    """
    if operation.source is not None:
        return (operation.source.strip(),) if operation.source.strip() else ()
    articles = ("a ", "an ", "the ")
    return tuple(text if text.lower().startswith(articles) else f"a {text}" for text in selector.positives)


@dataclass(frozen=True, eq=False)
class Aim:
    """Where CLIP's vectors of the crops are to go."""

    target: Float[Tensor, "T"]
    """Of unit length."""
    direction: Float[Tensor, "T"] | None = None
    """From source to prompt, of unit length; None without a source."""

    @staticmethod
    def of(judge: Judge, prompt: str, source: Sequence[str], device: torch.device) -> "Aim":
        """The aim of these texts; several sources are averaged."""
        target, *before = judge.phrases([prompt, *source]).to(device)
        if not before:
            return Aim(target)
        difference = target - F.normalize(torch.stack(before).mean(0), dim=0)
        if not difference.norm() > 1e-3:
            raise UserError(f"prompt {prompt!r} says the same as its source {', '.join(map(repr, source))}")
        return Aim(target, F.normalize(difference, dim=0))

    def loss(self, vectors: Float[Tensor, "B T"], before: Float[Tensor, "B T"] | None) -> Float[Tensor, ""]:
        """Mean over crops of 1 - cosine, of the change since `before` where there is a direction."""
        if self.direction is None:
            return (1 - vectors @ self.target).mean()
        change = vectors - before
        return (1 - change @ self.direction / change.norm(dim=1).clamp_min(LEAST_CHANGE)).mean()


def _optimise(
    stage: Stage, judge: Judge, aim: Aim, operation: Stylize, sights: Sequence[Sight]
) -> tuple[Gaussians, Float[Tensor, "steps"]]:
    """The scene with its new colours, and the loss of CLIP in every step."""
    device = stage.mask.device
    generator = torch.Generator().manual_seed(operation.seed)
    shares = torch.tensor([sight.share for sight in sights])
    first = stage.gaussians.sh[stage.mask]
    sh0, shN = (torch.nn.Parameter(part.clone()) for part in (first[:, :1], first[:, 1:]))
    rate = operation.rate / SH_C0
    groups = [{"params": [sh0], "lr": rate}, {"params": [shN], "lr": BANDS_RATE * rate}]
    optimizer = torch.optim.Adam(groups)
    backdrops: dict[int, Backdrop] = {}
    losses = []
    for _ in tqdm(range(operation.steps), desc="stylizing", unit="step"):
        index = int(torch.multinomial(shares, 1, generator=generator))
        if index not in backdrops:
            backdrops[index] = stage.backdrop(index)
        backdrop = backdrops[index]
        sh = torch.cat([sh0, shN], 1)
        crops = Crops.sample(stage.windows[index], judge.side, generator, device)
        with torch.no_grad():
            before = None if aim.direction is None else judge.see_whole(crops.cut(backdrop.first, backdrop))
        loss = aim.loss(judge.see_whole(crops.cut(stage.draw(index, backdrop, sh), backdrop)), before)
        change = SH_C0**2 * (sh - first).square().sum() / (3 * len(first))
        optimizer.zero_grad()
        (loss + ANCHOR * change).backward()
        optimizer.step()
        losses.append(loss.detach())
    course = torch.stack(losses).cpu()
    if not course.isfinite().all():
        raise UserError("CLIP gave values that are no numbers for a picture of it; its weights are damaged")
    changed = stage.gaussians.sh.index_put((stage.mask,), torch.cat([sh0, shN], 1).detach())
    return replace(stage.gaussians, sh0=changed[:, :1].contiguous(), shN=changed[:, 1:].contiguous()), course
