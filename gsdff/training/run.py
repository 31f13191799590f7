"""Runs: their options completed, their folder kept, both stages trained, and the finished scene written."""

import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from filelock import FileLock, Timeout
from torch import Tensor

from gsdff.config.file import absolute, find_preset, read_config, read_presets, write_config
from gsdff.config.options import TrainConfig
from gsdff.config.smoothing import needs_segments
from gsdff.config.unread import leave_out_unread, refuse_unread
from gsdff.data import load_scene
from gsdff.device import choose_device
from gsdff.errors import UserError, command
from gsdff.files.places import make_folder
from gsdff.files.reading import reading
from gsdff.files.writing import discard, together
from gsdff.io.checkpoint import REMEDY, join_parts, list_checkpoints, load_newest
from gsdff.io.ply import write_ply
from gsdff.io.refined_poses import at_poses, write_poses
from gsdff.io.runs import data_folder, says, warn_of_assumption, warn_of_turned_poses
from gsdff.io.sidecar import sidecar_path
from gsdff.masks import choose_segmenter
from gsdff.origin import resolve_origin, warn_if_coarse
from gsdff.ranks import this_job
from gsdff.run_folder import DEMO, RunFolder
from gsdff.scene import Scene
from gsdff.training.budget import check_minutes, fit_schedule
from gsdff.training.feature_loss import check_features
from gsdff.training.initialise import initial_gaussians
from gsdff.training.logger import TrainingLogger, last_line
from gsdff.training.loop import train
from gsdff.training.parts import shares_gaussians
from gsdff.training.pose_search import find_poses
from gsdff.training.rank_checks import check_ranks, check_shared, check_step
from gsdff.training.resume import check_same_data, check_same_options
from gsdff.training.trainer import Trainer
from gsdff.weights import is_downloaded

log = logging.getLogger("gsdff")


class Watcher(Protocol):
    """A viewer of a run that trains (`gsdff.viewer.wire.live`)."""

    def advance(self, trainer: Trainer) -> dict[str, Tensor]:
        """Does one step of the training, when it is not paused."""
        ...

    def stay(self) -> None:
        """Shows the finished scene until it is interrupted."""
        ...


Watch: TypeAlias = Callable[[Trainer, RunFolder], AbstractContextManager[Watcher]]


def train_run(
    config: TrainConfig, *, resume: bool = False, minutes: float | None = None, watch: Watch | None = None
) -> RunFolder:
    """Trains a run from its start or from its newest checkpoint, and writes its scene.ply; prints the result.

    With `minutes` the schedule is scaled so that training takes about as long (`gsdff.training.budget`).

    The options are complete (`complete`). `watch` opens a viewer, which also shows the finished scene. Raises
    `UserError` for options that contradict one another, for data that cannot be read, and if a run would overwrite
    another or resume with other options.

    All ranks of a job call it and train together (`gsdff.ranks`); the first one writes.
    """
    config.check()
    if minutes is not None:
        if resume:
            raise UserError("`minutes`: a run that is resumed keeps its schedule; leave it out")
        check_minutes(config, minutes)
    if not resume:  # a run of an earlier version may have some
        refuse_unread(config)
    folder = RunFolder(config.run_folder)
    config = replace(config, out=None)  # a run does not depend on where it is kept
    folder.check(resume=resume)
    ranks = this_job()
    state = load_newest(folder.checkpoints, (ranks.rank, ranks.world_size) if shares_gaussians(config) else None)
    if state is not None:
        check_same_options(config, state.get("config"), folder)
    _make_demo_scene(config, folder)
    scene = load_scene(data_folder(config, folder), config.dataset)
    if resume and config.dataset.made_from == "photos" and not says(folder, "made_from"):
        warn_of_assumption(folder.path, scene)
    if resume and config.dataset.poses == "auto" and not says(folder, "poses"):
        warn_of_turned_poses(folder.path, scene)
    if state is not None:
        check_same_data(scene, state, folder)
    check_features(config, scene)
    if minutes is not None:
        chosen = fit_schedule(config, scene, choose_device(config.device), minutes)
        if chosen.dataset != config.dataset:
            scene = load_scene(data_folder(chosen, folder), chosen.dataset)
        config = chosen
    check_ranks(config, scene)
    check_step(state["step"] if state else 0)
    make_folder(folder.path)
    check_shared(folder)
    with _alone(folder, resume=resume):
        if this_job().is_first:
            write_config(folder.config, config)
        this_job().wait()
        try:
            _run(config, scene, folder, state, watch)
        except UserError:
            if this_job().is_first and not resume and not list_checkpoints(folder.checkpoints):
                folder.config.unlink()  # refused before the first step: nothing to resume
            raise
        except OSError as error:
            error.filename = error.filename or str(folder.path)  # a write that fails does not know its file's name
            raise
        except KeyboardInterrupt:
            log.info("stopped; continue with: %s", command("train", "--out", folder.path, "--resume"))
            raise
    return folder


@contextmanager
def _alone(folder: RunFolder, *, resume: bool) -> Iterator[None]:
    """Keeps other trainings out of the folder; raises `UserError` if there is one."""
    if not this_job().is_first:
        yield
        return
    lock = FileLock(folder.lock)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UserError(
            f"{folder.path}: another training writes into it now; wait for its end, or choose another `out`"
        ) from error
    try:
        folder.check(resume=resume)  # another may have ended since
        yield
    finally:
        folder.lock.unlink(missing_ok=True)
        lock.release()


def options_below(given: TrainConfig, *, resume: bool, presets: Sequence[str] = ()) -> TrainConfig:
    """Options that those given are laid over: of TOML files or presets, over those of the run resumed or started from,
    or over the preset of the device."""
    return read_presets(presets, _options_below_files(given, resume=resume))


def complete(options: TrainConfig) -> TrainConfig:
    """Options with absolute paths, and with names in place of `auto` for teacher and masks."""
    options = replace(absolute(options), out=options.out)
    if options.stage1_from is not None:
        options = replace(options, stage1=replace(options.stage1, steps=0))
    teacher = replace(options.teacher, name=_choose_teacher(options))
    if teacher.pretrained is not None and Path(teacher.pretrained).is_file():  # otherwise a tag
        teacher = replace(teacher, pretrained=os.path.abspath(teacher.pretrained))
    masks = options.masks
    if needs_segments(options.smoothing):
        masks = replace(masks, name=choose_segmenter(masks))
    options = replace(options, teacher=teacher, masks=masks)
    if options.stage1_from is not None and (begun := RunFolder(options.stage1_from)).config.is_file():
        options = leave_out_unread(options, read_config(begun.config))
    return options


def _run(
    config: TrainConfig, scene: Scene, folder: RunFolder, state: dict[str, Any] | None, watch: Watch | None
) -> None:
    device = choose_device(config.device)
    size = f"{scene.views[0].camera.width}x{scene.views[0].camera.height}"
    log.info(
        "%s: %d training views and %d held out, %s pixels, %d points; teacher %s; training on %s into %s",
        scene.root, len(scene.train_ids), len(scene.test_ids), size, len(scene.points), config.teacher.name,
        device.type, folder.path,
    )  # fmt: skip
    trainer = Trainer(config, scene, device, initial_gaussians(config, scene))
    if config.stage1_from is not None:
        _take_over_photos(trainer, RunFolder(config.stage1_from))
    if state is None:
        find_poses(trainer)
    with ExitStack() as page:
        with TrainingLogger(config, scene, folder, state["step"] if state else 0, trainer.total_steps) as logger:
            if state is not None:
                with reading(folder.checkpoints, "the state of a training", REMEDY):
                    trainer.load_state_dict(state["step"], state)
                    logger.load_state_dict(state["report"], device)
                log.info("continuing after step %d of %d", trainer.step, trainer.total_steps)
            if watch is not None and trainer.is_part:
                raise UserError("`viewer`: shows whole scenes only; leave it out, or train without `shard`")
            watcher = None if watch is None or not this_job().is_first else page.enter_context(watch(trainer, folder))
            train(trainer, logger, folder, Trainer.advance if watcher is None else watcher.advance)
        if this_job().is_first:
            _finish(trainer, scene, folder)
        if watcher is not None:
            watcher.stay()


def _take_over_photos(trainer: Trainer, begun: RunFolder) -> None:
    """Takes what stage 1 has found out about the photos, for a stage 2 that continues it."""
    if begun.exposure.is_file():
        trainer.radiance.exposure.read(begun.exposure)
    if begun.poses.is_file():
        trainer.see_from(at_poses(trainer.scene, begun.poses))


def _finish(trainer: Trainer, scene: Scene, folder: RunFolder) -> None:
    """Writes scene.ply and prints the result."""
    shutil.rmtree(folder.filtered, ignore_errors=True)  # large, and made anew whenever stage 2 starts
    gaussians = trainer.result.to("cpu")
    if trainer.is_part:
        gaussians = replace(gaussians, **join_parts(folder.checkpoints)["gaussians"], is_part=False)
    origin = resolve_origin(trainer.config.origin, scene.frame.origin)
    warn_if_coarse(scene.frame.centre, 2 * scene.frame.scale, origin)
    trainer.radiance.exposure.write(folder.exposure)
    if trainer.has_moved_photos:
        write_poses(folder.poses, trainer.scene)
    with together(folder.ply):
        write_ply(folder.ply, gaussians.to_input_frame(scene.frame, origin))
        discard(sidecar_path(folder.ply))  # of an export before this training
    last = last_line(folder.metrics)
    seconds, score = last.get("seconds"), last.get("heldout_psnr")
    time = f" in {seconds:.0f} s" if isinstance(seconds, float | int) else ""
    print(f"{folder.ply}: {len(gaussians):,} Gaussians after {trainer.step:,} steps{time}")
    if isinstance(score, float | int):
        print(f"held-out views: PSNR {score:.2f} dB, pictures in {folder.pictures}")
    if gaussians.features is None:
        next_stage = command("train", "--stage1-from", folder.path, "--teacher", "clip")
        print(f"no features yet: {next_stage} (or lseg, dino, ...)")
    print(f"next: {command('evaluate', folder.path)}")


def _options_below_files(given: TrainConfig, *, resume: bool) -> TrainConfig:
    resumed, source = RunFolder(given.run_folder), given.stage1_from
    if resume and resumed.config.is_file():
        return read_config(resumed.config)
    if source is not None and (begun := RunFolder(source)).config.is_file():
        log.info("%s: taking its options", source)
        config = read_config(begun.config)
        teacher = TrainConfig().teacher if config.teacher.name == "none" else config.teacher
        return replace(config, data=data_folder(config, begun), teacher=teacher)
    if source is not None and not source.is_file():
        raise UserError(f"`stage1_from` {source}: expected a run's folder, a 3DGS PLY or a .splat")
    device = choose_device(given.device).type
    preset = find_preset(device)
    log.info("device %s: taking the preset %s (`config` lays others over it)", device, preset.name)
    return read_config(preset)


def _choose_teacher(config: TrainConfig) -> str:
    """Name of the teacher; `auto` becomes the one whose maps or weights there are."""
    teacher = config.teacher
    if teacher.name != "auto":
        return teacher.name
    if teacher.maps is not None:
        return "precomputed"
    if teacher.checkpoint is not None:
        return "lseg"
    if config.data == DEMO or (config.data / "demo.json").is_file():
        return "toy"
    return "lseg" if is_downloaded("lseg") else "none"


def _make_demo_scene(config: TrainConfig, folder: RunFolder) -> None:
    """Copies the built-in scene into the run's folder, if it is to be trained and is not there yet."""
    if this_job().is_first and config.data == DEMO and not folder.demo_data.exists():
        from gsdff.data.demo import copy_demo_scene

        partial = folder.demo_data.with_name("data.partial")
        shutil.rmtree(partial, ignore_errors=True)
        copy_demo_scene(partial)
        os.replace(partial, folder.demo_data)
    this_job().wait()
