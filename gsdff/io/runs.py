"""Runs read from their folders."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gsdff.cameras import WorldFrame
from gsdff.config.file import flatten, read_config, read_table, to_table
from gsdff.config.options import TrainConfig
from gsdff.errors import UserError, command
from gsdff.gaussians import Gaussians, keep_drawable
from gsdff.io.checkpoint import load_newest
from gsdff.io.dataset_summary import changed_poses
from gsdff.run_folder import DEMO, RunFolder
from gsdff.scene import Scene
from gsdff.stored_photo import UPRIGHT, is_transposed

log = logging.getLogger("gsdff")

FREE_KEYS = {
    "origin", "device", "log_every", "picture_every", "checkpoint_every", "shard", "dataset.memory",
    "dataset.allow_outside", "dataset.poses",
}  # fmt: skip
"""Options that a resumed run may change; poses that become others by `dataset.poses` are noticed as such."""
MADE_FROM = "dataset.made_from"
PLACES = {
    "data", "out", "stage1_from", "teacher.maps", "teacher.checkpoint", "teacher.pretrained", "teacher.labels",
    "features.cache", "masks.folder", "masks.checkpoint",
}  # fmt: skip
"""Options that say where files lie, which may be moved after the training."""
MOVABLE = PLACES - {"out", "stage1_from"}
"""Those that may be moved before a run is resumed, if they hold the same."""


@dataclass(frozen=True)
class LoadedRun:
    """A run at its newest checkpoint."""

    folder: Path
    config: TrainConfig
    """Options of the training; `data` is a real folder, for the built-in scene too."""
    gaussians: Gaussians
    """Gaussians in the working frame, on the CPU."""
    frame: WorldFrame
    step: int
    """Number of finished steps."""
    says_made_from: bool = True
    """Whether its config.toml has `dataset.made_from`, which earlier versions did not write."""
    says_poses: bool = True
    """The same of `dataset.poses`."""
    dataset: Any = None
    """The photos that it was trained on, in short (`gsdff.io.dataset_summary`); None in runs of earlier versions."""


def load_run(folder: Path) -> LoadedRun:
    """Loads the newest checkpoint of a run and its options; raises `UserError` if the folder holds none."""
    names = RunFolder(folder)
    if not names.config.is_file():
        raise UserError(f"{folder}: expected a run's folder, with config.toml in it; `gsdff train` makes one")
    config = read_config(names.config)
    state = load_newest(names.checkpoints)
    if state is None:
        finish = command("train", "--out", folder, "--resume")
        raise UserError(f"{names.checkpoints}: no checkpoint yet; finish the run with `{finish}`")
    for key, (before, now) in changed_options(config, state.get("config")).items():
        if key not in PLACES and before is not None:
            raise UserError(
                f"{names.config}: {key} is {str(now)[:80]}, and was {str(before)[:80]} when the run was trained; "
                "put it back"
            )
    gaussians = Gaussians(**state["gaussians"], rasterize_mode=config.stage1.rasterize_mode)
    return LoadedRun(
        folder=folder,
        config=replace(config, data=data_folder(config, names)),
        gaussians=keep_drawable(gaussians, folder),
        frame=WorldFrame(tuple(state["frame"]["centre"]), state["frame"]["scale"]),
        step=state["step"],
        says_made_from=says(names, "made_from"),
        says_poses=says(names, "poses"),
        dataset=state.get("dataset"),
    )


def says(folder: RunFolder, name: str) -> bool:
    """Whether a run's file of options has one of `DataConfig`; those of earlier versions lack newer ones."""
    return name in (read_table(folder.config).get("dataset") or {})


def warn_of_assumption(folder: Path, scene: Scene) -> None:
    """Warns that files of photos are taken to show the stored photos, if that makes a difference.

    For runs of earlier versions, which took all such files as they were.
    """
    changed = sum(view.stored is not None for view in scene.views)
    if changed:
        log.warning(
            "%s: its options are of an earlier version and do not say what label images, masks and teacher maps were "
            "made from; taking them as made from the stored photos, so that those of %d photos are undistorted or "
            "turned; if they show undistorted, upright photos, set `dataset.made_from` to views", folder, changed,
        )  # fmt: skip


def warn_of_turned_poses(folder: Path, scene: Scene) -> None:
    """Warns if poses are found to be those of turned photos by what earlier versions did not look at.

    For runs of earlier versions, which went by the sides of the cameras' images alone.
    """
    turned = [(view.name, view.stored) for view in scene.views if view.stored and view.stored.turn_before != UPRIGHT]
    are_told_by_sides = any(
        is_transposed(stored.turn_before) and not stored.is_shape_of_file(stored.height, stored.width)
        for _, stored in turned
    )
    if turned and not are_told_by_sides:
        log.warning(
            "%s: its options are of an earlier version, which took the poses of %d photos, such as %s, for those of "
            "the photos as stored; they are those of the photos as EXIF turns them, so it was trained with wrong "
            "cameras: train again", folder, len(turned), turned[0][0],
        )  # fmt: skip


def changed_options(config: TrainConfig, trained: Any) -> dict[str, tuple[Any, Any]]:
    """Options that differ from those in a checkpoint, by dotted key, as they were and are now; not `FREE_KEYS`.

    None is an option without a value. One that there was not yet, as in runs of earlier versions, had its default;
    but those never said what files of photos show, so that this may be said now.
    """
    defaults = dict(flatten(to_table(TrainConfig())))
    now, before = dict(flatten(to_table(config))), dict(flatten(trained if isinstance(trained, dict) else {}))
    unsaid = {MADE_FROM} - before.keys()
    keys = sorted((now.keys() | before.keys()) - FREE_KEYS - unsaid) if before else []
    pairs = {key: (before.get(key, defaults.get(key)), now.get(key)) for key in keys}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def check_poses(run: LoadedRun, scene: Scene) -> None:
    """Raises `UserError` if the scene's poses are not those the run was trained on."""
    if not have_same_frame(run.frame, scene.frame):
        raise UserError(
            f"{scene.root}: its camera poses are not those that {run.folder} was trained on; "
            "use those photos and poses, or train again"
        )
    if changed := changed_poses(run.dataset, scene):
        raise UserError(
            f"{scene.root}: {len(changed)} of {len(scene.views)} photos (such as {changed[0]}) have other camera poses "
            f"than {run.folder} was trained with; use those photos and poses, or train again. If EXIF turns photos, "
            "the other one of `dataset.poses` stored and turned may be right"
        )


def have_same_frame(frame: WorldFrame, other: WorldFrame) -> bool:
    """Whether two frames are of the same poses."""
    ours, theirs = ((*each.centre, each.scale) for each in (frame, other))
    return all(abs(a - b) <= 1e-5 * frame.scale for a, b in zip(ours, theirs, strict=True))


def data_folder(config: TrainConfig, folder: RunFolder) -> Path:
    """Folder of the run's photos; the built-in scene lies in the run's own folder."""
    return folder.demo_data if config.data == DEMO else config.data
