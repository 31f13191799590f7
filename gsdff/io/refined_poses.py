"""Poses of training photos that stage 1 has moved, as a file of the run."""

import json
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float64
from torch import Tensor

from gsdff.errors import UserError
from gsdff.files.reading import read_json
from gsdff.files.writing import whole_file
from gsdff.scene import Scene

REMEDY = "copy the run again, or train it again"


def write_poses(path: Path, scene: Scene) -> None:
    """Writes the world-to-camera matrices of the training photos by name, in the input's world, OpenCV axes."""
    views = [scene.views[view_id] for view_id in scene.train_ids]
    matrices = {view.name: scene.frame.viewmats_to_input(view.camera.viewmat).tolist() for view in views}
    with whole_file(path) as partial:
        partial.write_text(json.dumps(matrices, indent=1) + "\n", encoding="utf-8")


def at_poses(scene: Scene, path: Path) -> Scene:
    """The scene with photos at the poses of a file, as far as it names them; raises `UserError` for another file."""
    matrices = read_json(path, "poses of photos", REMEDY)
    if not isinstance(matrices, dict):
        raise UserError(f"{path}: expected a matrix for every photo; {REMEDY}")
    views = []
    for view in scene.views:
        if view.name in matrices:
            matrix = _as_matrix(matrices[view.name], f"{path}: {view.name}")
            camera = replace(view.camera, viewmat=scene.frame.viewmats_to_working(matrix))
            view = replace(view, camera=camera)
        views.append(view)
    return replace(scene, views=views)


def _as_matrix(value: object, where: str) -> Float64[Tensor, "4 4"]:
    try:
        matrix = torch.tensor(value, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        matrix = torch.empty(0)
    is_rigid = matrix.shape == (4, 4) and bool(matrix.isfinite().all())
    if is_rigid:
        R = matrix[:3, :3]
        is_rigid = bool(((R @ R.T - torch.eye(3, dtype=R.dtype)).abs() < 1e-3).all()) and float(R.det()) > 0
    if not is_rigid:
        raise UserError(f"{where}: expected the 4x4 matrix of a rotation and a shift; {REMEDY}")
    return matrix
