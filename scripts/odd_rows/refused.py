"""Rows about names, formats and words that were refused though usual: B1 to B6."""

import struct
from pathlib import Path

import numpy as np
import torch
from fuzz_splats import make_gaussians
from PIL import Image, ImageFilter

import gsdff
from gsdff.config.options import TeacherConfig
from gsdff.editing.table import split_text
from gsdff.io.video import save_video
from gsdff.labels import find_label_images, read_classes
from gsdff.teachers.precomputed import PrecomputedTeacher
from odd_rows.make import (
    HEIGHT,
    WIDTH,
    load,
    make_run,
    matrix,
    put,
    save_ids,
    train,
    training,
    write_model,
    write_photos,
    write_transforms,
)
from odd_rows.photos import corner_photo
from odd_rows.table import Here, Table, code, expect

TABLE = Table()
row = TABLE.row


# --- B1


def write_blender(folder: Path) -> None:
    """NeRF-synthetic's two files; both splits have an r_0."""
    for split, ids in (("train", (0, 1, 2)), ("test", (0, 1))):
        write_photos(folder / split, [f"r_{i}.png" for i in ids])
        frames = [{"file_path": f"./{split}/r_{i}", "transform_matrix": matrix(i + 3 * (split == "test"))} for i in ids]
        put(folder, {"camera_angle_x": 1.0, "frames": frames}, f"transforms_{split}.json")


@row(
    "B1",
    "NeRF-synthetic's `train/r_0` and `test/r_0`: features, labels, segmentation",
    "test_photos_that_share_a_stem_are_distilled_each_from_its_own_map",
    "test_photos_of_one_stem_have_label_images_of_their_own",
    "test_photos_of_one_stem_have_label_maps_of_their_own_that_are_found_again",
    "test_photos_of_one_stem_have_maps_of_their_own",
)
def one_stem(here: Here) -> str:
    data, maps = here.folder / "data", here.folder / "maps"
    write_blender(data)
    maps.mkdir()
    keys = [f"{split}/r_{i}" for split, i in (("test", 0), ("test", 1), ("train", 0), ("train", 1), ("train", 2))]
    for number, key in enumerate(keys):
        features = torch.randn(5, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(number))
        name = key if number % 2 else key.replace("/", "_")  # both ways of naming them
        (maps / name).parent.mkdir(exist_ok=True)
        torch.save(features, maps / f"{name}_fmap_CxHxW.pt")
        save_ids(data / "labels" / f"{key}.png", np.full((HEIGHT, WIDTH), number))
    (data / "labels/classes.json").write_text('["a", "b", "c", "d", "e"]')
    np.savez(maps / "text_features.npz", names=np.array(["chair", "lamp"]), vectors=np.eye(5, dtype=np.float32)[:2])
    run = train(training(data, here.folder / "run", maps))
    field = gsdff.load(run, device="cpu")
    labels = find_label_images(field.scene, None)
    found = [int(labels.load(view)[0, 0]) for view in field.scene.views]
    teacher = PrecomputedTeacher(TeacherConfig("precomputed", maps))
    first = {round(float(features[0, 0, 0]), 4) for features in teacher.extract(field.scene.views)}
    expect(found == list(range(5)) and len(first) == 5, f"labels {found}, {len(first)} different maps")
    result = field.save_segmentation(["chair", "lamp"])
    written = sorted(str(p.relative_to(result.folder)) for p in result.folder.rglob("*r_0.png"))
    stored = sorted(str(p.relative_to(run)).split("/", 2)[2] for p in (run / "features").rglob("*.npy"))
    expect(len(stored) == 3 and sum("r_0" in name for name in written) >= 2, f"{stored}, {written}")
    return (
        f"trained with 5 maps and 5 label images of their own; stored as {', '.join(stored)}; segmented as "
        f"{', '.join(written[:2])}"
    )


@row("B1", "`cam0/0001` and `cam1/0001` with maps named by the stem alone", "test_the_stem_of_two_photos_means_neither")
def ambiguous_stem(here: Here) -> str:
    write_transforms(here.folder / "data", ["cam0/0001.png", "cam1/0001.png", "cam1/0002.png"])
    (here.folder / "maps").mkdir()
    for stem in ("0001", "0002"):
        torch.save(torch.randn(5, HEIGHT, WIDTH), here.folder / f"maps/{stem}_fmap_CxHxW.pt")
    scene = load(here.folder / "data")
    teacher = PrecomputedTeacher(TeacherConfig("precomputed", here.folder / "maps"))
    said = here.refused(lambda: next(iter(teacher.extract(scene.views[:1]))), "other photos are named 0001 too")
    unique = next(iter(teacher.extract(scene.views[2:])))
    return f"{said}; the stem 0002, which is unique, is found ({list(unique.shape)})"


# --- B2

SPELLINGS = {
    "another case": ("V{}.PNG", "v{}.png"),
    "another suffix": ("v{}.jpg", "v{}.png"),
    "`.JPG` for `.jpg`": ("v{}.JPG", "v{}.jpg"),
    "a backslash": ("cam0\\v{}.png", "cam0/v{}.png"),
    "`./`": ("./v{}.png", "v{}.png"),
    "a path of another machine": ("/home/me/scan/images/v{}.png", "v{}.png"),
    "a path of Windows": ("C:\\scan\\images\\v{}.png", "v{}.png"),
}


@row(
    "B2",
    f"listed names that differ from the files: {', '.join(SPELLINGS)}; in COLMAP models and transforms.json",
    "test_names_are_found_as_they_are_meant",
    "test_paths_are_found_as_they_are_meant",
    "test_the_folders_of_another_machine_are_left_out",
)
def spellings(here: Here) -> str:
    failed = []
    for number, (kind, (listed, stored)) in enumerate(SPELLINGS.items()):
        names, files = [listed.format(i) for i in range(4)], [stored.format(i) for i in range(4)]
        folders = [here.folder / f"{number}{form}" for form in ("colmap", "transforms", "blender")]
        write_model(folders[0], names, images=None)
        is_whole = names[0].startswith(("/", "C:"))
        frames = [
            {"file_path": name if is_whole else f"images/{name}", "transform_matrix": matrix(i)}
            for i, name in enumerate(names)
        ]
        for folder, name in ((folders[1], "transforms.json"), (folders[2], "transforms_train.json")):
            folder.mkdir()
            put(folder, {"camera_angle_x": 1.0, "frames": frames}, name)
        for folder in folders:
            write_photos(folder / "images", files)
            try:
                found = [view.name for view in load(folder).views]
            except gsdff.UserError as error:
                failed.append(f"{kind} in {folder.name[1:]}: {error}")
                continue
            if len(found) != 4:
                failed.append(f"{kind} in {folder.name[1:]}: {found}")
    expect(not failed, f"{len(failed)} of {3 * len(SPELLINGS)} fail: {'; '.join(failed)}")
    return f"{3 * len(SPELLINGS)} of {3 * len(SPELLINGS)} datasets load all photos; {here.said('spelled otherwise')}"


@row("B2", "a listed name may mean two files", "test_names_that_may_mean_several_files_are_refused")
def ambiguous_name(here: Here) -> str:
    write_model(here.folder, ["v0.png", "v1.png"], images=None)
    write_photos(here.folder / "images", ["v0.jpg", "v0.webp", "v1.png"])
    return here.refused(lambda: load(here.folder), "v0.jpg or v0.webp")


@row(
    "B2",
    "a `mask_path` that differs so: another case, another suffix, a backslash, a path of another machine",
    "test_a_mask_path_that_does_not_exist_is_named",
)
def mask_spellings(here: Here) -> str:
    failed = []
    listed = ("M/V{}.PNG", "m/v{}.jpg", "m\\v{}.png", "/home/me/scan/m/v{}.png")
    for number, form in enumerate(listed):
        folder = here.folder / str(number)
        content = write_transforms(folder)
        for i, frame in enumerate(content["frames"]):
            save_ids(folder / f"m/v{i}.png", np.full((HEIGHT, WIDTH), 255))
            frame["mask_path"] = form.format(i)
        put(folder, content)
        try:
            expect(all(view.mask is not None for view in load(folder).views), f"{form}: no mask")
        except gsdff.UserError as error:
            failed.append(here.shorten(error))
    expect(not failed, f"{len(failed)} of {len(listed)} fail: {'; '.join(failed)}")
    return f"{len(listed)} of {len(listed)} datasets find all masks"


# --- B3


def with_matrix(folder: Path, change: np.ndarray) -> None:
    """A dataset whose rotations are multiplied by a matrix."""
    content = write_transforms(folder)
    for frame in content["frames"]:
        pose = np.array(frame["transform_matrix"])
        pose[:3, :3] = pose[:3, :3] @ change
        frame["transform_matrix"] = pose.tolist()
    put(folder, content)


@row("B3", "a `transform_matrix` scaled by 2.5", "test_a_scaled_rotation_is_a_camera_and_said_once")
def scaled(here: Here) -> str:
    with_matrix(here.folder / "plain", np.eye(3))
    with_matrix(here.folder / "scaled", 2.5 * np.eye(3))
    plain, views = load(here.folder / "plain").views, load(here.folder / "scaled").views
    off = max(float((a.camera.viewmat - b.camera.viewmat).abs().max()) for a, b in zip(plain, views, strict=True))
    expect(off < 1e-6, f"cameras differ by {off}")
    return f"the same cameras, within {off:.1g}; {here.said('scale is divided out')}"


@row("B3", "a sheared one, a mirrored one, one scaled along an axis", "test_a_bad_frame_is_named")
def sheared(here: Here) -> str:
    said = []
    for name, change, word in (
        ("shear", np.array([[1, 0.5, 0], [0, 1, 0], [0, 0, 1]]), "sheared"),
        ("mirror", np.diag([-1.0, 1, 1]), "mirrors"),
        ("axis", np.diag([2.0, 1, 1]), "scaled differently"),
    ):
        with_matrix(here.folder / name, change)
        said.append(here.refused(lambda name=name: load(here.folder / name), word))
    return "; ".join(said)


# --- B4


@row(
    "B4",
    "a byte order mark in transforms.json, cameras.txt and classes.json; `16.0 12.0` in cameras.txt",
    "test_a_byte_order_mark_is_no_part_of_the_file",
    "test_a_class_list_may_have_a_byte_order_mark",
    "test_text_of_other_tools_is_read",
)
def marks(here: Here) -> str:
    write_transforms(here.folder / "a")
    model = write_model(here.folder / "b", camera=f"PINHOLE {WIDTH}.0 {HEIGHT}.0 14 14 8 6", images=None)
    write_photos(here.folder / "b/images")
    (here.folder / "classes.json").write_text('["chair", "lamp"]')
    for path in (here.folder / "a/transforms.json", model / "cameras.txt", here.folder / "classes.json"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    counts = len(load(here.folder / "a").views), len(load(here.folder / "b").views)
    classes = [row.name for row in read_classes(here.folder / "classes.json")]
    expect(counts == (4, 4) and classes == ["chair", "lamp"], f"photos {counts}, classes {classes}")
    return f"{counts[0]} and {counts[1]} of 4 photos, classes {', '.join(classes)}"


@row(
    "B4",
    "`.splat` and compressed PLY as input",
    "test_a_splat_by_hand",
    "test_a_compressed_ply_by_hand",
    "test_a_field_loads_edits_and_exports_each_format_under_any_name",
)
def other_formats(here: Here) -> str:
    given = make_gaussians(200, features=False)
    record = struct.pack("<6f8B", 1, -2, 3.5, 0.5, 0.25, 2, 255, 0, 51, 204, 255, 128, 128, 128)
    (here.folder / "one.splat").write_bytes(record)
    one = gsdff.load(here.folder / "one.splat", device="cpu").gaussians
    expect(one.means.tolist() == [[1, -2, 3.5]] and abs(float(one.opacities) - 0.8) < 1e-6, f"{one}")
    worst = {}
    field = gsdff.load(write_plain(here.folder / "plain.ply", given), device="cpu")
    for name in ("a.splat", "a.compressed.ply"):
        again = gsdff.load(field.save(here.folder / name), device="cpu").gaussians
        order = torch.cdist(given.means, again.means).argmin(1)
        expect(len(again) == 200 and len(order.unique()) == 200, f"{name}: {len(again)} of 200 Gaussians")
        worst[name] = float((again.means[order] - given.means).abs().max())
    expect(max(worst.values()) < 1e-3, f"positions differ by {worst}")
    made = here.run_door("export", "a.splat", "--out", "b.ply")
    return (
        "a record by hand gives its position, size and opacity; 200 of 200 come back, positions within "
        f"{worst['a.splat']:.1g} and {worst['a.compressed.ply']:.1g}; `gsdff export a.splat`: {made.strip()}"
    )


def write_plain(path: Path, gaussians) -> Path:
    from gsdff.io.ply import write_ply

    write_ply(path, gaussians)
    return path


@row("B4", "an SPZ file", "test_what_is_no_splat_is_refused_whatever_its_name")
def spz(here: Here) -> str:
    import gzip

    header = struct.pack("<IIIBBBB", 0x5053474E, 2, 1, 0, 12, 0, 0)
    (here.folder / "scene.spz").write_bytes(gzip.compress(header + bytes(9 + 1 + 3 + 3 + 3)))
    return here.refused(lambda: gsdff.load(here.folder / "scene.spz", device="cpu"), ".spz", "convert it to a PLY")


# --- B5


@row("B5", "only `images_4` is there", "test_only_smaller_copies_lead_to_the_option")
def only_smaller(here: Here) -> str:
    write_model(here.folder / "colmap", images=None, camera="PINHOLE 64 48 56 56 32 24")
    write_transforms(here.folder / "transforms", w=64, h=48)
    (here.folder / "transforms/images").rename(here.folder / "transforms/images_4")
    write_photos(here.folder / "colmap/images_4")
    said = [here.refused(lambda form=form: load(here.folder / form), "images_4") for form in ("colmap", "transforms")]
    door = here.run_door("train", "--data", "colmap", expected=1)
    expect("--downscale to 4" in door or "--downscale 4" in door, f"no option is named: {door[-200:]}")
    views = load(here.folder / "colmap", downscale=4).views
    expect(len(views) == 4 and views[0].camera.width == 16, "downscale 4 does not load")
    return f"{said[0]}, at the door `{door.rpartition('; ')[2].strip()}`; with it {len(views)} photos of 16x12"


def write_video(path: Path) -> None:
    """A walk along the corner of a room; every other frame is blurred."""

    def frame(index: int) -> torch.Tensor:
        picture = Image.fromarray(corner_photo(index / 2))
        blurred = picture.filter(ImageFilter.GaussianBlur(3)) if index % 2 else picture
        return torch.from_numpy(np.array(blurred))

    save_video(path, map(frame, range(12)))


@row("B5", "a video as the data, or beside nothing else", "test_a_video_leads_to_prepare")
def video_as_data(here: Here) -> str:
    (here.folder / "walk").mkdir()
    write_video(here.folder / "walk/clip.mp4")
    first = here.refused(lambda: load(here.folder / "walk/clip.mp4"), "gsdff prepare --images")
    return first + "; " + here.refused(lambda: load(here.folder / "walk"), "gsdff prepare --images")


@row("B5", "a video that is missing", "test_a_video_leads_to_prepare", "test_bad_options_are_refused")
def missing_video(here: Here) -> str:
    (here.folder / "clip1.mp4").touch()
    said = here.run_door("prepare", "--images", "clip.mp4", expected=1).strip()
    expect("clip1.mp4" in said, f"the most similar name is not given: {said}")
    (here.folder / "clip1.mp4").unlink()
    loaded = here.refused(lambda: load(here.folder / "clip.mp4"), "gsdff prepare --images")
    door = here.run_door("train", "--data", "clip.mp4", expected=1).strip()
    expect("gsdff prepare --images" in door, f"`gsdff train --data clip.mp4` does not say what to do: {door}")
    return f"{code(said)}; as data: {loaded}, and alike at the door"


@row(
    "B5",
    "`gsdff prepare --images clip.mp4`, every other frame blurred",
    "test_the_sharp_frame_of_each_part_is_written_with_its_number",
)
def prepared_video(here: Here) -> str:
    write_video(here.folder / "clip.mp4")
    said = here.run_door("prepare", "--images", "clip.mp4", "--frames", "6", "--camera-model", "SIMPLE_PINHOLE")
    names = sorted(path.name for path in (here.folder / "clip_scene/images").iterdir())
    sharp = sum(int(name[6:12]) % 2 == 0 for name in names)
    views = load(here.folder / "clip_scene").views
    expect(len(names) == sharp == 6 and len(views) >= 5, f"{names}, {len(views)} have poses: {said}")
    return f"{sharp} of 6 frames taken are sharp ({names[0]}, {names[1]}, ...), {len(views)} have poses"


# --- B6


@row(
    "B6",
    'texts with `:` or `+` in `edit`\'s options: "a cup: red", "c++ book"',
    "test_texts_in_quotes_may_hold_the_signs_that_separate",
    "test_the_short_form_gives_the_edit_a_file_would",
)
def quoted(here: Here) -> str:
    both = split_text("recolor", '"c++ book"+"a cup: red":navy')
    plain = split_text("delete", "a cup: red")
    expect(both == (["c++ book", "a cup: red"], "navy") and plain == (["a cup: red"], ""), f"{both}, {plain}")
    make_run(here.folder)
    said = here.run_door("edit", "run", "--recolor", "c++ book:red", expected=1)
    words = " ".join(here.run_door("edit", "--help").split())
    expect("quotes" in words and "c++ book" in words, "the help does not say it")
    return (
        f'`--recolor \'"c++ book"+"a cup: red":navy\'` is the texts {both[0]} and {both[1]}; `--delete \'a cup: '
        f"red'` is one text; without quotes `{said.strip()}`; the help says it"
    )
