"""Opening a field: a run's folder, or a file of Gaussians with the basis beside it."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from gsdff.config.options import DataConfig
from gsdff.config.reading import change_dataset
from gsdff.device import choose_device
from gsdff.errors import UserError, command, shown
from gsdff.field.checks import check_path
from gsdff.field.field import Field
from gsdff.field.placement import place_at
from gsdff.files.writing import hash_file
from gsdff.gaussians import Gaussians
from gsdff.io.runs import LoadedRun, RunFolder, load_run
from gsdff.io.sidecar import Sidecar, sidecar_path
from gsdff.io.splats import read_splats
from gsdff.latents import Basis
from gsdff.origin import ZERO, format_point
from gsdff.scene import Scene

log = logging.getLogger("gsdff")

NO_CHANGES: Mapping[str, Any] = MappingProxyType({})


def load(
    source: str | Path,
    *,
    data: str | Path | None = None,
    dataset: Mapping[str, Any] = NO_CHANGES,
    offset: Sequence[float] | None = None,
    device: torch.device | str = "auto",
) -> Field:
    """The field of a run's folder, as far as it is trained, or of any 3DGS PLY, compressed PLY or .splat.

    Both are in the input's world frame, so a run and its export are the same field to the bit. `data` is the folder of
    photos for a PLY; for a run it replaces the folder that it was trained on. `dataset` changes how the photos are
    read, such as {"made_from": "views"} (`gsdff.config.reading.CHANGEABLE`). `offset` is the point of the world that
    positions are relative to, for a file that does not state it: a .splat cannot. `device` auto is CUDA if there is a
    card. A PLY needs its `.basis.safetensors` for queries. Other sources raise `UserError`.
    """
    if not isinstance(source, str | PathLike):
        raise UserError(f"`source`: expected the path of a run's folder or of a PLY, got {shown(source)}")
    check_path("data", data)
    source = Path(source)
    data = None if data is None else Path(data)
    chosen = choose_device(device)
    if source.is_file():
        field = _load_ply(source, chosen, data)
    elif source.exists():
        field = field_of_run(load_run(source), chosen, data)
    else:
        raise UserError(f"{source}: expected a run's folder or a PLY written by `gsdff export`, found nothing")
    if offset is not None:
        field.gaussians = place_at(field.gaussians, offset, source)
    changed = change_dataset(field.dataset, dataset)
    says_made_from = field.says_made_from or dataset.get("made_from") is not None
    return replace(field, dataset=changed, says_made_from=says_made_from)


def field_of_run(
    run: LoadedRun, device: torch.device | str, data: Path | None = None, *, scene: Scene | None = None
) -> Field:
    """`load` of a run in memory, with its photos if they are in memory too."""
    gaussians = run.gaussians.to_input_frame(run.frame)
    basis, reason = None, ""
    if gaussians.features is None:
        reason = (
            f"{run.folder}: has no features to query; add some with "
            f"`{command('train', '--stage1-from', run.folder, '--teacher', 'clip')}` (or lseg, dino, ...)"
        )
    else:
        path = RunFolder(run.folder).basis
        try:
            basis = Basis.load(path)
        except UserError as error:
            reason = str(error)
        else:
            basis, reason = _check_channels(gaussians, basis, run.folder, path)
    return Field(
        run.folder,
        gaussians.to(device),
        basis if basis is None else replace(basis, B=basis.B.to(device)),
        reason,
        data or run.config.data,
        run.config.dataset,
        run.says_made_from,
        run=run,
        read={} if scene is None else {"scene": scene, "has_photos": True},
    )


def _load_ply(path: Path, device: torch.device, data: Path | None) -> Field:
    gaussians, beside = read_splats(path), sidecar_path(path)
    sidecar, basis, dataset = None, None, DataConfig()
    if gaussians.features is None:
        reason = (
            f"{path}: expected features, it has no semantic_0, ... properties; export a run that has them with "
            "`gsdff export RUN`"
        )
    else:
        try:
            sidecar = Sidecar.load(beside)
        except UserError as error:
            reason = str(error)
        else:
            basis, reason = _check_channels(gaussians, sidecar.basis, path, beside)
            gaussians = replace(gaussians, rasterize_mode=sidecar.rasterize_mode)
            dataset = DataConfig(downscale=sidecar.downscale, poses=sidecar.poses)
            gaussians = _at_stated_origin(gaussians, sidecar, path)
            if sidecar.ply_hash not in ("", hash_file(path)):
                log.warning(
                    "%s: is not the file that %s was written with; unless a program has edited it since, its features "
                    "mean something else: export it again", path, beside.name,
                )  # fmt: skip
    return Field(
        path,
        gaussians.to(device),
        basis if basis is None else replace(basis, B=basis.B.to(device)),
        reason,
        data,
        dataset,
        sidecar=sidecar,
    )


def _at_stated_origin(gaussians: Gaussians, sidecar: Sidecar, path: Path) -> Gaussians:
    """The Gaussians of a PLY with the origin of its sidecar, if the PLY states none any more; warns if they differ."""
    if gaussians.origin == sidecar.origin:
        return gaussians
    used = sidecar.origin if gaussians.origin == ZERO else gaussians.origin
    log.warning(
        "%s: its header states the offset %s, %s states %s; taking %s",
        path, format_point(gaussians.origin), sidecar_path(path).name, format_point(sidecar.origin), format_point(used),
    )  # fmt: skip
    return replace(gaussians, origin=used)


def _check_channels(gaussians: Gaussians, basis: Basis, source: Path, basis_path: Path) -> tuple[Basis | None, str]:
    """The basis; None, and the reason, if it has another number of channels than the features."""
    assert gaussians.features is not None
    got, expected = gaussians.features.shape[1], basis.B.shape[1]
    if got == expected:
        return basis, ""
    return None, (
        f"{basis_path}: a basis of {expected} channels does not go with {source}, whose features have {got}; "
        "use the file that was written with it, or export again"
    )
