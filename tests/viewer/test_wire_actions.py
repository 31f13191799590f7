"""What the app's server makes for a page: classes, likeness, flights, films, scenes, share pages, and their files."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from app_wire import AppPage, bits, first, rows, serve_shared, wait_until, window_of
from page_file import read_page, write_things
from read_video import read_video
from tiny_run import open_field
from tiny_viewer import NAMES, TinyViewer, look_at, see

import gsdff
from gsdff.editing.operations.delete import Delete
from gsdff.editing.operations.recolor import Recolor
from gsdff.editing.toml_file import read_edits
from gsdff.field.examples import Seen
from gsdff.field.query import Query
from gsdff.field.search import search
from gsdff.io.camera_paths import interpolate
from gsdff.io.pictures import label_palette
from gsdff.selection import Selection
from gsdff.viewer.rendering import render_mode
from gsdff.viewer.shared_scene import open_shared_scene
from gsdff.viewer.wire import saves
from gsdff.viewer.wire.server import AppServer

RED = {"operation": "recolor", "rows": rows(first(30)), "color": [1, 0, 0]}
GONE = {"operation": "delete", "rows": rows(first(20))}
MOST_GONE = {"operation": "delete", "rows": rows(first(50))}


@pytest.fixture
def server(tiny: TinyViewer) -> Iterator[AppServer]:
    with serve_shared(tiny.shared) as server:
        yield server


@pytest.fixture
def page(server: AppServer) -> Iterator[AppPage]:
    with AppPage(server) as page:
        yield page


def fetch(page: AppPage, saved: int, place: int = 0) -> bytes:
    """A file that the page has saved."""
    number = page.send("fetch", saved=saved, place=place)
    data = b""
    while True:
        answer, payload = page.receive()
        assert (answer["type"], answer["id"]) == ("part", number), answer
        data += payload
        if answer["is_last"]:
            return data


# --- classes and likeness


def test_classes_of_ones_own_are_drawn_in_the_colours_of_the_page(tiny, page):
    answer = page.ask("name_classes", names=["lamp", "chair"])
    field = tiny.shared.field
    torch.testing.assert_close(torch.tensor(answer["vectors"]), field.encode_text(["lamp", "chair"]) @ field.B)
    assert torch.allclose(torch.tensor(answer["colors"]), label_palette(2) / 255)
    camera = look_at(tiny.shared)
    colors = torch.tensor([[255, 0, 0], [0, 0, 255]], dtype=torch.uint8)
    visible = replace(see(tiny.shared, classes=("lamp", "chair")), class_colors=colors)
    expected = render_mode(tiny.shared, visible, "classes", camera).float() / 255
    scenery = {"classes": ["lamp", "chair"], "class_colors": [[1, 0, 0], [0, 0, 1]]}
    drawn = page.draw(camera, "classes", **scenery)
    assert (drawn - expected).abs().mean() < 0.02
    assert (drawn - page.draw(camera, "classes", classes=["lamp", "chair"])).abs().mean() > 0.05


def test_similar_gaussians_have_the_scores_of_gsdff_query(tiny, page):
    camera, field = look_at(tiny.shared), tiny.shared.field
    number = page.send("find_similar", window=window_of(camera), scenery={"mode": "colour"}, place=[0.5, 0.5])
    answer, payload = page.receive()
    assert (answer["type"], answer["id"]) == ("scored", number)
    hit = search(field, Query(like=Seen(torch.tensor(answer["latents"]))))
    scores = torch.from_numpy(np.frombuffer(payload, "<f4").copy())
    torch.testing.assert_close(scores, hit.scores)
    assert answer["threshold"] == pytest.approx(hit.threshold)
    question = {
        "positives": [], "negatives": [], "threshold": answer["threshold"], "score_range": answer["score_range"],
        "colors": [[0, 0, 1], [1, 1, 0]], "like": answer["latents"],
    }  # fmt: skip
    assert (page.draw(camera, "relevancy", question=question) - page.draw(camera, "colour")).abs().mean() > 0.02


def test_nothing_is_similar_to_an_empty_place(tiny, page):
    answer = page.ask(
        "find_similar", window=window_of(look_at(tiny.shared)), place=[0.5, 0.5],
        scenery={"mode": "colour", "hidden": bits(first(60))},
    )  # fmt: skip
    assert answer["type"] == "failed" and "visible Gaussians with features" in answer["text"]


@pytest.mark.parametrize("how", ["grow", "shrink", "keep_largest", "drop_floaters"])
def test_a_selection_is_modified_among_what_is_there(tiny, page, how):
    hidden = torch.arange(60) >= 50
    number = page.send("modify", selected=bits(first(25)), hidden=bits(hidden), how=how)
    answer, payload = page.receive()
    assert (answer["type"], answer["id"]) == ("selected", number)
    modified = torch.from_numpy(np.unpackbits(np.frombuffer(payload, np.uint8), count=60).astype(bool))
    means = tiny.shared.gaussians.to_working_frame(tiny.shared.frame).means[:50]
    expected = getattr(Selection(first(25)[:50]), how)(means).mask
    assert torch.equal(modified[:50], expected) and not modified[50:].any()


def test_an_empty_selection_is_not_modified(page):
    assert page.ask("modify", selected="", hidden="", how="grow")["text"] == "nothing is selected"


# --- pictures


def test_the_halves_of_a_picture_show_what_each_is_asked_for(tiny, page):
    camera = look_at(tiny.shared)
    both = page.draw_beside(camera, {"mode": "colour"}, {"mode": "depth"})
    colour, depth = page.draw(camera, "colour"), page.draw(camera, "depth")
    half = camera.width // 2
    assert (both[:, : half - 2] - colour[:, : half - 2]).abs().mean() < 0.02
    assert (both[:, half + 2 :] - depth[:, half + 2 :]).abs().mean() < 0.02
    before = page.draw_beside(camera, {"mode": "colour"}, {"mode": "colour", "edits": [MOST_GONE]})
    assert (before[:, : half - 2] - colour[:, : half - 2]).abs().mean() < 0.02
    assert (before[:, half + 2 :] - colour[:, half + 2 :]).abs().mean() > 0.02


def test_a_picture_of_things_has_the_thing_of_every_pixel_in_its_colour(tiny):
    write_things(tiny.run.folder)
    field = open_field(tiny.run.folder)
    shared = open_shared_scene(field)
    with serve_shared(shared) as server, AppPage(server) as page:
        assert "things" in server.answers.modes
        view = shared.views[3]
        drawn = page.draw(view.camera, "things")
        ids = field.instance_ids(view)
        assert {1, 2} <= set(ids.unique().tolist())
        palette, alpha = label_palette(2).float() / 255, field.render(view, "alpha").values
        colour = page.draw(view.camera, "colour")
        for number in (1, 2):
            expected = torch.lerp(colour[ids == number], palette[number - 1], 0.75 * alpha[ids == number])
            assert (drawn[ids == number] - expected).abs().mean() < 0.05
        some = page.draw(view.camera, "things", hidden=bits(first(20)))
        assert (some - drawn).abs().mean() > 0.02


def test_without_things_there_is_no_such_mode(server):
    assert "things" not in server.answers.modes


# --- flights and films


def keyframes(tiny: TinyViewer, width: int = 40, height: int = 30) -> list:
    return [replace(look_at(tiny.shared, width, height), viewmat=tiny.shared.views[i].camera.viewmat) for i in (1, 6)]


def test_a_flight_goes_through_the_keyframes(tiny, page):
    cameras = keyframes(tiny)
    answer = page.ask("fly", keyframes=[window_of(camera) for camera in cameras], seconds=2)
    assert answer["type"] == "flown" and len(answer["frames"]) == 20 and answer["seconds"] == 2
    expected = interpolate(cameras, 20)
    for frame, camera in zip(answer["frames"], expected, strict=True):
        assert frame[:3] == pytest.approx(camera.position.tolist(), abs=1e-4)
        assert frame[9] == pytest.approx(camera.fov_y, abs=1e-4)


def test_a_film_shows_what_the_page_shows_and_is_fetched(tiny, page):
    cameras = keyframes(tiny)
    number = page.send(
        "save_film", keyframes=[window_of(camera) for camera in cameras], seconds=0.5,
        scenery={"mode": "colour", "edits": [RED]},
    )  # fmt: skip
    shares = []
    while (answer := page.receive()[0])["type"] == "progressed":
        shares.append(answer["share"])
    assert answer["type"] == "saved" and answer["id"] == number and "40x30" in answer["hint"], answer
    assert shares == pytest.approx([(i + 1) / 12 for i in range(12)])
    path = Path(answer["path"])
    assert path == tiny.run.folder / "viewer" / "video_001.mp4" and answer["names"] == ["video_001.mp4"]
    assert fetch(page, number) == path.read_bytes()
    _, frames = read_video(path)
    field = tiny.shared.field
    edited = field.edit(Recolor(Selection(first(30)), color=(1.0, 0.0, 0.0)))
    expected = edited.draw(cameras[0]).image.clamp(0, 1)
    assert (torch.as_tensor(frames[0]).float() / 255 - expected).abs().mean() < 0.05


def test_a_film_is_stopped_and_leaves_no_file(tiny, server, page):
    cameras = keyframes(tiny)
    number = page.send("save_film", keyframes=[window_of(c) for c in cameras], seconds=300, scenery={"mode": "colour"})
    assert page.receive()[0]["type"] == "progressed"
    stop = page.send("stop")
    again = page.send("save_scene")
    answers = {}
    while number not in answers:
        answer, _ = page.receive()
        if answer["type"] != "progressed":
            answers[answer["id"]] = answer
    assert answers[number]["text"] == "stopped; no film was saved" and answers[stop]["type"] == "done"
    assert again not in answers or "something else is being made" in answers[again]["text"]
    assert list((tiny.run.folder / "viewer").glob("*.mp4")) == []


def test_one_thing_is_made_at_a_time_and_words_are_answered_meanwhile(tiny, page):
    cameras = keyframes(tiny)
    page.send("save_film", keyframes=[window_of(c) for c in cameras], seconds=300, scenery={"mode": "colour"})
    assert page.receive()[0]["type"] == "progressed"
    kinds = {page.send("save_scene"): "failed", page.send("encode", texts=["chair"]): "vectors"}
    while kinds:
        answer, _ = page.receive()
        if answer["id"] in kinds:
            assert answer["type"] == kinds.pop(answer["id"]), answer


def test_a_page_that_is_closed_stops_its_film(tiny, server):
    with AppPage(server) as page:
        windows = [window_of(camera) for camera in keyframes(tiny)]
        page.send("save_film", keyframes=windows, seconds=300, scenery={"mode": "colour"})
        page.receive()
    wait_until(lambda: not server.tabs)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("gsdff-maker")]
    assert list((tiny.run.folder / "viewer").glob("*.mp4")) == []


# --- files


def test_the_edited_scene_is_saved_with_its_features_and_fetched_in_parts(tiny, page, monkeypatch):
    monkeypatch.setattr(saves, "PART_BYTES", 1000)
    number = page.send("save_scene", edits=[RED, GONE])
    answer, _ = page.receive()
    path = Path(answer["path"])
    assert answer["names"] == ["scene_001.ply", "scene_001.basis.safetensors"] and "40 Gaussians" in answer["hint"]
    expected = tiny.shared.field.edit(
        Recolor(Selection(first(30)), color=(1.0, 0.0, 0.0)), Delete(Selection(first(20)))
    )
    saved = gsdff.load(path, device="cpu")
    assert saved.has_features and torch.allclose(saved.gaussians.sh0, expected.gaussians.sh0)
    assert fetch(page, number) == path.read_bytes() and len(path.read_bytes()) > 3000
    assert fetch(page, number, 1) == path.with_name(answer["names"][1]).read_bytes()


def test_what_is_moved_in_the_page_is_moved_in_the_world(tiny, page):
    shared = tiny.shared
    edits = [{"operation": "move", "rows": rows(first(10)), "translation": [0.1, 0.2, -0.3]}]
    answer = page.ask("save_scene", edits=edits)
    saved, before = gsdff.load(Path(answer["path"]), device="cpu").gaussians.means, shared.gaussians.means
    offset = shared.frame.scale * torch.tensor([0.1, 0.2, -0.3])
    torch.testing.assert_close(saved[:10], before[:10] + offset, rtol=1e-5, atol=1e-5)
    assert torch.equal(saved[10:], before[10:]) and shared.frame.scale != 1


def test_a_deletion_by_text_is_saved_by_its_text_and_shown_by_its_gaussians(tiny, page):
    text = {"positives": ["chair"], "negatives": ["lamp"], "threshold": 0.4, "rim": False}
    path = Path(page.ask("save_edits", edits=[RED, GONE | {"text": text}])["path"])
    red, gone = read_edits(path).edits
    assert gone == Delete(("chair",), negatives=("lamp",), threshold=0.4, rim=False)
    assert red.target in path.parent.glob("*.safetensors")
    assert not path.with_name(f"{path.stem}_2.safetensors").exists()
    saved = page.ask("save_scene", edits=[GONE | {"text": text}])
    assert len(gsdff.load(saved["path"], device="cpu")) == 40


def test_hundreds_of_edits_are_saved_and_replayed(tiny, page):
    edits = [RED | {"rows": rows(torch.arange(60) == i % 50), "color": [i % 2, 1, 0]} for i in range(300)]
    path = Path(page.ask("save_edits", edits=[*edits, GONE | {"rows": rows(torch.arange(60) >= 50)}])["path"])
    replayed = open_field(tiny.run.folder).edit(*read_edits(path).edits)
    assert len(read_edits(path).edits) == 301 and len(replayed) == 50


def test_the_selection_is_saved_as_it_is_after_the_edits(tiny, page):
    answer = page.ask("save_scene", edits=[GONE], selected=bits(first(25)))
    assert Path(answer["path"]).name == "selection_001.ply"
    saved = gsdff.load(Path(answer["path"]), device="cpu")
    assert torch.allclose(saved.gaussians.means, tiny.shared.gaussians.means[20:25])
    answer = page.ask("save_scene", edits=[GONE], selected=bits(first(15)))
    assert answer["text"] == "nothing of the selection is left after the edits"


def test_the_share_page_shows_what_the_page_shows_from_where_it_looks(tiny, page):
    camera = look_at(tiny.shared)
    number = page.send("save_page", window=window_of(camera), edits=[GONE], classes=["lamp", "wall"])
    told, _ = page.receive()
    assert told == {"type": "progressed", "id": number, "share": pytest.approx(0.9)}
    answer, _ = page.receive()
    assert answer["type"] == "saved", answer
    header, columns = read_page(Path(answer["path"]))
    assert header["server"] is None and len(columns["splats"]) == 40
    assert [row["name"] for row in header["classes"]] == ["lamp", "wall"]
    assert [word["name"] for word in header["words"]] == list(NAMES)
    assert header["start"]["position"] == pytest.approx(camera.position.tolist(), abs=1e-4)
    assert fetch(page, number) == Path(answer["path"]).read_bytes()


def test_a_file_that_this_page_has_not_saved_is_not_sent(server, page):
    with AppPage(server) as other:
        number = other.send("save_selection", selected=bits(first(3)))
        other.receive()
    for saved in (number, 10**6):
        assert "not known any more" in page.ask("fetch", saved=saved)["text"]
    number = page.send("save_scene")
    path = Path(page.receive()[0]["path"])
    path.unlink()
    assert "is not there any more" in page.ask("fetch", saved=number)["text"]
