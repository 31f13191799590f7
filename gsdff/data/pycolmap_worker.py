"""All uses of pycolmap, as a script for its own process: its library may abort one that also writes PNGs.

Run by `gsdff.data.worker` as `python pycolmap_worker.py TASK REQUEST.json FOLDER`; the answer is `FOLDER/answer.json`
(written last) and, beside it, raw arrays or a model. Imports nothing of gsdff, so it starts at once.
"""

import copy
import json
import os
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pycolmap

ROWS_AT_A_TIME = 256
GOOD_SHARE = 0.99
FEWEST_FOR_CENTRE = 20
"""Fewest photos of every camera with which principal points are refined."""
CENTRE_DEVIATION = 0.002
"""Largest standard deviation of a principal point that is kept, as a share of the photo's longer side."""


def rectify(request: dict, folder: Path) -> list[dict]:
    """Computes for each lens of `request["lenses"]` the pinhole of COLMAP's undistorter and its sampling grid.

    An answer is {"K": [fx, fy, cx, cy], "width", "height", "grid": file or None} or {"error": reason}. The grid is
    float32 [H, W, 2], positions in the photo in pixels; None if the lens has no distortion.
    """
    return [rectify_one(lens, folder / f"grid_{i}.npy") for i, lens in enumerate(request["lenses"])]


def rectify_one(lens: dict, grid_path: Path) -> dict:
    """Computes one answer of `rectify`."""
    camera = pycolmap.Camera(model=lens["model"], width=lens["width"], height=lens["height"], params=lens["params"])
    if camera.is_spherical():
        return {"error": "it sees all around, no single pinhole can; cut the photos into perspective views first"}
    camera.rescale(lens["to_width"], lens["to_height"])
    if same := undistorted_twin(camera):
        return {"K": list(same.params), "width": same.width, "height": same.height, "grid": None}
    pinhole = pycolmap.undistort_camera(pycolmap.UndistortCameraOptions(), camera)
    grid = sampling_grid(camera, pinhole)
    if not well_behaved(grid, camera.width, camera.height):
        return {"error": "its distortion folds the photo over or leaves it; are the parameters those of these photos?"}
    np.save(grid_path, grid.astype(np.float32))
    return {
        "K": list(pinhole.params), "width": pinhole.width, "height": pinhole.height, "grid": str(grid_path),
    }  # fmt: skip


def undistorted_twin(camera: pycolmap.Camera) -> pycolmap.Camera | None:
    """The pinhole with the camera's own focal lengths and size, if it has the same pixels; None otherwise."""
    focal = (camera.focal_length_x, camera.focal_length_y)
    centre = (camera.principal_point_x, camera.principal_point_y)
    twin = pycolmap.Camera(model="PINHOLE", width=camera.width, height=camera.height, params=[*focal, *centre])
    lattice = np.stack(np.meshgrid(np.linspace(0, camera.width, 33), np.linspace(0, camera.height, 33)), axis=-1)
    return twin if np.abs(positions_of(lattice, twin, camera) - lattice).max() < 1e-3 else None


def positions_of(pixels: np.ndarray, pinhole: pycolmap.Camera, camera: pycolmap.Camera) -> np.ndarray:
    """Positions in `camera`'s photo of the rays through `pixels` [..., 2] of `pinhole`; NaN if outside its model."""
    fx, fy, cx, cy = pinhole.params
    rays = np.concatenate([(pixels - [cx, cy]) / [fx, fy], np.ones((*pixels.shape[:-1], 1))], axis=-1)
    positions = camera.img_from_cam(rays.reshape(-1, 3))
    assert positions is not None, "pycolmap returns None for a single ray only"
    return positions.reshape(pixels.shape)


def sampling_grid(camera: pycolmap.Camera, pinhole: pycolmap.Camera) -> np.ndarray:
    """Positions in `camera`'s photo of every pixel centre of `pinhole`, [H, W, 2]."""
    bands = []
    for first_row in range(0, pinhole.height, ROWS_AT_A_TIME):
        rows = np.arange(first_row, min(first_row + ROWS_AT_A_TIME, pinhole.height))
        pixels = np.stack(np.meshgrid(np.arange(pinhole.width) + 0.5, rows + 0.5), axis=-1)
        bands.append(positions_of(pixels, pinhole, camera))
    return np.concatenate(bands)


def well_behaved(grid: np.ndarray, width: int, height: int) -> bool:
    """Whether the grid stays within the photo and does not fold over, except for a few pixels at the corners."""
    inside = np.all((grid > -1) & (grid < [width + 1, height + 1]), axis=-1)[:-1, :-1]
    right, down = grid[:-1, 1:] - grid[:-1, :-1], grid[1:, :-1] - grid[:-1, :-1]
    return bool((inside & (right[..., 0] * down[..., 1] > right[..., 1] * down[..., 0])).mean() >= GOOD_SHARE)


def reconstruct(request: dict, folder: Path) -> dict:
    """Runs structure from motion and writes the largest model to `folder/model`. See `gsdff.data.sfm.run_colmap`.

    The answer is {"model": None} if no model could be made.
    """
    database, photos = match_photos(request, folder), request["images"]
    options = pycolmap.IncrementalPipelineOptions()
    options.random_seed = 0
    (folder / "models").mkdir()
    models = pycolmap.incremental_mapping(database, photos, folder / "models", options)
    if not models:
        return {"model": None}
    best = max(models.values(), key=lambda model: (model.num_reg_images(), model.num_points3D()))
    return answer_of(with_refined_centres(best), folder)


def with_refined_centres(model: pycolmap.Reconstruction) -> pycolmap.Reconstruction:
    """The model with principal points of their own, if its photos tell them; otherwise the model as it is.

    A turn of all cameras looks much like a shift of the principal point, unless they are many and look from all sides:
    whether they do is told by the standard deviation of the point, for errors of a pixel in where features are found.
    """
    counts = Counter(image.camera_id for image in model.images.values() if image.has_pose)
    if not counts or min(counts.values()) < FEWEST_FOR_CENTRE:
        return model
    refined, config = copy.deepcopy(model), pycolmap.BundleAdjustmentConfig()
    for image_id in refined.reg_image_ids():
        config.add_image(image_id)
    config.fix_gauge(pycolmap.BundleAdjustmentGauge.TWO_CAMS_FROM_WORLD)
    options = pycolmap.BundleAdjustmentOptions()
    options.refine_principal_point, options.print_summary = True, False
    adjuster = pycolmap.create_default_ceres_bundle_adjuster(options, config, refined)
    adjuster.solve()
    wanted = pycolmap.BACovarianceOptions()
    wanted.params = pycolmap.BACovarianceOptionsParams.ALL
    found = pycolmap.estimate_ba_covariance(wanted, refined, adjuster)
    if found is None:
        return model
    for camera_id in counts:
        camera = refined.cameras[camera_id]
        covariance = found.get_other_params_cov(camera.params)
        if covariance is None:
            return model
        deviations = np.sqrt(np.diag(covariance))[list(camera.principal_point_idxs())]
        if not deviations.max() <= CENTRE_DEVIATION * max(camera.width, camera.height):
            return model
    return refined


def triangulate(request: dict, folder: Path) -> dict:
    """Finds points for photos with poses, and writes a model of both to `folder/model`. See `gsdff.data.sfm`.

    The answer is that of `reconstruct`; poses and lenses stay as they are.
    """
    database = match_photos(request, folder)
    posed = pycolmap.Reconstruction()
    with pycolmap.Database.open(database) as matched:
        for camera in matched.read_all_cameras():
            posed.add_camera_with_trivial_rig(camera)
        for image in matched.read_all_images():
            pose = pycolmap.Rigid3d(np.array(request["poses"][image.name]))
            plain = pycolmap.Image(name=image.name, camera_id=image.camera_id, image_id=image.image_id)
            posed.add_image_with_trivial_frame(plain, pose)
    (folder / "found").mkdir()
    options = pycolmap.IncrementalPipelineOptions()
    options.random_seed = 0
    return answer_of(
        pycolmap.triangulate_points(posed, database, request["images"], folder / "found", options=options), folder
    )


def match_photos(request: dict, folder: Path) -> Path:
    """Finds and matches the features of photos; returns the database. Photos of a group share one camera."""
    pycolmap.set_random_seed(0)
    database = folder / "database.db"
    reader = pycolmap.ImageReaderOptions()
    if request["masks"]:
        reader.mask_path = request["masks"]
    extraction = pycolmap.FeatureExtractionOptions()
    extraction.max_image_size = request["max_size"]
    for group in request["groups"]:
        reader.camera_model = group["model"]
        reader.camera_params = ",".join(map(repr, group["params"]))  # none: the focal length is guessed, then refined
        pycolmap.extract_features(
            database, request["images"], image_names=group["names"], camera_mode=pycolmap.CameraMode.SINGLE,
            reader_options=reader, extraction_options=extraction, device=pycolmap.Device.cpu,
        )  # fmt: skip
    match = pycolmap.match_exhaustive if request["matcher"] == "exhaustive" else pycolmap.match_sequential
    match(database, device=pycolmap.Device.cpu)
    return database


def answer_of(best: pycolmap.Reconstruction, folder: Path) -> dict:
    """Writes the model, and describes it."""
    (folder / "model").mkdir()
    best.write_binary(folder / "model")
    return {
        "model": str(folder / "model"),
        "residuals": {image.name: residual_of(image, best) for image in best.images.values() if image.has_pose},
        "num_points": best.num_points3D(),
        "reprojection_error": best.compute_mean_reprojection_error(),
    }


def residual_of(image: pycolmap.Image, model: pycolmap.Reconstruction) -> float:
    """Mean distance in pixels between where a photo shows its points and where they are projected."""
    distances = []
    for seen in image.get_observation_points2D():
        projected = image.project_point(model.points3D[seen.point3D_id].xyz)
        if projected is not None:  # None behind the camera
            distances.append(float(np.linalg.norm(projected - seen.xy)))
    return float(np.mean(distances)) if distances else 0.0


TASKS = {"rectify": rectify, "reconstruct": reconstruct, "triangulate": triangulate}

if __name__ == "__main__":
    task, request_path, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    answer = TASKS[task](json.loads(request_path.read_text()), folder)
    partial = folder / "answer.json.part"
    partial.write_text(json.dumps(answer))
    os.replace(partial, folder / "answer.json")
