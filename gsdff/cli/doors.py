"""Table of the doors: the commands `gsdff train`, `gsdff view` and so on, with their help texts."""

from collections.abc import Container
from dataclasses import dataclass


@dataclass(frozen=True)
class Door:
    """One command: `gsdff NAME`, or `python -m gsdff.NAME`."""

    name: str
    """Name of the command and of its module in `gsdff`."""
    arguments: str
    """Name of the dataclass of its options in that module."""
    line: str
    """Summary in one line."""
    examples: tuple[str, ...]
    """Command lines that work as they stand, given the files they name."""
    common: tuple[str, ...] = ()
    """Parameters that `--help` lists, by dotted name; empty for all. `--help-all` lists all."""


DOORS = {
    door.name: door
    for door in (
        Door(
            "prepare",
            "PrepareArguments",
            "Find the camera poses of a folder of photos (structure from motion).",
            (
                "gsdff prepare --images my_photos",
                "gsdff prepare --images my_video_frames --matcher sequential",
                "gsdff prepare --images my_photos --out my_scene --camera-model SIMPLE_RADIAL",
            ),
        ),
        Door(
            "train",
            "TrainArguments",
            "Train a scene of 3D Gaussians, and its features, on photos with poses.",
            (
                "gsdff train --data demo",
                "gsdff train --data my_photos_scene --teacher clip --minutes 5",
                "gsdff train --out runs/my_photos_scene --resume",
            ),
            (
                "data", "out", "minutes", "resume", "viewer", "config", "device", "seed", "dataset.downscale",
                "stage1.steps", "stage1.max_gaussians", "stage1_from", "stage2.steps", "teacher.name", "teacher.maps",
                "teacher.checkpoint", "teacher.model", "teacher.pretrained", "features.dim", "masks.name",
                "masks.checkpoint", "masks.folder", "smoothing.sam.form", "checkpoint_every",
            ),
        ),
        Door(
            "view",
            "ViewArguments",
            "Look at a scene in the browser: query, select and edit it.",
            (
                "gsdff view runs/demo",
                "gsdff view runs/my_photos_scene/scene.ply --data my_photos_scene",
                "gsdff view runs/demo --host 0.0.0.0 --port 9000",
            ),
        ),
        Door(
            "query",
            "QueryArguments",
            "Query a scene by words or examples: scores, pictures and selections.",
            (
                "gsdff query runs/demo --text cup --out cup.png",
                "gsdff query runs/demo --classes cup plate table --view 0 --out classes.png",
                "gsdff query runs/demo --pixel view_000.png 120 90 --selection thing.safetensors",
            ),
            (
                "run", "text", "negative", "classes", "pixel", "box", "gaussian", "image", "method", "threshold",
                "space", "view", "data", "out", "selection", "device",
            ),
        ),
        Door(
            "edit",
            "EditArguments",
            "Delete, recolour, move or otherwise edit things in a scene.",
            (
                "gsdff edit runs/demo --delete cup",
                'gsdff edit runs/demo --recolor "table:#2a6fdb" --views 0 --out blue.ply',
                "gsdff edit runs/demo --edits blue.toml --out again.ply",
            ),
        ),
        Door(
            "segment",
            "SegmentArguments",
            "Segment all photos and Gaussians of a scene by classes.",
            (
                "gsdff segment runs/demo --classes table sofa wall floor",
                "gsdff segment runs/demo --classes table sofa wall floor --space 3d --all-held-out",
                "gsdff segment runs/my_photos_scene --classes chair table floor --out labelled",
            ),
        ),
        Door(
            "objects",
            "ObjectsArguments",
            "List the things of a scene: names, places, sizes, pictures.",
            (
                "gsdff objects runs/my_photos_scene",
                "gsdff objects runs/my_photos_scene --classes chair table floor",
                "gsdff objects runs/my_photos_scene --all-held-out --out my_things",
            ),
        ),
        Door(
            "evaluate",
            "EvaluateArguments",
            "Score a run: PSNR, SSIM, LPIPS and its features.",
            (
                "gsdff evaluate runs/demo",
                "gsdff evaluate runs/my_photos_scene --classes chair table floor",
                "gsdff evaluate runs/teatime --benchmark lerf-ovs --labels label/teatime",
            ),
            ("run", "labels", "classes", "download", "benchmark", "data"),
        ),
        Door(
            "export",
            "ExportArguments",
            "Write a scene as a PLY, compressed PLY or .splat for other programs.",
            (
                "gsdff export runs/demo",
                "gsdff export runs/demo --format compressed --out demo.ply",
                "gsdff export runs/my_photos_scene --features decoded --out wide.ply",
            ),
        ),
    )
}  # fmt: skip
"""Every door by its name, in the order of use."""


FOREIGN_OPTIONS: dict[str, tuple[str, ...]] = {
    "--iterations --num-iterations --max-iterations --max-num-iterations --iters": ("stage1.steps stage2.steps",),
    "--steps --num-steps --max-steps": ("stage1.steps stage2.steps",),
    "--source-path -s --data-dir --dataset --dataset-path": ("data images",),
    "--image-path --images": ("images image", "data"),
    "--input": ("run", "data images"),
    "--model-path -m": ("run", "out"),
    "--load-dir --load-config --ckpt --start-checkpoint": ("run", "resume"),
    "--ply": ("run", "stage1_from"),
    "--result-dir --output-dir --output-path --output -o": ("out",),
    "--resolution -r --factor --data-factor --downscale-factor": ("dataset.downscale",),
    "--white-background -w --random-background": ("dataset.background",),
    "--init-num-pts": ("dataset.random_points",),
    "--sh-degree": ("stage1.sh_degree",),
    "--sh-degree-interval": ("stage1.sh_interval",),
    "--lambda-dssim --ssim-lambda": ("stage1.ssim_weight",),
    "--densify-from-iter": ("stage1.refine_start",),
    "--densify-until-iter": ("stage1.refine_stop",),
    "--densification-interval": ("stage1.refine_every",),
    "--opacity-reset-interval": ("stage1.reset_every",),
    "--densify-grad-threshold": ("stage1.grow_grad2d",),
    "--cap-max": ("stage1.max_gaussians",),
    "--antialiased --antialiasing": ("stage1.rasterize_mode",),
    "--position-lr-init --means-lr": ("rates.means",),
    "--feature-lr": ("rates.sh0 rates.shN",),
    "--opacity-lr": ("rates.logit_opacities",),
    "--scaling-lr": ("rates.log_scales",),
    "--rotation-lr": ("rates.quats",),
    "--save-iterations --save-steps --checkpoint-iterations": ("checkpoint_every",),
    "--test-iterations --eval-steps": ("picture_every",),
    "--foundation-model -f": ("teacher.name",),
    "--feature-dim": ("features.dim",),
    "--sam-checkpoint": ("masks.checkpoint",),
    "--ip --host": ("host", "viewer_host"),
    "--port": ("viewer_port",),
    "--data-device --gpu --cuda": ("device",),
    "--query --positives": ("text",),
    "--negatives": ("negative",),
    "--edit-config": ("edits",),
}
"""Options of other programs (3DGS, Feature 3DGS, gsplat, nerfstudio) and the parameters that take their place here.

A door offers the parameters of the first string of which it has any.
"""


def find_own_names(option: str, parameters: Container[str]) -> list[str]:
    """Parameters, of those a door has, that take the place of another program's option; empty if it is unknown."""
    for names, groups in FOREIGN_OPTIONS.items():
        if option in names.split():
            found = ([name for name in group.split() if name in parameters] for group in groups)
            return next(filter(None, found), [])
    return []


NEEDLESS_OPTIONS = {
    "--eval": "every 8th photo, or the dataset's own test split, is held out and scored in any case",
    "--test-every": "every 8th photo, or the dataset's own test split, is held out and scored in any case",
    "--disable-viewer": "there is no viewer without --viewer",
    "--quiet": "progress goes to stderr; add 2>/dev/null to hide it",
}
"""Options of other programs that need none here, and the reason."""
