"""What tests/training/test_parts.py looks at: two ranks that hold a part of the Gaussians each.

    torchrun ... job_with_parts.py FOLDER cpu|cuda    # cuda is the pretended card

Pictures, gradients and densified Gaussians of parts are compared with those of the whole, which every rank has here.
"""

import contextlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from unittest import mock

import torch
from job_settings import CONFIG
from tiny_scene import tiny_gaussians, tiny_scene

from gsdff.ranks import joined
from gsdff.render import render_depth, render_features, render_rgb
from gsdff.training.feature_loss import _lift
from gsdff.training.initialise import initial_gaussians
from gsdff.training.lift import FeatureTarget
from gsdff.training.pace import Pace
from gsdff.training.parts import divide, find_largest, make_even, own_rows
from gsdff.training.trainer import Trainer

make_adam = Pace.make_adam
MODES = {
    "colours": lambda scene, camera: render_rgb(scene, camera, absgrad=True),
    "over white": lambda scene, camera: render_rgb(scene, camera, sh_degree=0, background=scene.means.new_ones(3)),
    "features": render_features,
    "rows of features": lambda scene, camera: render_features(scene, camera, rows=slice(8, 24)),
    "depth": render_depth,
}


def error_of(found, expected):
    """Largest difference, relative to the largest value."""
    return float((found - expected).abs().max()) / max(1e-12, float(expected.abs().max()))


def compare_pictures(ranks, device, split):
    """Differences between pictures and gradients of parts, cut where `split` says, and of the whole."""
    views = tiny_scene().views
    whole = tiny_gaussians(sh_degree=1)
    noise = torch.Generator().manual_seed(3)
    whole = replace(
        whole, shN=torch.randn(whole.shN.shape, generator=noise) * 0.3, features=torch.randn(40, 35, generator=noise)
    )
    bounds = [0, split, 40]
    rows = slice(bounds[ranks.rank], bounds[ranks.rank + 1])
    report = {}
    for mode in ("classic", "antialiased"):
        for name, render in MODES.items():
            scene = whole.to(device).map(lambda tensor: tensor.detach().clone().requires_grad_())
            scene = replace(scene, rasterize_mode=mode)
            part = scene.map(lambda tensor: tensor.detach()[rows].clone().requires_grad_())
            pictures, absolute = [], 0
            for rank in range(2):
                camera = views[3 * rank + 1].camera
                rendered = render(scene, camera.to(device))
                pictures.append(rendered)
                weights = torch.randn(rendered.image.shape, generator=torch.Generator().manual_seed(5 + rank))
                (rendered.image * weights.to(device)).sum().backward()
                if name == "colours":
                    lengths = rendered.meta["means2d"].absgrad[0].cpu() * torch.tensor([20.0, 16.0])
                    absolute = absolute + lengths.norm(dim=-1)
            camera = views[3 * ranks.rank + 1].camera
            rendered = render(replace(part, is_part=True), camera.to(device))
            weights = torch.randn(rendered.image.shape, generator=torch.Generator().manual_seed(5 + ranks.rank))
            (rendered.image * weights.to(device)).sum().backward()
            errors = {"image": error_of(rendered.image.cpu(), pictures[ranks.rank].image.cpu())}
            errors["alpha"] = error_of(rendered.alpha.cpu(), pictures[ranks.rank].alpha.cpu())
            for (key, tensor), (_, mine) in zip(scene.items(), part.items(), strict=True):
                if tensor.grad is not None and tensor.grad.cpu().abs().max() > 0 and len(mine):
                    errors[key] = error_of(mine.grad.cpu(), tensor.grad.cpu()[rows])
            if name == "colours" and len(part):
                meta = rendered.meta
                lengths = (meta["means2d"].absgrad * meta["half_sizes"]).norm(dim=-1).cpu()
                found = torch.zeros(len(part)).index_add_(0, meta["gaussian_ids"].cpu(), lengths)
                errors["absgrad"] = error_of(found, absolute[rows])
            report[f"{name}, {mode}"] = errors
    return report


def make_calm_adam(pace, parameter, rate, _eps):
    """Adam that does not turn gradients which are nothing but rounding into steps of full length."""
    return make_adam(pace, parameter, rate, 1e-6)


def compare_trainings(ranks, device, growth):
    """Gaussians of a stage 1 whose ranks hold parts, and of one whose ranks hold all, split by the same draws."""
    scene = tiny_scene()
    config = replace(CONFIG, stage1=replace(CONFIG.stage1, reset_every=15, strategy=growth, exposure="affine"))
    initial = initial_gaussians(config, scene)
    initial = initial.map(lambda tensor: tensor[:30])
    with mock.patch.object(Pace, "make_adam", make_calm_adam):
        whole, parts = (
            Trainer(replace(config, shard=shard), scene, device, initial) for shard in ("none", "gaussians")
        )
    counts, sizes = [], []
    while whole.step < config.stage1.steps:
        with mock.patch("torch.randn", lambda *shape, device: torch.tensor([0.3, -0.5, 0.4]).expand(shape).to(device)):
            losses = [float(trainer.advance()["loss"].cpu()) for trainer in (whole, parts)]
        sizes.append(ranks.gather(len(parts.gaussians)))
        counts.append([len(whole.gaussians), sum(sizes[-1])])
    scenes = [trainer.gaussians.map(torch.detach).to("cpu") for trainer in (whole, parts)]
    rows = [torch.cat([tensor.reshape(len(tensor), -1) for _, tensor in scene.items()], 1) for scene in scenes]
    everything = torch.tensor([row for rank in ranks.gather(rows[1].tolist()) for row in rank])
    distances = torch.cdist(rows[0].double(), everything.double())
    farthest = float(torch.maximum(distances.min(0).values.max(), distances.min(1).values.max()))  # in either direction
    maps = [trainer.radiance.exposure.deviations.detach().cpu() for trainer in (whole, parts)]
    whole_maps, maps_of_parts = (deviations - deviations.mean(0) for deviations in maps)
    photos = {"error": error_of(maps_of_parts, whole_maps), "size": float(whole_maps.abs().max())}
    return {"counts": counts, "sizes": sizes, "losses": losses, "gaussians": farthest, "spread": float(distances.max()),
            "photos": photos}  # fmt: skip


def compare_lifts(ranks, device):
    """Differences between what parts and the whole get from five views, three of them rank 0's."""
    views, generator = tiny_scene().views, torch.Generator().manual_seed(9)
    targets = []
    for view in views[:5]:
        latents, weights = (torch.rand(32, 40, *more, generator=generator).to(device) for more in ((6,), ()))
        targets.append(FeatureTarget(view.camera.to(device), latents, weights))
    whole = tiny_gaussians().to(device)
    part = replace(whole.map(lambda tensor: tensor[own_rows(40)]), is_part=True)
    ended = []

    def own_targets():
        yield from ranks.share(targets)
        ended.append(ranks.gather(ranks.rank))  # as all ranks wait for each other there

    lifts = [_lift(scene, own_targets(), len(targets)) for scene in (whole, part)]
    errors = {
        name: error_of(getattr(lifts[1], name).cpu(), getattr(lifts[0], name)[own_rows(40)].cpu())
        for name in ("features", "weights", "agreement", "views")
    }
    return {"errors": errors, "ended": ended}


def try_small_things(ranks):
    """Places of numbers, and Gaussians that move."""
    values = torch.tensor([[0.0, 3.0, 5.0], [3.0, 1e-30, 7.0]][ranks.rank])
    own = torch.arange(10.0)[:9] if ranks.rank == 0 else torch.arange(9.0, 10.0)
    params = {"means": torch.nn.Parameter(own[:, None].repeat(1, 3))}
    optimizers = {"means": torch.optim.Adam([params["means"]], lr=0.0)}
    params["means"].grad = own[:, None].repeat(1, 3)
    optimizers["means"].step()
    state = {"grad2d": own.clone(), "count": None, "scene_scale": 1.0}
    make_even(params, optimizers, state)
    (moments,) = optimizers["means"].state.values()
    return {
        "places": [find_largest(values, place) for place in range(1, 7)],
        "own": [own_rows(7).start, own_rows(7).stop],
        "even": params["means"][:, 0].tolist(),
        "moments": (moments["exp_avg"][:, 1] / 0.1).tolist(),
        "sums": state["grad2d"].tolist(),
        "divided": [divide([9, 1], rank) for rank in range(2)],
    }


if __name__ == "__main__":
    with contextlib.ExitStack() as stack:
        if sys.argv[2] == "cuda":
            from pretended.card import pretended_card

            stack.enter_context(pretended_card())
        ranks = stack.enter_context(joined("cpu"))
        device = torch.device(sys.argv[2])
        report = {
            "pictures": {split: compare_pictures(ranks, device, split) for split in (17, 40)},
            "training": {growth: compare_trainings(ranks, device, growth) for growth in ("clones", "halves")},
            "lift": compare_lifts(ranks, device),
            "small": try_small_things(ranks),
        }
        (Path(sys.argv[1]) / f"rank_{ranks.rank}.json").write_text(json.dumps(report))
