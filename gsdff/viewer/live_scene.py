"""A run that trains, as its pages see it: copies of its Gaussians, made between two steps.

Nothing here changes the trained parameters or torch's generators.
"""

import logging
from dataclasses import replace

from torch import Tensor

from gsdff.errors import UserError
from gsdff.field.field import Field
from gsdff.field.load import field_of_run
from gsdff.gaussians import Gaussians
from gsdff.io.runs import LoadedRun, RunFolder, data_folder
from gsdff.training.trainer import Trainer
from gsdff.viewer.shared_scene import SharedScene
from gsdff.viewer.training_progress import TrainingProgress

log = logging.getLogger("gsdff")

POLL_INTERVAL = 0.5
"""Seconds between two updates of the pages' numbers."""
MIN_REFRESH_INTERVAL = 2.0
"""Least number of seconds between two states of the scene on a page."""
REFRESH_SHARE = 0.1
"""Share of the time that new states of the scene may take while nobody moves."""


class LiveScene:
    """The scene of a run that trains, and its progress."""

    def __init__(self, trainer: Trainer, folder: RunFolder):
        self.trainer, self.folder = trainer, folder
        config, scene = trainer.config, trainer.scene
        self.progress = TrainingProgress(trainer.step, config.stage1.steps, trainer.total_steps, folder.metrics)
        self._run = LoadedRun(
            folder.path,
            replace(config, data=data_folder(config, folder)),
            detached_copy(trainer.gaussians),
            scene.frame,
            trainer.step,
        )
        self._field = field_of_run(self._run, trainer.device, scene=scene)
        self._has_begun_stage2 = False
        saved = folder.path / "viewer"
        self.shared = SharedScene(self._snapshot(), scene.views, scene.frame, saved, training=self.progress)

    @property
    def begins_stage2(self) -> bool:
        """Whether the Gaussians have features that the pages know nothing of."""
        has_features = self.trainer.gaussians.features is not None and self.folder.basis.is_file()
        return has_features and not self._has_begun_stage2

    @property
    def step(self) -> int:
        """Step of the state that is shown."""
        return self._run.step

    def advance(self, trainer: Trainer) -> dict[str, Tensor]:
        """Trains one step, in turn with the pages and not while paused."""
        self.progress.wait_while_paused()
        with self.shared.render_lock:
            measures = trainer.advance()
        self.progress.update(trainer.step, len(trainer.gaussians))
        return measures

    def renew(self) -> bool:
        """Takes over the present state of the Gaussians; returns whether it is newer than the last."""
        is_newer = self._take_snapshot()
        if is_newer:
            self.shared.field = self._snapshot()
        return is_newer

    def begin_stage2(self) -> None:
        """Takes over queries and the colours of features, which stay the same through stage 2."""
        self._has_begun_stage2 = True
        self._take_snapshot()
        self._field = self._open_field()
        self.shared.replace_field(self._snapshot(), self.progress)

    def end(self) -> None:
        """Turns the scene into that of a finished run."""
        self._take_snapshot()
        if not self._field.has_features:
            self._field = self._open_field()
        self.shared.replace_field(self._snapshot(), training=None)

    def _take_snapshot(self) -> bool:
        """Copies the Gaussians between two steps; returns whether they are newer than the last copy."""
        with self.shared.render_lock:
            step, gaussians = self.trainer.step, self.trainer.gaussians
            kept = self._run.gaussians
            if step == self._run.step and (gaussians.features is None) == (kept.features is None):
                return False
            self._run = replace(self._run, gaussians=detached_copy(gaussians), step=step)
            return True

    def _snapshot(self) -> Field:
        """The field with the last copy of the Gaussians."""
        gaussians = self._run.gaussians.to_input_frame(self._run.frame)
        return replace(self._field, gaussians=gaussians, run=self._run)

    def _open_field(self) -> Field:
        """The field with its features; logs once why they cannot be queried, if they cannot."""
        field = field_of_run(self._run, self.trainer.device, scene=self.trainer.scene)
        if self._run.gaussians.features is None:
            return field
        try:
            field.require_features()
            with self.shared.encoding_text():
                log.info("features of the %s teacher: the page can be queried", field.teacher.name)
        except UserError as error:
            log.info("the page cannot be queried: %s", error)
            return replace(field, basis=None, why_no_features=str(error))
        return field


def detached_copy(gaussians: Gaussians) -> Gaussians:
    """Copy of the Gaussians that the optimizer does not change."""
    return gaussians.map(lambda tensor: tensor.detach().clone())
