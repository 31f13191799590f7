"""Files of a photo: which are found by its name, and whether they fit its shape."""

import os
from pathlib import Path

import pytest
import torch

from gsdff.cameras import Camera, WorldFrame
from gsdff.errors import UserError
from gsdff.photo_files import check_map, check_picture, find_file, fits_photo, require_file
from gsdff.scene import Scene, View, find_view, picture_name


def make_view(name: str = "a.jpg", width: int = 6, height: int = 4) -> View:
    camera = Camera(torch.eye(4), torch.eye(3), width, height)
    return View(name, camera, torch.zeros(height, width, 3, dtype=torch.uint8))


def make_scene(*names: str) -> Scene:
    nothing = torch.zeros(0, 3)
    return Scene(Path("scene"), [make_view(name) for name in names], nothing, nothing.byte(), WorldFrame())


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def found(folder: Path, view: View, *endings: str) -> str | None:
    path = find_file(folder, view, endings or (".png",), "a label image")
    return None if path is None else path.relative_to(folder).as_posix()


def test_a_file_is_found_by_the_photos_path_then_by_that_in_one_name_then_by_its_stem(tmp_path: Path) -> None:
    (view,) = make_scene("cam0/0001.jpg").views
    names = ["cam0/0001.png", "cam0_0001.png", "0001.png", "cam0/0001.jpg.png"]
    write(tmp_path, *names, "0002.png")
    for name in names:
        assert found(tmp_path, view) == name
        (tmp_path / name).unlink()
    assert found(tmp_path, view) is None


def test_of_several_endings_the_first_counts_for_each_name(tmp_path: Path) -> None:
    write(tmp_path, "0001.npy", "cam0_0001.npy", "cam0_0001.pt")
    (view,) = make_scene("cam0/0001.jpg").views
    assert found(tmp_path, view, ".pt", ".npy") == "cam0_0001.pt"


@pytest.mark.parametrize("names", [("train/r_0.png", "test/r_0.png"), ("cam0/0001.jpg", "cam1/0001.jpg")])
def test_the_stem_of_two_photos_means_neither(tmp_path: Path, names: tuple[str, str]) -> None:
    views = make_scene(*names).views
    write(tmp_path, f"{views[0].stem}.png")
    assert [found(tmp_path, view) for view in views] == [None, None]
    with pytest.raises(UserError, match=rf"other photos are named {views[0].stem} too"):
        require_file(tmp_path, views[0], (".png",), "a label image")
    write(tmp_path, *(f"{view.names[0]}.png" for view in views))
    assert [found(tmp_path, view) for view in views] == [Path(name).with_suffix(".png").as_posix() for name in names]
    assert [view.key for view in views] == [Path(name).with_suffix("").as_posix() for name in names]


def test_names_that_two_photos_could_have_mean_the_one_whose_path_they_are_or_neither(tmp_path: Path) -> None:
    write(tmp_path, "x.png", "a_b.png", "y.jpg.png", "y.png.png", "y.png")
    top, below = make_scene("x.jpg", "cam0/x.jpg").views
    assert found(tmp_path, top) == "x.png" and found(tmp_path, below) is None
    flat, nested = make_scene("a_b.jpg", "a/b.jpg").views
    assert found(tmp_path, flat) == "a_b.png" and found(tmp_path, nested) is None
    joined, other = make_scene("a/b.jpg", "c/a_b.jpg").views
    assert found(tmp_path, joined) is None and found(tmp_path, other) is None
    jpg, png = make_scene("y.jpg", "y.png").views  # of one path
    assert found(tmp_path, jpg) == "y.jpg.png" and found(tmp_path, png) == "y.png.png"
    assert [jpg.key, png.key] == ["y.jpg", "y.png"]


def test_photos_of_unlike_stems_keep_them_as_keys_whatever_their_folders() -> None:
    assert [view.key for view in make_scene("images/a.jpg", "../images/b.c.jpg", "d.png").views] == ["a", "b.c", "d"]


def test_two_photos_of_one_name_are_refused() -> None:
    with pytest.raises(UserError, match=r"another photo has the same name as cam0/a\.jpg"):
        make_scene("cam0/a.jpg", "cam0/a.jpg")


def test_pictures_of_all_photos_have_names_of_their_own() -> None:
    for names in (("a_b.jpg", "a/b.jpg"), ("a/b_c.jpg", "a_b/c.jpg"), ("y.jpg", "y.png"), ("c0/1.jpg", "c1/1.jpg")):
        pictures = [picture_name(view) for view in make_scene(*names).views]
        assert len({*pictures}) == 2 and not any("/" in name for name in pictures)
    assert pictures == ["c0_1", "c1_1"]


def test_a_photo_is_found_by_its_path_without_suffix_and_an_equal_stem_is_refused() -> None:
    scene = make_scene("cam0/x.jpg", "cam1/x.jpg", "cam1/z.jpg")
    assert find_view(scene, "cam1/x").name == "cam1/x.jpg" and find_view(scene, "z").name == "cam1/z.jpg"
    with pytest.raises(UserError, match=r"several photos have this name: cam0/x\.jpg, cam1/x\.jpg"):
        find_view(scene, "x")


@pytest.mark.parametrize("kind", ["folder", "pipe", "loop"])
def test_what_is_no_file_is_said_and_does_not_hang(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.png"
    {"folder": path.mkdir, "pipe": lambda: os.mkfifo(path), "loop": lambda: path.symlink_to(path)}[kind]()
    with pytest.raises(UserError, match=r"a\.png: expected a label image, it is a "):
        find_file(tmp_path, make_view(), (".png",), "a label image")


@pytest.mark.parametrize(
    ("size", "fits"),
    [
        ((4000, 3000), True),
        ((1000, 750), True),
        ((499, 375), True),
        ((67, 50), True),
        ((3000, 4000), False),
        ((1000, 747), False),
        ((512, 512), False),
        ((640, 360), False),
    ],
)
def test_a_picture_fits_if_it_has_the_photos_shape_up_to_a_pixel(size: tuple[int, int], fits: bool) -> None:
    view = make_view(width=500, height=375)
    assert fits_photo(view, *size) == fits
    if fits:
        check_picture(Path("a.png"), view, *size)
    else:
        exif = ".*turned by its EXIF" if size == (3000, 4000) else ".*expected the photo's shape"
        with pytest.raises(UserError, match=rf"a\.png: is {size[0]}x{size[1]}, its photo a\.jpg is 500x375; {exif}"):
            check_picture(Path("a.png"), view, *size)


@pytest.mark.parametrize(("photo", "size"), [((500, 375), (1, 1)), ((500, 500), (1, 1)), ((500, 375), (4, 3))])
def test_a_picture_of_almost_no_pixels_is_refused(photo: tuple[int, int], size: tuple[int, int]) -> None:
    with pytest.raises(UserError, match="too coarse"):
        check_picture(Path("a.png"), make_view("a.jpg", *photo), *size)


@pytest.mark.parametrize("shape", [(512, 48, 64), (512, 64, 64), (512, 1, 1), (512, 30, 64), (7, 5, 4)])
def test_maps_may_be_squeezed(shape: tuple[int, int, int]) -> None:
    check_map(Path("a.pt"), make_view(width=640, height=480), *shape)


@pytest.mark.parametrize(
    ("shape", "guess"),
    [((512, 64, 48), "sides are swapped: .*EXIF"), ((48, 64, 512), r"seems to be \[height, width, channels\]")],
)
def test_turned_maps_and_those_with_their_channels_last_are_refused(shape: tuple[int, int, int], guess: str) -> None:
    with pytest.raises(UserError, match=rf"a\.pt: expected \[channels, height, width\] of photo a\.jpg, .*{guess}"):
        check_map(Path("a.pt"), make_view(width=640, height=480), *shape)
