"""What tests/training/test_stage2_in_parts.py looks at: features of two ranks that hold a part of the Gaussians each.

    torchrun ... job_of_stage2_in_parts.py FOLDER cpu|cuda    # cuda is the pretended card

Graphs, and stage 2 with several options, are compared with those of ranks that hold the whole, as every rank does here.
"""

import contextlib
import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from job_settings import CONFIG, write_maps
from job_with_parts import error_of, make_calm_adam
from PIL import Image
from tiny_scene import HEIGHT, WIDTH, tiny_gaussians, tiny_scene

from gsdff.config.options import FeatureConfig, TeacherConfig
from gsdff.config.smoothing import (
    BordersConfig,
    GraphConfig,
    MaskConfig,
    SegmentFilterConfig,
    SmoothingConfig,
    ThingsConfig,
)
from gsdff.io.checkpoint import PART, snapshot
from gsdff.ranks import joined
from gsdff.run_folder import RunFolder
from gsdff.smoothing import build_graph, diffuse
from gsdff.things.store import load_things
from gsdff.training.graph_file import build_or_load_graph
from gsdff.training.initialise import initial_gaussians
from gsdff.training.pace import Pace
from gsdff.training.parts import own_rows
from gsdff.training.trainer import Trainer

SIGMAS = {"sigma_space": 1.0, "sigma_color": 0.5, "sigma_feature": 1.0}
SETTINGS = {
    "the default": SmoothingConfig(),
    "rendered masks": SmoothingConfig(
        graph=GraphConfig("consistency", neighbours=5), sam=SegmentFilterConfig("target")
    ),
    "things": SmoothingConfig(things=ThingsConfig("target", borders=BordersConfig(rounds=2, steps=4))),
}


def compare_graphs(ranks, device, num, split, size=1):
    """Errors of diffused features and their gradients in parts that are cut at `split`; rows of this rank's graph."""
    generator = torch.Generator().manual_seed(4)
    whole = tiny_gaussians(num, sh_degree=0)
    whole.means *= size
    features, cotangent = (torch.randn(num, 6, generator=generator) for _ in range(2))
    features[::7] = 0
    reliability = torch.rand(num, generator=generator)
    rows = slice(*[0, split, num][ranks.rank :][:2])
    found = []
    for gaussians, own in ((whole, slice(num)), (whole.map(lambda tensor: tensor[rows]), rows)):
        gaussians = replace(gaussians.to(device), is_part=own == rows)
        z = features[own].clone().to(device).requires_grad_()
        graph = build_graph(gaussians, features=z.detach(), **SIGMAS)
        diffused = diffuse(z, graph, 3) + diffuse(z, graph.weighed(reliability[own].to(device)), 1)
        diffused.backward(cotangent[own].to(device))
        found.append((diffused.detach().cpu(), z.grad.cpu()))
    errors = [error_of(part, all_[rows]) if part.numel() else 0 for all_, part in zip(*found, strict=True)]
    halo = graph.spread.halo
    return {"errors": errors, "home": len(graph.ids), "halo": sum(halo.num_came), "weights": list(graph.weights.shape)}


def compare_features(ranks, device, folder, name):
    """Errors of stage 2 in parts, and of what it writes; its sizes; whether a resumed one has the same bits."""
    folder.mkdir(parents=True, exist_ok=True)
    smoothing = SETTINGS[name]
    config = replace(
        CONFIG,
        stage1=replace(CONFIG.stage1, steps=0),
        stage2=replace(CONFIG.stage2, parts=1),  # on a card strips of the whole are cut out of another projection
        teacher=TeacherConfig("precomputed", folder.parent / "maps"),
        features=FeatureConfig(3),
        masks=make_masks(folder) if name == "things" else MaskConfig(name="felzenszwalb"),
        smoothing=smoothing,
    )
    initial = tiny_gaussians()
    initial.quats[::8] = torch.tensor([1.0, 0, 0, 0])
    initial.log_scales[::8, 1] = -1.2
    initial.means[::8, 1] *= 0.2  # these are across the border of the masks
    whole, part = (start(replace(config, shard=shard), device, initial, folder) for shard in ("none", "gaussians"))
    for _ in range(2):
        losses = [float(trainer.advance()["loss"].cpu()) for trainer in (whole, part)]
    again = Trainer(part.config, tiny_scene(), device, initial)
    again.load_state_dict(part.step, snapshot(part.state_dict()) | {PART: (ranks.rank, 2)})
    again.start_stage2(RunFolder(folder / "gaussians"))
    for trainer in (whole, part, again):
        trainer.advance()
    tables = [table_of(trainer) for trainer in (whole, part, again)]
    everything = torch.cat(ranks.gather(tables[1]))
    distances = torch.cdist(tables[0].double(), everything.double())
    report = {
        "counts": [len(tables[0]), len(everything)],
        "losses": losses,
        "error": float(torch.maximum(distances.min(0).values.max(), distances.min(1).values.max())),
        "spread": float(distances.max()),
        "own": len(part.gaussians),
        "resumed": torch.equal(tables[1], tables[2]),
        "masks": [read_all(folder / shard / "masks") for shard in ("none", "gaussians")],
    }
    if smoothing.graph.form == "consistency":
        features = part.gaussians.features.detach()
        graphs = [
            build_or_load_graph(RunFolder(folder / shard).graph, smoothing.graph, part.gaussians, None)
            for shard in ("none", "gaussians")
        ]
        report["graphs"] = error_of(*(diffuse(features, graph, 1).cpu() for graph in graphs))
        files = [torch.load(RunFolder(folder / shard).graph, weights_only=True) for shard in ("none", "gaussians")]
        report["files"] = [error_of(*(file[key].double() for file in files)) for key in ("ids", "weights")]
    if smoothing.things.form != "off":
        things = [load_things(RunFolder(folder / shard).things, len(everything)) for shard in ("none", "gaussians")]
        report["things"] = [
            [len(each), each.sizes.sort().values.tolist(), each.instance_ids.bincount().tolist()] for each in things
        ]
    return report


def make_masks(folder):
    """Masks of the upper and the lower half of every photo."""
    labels = np.ones((HEIGHT, WIDTH), np.uint16)
    labels[HEIGHT // 2 :] = 2
    for view in tiny_scene().views:
        Image.fromarray(labels).save(folder / f"{view.stem}.png")
    return MaskConfig("precomputed", folder, min_area=1)


def compare_initial(ranks):
    """Whether this rank's initial Gaussians have the bits of the same rows of all, of some and of all points."""
    scene, found = tiny_scene(), []
    for most in (25, 100):
        config = replace(CONFIG, stage1=replace(CONFIG.stage1, max_gaussians=most))
        whole, part = (initial_gaussians(replace(config, shard=shard), scene) for shard in ("none", "gaussians"))
        own = whole.map(lambda tensor: tensor[own_rows(len(tensor))])
        found.append(all(torch.equal(a, b) for (_, a), (_, b) in zip(own.items(), part.items(), strict=True)))
        found.append(len(part) < 0.6 * len(whole))
    return found


def start(config, device, initial, folder):
    """A trainer at the start of stage 2."""
    run = RunFolder(folder / config.shard)
    run.path.mkdir(exist_ok=True)
    trainer = Trainer(config, tiny_scene(), device, initial)
    trainer.start_stage2(run)
    return trainer


def table_of(trainer):
    """All attributes of the Gaussians, and their reliability."""
    return torch.cat([tensor.detach().cpu().reshape(len(tensor), -1) for _, tensor in trainer.result.items()], 1)


def read_all(folder):
    """Names and checksums of the label maps."""
    return [[path.name, hashlib.sha256(path.read_bytes()).hexdigest()] for path in sorted(folder.glob("*.png"))]


if __name__ == "__main__":
    with contextlib.ExitStack() as stack:
        if sys.argv[2] == "cuda":
            from pretended.card import pretended_card

            stack.enter_context(pretended_card())
        ranks = stack.enter_context(joined("cpu"))
        folder, device = Path(sys.argv[1]), torch.device(sys.argv[2])
        if ranks.is_first:
            write_maps(folder)
        ranks.wait()
        stack.enter_context(mock.patch.object(Pace, "make_adam", make_calm_adam))
        report = {
            "graphs": {
                f"{num}, cut at {split}": compare_graphs(ranks, device, num, split)
                for num, split in ((3000, 1000), (40, 40), (12, 3))
            },
            "at one place": compare_graphs(ranks, device, 12, 3, size=0),
            "initial": compare_initial(ranks),
            "features": {name: compare_features(ranks, device, folder / name, name) for name in SETTINGS},
        }
        (folder / f"rank_{ranks.rank}.json").write_text(json.dumps(report))
