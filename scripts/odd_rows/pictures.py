"""Rows about pictures: labels, masks, maps and the photos themselves: A3, A7, A8, A9 and A11."""

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import gsdff
from gsdff.config.options import TeacherConfig
from gsdff.config.smoothing import MaskConfig
from gsdff.data.staging import stage_photos
from gsdff.labels import find_label_images
from gsdff.masks.precomputed import PrecomputedSegmenter
from gsdff.scene import View
from gsdff.stored_photo import turn
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
ORIENTATION = 0x0112
BACK = {6: 8, 8: 6}
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
    return f"undistorted with the photo's lens: agree with the view in {shown} of its pixels ({100 * without:.0f} % as given); {here.said('undistorting', 'made_from')}"  # noqa: E501


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


# --- A8


def upright(index: int) -> np.ndarray:
    """A photo in which every pixel tells its place."""
    return np.random.default_rng(index).integers(0, 256, (WIDTH, HEIGHT, 3), np.uint8)


@row(
    "A8",
    "photos of all 8 EXIF orientations, poses of the photos as stored",
    "test_poses_of_stored_photos_give_upright_views_of_the_same_rays",
)
def orientations(here: Here) -> str:
    worst, num_equal = 0.0, 0
    for orientation in range(1, 9):
        folder, size = here.folder / str(orientation), (WIDTH, HEIGHT) if orientation >= 5 else (HEIGHT, WIDTH)
        write_model(folder, camera=f"PINHOLE {size[0]} {size[1]} 20 21 {size[0] / 2 - 0.5} {size[1] / 2 + 1}")
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        stored = [turn(upright(i), BACK.get(orientation, orientation)) for i in range(4)]
        for name, pixels in zip(NAMES, stored, strict=True):
            Image.fromarray(pixels).save(folder / "images" / name, exif=exif)
        scene = load(folder)
        shown = upright(1)[:, ::-1] if orientation in (2, 4, 5, 7) else upright(1)
        expect((scene.views[1].image.numpy() == shown).all(), f"orientation {orientation} is not upright")
        expect((scene.views[1].camera.width, scene.views[1].camera.height) == (HEIGHT, WIDTH), "another size")
        rows, columns = np.indices(size[::-1])
        K = np.array([[20, 0, size[0] / 2 - 0.5], [0, 21, size[1] / 2 + 1], [0, 0, 1.0]])
        pixels = np.stack([columns + 0.5, rows + 0.5, np.ones_like(rows)], -1).reshape(-1, 3) @ np.linalg.inv(K).T
        camera = scene.views[1].camera
        seen = pixels @ camera.viewmat[:3, :3].double().numpy().T @ camera.K.double().numpy().T
        at = seen[:, :2] / seen[:, 2:] - 0.5
        worst = max(worst, float(np.abs(at - at.round()).max()))
        x, y = at.round().astype(int).T
        num_equal += int((scene.views[1].image.numpy()[y, x] == stored[1].reshape(-1, 3)).all())
    expect(num_equal == 8 and worst < 1e-3, f"{num_equal} of 8 show the rays of their cameras, {worst:.2g} pixels off")
    return f"8 of 8 are upright, and every pixel's ray meets its own colour; off by at most {worst:.1g} pixels"


@row(
    "A8",
    "models whose poses are of the turned photos",
    "test_poses_of_turned_photos_keep_their_cameras",
)
def turned_models(here: Here) -> str:
    for orientation in (5, 6, 7, 8):
        folder = here.folder / str(orientation)
        write_model(folder, camera=f"PINHOLE {HEIGHT} {WIDTH} 20 21 5.5 7")
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        for i, name in enumerate(NAMES):
            Image.fromarray(turn(upright(i), BACK.get(orientation, orientation))).save(
                folder / "images" / name, exif=exif
            )
        view = load(folder).views[2]
        expect((view.image.numpy() == upright(2)).all(), f"orientation {orientation} is not upright")
        expect(view.camera.K[0, 2] == 5.5 and view.camera.K[1, 2] == 7, "another camera")
    return "orientations 5 to 8 are upright, their cameras unchanged"


def corner_photo(index: int) -> np.ndarray:
    """A photo, 240 pixels wide and 320 high, of a corner of three textured walls, from a place of its own."""
    width, height, focal = 240, 320, 260.0
    angle = 0.07 * (index - 2)
    rotation = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    centre = np.array([0.35 * (index - 2), 0.1 * (index % 2), -0.1 * index])
    rows, columns = np.indices((height, width))
    rays = np.stack([(columns + 0.5 - width / 2) / focal, (rows + 0.5 - height / 2) / focal, np.ones_like(rows)], -1)
    rays = rays @ rotation.T
    walls = ((np.array([0.6, 0, 0.8]), 3.0, 1), (np.array([-0.6, 0, 0.8]), 3.0, 2), (np.array([0, 1.0, 0]), 1.3, 3))
    nearest, colour = np.full((height, width), np.inf), np.zeros((height, width, 3))
    for normal, distance, seed in walls:
        towards = rays @ normal
        depth = np.where(towards > 1e-3, (distance - centre @ normal) / np.where(towards > 1e-3, towards, 1), np.inf)
        places = centre + rays * np.where(np.isfinite(depth), depth, 0)[..., None]
        across = np.cross(normal, [0.1, 0.9, 0.2] if abs(normal[1]) < 0.5 else [0.9, 0.1, 0.2])
        u, v = places @ across, places @ np.cross(normal, across)
        texture = np.random.default_rng(seed).integers(0, 256, (64, 64, 3))
        cells = texture[np.floor(u * 9).astype(int) % 64, np.floor(v * 9).astype(int) % 64]
        cells = cells // 2 + texture[np.floor(v * 31).astype(int) % 64, np.floor(u * 31).astype(int) % 64] // 2
        closer = depth < nearest
        nearest, colour = np.where(closer, depth, nearest), np.where(closer[..., None], cells, colour)
    return colour.astype(np.uint8)


@row(
    "A8",
    "phone photos (orientation 6) through `gsdff prepare` and the loader, beside the same photos stored upright",
    "test_the_orientation_tag_is_not_followed_as_colmap_does_not",
    "test_poses_of_stored_photos_give_upright_views_of_the_same_rays",
)
def prepared_turned(here: Here) -> str:
    scenes = {}
    for orientation in (1, 6):
        folder, exif = here.folder / str(orientation), Image.Exif()
        exif[ORIENTATION] = orientation
        (folder / "images").mkdir(parents=True)
        for i in range(6):
            stored = Image.fromarray(turn(corner_photo(i), BACK.get(orientation, 1)))
            stored.save(folder / f"images/p{i}.jpg", quality=95, subsampling=0, exif=exif)
        here.run_door("prepare", "--images", folder / "images", "--camera-model", "SIMPLE_PINHOLE")
        scenes[orientation] = load(folder)
    plain, turned = scenes[1].views, scenes[6].views
    expect(len(plain) == len(turned) == 6, f"{len(plain)} and {len(turned)} of 6 photos have poses")
    off = np.mean([(a.image.float() - b.image.float()).abs().mean() for a, b in zip(plain, turned, strict=True)])
    along = []
    for views in (
        plain,
        turned,
    ):  # the direction of the walk as each camera sees it, which no choice of the world changes
        walk = torch.nn.functional.normalize(views[-1].camera.position - views[0].camera.position, dim=0)
        along.append(torch.stack([view.camera.viewmat[:3, :3] @ walk for view in views]))
    angle = float((along[0] - along[1]).norm(dim=1).max()) * 180 / np.pi
    expect(turned[0].image.shape[:2] == (320, 240) and off < 6, f"not upright, {off:.0f} of 255 off")
    expect(angle < 2, f"the cameras see the walk {angle:.1f} degrees apart")
    return f"6 of 6 have poses; views are 240x320 and upright, {off:.1f} of 255 from the others'; the cameras see the way along which they stand within {angle:.1f} degrees of the others'"  # noqa: E501


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


# --- A11


@contextmanager
def without_heif() -> Iterator[None]:
    """As if pillow-heif were not installed."""
    before = sys.modules.get("pillow_heif")
    sys.modules["pillow_heif"] = None  # pyright: ignore[reportArgumentType]
    try:
        yield
    finally:
        if before is None:
            del sys.modules["pillow_heif"]
        else:
            sys.modules["pillow_heif"] = before


@row(
    "A11",
    "20 HEIC beside 8 JPG, with pillow-heif",
    "test_heic_photos_are_read_where_pillow_heif_is_installed",
)
def heic(here: Here) -> str:
    import pillow_heif

    write_photos(here.folder / "images", [f"a{i}.jpg" for i in range(8)])
    for i in range(20):
        picture = Image.new("RGB", (64, 48), (200, 40, 10 * i))
        pillow_heif.from_pillow(picture).save(here.folder / f"images/IMG_{i:02}.HEIC", quality=90)
    staged = stage_photos(here.folder / "images", here.folder / "scratch")
    expect(len(staged.sizes) == 28, f"{len(staged.sizes)} photos")
    return f"{len(staged.sizes)} photos for structure from motion"


@row("A11", "the same without pillow-heif", "test_heic_photos_without_pillow_heif_say_how_to_get_it")
def no_heic(here: Here) -> str:
    write_photos(here.folder / "images", [f"a{i}.jpg" for i in range(8)])
    for i in range(20):
        (here.folder / f"images/IMG_{i:02}.HEIC").write_bytes(b"heic")
    with without_heif():
        return here.refused(
            lambda: stage_photos(here.folder / "images", here.folder / "scratch"), "20 here", "pip install"
        )


@row(
    "A11",
    "`._IMG.jpg` of a Mac, a text and a truncated JPG among the photos",
    "test_hidden_files_are_skipped_and_others_are_counted",
    "test_damaged_photos_are_named_and_left_out",
)
def strays(here: Here) -> str:
    write_photos(here.folder / "images", [f"a{i}.jpg" for i in range(4)], (200, 150))
    (here.folder / "images/._a0.jpg").write_bytes(b"\0\5\x16\7")
    (here.folder / "images/notes.txt").write_text("x")
    data = (here.folder / "images/a2.jpg").read_bytes()
    (here.folder / "images/a2.jpg").write_bytes(data[: len(data) // 2])
    names = list(stage_photos(here.folder / "images", here.folder / "scratch").sizes)
    expect(names == ["a0.jpg", "a1.jpg", "a3.jpg"], f"photos {names}")
    expect(not any("._a0" in line for line in here.lines), "the hidden file is mentioned")
    return f"{', '.join(names)} are used; {here.said('.txt')}; {here.said('a2.jpg')}"


@row(
    "A11",
    "photos of 200 megapixels with `--downscale 8`",
    "test_a_photo_of_200_megapixels_is_read_at_an_eighth_of_its_size",
)
def large_photos(here: Here) -> str:
    content = write_transforms(here.folder, ["a.jpg", "b.jpg"], w=16000, h=12500, fl_x=14000, fl_y=14000)
    Image.new("RGB", (16000, 12500), (200, 40, 90)).save(here.folder / "images/a.jpg", quality=60)
    shutil.copy(here.folder / "images/a.jpg", here.folder / "images/b.jpg")
    put(here.folder, content | {"w": 16000, "h": 12500, "fl_x": 14000, "fl_y": 14000, "cx": 8000, "cy": 6250})
    view = load(here.folder, downscale=8).views[0]
    off = int((view.image.int() - torch.tensor([200, 40, 90])).abs().max())
    expect(view.image.shape == (1562, 2000, 3) and off <= 3, f"shape {list(view.image.shape)}, {off} off")
    return f"views of {view.camera.width}x{view.camera.height}, colours within {off} of 255"


@row("A11", "one photo of a dataset is truncated", "test_a_damaged_photo_stops_the_load_with_its_name")
def truncated(here: Here) -> str:
    write_model(here.folder, ["a.jpg", "b.jpg", "c.jpg"])
    path = here.folder / "images/b.jpg"
    path.write_bytes(path.read_bytes()[:-200])
    return here.refused(lambda: load(here.folder), "images/b.jpg")
