"""Runs read from their folders."""

from dataclasses import dataclass, replace
from pathlib import Path

from gsdff.cameras import WorldFrame
from gsdff.config.file import read_config
from gsdff.config.options import TrainConfig
from gsdff.errors import UserError, command
from gsdff.gaussians import Gaussians
from gsdff.io.checkpoint import list_checkpoints, load_checkpoint
from gsdff.run_folder import DEMO, RunFolder
from gsdff.scene import Scene


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


def load_run(folder: Path) -> LoadedRun:
    """Loads the newest checkpoint of a run and its options; raises `UserError` if the folder holds none."""
    names = RunFolder(folder)
    if not names.config.is_file():
        raise UserError(f"{folder}: expected a run's folder, with config.toml in it; `gsdff train` makes one")
    checkpoints = list_checkpoints(names.checkpoints)
    if not checkpoints:
        finish = command("train", "--out", folder, "--resume")
        raise UserError(f"{names.checkpoints}: no checkpoint yet; finish the run with `{finish}`")
    config = read_config(names.config)
    state = load_checkpoint(checkpoints[-1])
    return LoadedRun(
        folder=folder,
        config=replace(config, data=data_folder(config, names)),
        gaussians=Gaussians(**state["gaussians"], rasterize_mode=config.stage1.rasterize_mode),
        frame=WorldFrame(tuple(state["frame"]["centre"]), state["frame"]["scale"]),
        step=state["step"],
    )


def check_poses(run: LoadedRun, scene: Scene) -> None:
    """Raises `UserError` if the scene's poses are not those the run was trained on."""
    ours, theirs = ((*frame.centre, frame.scale) for frame in (run.frame, scene.frame))
    if any(abs(a - b) > 1e-5 * run.frame.scale for a, b in zip(ours, theirs, strict=True)):
        raise UserError(
            f"{scene.root}: its camera poses are not those that {run.folder} was trained on; "
            "use those photos and poses, or train again"
        )


def data_folder(config: TrainConfig, folder: RunFolder) -> Path:
    """Folder of the run's photos; the built-in scene lies in the run's own folder."""
    return folder.demo_data if config.data == DEMO else config.data
