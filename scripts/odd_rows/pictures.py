"""Rows about pictures: labels, segments, teacher maps and masks: A3, A7 and A9."""

import json
import shutil
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import gsdff
from gsdff.config.options import TeacherConfig
from gsdff.config.smoothing import MaskConfig
from gsdff.data.staging import stage_photos
from gsdff.evaluation.ovs.labels import masks_in_view, read_3d_ovs, read_lerf_ovs
from gsdff.labels import find_label_images
from gsdff.masks.precomputed import PrecomputedSegmenter
from gsdff.scene import View
from gsdff.teachers.precomputed import PrecomputedTeacher
from odd_rows.make import (
    HEIGHT,
    NAMES,
    WIDTH,
    load,
    put,
    save_ids,
    train,
    training,
    write_maps,
    write_model,
    write_photos,
    write_transforms,
)
from odd_rows.table import Here, Table, expect

TABLE = Table()
row = TABLE.row
TURNED = np.zeros((WIDTH, HEIGHT))
"""Ids of a picture that was turned, as a program does that follows EXIF."""


def write_labels(folder: Path, ids: np.ndarray) -> None:
    """Label images of all photos, and their classes."""
    for name in NAMES:
        save_ids(folder / name, ids)
    (folder / "classes.json").write_text(json.dumps([f"class {i}" for i in range(24)]))


def segment(folder: Path, view: View) -> torch.Tensor:
    """The segments of a view in a folder."""
    return PrecomputedSegmenter(MaskConfig(folder=folder, min_area=1)).segment(view, view.image)


def extract(folder: Path, view: View) -> torch.Tensor:
    """The teacher map of a view in a folder."""
    return next(iter(PrecomputedTeacher(TeacherConfig("precomputed", folder)).extract([view])))


# --- A3


@row(
    "A3",
    "label images turned by EXIF (12x16 for photos of 16x12)",
    "test_label_images_of_another_shape_than_the_photo_are_refused",
)
def turned_labels(here: Here) -> str:
    write_model(here.folder)
    write_labels(here.folder / "labels", TURNED)
    scene = load(here.folder)
    return here.refused(lambda: find_label_images(scene, None).load(scene.views[0]), "v0.png", "EXIF")


@row("A3", "label images of a single pixel", "test_a_picture_of_almost_no_pixels_is_refused")
def tiny_labels(here: Here) -> str:
    write_model(here.folder)
    write_labels(here.folder / "labels", np.zeros((1, 1)))
    scene = load(here.folder)
    return here.refused(lambda: find_label_images(scene, None).load(scene.views[0]), "1x1")


@row("A3", "precomputed segments turned by EXIF", "test_masks_of_the_turned_photo_are_refused")
def turned_segments(here: Here) -> str:
    write_model(here.folder)
    save_ids(here.folder / "segments/v0.png", TURNED)
    view = load(here.folder).views[0]
    return here.refused(lambda: segment(here.folder / "segments", view), "v0.png", "EXIF")


@row("A3", "masks of another shape than their photo", "test_a_mask_of_another_shape_is_refused")
def turned_masks(here: Here) -> str:
    write_model(here.folder)
    save_ids(here.folder / "masks/v1.png", TURNED + 255)
    return here.refused(lambda: load(here.folder), "masks/v1.png", "12x16")


@row(
    "A3",
    "teacher maps turned, or with their channels last",
    "test_maps_of_the_turned_photo_are_refused_before_anything_is_trained",
    "test_turned_maps_and_those_with_their_channels_last_are_refused",
)
def turned_maps(here: Here) -> str:
    write_transforms(here.folder / "data")
    write_maps(here.folder / "maps", size=(WIDTH, HEIGHT))
    config = training(here.folder / "data", here.folder / "run", here.folder / "maps")
    first = here.refused(lambda: train(config), "fmap", "sides are swapped")
    for path in write_maps(here.folder / "maps").glob("*.pt"):
        torch.save(torch.randn(HEIGHT, WIDTH, 40), path)
    (here.folder / "maps/text_features.npz").unlink()
    return first + "; " + here.refused(lambda: train(config), "[height, width, channels]")


# --- A7

LENS = "OPENCV 96 64 70 70 45 33 -0.25 0.05 0 0"
CODES = np.add.outer(np.arange(64) // 16 * 6, np.arange(96) // 16)
"""Squares of 16 pixels, each with an id of its own."""


def write_distorted(folder: Path) -> None:
    """Photos of a distorted lens whose grey values are ten times the ids of their labels, segments and maps."""
    write_model(folder, camera=LENS)
    write_labels(folder / "labels", CODES)
    (folder / "maps").mkdir()
    for name in NAMES:
        Image.fromarray((CODES * 10).astype(np.uint8)).convert("RGB").save(folder / "images" / name)
        save_ids(folder / "segments" / name, CODES)
        save_ids(folder / "masks" / name, np.where(CODES % 6 == 2, 0, 255))
        angles = CODES.astype(np.float32) / 20
        np.save(folder / "maps" / f"{Path(name).stem}.npy", np.stack([np.cos(angles), np.sin(angles)]))


@row(
    "A7",
    "labels, segments, masks and teacher maps made from photos with lens distortion",
    "test_files_made_from_stored_photos_show_what_the_views_show",
    "test_masks_are_undistorted_and_turned_with_their_photos",
)
def distorted_files(here: Here) -> str:
    write_distorted(here.folder)
    scene = load(here.folder)
    view = scene.views[1]
    grey = view.image[..., 0].float()
    codes = (grey / 10).round()
    pure = (grey - codes * 10).abs() <= 1
    labels = find_label_images(scene, None).load(view)
    segments = segment(here.folder / "segments", view)
    features = extract(here.folder / "maps", view)
    angles = torch.atan2(features[1], features[0]) * 20
    angles = torch.nn.functional.interpolate(angles[None, None], codes.shape, mode="nearest-exact")[0, 0]
    inner = torch.nn.functional.avg_pool2d(pure[None].float(), 5, 1, 2)[0] == 1
    expect(view.mask is not None, "no mask")
    shares = {
        "labels": labels == codes, "segments": segments == codes, "masks": view.mask == (codes % 6 != 2),
    }  # fmt: skip
    agreement = {name: float(equal[pure].float().mean()) for name, equal in shares.items()}
    agreement["maps"] = float(((angles - codes).abs()[inner] < 0.3).float().mean())
    stretched = torch.from_numpy(CODES).float()[None, None]
    stretched = torch.nn.functional.interpolate(stretched, codes.shape, mode="nearest-exact")[0, 0]
    without = float((stretched == codes)[pure].float().mean())
    expect(min(agreement.values()) > 0.98, f"agreement {agreement}")
    shown = ", ".join(f"{name} {100 * share:.1f} %" for name, share in agreement.items())
    return (
        f"undistorted with the photo's lens: agree with the view in {shown} of its pixels ({100 * without:.0f} % "
        f"as given); {here.said('undistorting', 'made_from')}"
    )


@row(
    "A7",
    "labels of a benchmark (LERF-OVS polygons, 3D-OVS masks) drawn on photos with lens distortion",
    "test_lerf_ovs_by_hand",
    "test_labels_of_another_shape_than_their_photo_are_refused",
)
def distorted_benchmark(here: Here) -> str:
    write_model(here.folder, camera="OPENCV 480 320 350 350 240 160 -0.1 0 0 0")
    square = (slice(20, 100), slice(30, 130))  # near a corner, where the lens bends most
    for name in NAMES:
        pixels = np.zeros((320, 480, 3), np.uint8)
        pixels[square] = 255
        Image.fromarray(pixels).save(here.folder / "images" / name)
    view = load(here.folder).views[0]
    seen = view.image[..., 0] > 127
    thing = {"category": "thing", "segmentation": [[30, 20], [129, 20], [129, 99], [30, 99]], "bbox": [30, 20, 129, 99]}
    (here.folder / "lerf").mkdir()
    info = {"name": "v0.png", "width": 480, "height": 320}
    (here.folder / "lerf/v0.json").write_text(json.dumps({"info": info, "objects": [thing]}))
    masks = here.folder / "ovs/segmentations"
    ids = np.zeros((320, 480))
    for name, inside in (("thing", 255), ("other", 0)):
        ids[square] = inside
        save_ids(masks / "00" / f"{name}.png", ids)
    (masks / "classes.txt").write_text("thing\nother\n")
    shares = {}
    for kind, frames in (
        ("LERF-OVS", read_lerf_ovs(here.folder / "lerf")),
        ("3D-OVS", read_3d_ovs(here.folder / "ovs")),
    ):
        labelled = masks_in_view(frames[0], view)["thing"]
        shares[kind] = float((labelled & seen).sum() / (labelled | seen).sum())
    shown = ", ".join(f"{kind} {100 * share:.0f} %" for kind, share in shares.items())
    expect(min(shares.values()) > 0.95, f"IoU of the labels with what the undistorted photo shows: {shown}")
    return f"IoU with what the undistorted photo shows: {shown}"


@row(
    "A7",
    "such files made from undistorted photos, with `--dataset.made-from views`",
    "test_files_made_from_the_views_are_an_option",
)
def undistorted_files(here: Here) -> str:
    write_distorted(here.folder)
    shutil.rmtree(here.folder / "masks")
    view = load(here.folder, made_from="views").views[1]
    ids = np.add.outer(np.arange(view.camera.height) // 16 * 6, np.arange(view.camera.width) // 16) % 24
    write_labels(here.folder / "labels", ids)
    scene = load(here.folder, made_from="views")
    labels = find_label_images(scene, None).load(scene.views[1])
    expect(labels is not None and (labels.numpy() == ids).all(), "labels were changed")
    return f"taken as they are: all {ids.size} pixels equal"


# --- A9

COUNTS = np.ones((HEIGHT, WIDTH), bool)
COUNTS[:, :5] = False


def mask_folder(folder: Path) -> None:
    for name in NAMES:
        save_ids(folder / "masks" / name, COUNTS * 255)


def mask_ngp(folder: Path) -> None:
    for name in NAMES:
        save_ids(folder / "images" / f"dynamic_mask_{name}", ~COUNTS * 255)


def mask_listed(folder: Path) -> None:
    content = json.loads((folder / "transforms.json").read_text())
    for frame, name in zip(content["frames"], NAMES, strict=True):
        save_ids(folder / "m" / name, COUNTS * 255)
        frame["mask_path"] = f"m/{name}"
    put(folder, content)


@row(
    "A9",
    "masks in a folder `masks`, as `dynamic_mask_*` of instant-ngp, or as `mask_path`",
    "test_a_folder_of_masks_beside_the_images_leaves_out_black",
    "test_masks_of_instant_ngp_leave_out_white_and_are_no_photos",
    "test_a_mask_path_that_does_not_exist_is_named",
)
def conventions(here: Here) -> str:
    for write in (mask_folder, mask_ngp, mask_listed):
        write_transforms(here.folder / write.__name__)
        write(here.folder / write.__name__)
        scene = load(here.folder / write.__name__)
        masks = [view.mask for view in scene.views if view.mask is not None]
        expect(len(scene.views) == 4 and len(masks) == 4, f"{write.__name__}: {len(masks)} of {len(scene.views)} masks")
        expect(all((mask.numpy() == COUNTS).all() for mask in masks), f"{write.__name__}: another mask")
    said = [here.said("masks for 4 of 4 photos", name) for name in ("masks)", "images)", "m)")]
    return f"3 of 3 are read, {int((~COUNTS).sum())} pixels of each photo left out; {said[1]}"


@row(
    "A9",
    "such masks with `--downscale 2` and smaller copies of the photos in `images_2`",
    "test_a_folder_of_masks_beside_the_images_leaves_out_black",
    "test_masks_of_instant_ngp_leave_out_white_and_are_no_photos",
)
def masks_of_copies(here: Here) -> str:
    missing = {}
    for write in (mask_folder, mask_ngp, mask_listed):
        folder = here.folder / write.__name__
        write_transforms(folder)
        write(folder)
        write_photos(folder / "images_2", NAMES, (WIDTH // 2, HEIGHT // 2))
        masks = [view.mask for view in load(folder, downscale=2).views]
        missing[write.__name__] = sum(mask is None or mask.shape != (HEIGHT // 2, WIDTH // 2) for mask in masks)
    expect(not any(missing.values()), f"of 4 photos without their mask: {missing}")
    return f"4 of 4 photos have a mask of {WIDTH // 2}x{HEIGHT // 2} in each convention"


@row(
    "A9",
    "a folder `masks` in which no name is that of a photo",
    "test_a_folder_of_segments_is_not_taken_for_masks",
)
def masks_of_others(here: Here) -> str:
    write_transforms(here.folder)
    for name in NAMES:
        save_ids(here.folder / "masks" / f"mask_{name}", COUNTS * 255)
    views = load(here.folder).views
    expect(all(view.mask is None for view in views), "a mask of another name is used")
    return f"no mask is used; {here.said('masks')}"


@row(
    "A9",
    "two datasets that differ only below their masks: training, evaluation",
    "test_masked_pixels_change_neither_loss_nor_scores",
    "test_teacher_pixels_under_a_mask_have_no_weight",
)
def masked_training(here: Here) -> str:
    results, scores = [], []
    maps = write_maps(here.folder / "maps")
    for version in (0, 1):
        data = here.folder / str(version)
        write_transforms(data, test_filenames=["images/v1.png"])
        mask_folder(data)
        for name in NAMES:
            with Image.open(data / "images" / name) as picture:
                pixels = np.array(picture)
            pixels[~COUNTS] = 255 * version
            Image.fromarray(pixels).save(data / "images" / name)
        run = train(training(data, here.folder / f"run{version}", maps))
        results.append((run / "scene.ply").read_bytes())
        metrics = gsdff.score(gsdff.load(run, device="cpu"), download=False)
        scores.append(json.loads((run / "evaluation" / "metrics.json").read_text())["images"])
        expect(metrics is not None, "no scores")
    expect(results[0] == results[1], "the trained scenes differ")
    expect(scores[0] == scores[1], f"the scores differ: {scores}")
    return f"the same bytes of `scene.ply` ({len(results[0]):,}), the same scores"


@row(
    "A9",
    "teacher maps that differ only below the masks: lift and feature loss",
    "test_teacher_pixels_under_a_mask_have_no_weight",
)
def masked_maps(here: Here) -> str:
    from gsdff.training.teacher_targets import make_target

    write_transforms(here.folder)
    mask_folder(here.folder)
    view = load(here.folder).views[1]
    weights = make_target(torch.ones(HEIGHT, WIDTH, 4), view).weights
    expect((weights.bool().numpy() == COUNTS).all(), "masked pixels have a weight")
    latents = torch.randn(HEIGHT, WIDTH, 4, generator=torch.Generator().manual_seed(0))
    other = latents.clone()
    other[~torch.from_numpy(COUNTS)] = 9
    first, second = (make_target(values, view) for values in (latents, other))
    kept = torch.from_numpy(COUNTS)
    expect(torch.equal(first.weights, second.weights), "their weights differ")
    expect(torch.equal(first.latents[kept], second.latents[kept]), "pixels beside the mask differ")
    return f"{int((weights == 0).sum())} pixels below the mask have weight 0, {int(kept.sum())} others are unchanged"


@row("A9", "masks beside photos for `prepare`", "test_masks_are_given_to_colmap_in_its_own_form")
def masked_prepare(here: Here) -> str:
    write_photos(here.folder / "images")
    mask_folder(here.folder)
    staged = stage_photos(here.folder / "images", here.folder / "scratch")
    expect(staged.masks is not None, "no masks for COLMAP")
    names = sorted(path.name for path in staged.masks.iterdir())
    with Image.open(staged.masks / "v1.png.png") as picture:
        expect((np.array(picture) == COUNTS * 255).all(), "another mask")
    return f"COLMAP gets {', '.join(names)}; {here.said('have masks')}"
