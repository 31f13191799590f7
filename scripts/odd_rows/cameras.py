"""Rows about where photos are and what their cameras say: A1, A2, A5, A6, A13 and B7."""

import numpy as np

import gsdff
from gsdff.io.ply import read_ply
from gsdff.metrics import psnr
from odd_rows.make import (
    HEIGHT,
    NAMES,
    PINHOLE,
    WIDTH,
    load,
    make_run,
    numbered,
    put,
    save_ids,
    train,
    training,
    write_cloud,
    write_model,
    write_photos,
    write_transforms,
)
from odd_rows.table import Here, Table, expect

TABLE = Table()
row = TABLE.row
UTM = (500000.0, 4649776.0, 100.0)


def names_of(scene) -> list[str]:
    return [view.name for view in scene.views]


def held_out(scene) -> list[str]:
    return [scene.views[i].name for i in scene.test_ids]


# --- A1


@row(
    "A1",
    "`sparse/0` holds 2 photos and `sparse/1` 16",
    "test_of_several_models_the_one_with_most_photos_is_read",
)
def two_models(here: Here) -> str:
    write_model(here.folder, numbered(2))
    write_model(here.folder, numbered(16), at="sparse/1")
    scene = load(here.folder)
    expect(len(scene.views) == 16, f"{len(scene.views)} photos")
    return f"{len(scene.views)} photos; {here.said('16 photos', '0 has 2')}"


@row(
    "A1",
    "the only model is in `sparse/1`, `distorted/sparse/0`, `colmap/sparse/0`, or `a/b/sparse/0` some folders below",
    "test_a_model_is_found_where_tools_put_it",
    "test_the_originals_of_a_distorted_model_are_told_from_its_undistorted_photos",
    "test_a_model_anywhere_below_is_found",
)
def model_elsewhere(here: Here) -> str:
    counts = []
    for i, (at, images) in enumerate(
        [
            ("sparse/1", "images"),
            ("distorted/sparse/0", "input"),
            ("colmap/sparse/0", "images"),
            ("a/b/sparse/0", "a/b/images"),
        ]
    ):
        write_model(here.folder / str(i), at=at, images=images)
        counts.append(len(load(here.folder / str(i)).views))
    expect(counts == [4] * 4, f"{counts} of 4 photos")
    return f"{', '.join(map(str, counts))} of 4 photos; {here.said('reading the COLMAP model', 'a/b')}"


@row("A1", "two datasets lie below the folder", "test_several_datasets_below_are_named")
def several_below(here: Here) -> str:
    for name in ("garden", "kitchen"):
        write_model(here.folder / "scenes" / name)
    return here.refused(lambda: load(here.folder), "garden", "kitchen")


@row("A1", "photos without any model", "test_photos_without_poses_lead_to_prepare")
def no_model(here: Here) -> str:
    write_photos(here.folder / "images")
    return here.refused(lambda: load(here.folder), "gsdff prepare --images")


# --- A2


@row(
    "A2",
    "poses in map coordinates (500000, 4649776, 100), trained and read back from `scene.ply`",
    "test_training_writes_positions_that_float32_could_not_hold",
    "test_a_run_is_loaded_and_exported_relative_to_an_offset_that_the_file_states",
)
def georeferenced(here: Here) -> str:
    write_transforms(here.folder / "data", shift=UTM)
    run = train(training(here.folder / "data", here.folder / "run"))
    gaussians = read_ply(run / "scene.ply")
    distinct = [len(np.unique(gaussians.means[:, axis].numpy())) for axis in range(3)]
    field, copy = gsdff.load(run, device="cpu"), gsdff.load(run / "scene.ply", data=here.folder / "data", device="cpu")
    camera = field.scene.views[1].camera
    score = psnr(copy.draw(copy.scene.views[1].camera).image, field.draw(camera).image)
    expect(min(distinct) > 0.9 * len(gaussians), f"only {distinct} different x, y, z of {len(gaussians)} Gaussians")
    expect(score > 80, f"the PLY is drawn with {score:.1f} dB against the run")
    header = (run / "scene.ply").read_bytes().partition(b"end_header")[0].decode()
    stated = [line for line in header.splitlines() if line.startswith("comment")]
    warned = here.said("offset")
    return (
        f"{', '.join(map(str, distinct))} different x, y, z of {len(gaussians)} Gaussians; drawn from the PLY "
        f"{min(score, 200):.0f} dB from the run; its header has `{stated[0]}`; {warned}"
    )


@row(
    "A2",
    "such a scene exported, loaded, edited, saved from the viewer and exported again",
    "test_an_edited_scene_is_where_it_was_and_edits_know_the_world",
    "test_selections_queries_and_the_viewer_agree",
    "test_the_origin_can_be_chosen",
)
def georeferenced_round_trip(here: Here) -> str:
    from saved_by_page import save_scene

    from gsdff.viewer.shared_scene import open_shared_scene

    write_transforms(here.folder / "data", shift=UTM)
    run = train(training(here.folder / "data", here.folder / "run"))
    field = gsdff.load(run, device="cpu")
    first = field.save(here.folder / "first.ply", origin=UTM)
    loaded = gsdff.load(first, device="cpu")
    again = loaded.save(here.folder / "again.ply")
    expect(again.read_bytes() == first.read_bytes(), "exported again, the PLY has other bytes")
    shared = open_shared_scene(loaded)
    viewed = read_ply(save_scene(shared))
    moved = float((viewed.positions - loaded.gaussians.positions).abs().max())
    away = float((loaded.gaussians.positions - field.gaussians.positions).abs().max())
    expect(moved < 1e-5 and away < 1e-5, f"positions differ by {away:.2g} in the export and {moved:.2g} in the viewer")
    return (
        f"exported twice the same bytes; positions of the run, the export and the viewer's file differ by at most "
        f"{max(moved, away):.1g}; `--origin {' '.join(f'{x:.0f}' for x in UTM)}` is kept"
    )


# --- A5


@row("A5", "`images.txt` without the lines of 2D points", "test_lines_of_2d_points_may_be_missing")
def no_2d_lines(here: Here) -> str:
    write_model(here.folder, lines_2d=False)
    names = names_of(load(here.folder))
    expect(names == list(NAMES), f"photos {names}")
    return f"{len(names)} of {len(NAMES)} photos"


@row("A5", "names of three words, with and without 2D lines", "test_text_of_other_tools_is_read")
def names_of_words(here: Here) -> str:
    names = [f"my photo {i}.png" for i in range(4)]
    for lines_2d in (True, False):
        write_model(here.folder, names, lines_2d=lines_2d)
        found = names_of(load(here.folder))
        expect(found == names, f"with 2D lines {lines_2d}: photos {found}")
    return f"{len(names)} of {len(names)} photos either way"


@row("A5", "`images.txt` cut in half, between two lines or within one", "test_a_text_cut_between_its_lines_is_said")
def cut_in_half(here: Here) -> str:
    model = write_model(here.folder, numbered(10))
    text = (model / "images.txt").read_text()
    lines = text.splitlines(keepends=True)
    (model / "images.txt").write_text("".join(lines[:12]))
    scene = load(here.folder)
    expect(len(scene.views) == 5, f"{len(scene.views)} photos")
    said = here.said("images.txt", "10")
    (model / "images.txt").write_text("".join(lines[:12]) + lines[12][:14])
    return f"{len(scene.views)} photos and {said}; within a line: " + here.refused(lambda: load(here.folder), "images")


@row("A5", "a word where a number belongs", "test_words_in_the_place_of_numbers_are_refused")
def words_for_numbers(here: Here) -> str:
    model = write_model(here.folder)
    text = (model / "images.txt").read_text()
    (model / "images.txt").write_text(text.replace("-0.3 0.0 0.0 1 v1.png", "-0.3 0.0 zero 1 v1.png"))
    return here.refused(lambda: load(here.folder), "images.txt")


# --- A6


@row(
    "A6",
    "a frame is listed twice, once of them for testing",
    "test_a_frame_that_is_listed_twice_is_held_out_if_either_is",
    "test_the_held_out_photo_of_a_repeated_frame_is_not_trained_on",
)
def frame_twice(here: Here) -> str:
    content = write_transforms(here.folder, numbered(6))
    content["frames"].append(dict(content["frames"][2], file_path="./images/02.png"))
    content["test_filenames"] = ["./images/02.png"]
    put(here.folder, content)
    scene = load(here.folder)
    trained = [scene.views[i].name for i in scene.train_ids]
    expect(held_out(scene) == ["02.png"] and "02.png" not in trained, f"trained on {trained}")
    return f"held out {held_out(scene)}, trained on {len(trained)} others; {here.said('listed several times')}"


@row("A6", "only `test_filenames`, or only `train_filenames`", "test_a_split_is_kept_to")
def only_test(here: Here) -> str:
    content = write_transforms(here.folder, numbered(6))
    put(here.folder, content | {"test_filenames": ["images/03.png", "images/05.png"]})
    first = held_out(load(here.folder))
    put(here.folder, content | {"train_filenames": [f"images/{name}" for name in numbered(4)]})
    second = held_out(load(here.folder))
    expect(first == ["03.png", "05.png"] and second == ["04.png", "05.png"], f"held out {first} and {second}")
    return f"held out {first}; with the other list {second} and {here.said('none to test')}"


@row(
    "A6",
    "ten poses of one photo",
    "test_several_poses_of_one_photo_are_refused",
    "test_two_poses_of_one_frame_are_refused",
)
def ten_poses(here: Here) -> str:
    write_model(here.folder / "colmap", ["a.png"] * 10)
    content = write_transforms(here.folder / "transforms", numbered(10))
    put(
        here.folder / "transforms",
        content | {"frames": [f | {"file_path": "images/00.png"} for f in content["frames"]]},
    )
    first = here.refused(lambda: load(here.folder / "colmap"), "a.png", "10 entries")
    return first + "; in transforms.json alike: " + here.refused(lambda: load(here.folder / "transforms"), "00.png")


# --- A13


@row(
    "A13",
    "a PLY's header says `element vertex -5`, or more vertices than there are",
    "test_a_header_that_lies_is_refused",
    "test_what_is_no_point_cloud_is_named",
)
def lying_header(here: Here) -> str:
    write_transforms(here.folder / "data", ply_file_path="points.ply")
    write_cloud(here.folder / "data/points.ply", ("red", "green", "blue"), "uchar", (200, 100, 50))
    gaussians = make_run(here.folder / "other") / "scene.ply"
    said = []
    for path, call in (
        (here.folder / "data/points.ply", lambda: load(here.folder / "data")),
        (gaussians, lambda: gsdff.load(gaussians, device="cpu")),
    ):
        whole = path.read_bytes()
        old = whole.partition(b"element vertex ")[2].partition(b"\n")[0]
        for count in (b"-5", b"1000000000000", b"five"):
            path.write_bytes(whole.replace(b"element vertex " + old, b"element vertex " + count, 1))
            said.append(here.refused(call, path.name))
    return f"6 of 6 refused, such as {said[0]} and {said[3]}"


@row(
    "A13",
    "a focal length of −69, a principal point of 1e9, one pose at 1e300",
    "test_numbers_that_no_camera_has_are_refused_in_colmap_models",
    "test_numbers_that_no_camera_has_are_refused_in_transforms",
    "test_a_camera_far_from_all_others_is_said",
)
def absurd_cameras(here: Here) -> str:
    said = []
    for number, camera in enumerate(
        (f"PINHOLE {WIDTH} {HEIGHT} -69 -69 8 6", f"PINHOLE {WIDTH} {HEIGHT} 14 14 1e9 6"),
    ):
        write_model(here.folder / str(number), camera=camera)
        said.append(here.refused(lambda number=number: load(here.folder / str(number)), "expected"))
    model = write_model(here.folder / "far")
    text = (model / "images.txt").read_text()
    (model / "images.txt").write_text(text.replace("3 1.0 0.0 0.0 0.0 -0.6", "3 1.0 0.0 0.0 0.0 1e300"))
    said.append(here.refused(lambda: load(here.folder / "far"), "v2.png"))
    for key, value in (("fl_x", -69), ("cx", 1e9)):
        put(here.folder / key, write_transforms(here.folder / key) | {key: value})
        here.refused(lambda key=key: load(here.folder / key), "expected")
    (model / "images.txt").write_text(text.replace("3 1.0 0.0 0.0 0.0 -0.6", "3 1.0 0.0 0.0 0.0 -9999"))
    load(here.folder / "far")
    return "; ".join(said) + f"; a pose at 9999 is said: {here.said('v2.png', 'times as far away')}"


@row("A13", "all points lie behind all cameras", "test_points_behind_all_cameras_are_refused")
def behind(here: Here) -> str:
    model = write_model(here.folder, camera=PINHOLE)
    text = (model / "points3D.txt").read_text()
    (model / "points3D.txt").write_text(text.replace(" 2.5 ", " -2.5 "))
    return here.refused(lambda: load(here.folder), "behind all cameras")


# --- B7


@row(
    "B7",
    "photo names of a COLMAP model that are absolute or lead out of the dataset",
    "test_photos_outside_the_dataset_are_refused_unless_allowed",
    "test_photos_outside_are_an_option",
)
def outside(here: Here) -> str:
    write_photos(here.folder / "secret", numbered(4))
    said = []
    for number, prefix in enumerate(("../../secret/", f"{here.folder}/secret/")):
        folder = here.folder / f"scene{number}"
        write_model(folder, [prefix + name for name in numbered(4)], images=None)
        (folder / "images").mkdir()
        said.append(here.refused(lambda folder=folder: load(folder), "lie outside", "dataset.allow_outside"))
        views = load(folder, allow_outside=True).views
        expect(len(views) == 4, f"{len(views)} photos with the option")
    linked = here.folder / "linked"
    write_model(linked, images=None)
    (linked / "images").mkdir()
    write_photos(here.folder / "secret")
    for name in NAMES:
        (linked / "images" / name).symlink_to(here.folder / "secret" / name)
    expect(len(load(linked).views) == 4, "linked photos are refused")
    return f"{said[0]}; absolute names alike; 4 of 4 with the option; photos that the user linked are read"


@row("B7", "a `mask_path` that is absolute or leads out of the dataset", "test_photos_outside_are_an_option")
def mask_outside(here: Here) -> str:
    folder = here.folder / "a/b/scene"
    content = write_transforms(folder)
    save_ids(here.folder / "secret/m.png", np.full((HEIGHT, WIDTH), 255))
    said = []
    for listed in ("../../../secret/m.png", f"{here.folder}/secret/m.png"):
        content["frames"][0]["mask_path"] = listed
        put(folder, content)
        said.append(here.refused(lambda: load(folder).views[0].mask is not None, "dataset.allow_outside"))
    expect(load(folder, allow_outside=True).views[0].mask is not None, "no mask with the option")
    return f"{said[0]}; with the option it is read"
