"""The built-in scene as a folder: written once, the same every time, atomically, never over other files."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from gsdff.data.demo import copy_demo_scene, write, write_demo_scene
from gsdff.errors import UserError

pytestmark = pytest.mark.usefixtures("one_thread")


def tiny(folder: Path, **changes: int) -> None:
    write_demo_scene(folder, **({"views": 2, "width": 16, "height": 12} | changes))


def photo_size(folder: Path) -> tuple[int, int]:
    with Image.open(folder / "images" / "view_000.png") as image:
        return image.size


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_one_seed_gives_one_scene_and_another_other_cameras(tmp_path, world, monkeypatch):
    tiny(tmp_path / "a")
    tiny(tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    monkeypatch.setattr(write, "build_world", lambda: world)
    tiny(tmp_path / "c", seed=1)
    assert contents(tmp_path / "a")["sparse/0/images.bin"] != contents(tmp_path / "c")["sparse/0/images.bin"]


def test_a_scene_that_is_there_is_left_alone_and_mended_when_a_file_is_gone(tmp_path, world, monkeypatch):
    folder, built = tmp_path / "scene", []
    monkeypatch.setattr(write, "build_world", lambda: built.append(1) or world)
    folder.mkdir()
    tiny(folder)
    before = contents(folder)
    tiny(folder)
    assert len(built) == 1 and contents(folder) == before
    (folder / "labels" / "view_001.png").unlink()
    tiny(folder)
    assert len(built) == 2 and contents(folder) == before
    tiny(folder, width=20)
    assert len(built) == 3 and photo_size(folder) == (20, 12)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scene"]


def test_a_folder_with_other_things_is_refused_and_kept(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match=tmp_path.name):
        tiny(tmp_path)
    assert contents(tmp_path) == {"thesis.tex": b"years of work"}


def test_an_interrupted_run_leaves_the_old_scene_and_no_scraps(tmp_path, world, monkeypatch):
    monkeypatch.setattr(write, "build_world", lambda: world)
    tiny(tmp_path / "scene")
    before, num_threads = contents(tmp_path / "scene"), torch.get_num_threads()

    def full_disk(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(write, "write_model", full_disk)
    with pytest.raises(OSError, match="No space"):
        tiny(tmp_path / "scene", seed=3)
    assert contents(tmp_path / "scene") == before and torch.get_num_threads() == num_threads
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scene"]


@pytest.fixture
def rendered(tmp_path, monkeypatch):
    """Folders that were rendered, by a stand-in that is quick; the cache folder is an empty one."""
    folders = []

    def render(folder, settings, names):
        folders.append(folder)
        for kind in ("images", "labels", "instances", "sparse/0"):
            (folder / kind).mkdir(parents=True)
        files = [f"{kind}/{name}" for kind in ("images", "labels", "instances") for name in names]
        files += [f"sparse/0/{stem}.bin" for stem in ("cameras", "images", "points3D")]
        for file in [*files, "classes.json", "objects.json"]:
            (folder / file).write_text(file)
        (folder / "demo.json").write_text(json.dumps(settings))

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(write, "_write", render)
    return folders


def test_the_scene_is_rendered_once_and_copied_from_then_on(tmp_path, rendered, monkeypatch):
    copy_demo_scene(tmp_path / "a")
    (tmp_path / "a" / "classes.json").write_text("changed by its owner")
    copy_demo_scene(tmp_path / "b")
    assert len(rendered) == 1 and (tmp_path / "b" / "classes.json").read_text() == "classes.json"
    assert len(list((tmp_path / "cache" / "gsdff").iterdir())) == 1
    monkeypatch.setattr(write, "_source_key", lambda: "other code")
    copy_demo_scene(tmp_path / "c")
    assert len(rendered) == 2 and contents(tmp_path / "c") == contents(tmp_path / "b")


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, rendered, caplog):
    (tmp_path / "cache").touch()
    copy_demo_scene(tmp_path / "a")
    assert len(rendered) == 1 and (tmp_path / "a" / "demo.json").is_file()
    assert "cannot keep the demo scene for the next run" in caplog.text


def test_the_scene_of_a_faster_process_is_not_replaced(tmp_path, rendered, monkeypatch):
    slowly = write._write

    def render(folder, settings, names):
        slowly(folder, settings, names)
        if not (tmp_path / "scene").exists():
            slowly(tmp_path / "scene", settings, names)
            (tmp_path / "scene" / "mark").touch()

    monkeypatch.setattr(write, "_write", render)
    tiny(tmp_path / "scene")
    assert (tmp_path / "scene" / "mark").exists()
    assert not list(tmp_path.glob(".scene*"))
