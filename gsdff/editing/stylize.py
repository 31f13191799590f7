"""Stylizing: colours of selected Gaussians are optimised until CLIP reads pictures of them as a text.

The edit of CLIP-NeRF (Wang et al., CVPR 2022) restricted to a selection, as in Distilled Feature Fields (Kobayashi et
al., NeurIPS 2022). In every step one training view that shows the selection, drawn with a probability proportional to
the share of pixels that it fills, is rendered around it, and several crops of that picture, each its own tilted square
(Text2Mesh, Michel et al., CVPR 2022), are compared with the text. Every other crop shows the selection alone on a
random colour, so that the surroundings, which cannot change, do not count.

There are two losses. With a source text ("a chair"), the change of a crop's vector since before the edit has to point
from the source to the prompt (directional loss, StyleGAN-NADA, Gal et al., 2022); without one, the crop's vector has to
point to the prompt. The first is the default if the edit's target is a text: it looks at the difference alone, so that
the object and its surroundings do not count, and no single picture is best for every view. A small penalty keeps
colours near their first values.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor
from tqdm import tqdm

from gsdff.cameras import Camera
from gsdff.config.options import TeacherConfig
from gsdff.editing.context import Judge
from gsdff.editing.crops import LEAST_SHARE, Crops, FixedLayers, VisibleView, WindowRenderer, find_visible_views
from gsdff.errors import UserError
from gsdff.gaussians import SH_C0, Gaussians

log = logging.getLogger("gsdff")

ANCHOR = 0.1
"""Weight of the mean squared change of the colours."""
BANDS_RATE = 1 / 20
"""Rate of the higher bands relative to that of the constant one, as in 3DGS."""
LEAST_CHANGE = 0.1
"""Shorter changes of a unit vector have no clear direction: below this the directional loss is linear."""


def open_judge(model: str | None, pretrained: str | None, device: torch.device | str) -> Judge:
    """CLIP with its weights loaded; None takes the clip teacher's defaults. Raises `UserError` if there are none."""
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
    *,
    prompt: str,
    sources: Sequence[str],
    steps: int,
    rate: float,
    seed: int,
) -> tuple[Gaussians, str]:
    """The Gaussians with optimised sh0 and shN of the selected ones, and a line that describes the optimisation.

    Gaussians and cameras are in one frame, whichever. `sources` describe the selection before the edit. Without a judge
    nothing is optimised. On a CPU the same input, seed and number of threads give the same bytes. Raises `UserError`
    for a selection that no camera sees and for a prompt that means the same as its sources.
    """
    loss = None if judge is None else ClipLoss.of(judge, prompt, sources, gaussians.means.device)
    fixed = gaussians.map(torch.detach)
    views = find_visible_views(fixed, mask, cameras)
    if not views:
        raise UserError(
            f"none of the {len(cameras)} training views shows enough of it to stylize by: expected {LEAST_SHARE:.2%} "
            "of a photo's pixels; select something else, or more of it (grow)"
        )
    away = f", away from {' or '.join(map(repr, sources))}" if sources else ""
    plan = f"towards {prompt!r}{away}, {steps} steps, by {len(views)} of {len(cameras)} views"
    if judge is None or loss is None:
        return gaussians, plan
    renderer = WindowRenderer(fixed, mask, [view.window(judge.side) for view in views])
    colored, losses = _optimise(renderer, judge, loss, views, steps=steps, rate=rate, seed=seed)
    tenth = max(1, len(losses) // 10)
    first, last = losses[:tenth].mean(), losses[-tenth:].mean()
    return colored, f"{plan}, CLIP loss {first:.3f} -> {last:.3f}"


@dataclass(frozen=True, eq=False)
class ClipLoss:
    """Loss of CLIP's vectors of crops: 1 - cosine with the prompt, or of their change with the way from the source."""

    target: Float[Tensor, "T"]
    """Unit vector of the prompt."""
    direction: Float[Tensor, "T"] | None = None
    """Unit vector from source to prompt; None without a source."""

    @staticmethod
    def of(judge: Judge, prompt: str, sources: Sequence[str], device: torch.device) -> "ClipLoss":
        """The loss of these texts; several sources are averaged."""
        target, *before = judge.phrases([prompt, *sources]).to(device)
        if not before:
            return ClipLoss(target)
        difference = target - F.normalize(torch.stack(before).mean(0), dim=0)
        if not difference.norm() > 1e-3:
            raise UserError(f"prompt {prompt!r} says the same as its source {', '.join(map(repr, sources))}")
        return ClipLoss(target, F.normalize(difference, dim=0))

    def __call__(self, vectors: Float[Tensor, "B T"], before: Float[Tensor, "B T"] | None) -> Float[Tensor, ""]:
        """Mean over crops; `before` has the vectors before the edit, which a direction needs."""
        if self.direction is None:
            return (1 - vectors @ self.target).mean()
        assert before is not None, "a change is since before the edit"
        change = vectors - before
        return (1 - change @ self.direction / change.norm(dim=1).clamp_min(LEAST_CHANGE)).mean()


def _optimise(
    renderer: WindowRenderer,
    judge: Judge,
    clip_loss: ClipLoss,
    views: Sequence[VisibleView],
    *,
    steps: int,
    rate: float,
    seed: int,
) -> tuple[Gaussians, Float[Tensor, "steps"]]:
    """The scene with its new colours, and CLIP's loss in every step."""
    device = renderer.mask.device
    generator = torch.Generator().manual_seed(seed)
    shares = torch.tensor([view.share for view in views])
    first = renderer.gaussians.sh[renderer.mask]
    sh0, shN = (torch.nn.Parameter(part.clone()) for part in (first[:, :1], first[:, 1:]))
    sh0_rate = rate / SH_C0
    groups = [{"params": [sh0], "lr": sh0_rate}, {"params": [shN], "lr": BANDS_RATE * sh0_rate}]
    optimizer = torch.optim.Adam(groups)
    layers_of: dict[int, FixedLayers] = {}
    losses = []
    for _ in tqdm(range(steps), desc="stylizing", unit="step"):
        index = int(torch.multinomial(shares, 1, generator=generator))
        if index not in layers_of:
            layers_of[index] = renderer.fixed_layers(index)
        layers = layers_of[index]
        sh = torch.cat([sh0, shN], 1)
        crops = Crops.sample(renderer.windows[index], judge.side, generator, device)
        with torch.no_grad():
            before = None if clip_loss.direction is None else judge.see_whole(crops.cut(layers.first, layers))
        loss = clip_loss(judge.see_whole(crops.cut(renderer.render(index, layers, sh), layers)), before)
        change = SH_C0**2 * (sh - first).square().sum() / (3 * len(first))
        optimizer.zero_grad()
        (loss + ANCHOR * change).backward()
        optimizer.step()
        losses.append(loss.detach())
    history = torch.stack(losses).cpu()
    if not history.isfinite().all():
        raise UserError("CLIP gave values that are no numbers for a picture of it; its weights are damaged")
    changed = renderer.gaussians.sh.index_put((renderer.mask,), torch.cat([sh0, shN], 1).detach())
    return replace(renderer.gaussians, sh0=changed[:, :1].contiguous(), shN=changed[:, 1:].contiguous()), history
