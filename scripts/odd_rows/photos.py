"""Rows about photos: which way up they are, and what lies among them: A8 and A11."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from PIL import Image

from gsdff.data.staging import stage_photos
from gsdff.stored_photo import turn
from odd_rows.make import (
    HEIGHT,
    NAMES,
    WIDTH,
    load,
    put,
    write_model,
    write_photos,
    write_transforms,
)
from odd_rows.table import Here, Table, expect

TABLE = Table()
row = TABLE.row
ORIENTATION = 0x0112
BACK = {6: 8, 8: 6}


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
    return (
        f"6 of 6 have poses; views are 240x320 and upright, {off:.1f} of 255 from the others'; the cameras see the "
        f"way along which they stand within {angle:.1f} degrees of the others'"
    )


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
