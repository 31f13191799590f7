"""Folders of training runs: paths of their files, and loading a run."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

from gsdff.cameras import WorldFrame
from gsdff.config.file import read_config
from gsdff.config.options import DEMO, TrainConfig
from gsdff.errors import UserError
from gsdff.gaussians import Gaussians
from gsdff.io.checkpoint import list_checkpoints, load_checkpoint
from gsdff.scene import Scene


@dataclass(frozen=True)
class RunFolder:
    """Paths of the files in `runs/NAME/`."""

    path: Path

    @property
    def config(self) -> Path:
        """File of all options of the run, for `--config`; a folder with this file holds a run."""
        return self.path / "config.toml"

    @property
    def metrics(self) -> Path:
        """Training metrics, one JSON object per line."""
        return self.path / "metrics.jsonl"

    @property
    def events(self) -> Path:
        """Folder of TensorBoard's event files."""
        return self.path / "events"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints `step_000500.pt`."""
        return self.path / "checkpoints"

    @property
    def pictures(self) -> Path:
        """Folder of held-out views during training, photo | rendering."""
        return self.path / "pictures"

    @property
    def ply(self) -> Path:
        """PLY of the finished scene, in the input's world frame."""
        return self.path / "scene.ply"

    @property
    def basis(self) -> Path:
        """Basis of the scene's latent features."""
        return self.path / "basis.safetensors"

    @property
    def masks(self) -> Path:
        """Folder of the training views' segments, with pictures of them in `preview/`."""
        return self.path / "masks"

    @property
    def filtered(self) -> Path:
        """Folder of the teacher's maps after filtering; recomputed whenever stage 2 starts."""
        return self.path / "filtered"

    @property
    def graph(self) -> Path:
        """Neighbour graph of the Gaussians, made by the lift."""
        return self.path / "graph.pt"

    @property
    def demo_data(self) -> Path:
        """Folder of the photos of a run on the built-in scene."""
        return self.path / "data"


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
        raise UserError(f"{folder}: expected a run's folder, with config.toml in it; `python -m gsdff.train` makes one")
    checkpoints = list_checkpoints(names.checkpoints)
    if not checkpoints:
        raise UserError(f"{names.checkpoints}: no checkpoint yet; finish the run with --resume")
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
    if not all(math.isclose(a, b, abs_tol=1e-5 * run.frame.scale) for a, b in zip(ours, theirs, strict=True)):
        raise UserError(
            f"{scene.root}: its camera poses are not those that {run.folder} was trained on; "
            "bring those back, or train again"
        )


def data_folder(config: TrainConfig, folder: RunFolder) -> Path:
    """Folder of the run's photos; the built-in scene lies in the run's own folder."""
    return folder.demo_data if config.data == DEMO else config.data
