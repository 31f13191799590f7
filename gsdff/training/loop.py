"""The training loop: step by step through both stages, with lines, pictures and checkpoints."""

from collections.abc import Callable

from torch import Tensor

from gsdff.io.checkpoint import save_checkpoint, snapshot
from gsdff.io.runs import RunFolder
from gsdff.training.logger import TrainingLogger
from gsdff.training.pace import is_due
from gsdff.training.parts import save_own_part
from gsdff.training.trainer import Trainer


def train(
    trainer: Trainer,
    logger: TrainingLogger,
    folder: RunFolder,
    advance: Callable[[Trainer], dict[str, Tensor]] = lambda trainer: trainer.advance(),
) -> None:
    """Runs both stages from the trainer's step to the end; logs every step, and saves checkpoints behind it.

    `advance` does one step; a viewer passes one that waits while the run is paused (`gsdff.viewer.wire.live`).
    """
    config = trainer.config

    def run_until(last_step: int) -> None:
        while (before := trainer.step) < last_step:
            scalars = advance(trainer)
            logger.add(trainer.step, trainer.gaussians, scalars)
            if is_due(before, trainer.step, config.checkpoint_every) or trainer.step == last_step:
                save()

    def save() -> None:
        logger.check_finite(trainer.step, trainer.gaussians)
        if trainer.is_part:
            save_own_part(trainer.state_dict() | {"report": logger.state_dict()}, trainer.step, folder.checkpoints)
            return
        if not trainer.pace.ranks.is_first:
            return
        state = snapshot(trainer.state_dict() | {"report": logger.state_dict()})
        logger.writer.write(save_checkpoint, folder.checkpoints, trainer.step, state)
        if config.masks.refresh:  # the next step may make other masks, which belong to this checkpoint
            logger.writer.wait()

    run_until(config.stage1.steps)
    is_resumed_in_stage2 = trainer.gaussians.features is not None
    trainer.start_stage2(folder)
    run_until(trainer.total_steps)

    has_lifted = trainer.gaussians.features is not None and not is_resumed_in_stage2
    if has_lifted and trainer.step == config.stage1.steps:
        save()  # stage 2 has no steps, so that no step has saved the lifted features
    if trainer.total_steps == 0:
        logger.write_line(0, trainer.gaussians, {"heldout_psnr": logger.score_held_out(0, trainer.gaussians)})
