"""Checks of a run that is resumed: its options and its dataset are those it was started with, wherever they lie now."""

import logging
from typing import Any

from gsdff.cameras import WorldFrame
from gsdff.config.options import TrainConfig
from gsdff.errors import UserError
from gsdff.io.dataset_summary import compare
from gsdff.io.runs import MOVABLE, changed_options, have_same_frame
from gsdff.run_folder import DEMO, RunFolder
from gsdff.scene import Scene

log = logging.getLogger("gsdff")


def check_same_options(config: TrainConfig, saved: Any, folder: RunFolder) -> None:
    """Raises `UserError` that names the options in which a resumed run differs from its start.

    Files that lie elsewhere now are logged: whether they hold the same is found when they are read (`check_same_data`;
    the teacher's maps are part of the fingerprint of the run's basis).
    """
    changed = changed_options(config, saved)
    moved = {
        key: pair for key, pair in changed.items() if key in MOVABLE and None not in pair and str(DEMO) not in pair
    }
    cut = {key: tuple(str(value)[:80] for value in pair) for key, pair in changed.items()}
    if refused := [f"{key} was {cut[key][0]}, now {cut[key][1]}" for key in changed.keys() - moved.keys()]:
        raise UserError(
            f"{folder.path}: a run resumes with the options it was started with ({'; '.join(sorted(refused))}); "
            "leave these away, or start another run with another `out`"
        )
    for key in moved:
        log.info("continuing with `%s` %s, which was %s", key, *reversed(changed[key]))


def check_same_data(scene: Scene, state: dict[str, Any], folder: RunFolder) -> None:
    """Raises `UserError` if the photos are not those of the training so far; warns of other points."""
    frame = WorldFrame(tuple(state["frame"]["centre"]), state["frame"]["scale"])
    found = compare(state.get("dataset"), scene)
    complaint = "" if found is None else found.photos
    if not complaint and not have_same_frame(frame, scene.frame):
        complaint = "its camera poses lie elsewhere"
    if complaint:
        raise UserError(
            f"{scene.root}: is not what {folder.path} was trained on so far: {complaint}; put the photos and poses "
            "back, or start another run with another `out`"
        )
    if found is None:
        log.warning(
            "%s: its checkpoint does not say which photos it was trained on, so a change would go unnoticed",
            folder.path,
        )
    elif found.points:
        log.warning(
            "%s: %s are others than at the start of the training; a run that is resumed goes on from its Gaussians",
            scene.root, found.points,
        )  # fmt: skip
