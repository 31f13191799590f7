"""The folder of a run: names of its files, and whether a run may be written there."""

from dataclasses import dataclass
from pathlib import Path

from gsdff.errors import UserError
from gsdff.files.places import check_place
from gsdff.files.writing import check_paths

DEMO = Path("demo")
"""Value of the option `data` that stands for the built-in scene."""


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
    def exposure(self) -> Path:
        """Maps of the photos' colours, if photos were found to differ in exposure."""
        return self.path / "exposure.json"

    @property
    def poses(self) -> Path:
        """Poses of the training photos, if stage 1 has moved them."""
        return self.path / "poses.json"

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
    def things(self) -> Path:
        """Things that the masks were joined into, and the Gaussians' memberships."""
        return self.path / "things.safetensors"

    @property
    def graph(self) -> Path:
        """Neighbour graph of the Gaussians, made by the lift."""
        return self.path / "graph.pt"

    @property
    def lock(self) -> Path:
        """File that a training locks for as long as it writes into the folder."""
        return self.path / ".lock"

    @property
    def demo_data(self) -> Path:
        """Folder of the photos of a run on the built-in scene."""
        return self.path / "data"

    def check(self, *, resume: bool) -> None:
        """Raises `UserError` if a run would overwrite another, or if there is none to resume."""
        check_place(self.path, parameter="out", is_folder=True)
        holds_run = self.config.is_file()
        if holds_run and not resume:
            raise UserError(f"{self.path}: holds a run already; continue it with `resume`, or choose another `out`")
        if resume and not holds_run:
            check_paths({"out": self.path})
            raise UserError(f"{self.path}: no run to resume here (no {self.config.name}); give its folder as `out`")


def refuse_source(path: Path, source: Path) -> None:
    """Raises `UserError` if an edited scene would be written over its source, a PLY or the run in a folder."""
    if path.resolve() in (source.resolve(), RunFolder(source).ply.resolve()):
        raise UserError(f"`path` {path}: is the scene being edited; choose another name, as an edit removes for good")
