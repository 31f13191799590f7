"""Checks that the ranks of a job have been given the same: versions, options, photos, and one folder."""

import hashlib
import json
import platform

import torch

import gsdff
from gsdff.config.file import flatten, to_table
from gsdff.config.options import TrainConfig
from gsdff.errors import UserError
from gsdff.io.dataset_summary import summarize
from gsdff.io.runs import FREE_KEYS, PLACES
from gsdff.ranks import this_job
from gsdff.run_folder import RunFolder
from gsdff.scene import Scene


def check_ranks(config: TrainConfig, scene: Scene) -> None:
    """Raises `UserError` that names the ranks which have other versions, options or photos, or too many ranks."""
    ranks = this_job()
    if ranks.world_size == 1:
        return
    if ranks.world_size > len(scene.train_ids):
        raise UserError(
            f"{ranks.world_size} ranks and {len(scene.train_ids)} training photos: each rank shows a photo at a time, "
            "so expected no more ranks than those"
        )
    versions = {"gsdff": gsdff.__version__, "torch": torch.__version__, "Python": platform.python_version()}
    options = {
        f"`{key}`": value for key, value in flatten(to_table(config)) if key == "shard" or key not in FREE_KEYS | PLACES
    }
    ranks.require_equal(
        {f"version of {name}": version for name, version in versions.items()}, remedy="install the same"
    )
    ranks.require_equal(options, remedy="give all ranks the same options")
    summary = json.dumps(summarize(scene), sort_keys=True, default=_to_plain)
    facts = {f"photos and poses in {scene.root.name}, as a hash": hashlib.blake2b(summary.encode()).hexdigest()[:12]}
    ranks.require_equal(facts, remedy="give all ranks the same data")


def check_step(step: int) -> None:
    """Raises `UserError` if ranks continue from different steps, as they do if only some can read their newest part."""
    remedy = "remove the checkpoints after the earliest of these steps"
    this_job().require_equal({"step of the newest checkpoint that can be read": step}, remedy=remedy)


def check_shared(folder: RunFolder) -> None:
    """Raises `UserError` if some ranks do not see the run's folder, which the first one writes."""
    ranks = this_job()
    if ranks.who_see(folder.path).world_size < ranks.world_size:
        raise UserError(
            f"{folder.path}: some ranks do not see the same folder; expected an `out` that all machines share"
        )


def _to_plain(value: object) -> object:
    assert isinstance(value, torch.Tensor)
    return value.tolist()
