"""A run's folder: what is where in it, and reading it back."""

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
    """The names in `runs/NAME/`."""

    path: Path

    @property
    def config(self) -> Path:
        """All options of the run, for `--config`; a folder that has it holds a run."""
        return self.path / "config.toml"

    @property
    def metrics(self) -> Path:
        """One JSON object a line."""
        return self.path / "metrics.jsonl"

    @property
    def events(self) -> Path:
        """TensorBoard's folder."""
        return self.path / "events"

    @property
    def checkpoints(self) -> Path:
        """The folder of `step_000500.pt`."""
        return self.path / "checkpoints"

    @property
    def pictures(self) -> Path:
        """Held-out views while training, photo | rendering."""
        return self.path / "pictures"

    @property
    def ply(self) -> Path:
        """The finished scene in the input's world frame."""
        return self.path / "scene.ply"

    @property
    def basis(self) -> Path:
        """What the latent features of the scene mean."""
        return self.path / "basis.safetensors"

    @property
    def masks(self) -> Path:
        """Segments of the training views, with pictures of them in `preview/`."""
        return self.path / "masks"

    @property
    def filtered(self) -> Path:
        """The teacher's maps as a filter leaves them; made anew whenever stage 2 starts."""
        return self.path / "filtered"

    @property
    def graph(self) -> Path:
        """Neighbours of the Gaussians, as the lift found them."""
        return self.path / "graph.pt"

    @property
    def demo_data(self) -> Path:
        """Where a run on the built-in scene keeps its photos."""
        return self.path / "data"


@dataclass(frozen=True)
class LoadedRun:
    """A run as far as it has come."""

    folder: Path
    config: TrainConfig
    """As it was trained; `data` is a real folder, for the built-in scene too."""
    gaussians: Gaussians
    """In the working frame, on the CPU."""
    frame: WorldFrame
    step: int
    """Finished steps."""


def load_run(folder: Path) -> LoadedRun:
    """The newest checkpoint of a run and its options; `UserError` for a folder that holds none."""
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
    """Raises `UserError` where the scene's poses are not those the run was trained on."""
    ours, theirs = ((*frame.centre, frame.scale) for frame in (run.frame, scene.frame))
    if not all(math.isclose(a, b, abs_tol=1e-5 * run.frame.scale) for a, b in zip(ours, theirs, strict=True)):
        raise UserError(
            f"{scene.root}: its camera poses are not those that {run.folder} was trained on; "
            "bring those back, or train again"
        )


def data_folder(config: TrainConfig, folder: RunFolder) -> Path:
    """Where the run's photos are: the built-in scene lies in the run's own folder."""
    return folder.demo_data if config.data == DEMO else config.data
