"""The app's server: who may talk to it, its answers beside those of `gsdff query`, what it saves."""

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from app_wire import AppPage, bits, first, rows, serve_shared, wait_until, window_of
from PIL import Image
from tiny_run import make_gaussians, open_field, write_run
from tiny_viewer import TinyViewer, look_at, see
from websockets.exceptions import ConnectionClosed, InvalidStatus

from gsdff.editing.edit import Edit
from gsdff.editing.operations.delete import Delete
from gsdff.editing.operations.recolor import Recolor
from gsdff.editing.toml_file import read_edits
from gsdff.export import ExportArguments, export_run
from gsdff.field.relevancy import DEFAULT_NEGATIVES
from gsdff.gaussians import Gaussians
from gsdff.io.pictures import heat
from gsdff.selection import Selection
from gsdff.viewer.modes import MODES
from gsdff.viewer.page.start import choose_cameras
from gsdff.viewer.render_loop import MAX_PIXELS
from gsdff.viewer.rendering import MAX_IMAGE_PIXELS, render_mode
from gsdff.viewer.shared_scene import open_shared_scene
from gsdff.viewer.wire import server as server_module
from gsdff.viewer.wire.answers import Answers
from gsdff.viewer.wire.messages import HandEdit, Question, Scenery
from gsdff.viewer.wire.server import AppServer

COLORS = [[0, 0, 0], [1, 1, 1]]


@pytest.fixture
def server(tiny: TinyViewer) -> Iterator[AppServer]:
    with serve_shared(tiny.shared) as server:
        yield server


@pytest.fixture
def public(tiny: TinyViewer) -> Iterator[AppServer]:
    """A server that other machines can reach."""
    with serve_shared(tiny.shared, "0.0.0.0") as server:
        yield server


@pytest.fixture
def page(server: AppServer) -> Iterator[AppPage]:
    with AppPage(server) as page:
        yield page


def get(server: AppServer, path: str = "/", *headers: str, host: str | None = None) -> tuple[int, str]:
    """Status of an HTTP request, and all that came with it."""
    lines = [f"GET {path} HTTP/1.1", f"Host: {host or f'127.0.0.1:{server.address.port}'}", *headers]
    with closing(socket.create_connection(("127.0.0.1", server.address.port), timeout=30)) as browser:
        browser.sendall("\r\n".join([*lines, "", ""]).encode())
        answer = b""
        while block := browser.recv(1 << 16):
            answer += block
    text = answer.decode()
    return int(text.split(" ", 2)[1]), text


def refused(server: AppServer, **differences: str | None) -> int:
    """HTTP status with which a websocket is refused."""
    with pytest.raises(InvalidStatus) as stop:
        AppPage(server, **differences)
    return stop.value.response.status_code


# --- who may talk to it


def test_the_page_may_talk_to_its_own_server_alone_and_is_in_no_frame(server):
    status, text = get(server)
    place = f"127.0.0.1:{server.address.port}"
    assert status == 200 and "<title>a page</title>" in text
    assert f"connect-src blob: data: 'self' ws://{place} wss://{place};" in text and "default-src 'none'" in text
    assert "frame-ancestors 'none'" in text and "Cache-Control: no-store" in text


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "", "http://127.0.0.1:1", "http://localhost"])
def test_a_socket_of_another_page_is_refused(server, origin):
    assert refused(server, origin=origin) == 403 and not server.tabs


def test_a_name_that_leads_here_and_other_places_are_refused(server):
    assert get(server, host="evil.example")[0] == 403
    assert get(server, "/../../etc/passwd")[0] == 404
    assert get(server, "/?websocket=ws://evil.example")[0] == 404


def test_a_page_asks_for_its_own_columns_and_an_older_one_is_told_to_load_again(server, public):
    get(server)
    status, text = get(server, f"/?columns={server.answers.scene}.0")
    assert status == 200 and text.endswith("\r\n\r\ncolumns") and "application/octet-stream" in text
    for query in (f"columns={server.answers.scene}.1", "columns=", f"columns={server.answers.scene}.0&x"):
        status, text = get(server, f"/?{query}")
        assert status == 404 and "load it again" in text
    get(public, f"/{public.gate.token}")
    assert get(public, f"/?columns={public.answers.scene}.0")[0] == 403
    assert get(public, f"/{public.gate.token}?columns={public.answers.scene}.0")[0] == 200


@pytest.mark.parametrize("path", ["", "/", "/wrong"])
def test_where_others_can_reach_it_nobody_gets_in_without_the_token(public, path):
    assert len(public.gate.token) > 20 and public.url.endswith(f"/{public.gate.token}")
    assert refused(public, path=path) == 403 and get(public, path or "/")[0] == 403
    assert get(public, f"/{public.gate.token}")[0] == 200
    with AppPage(public) as page:
        assert page.hello["type"] == "hello"


def test_a_message_that_is_too_large_ends_its_own_page_alone(server, page, caplog):
    with caplog.at_level(logging.WARNING, "gsdff"), AppPage(server) as other:
        other.send("encode", texts=["a" * 2_000_000])
        assert other.is_closed() == 1009
        wait_until(lambda: len(server.tabs) == 1)
    assert "a page sent what is no message of it" in caplog.text and "Traceback" not in caplog.text
    assert page.ask("encode", texts=["chair"])["type"] == "vectors"


def test_nonsense_is_answered_and_the_page_goes_on(page):
    numbered = '{"type": "encode", "id": 7, "texts": 5}'
    for data, number in (("nonsense", None), (b"\x00", None), ('{"id": -1}', None), (numbered, 7)):
        page.socket.send(data)
        answer, _ = page.receive()
        assert answer["type"] == "failed" and answer["id"] == number and answer["text"].startswith("message: ")
    assert page.ask("encode", texts=["chair"])["type"] == "vectors"


def test_there_are_only_so_many_pages(server, page, monkeypatch):
    monkeypatch.setattr(server_module, "MOST_TABS", 1)
    with pytest.raises(Exception, match="1 pages are open; close one"):
        AppPage(server)


def test_a_page_that_has_gone_leaves_no_tab(server):
    with AppPage(server) as page:
        page.draw(look_at(server.answers.shared), "colour")
        assert len(server.tabs) == 1
    wait_until(lambda: not server.tabs)


def test_a_server_that_is_closed_leaves_no_thread(tiny):
    before = set(threading.enumerate())
    with serve_shared(tiny.shared) as server:
        place = ("127.0.0.1", server.address.port)
        page, other, silent = AppPage(server), AppPage(server), socket.create_connection(place)
        page.draw(look_at(tiny.shared), "colour")
        page.ask("encode", texts=["chair"])
        wait_until(lambda: len(server._connections) == 3)  # a browser opens some before it asks for anything
    for one in (page, other):
        with pytest.raises(ConnectionClosed):
            one.receive()
    silent.close()
    wait_until(lambda: not [one for one in threading.enumerate() if one not in before and "tqdm" not in one.name])


# --- words


def test_vectors_of_texts_give_every_gaussian_the_score_of_gsdff_query(server, page, tiny):
    field = tiny.shared.field
    names = ["chair", "lamp", "wall"]
    vectors = torch.tensor(page.ask("encode", texts=["Chair", "lamp", "wall"])["vectors"])
    torch.testing.assert_close(vectors, field.encode_text(names) @ field.B)
    cosines = torch.nn.functional.normalize(field.latents, dim=1) @ vectors.T
    shares = torch.softmax(cosines / 0.1, dim=1)
    torch.testing.assert_close(shares[:, 0], field.query("chair").scores)


def test_a_word_that_the_teacher_does_not_know_is_refused_by_name(page):
    answer = page.ask("encode", texts=["chair", "unicorn"])
    assert answer["type"] == "failed" and "unknown name 'unicorn'" in answer["text"]
    assert "chair, lamp, wall" in answer["text"]


class SlowWords:
    """A teacher that encodes any text, when it is let."""

    name, vocabulary = "clip", None

    def __init__(self) -> None:
        self.is_asked, self.may_go = threading.Event(), threading.Event()
        self.encoded: list[str] = []

    def text(self, names):
        self.is_asked.set()
        assert self.may_go.wait(30)
        self.encoded += names
        return torch.stack([torch.tensor([float(letter in name) + 0.1 for letter in "aeiou"]) for name in names])


@pytest.fixture
def slow(tiny: TinyViewer) -> SlowWords:
    """The tiny viewer's teacher, which encodes any text from now on."""
    words = SlowWords()
    tiny.shared.field.read |= {"vocabulary": None, "teacher": words}
    return words


def test_a_newer_text_cancels_those_that_wait(slow, server, page):
    page.send("encode", texts=["first"])
    assert slow.is_asked.wait(30)
    page.send("encode", texts=["second"])
    last = page.send("encode", texts=["third"])
    (tab,) = server.tabs
    wait_until(lambda: tab._newest_text == last)
    slow.may_go.set()
    kinds = {answer["id"]: (answer["type"], answer.get("text")) for answer, _ in (page.receive() for _ in range(3))}
    assert kinds[2] == ("failed", "a newer text has come before it") and kinds[3][0] == "vectors"
    assert slow.encoded == ["first", "third"]


def test_a_text_is_encoded_once_for_page_and_picture(slow, page, tiny):
    slow.may_go.set()
    page.ask("encode", texts=["teapot", *DEFAULT_NEGATIVES])
    question = {"positives": ["teapot"], "negatives": [], "threshold": 0.2, "score_range": [0.1, 0.3], "colors": COLORS}
    page.draw(look_at(tiny.shared), "relevancy", question=question)
    assert slow.encoded == ["teapot", *DEFAULT_NEGATIVES]


def test_too_many_requests_are_refused_until_there_is_room(slow, page):
    for _ in range(18):
        page.send("save_selection", selected=bits(first(0)))
    page.send("encode", texts=["a"])
    slow.may_go.set()
    answers = [page.receive()[0] for _ in range(19)]
    assert {answer["text"] for answer in answers if answer["type"] == "failed"} <= {
        "nothing is selected", "16 requests are waiting already; try again later",
    }  # fmt: skip
    assert {answer["id"] for answer in answers} == set(range(1, 20))


# --- pictures


@pytest.mark.parametrize("mode", ["colour", "depth", "opacity", "features", "photo", "teacher", "masks"])
def test_a_picture_is_that_of_the_mode(tiny, page, mode):
    camera = look_at(tiny.shared)
    expected = render_mode(tiny.shared, see(tiny.shared), mode, camera).float() / 255
    drawn = page.draw(camera, mode)
    assert drawn.shape == expected.shape and expected.std() > 0.05
    assert (drawn - expected).abs().mean() < 0.02  # it comes as JPEG


def test_every_pixel_has_the_score_of_gsdff_query(tiny):
    view, answers = tiny.shared.views[3], Answers(tiny.shared)
    hit = tiny.shared.field.query("chair", view=view)
    low, high = hit.score_range
    question = Question(("chair",), (), hit.threshold, (low, high), ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 1.0, 0.0)))
    scenery = Scenery("relevancy", question=question)
    drawn = answers.render(answers.show(scenery, *answers.cut(scenery)), "relevancy", view.camera)
    expected = heat((hit.scores.nan_to_num(low) - low) / (high - low), torch.tensor(question.colors))
    assert 20 < int(hit.selected.sum()) < hit.selected.numel()
    assert torch.equal(drawn[hit.selected], expected[hit.selected])
    others = drawn[~hit.selected].int()
    assert torch.equal(others, others[:, :1].expand(-1, 3))  # grey


def test_every_pixel_has_the_class_of_gsdff_segment(tiny):
    view, answers = tiny.shared.views[3], Answers(tiny.shared)
    names = ("chair", "lamp", "wall")
    hit = tiny.shared.field.segment(names, view=view)
    scenery = Scenery("classes", classes=names)
    drawn = answers.render(answers.show(scenery, *answers.cut(scenery)), "classes", view.camera)
    expected = render_mode(tiny.shared, see(tiny.shared, classes=names), "classes", view.camera)
    assert torch.equal(drawn, expected)
    assert hit.labels is not None and {0, 1} <= set(hit.labels.unique().tolist())


def test_what_a_page_hides_is_not_drawn(tiny, page):
    camera, field = look_at(tiny.shared), tiny.shared.field
    rest = replace(field, gaussians=field.gaussians.map(lambda tensor: tensor[30:]))
    expected = rest.draw(camera).image.clamp(0, 1)
    drawn = page.draw(camera, "colour", hidden=bits(first(30)))
    assert (drawn - expected).abs().mean() < 0.02 < (drawn - page.draw(camera, "colour")).abs().mean()
    assert not page.draw(camera, "colour", hidden=bits(first(60))).any()


def test_an_edit_after_others_is_made_on_their_result(tiny, page, server, monkeypatch):
    made = []
    make = HandEdit.make

    def make_and_count(edit: HandEdit, *rest: Any) -> Edit:
        made.append(edit)
        return make(edit, *rest)

    monkeypatch.setattr(HandEdit, "make", make_and_count)
    camera = look_at(tiny.shared)
    edits = [{"operation": "recolor", "rows": rows(torch.arange(60) == i), "color": [i % 2, 1, 0]} for i in range(20)]
    edits.append({"operation": "delete", "rows": rows(first(5))})
    for count in range(1, 22):
        page.draw(camera, "colour", edits=edits[:count])
        page.draw_beside(camera, {"mode": "colour"}, {"mode": "colour", "edits": edits[:count]})
    assert len(made) == 21
    drawn = page.draw(camera, "colour", edits=edits)
    with AppPage(server) as other:
        assert torch.equal(other.draw(camera, "colour", edits=edits), drawn)
    page.draw(camera, "colour", edits=edits[:3])
    with AppPage(server) as other:
        assert torch.equal(other.draw(camera, "colour", edits=edits[:3]), page.draw(camera, "colour", edits=edits[:3]))


def test_what_a_page_edits_is_drawn_as_gsdff_edit_makes_it(tiny, page):
    camera, field = look_at(tiny.shared), tiny.shared.field
    edited = field.edit(Recolor(Selection(first(30)), color=(1.0, 0.0, 0.0)), Delete(Selection(first(20))))
    expected = edited.draw(camera).image.clamp(0, 1)
    edits = [
        {"operation": "recolor", "rows": rows(first(30)), "color": [1, 0, 0]},
        {"operation": "delete", "rows": rows(first(20))},
    ]
    drawn = page.draw(camera, "colour", edits=edits)
    assert (drawn - expected).abs().mean() < 0.02


def test_marked_gaussians_stand_out(tiny, page):
    camera = look_at(tiny.shared)
    marked = page.draw(camera, "colour", marked=bits(first(30)))
    assert (marked - page.draw(camera, "colour")).abs().mean() > 0.02


def test_a_newer_request_cancels_a_picture_that_is_being_drawn(tiny, server, page):
    camera = look_at(tiny.shared)
    with tiny.shared.render_lock:
        page.send("draw", window=window_of(camera), scenery={"mode": "colour"})
        (tab,) = server.tabs
        wait_until(lambda: tab._drawn is not None)
        page.send("draw", window=window_of(camera), scenery={"mode": "depth"})
        wait_until(lambda: tab._asked.scenery.mode == "depth")
    answer, _ = page.receive()
    assert (answer["id"], answer["mode"]) == (2, "depth")


@pytest.mark.parametrize(
    ("scenery", "text"),
    [
        ({"mode": "x-ray"}, "mode 'x-ray': expected one of colour, depth"),
        ({"mode": "colour", "hidden": "gA=="}, "expected 8 bytes for 60 Gaussians, got 1"),
        ({"mode": "classes", "classes": ["chair", "unicorn"]}, "unknown name 'unicorn'"),
    ],
)
def test_a_picture_that_cannot_be_drawn_is_refused_in_words_and_the_next_one_comes(tiny, page, scenery, text):
    answer = page.ask("draw", window=window_of(look_at(tiny.shared)), scenery=scenery)
    assert answer["type"] == "failed" and text in answer["text"]
    assert page.draw(look_at(tiny.shared), "colour").any()


def test_a_picture_from_elsewhere_shows_what_the_last_one_did(tiny, page):
    one, other = (tiny.shared.views[i].camera for i in (3, 6))
    number = page.send("draw", window=window_of(one))
    answer = page.receive()[0]
    assert (answer["id"], answer["type"]) == (number, "failed") and "in the first request" in answer["text"]
    left, right = {"mode": "colour", "hidden": bits(first(30))}, {"mode": "depth"}
    page.draw_beside(one, left, right)
    again = page.receive_picture(page.send("draw", window=window_of(other)))
    assert torch.equal(again, page.draw_beside(other, left, right))


@pytest.mark.parametrize(("width", "height"), [(20_000, 20_000), (32_768, 1), (1, 32_768), (1, 1)])
def test_windows_of_any_size_are_drawn_within_the_limits(tiny, page, width, height):
    picture = page.receive_picture(
        page.send("draw", window=window_of(tiny.shared.views[3].camera, width, height), scenery={"mode": "photo"})
    )
    assert 1 <= len(picture) * len(picture[0]) <= MAX_PIXELS


def test_a_saved_picture_of_an_enormous_window_is_of_bounded_size_and_says_so(tiny, page):
    window = window_of(tiny.shared.views[3].camera, 20_000, 5_000)
    answer = page.ask("save_picture", window=window, scenery={"mode": "photo"})
    with Image.open(answer["path"]) as png:
        assert png.size == (5760, 1440) and png.width * png.height <= MAX_IMAGE_PIXELS
    assert answer["hint"] == "5760x1440 pixels"


def test_the_error_of_a_mode_is_answered_and_the_page_goes_on(tiny, page, monkeypatch):
    def fail(inputs: object, camera: object) -> None:
        raise RuntimeError("no memory left")

    camera = tiny.shared.views[3].camera
    with monkeypatch.context() as patch:
        patch.setitem(MODES, "opacity", replace(MODES["opacity"], render=fail))
        answer = page.ask("draw", window=window_of(camera), scenery={"mode": "opacity"})
    assert (answer["type"], answer["text"]) == ("failed", "RuntimeError: no memory left")
    assert page.draw(camera, "opacity").any()


def test_pages_at_once_have_pictures_of_their_own(tiny, server, page):
    camera = look_at(tiny.shared)
    with AppPage(server) as other:
        wait_until(lambda: len(server.tabs) == 2)
        one, two = page.draw(camera, "colour", hidden=bits(first(30))), other.draw(camera, "depth")
        again = page.draw(camera, "colour", hidden=bits(first(30)))
    # not the very same: how many blocks it is drawn in depends on the time that others took
    assert (one - again).abs().mean() < 0.005 < 0.02 < (one - two).abs().mean()


# --- files


def test_edits_are_saved_as_a_file_that_makes_them_again(tiny, page):
    field = tiny.shared.field
    edits = [
        {"operation": "recolor", "rows": rows(first(10)), "color": [0, 1, 0]},
        {"operation": "delete", "rows": rows(first(5))},
    ]
    answer = page.ask("save_edits", edits=edits)
    path = Path(answer["path"])
    assert path == tiny.run.folder / "viewer" / "edits_001.toml" and "gsdff edit" in answer["hint"]
    replayed = field.edit(*read_edits(path).edits).gaussians
    expected = field.edit(Recolor(Selection(first(10)), color=(0.0, 1.0, 0.0)), Delete(Selection(first(5)))).gaussians
    assert len(replayed) == 55
    for (name, one), (_, two) in zip(replayed.items(), expected.items(), strict=True):
        assert torch.equal(one, two), name


def test_a_selection_is_saved_and_none_is_refused(tiny, page):
    path = Path(page.ask("save_selection", selected=bits(first(12)))["path"])
    assert torch.equal(Selection.load(path, expected=60).mask, first(12))
    assert page.ask("save_selection", selected="")["text"] == "nothing is selected"
    assert [file.name for file in path.parent.iterdir()] == ["selection_001.safetensors"]


def test_a_picture_is_saved_whole_and_without_loss(tiny, page):
    camera = look_at(tiny.shared, 80, 60)
    answer = page.ask("save_picture", window=window_of(camera), scenery={"mode": "colour"})
    expected = render_mode(tiny.shared, see(tiny.shared), "colour", camera)
    saved = torch.from_numpy(np.array(Image.open(answer["path"])))
    assert "80x60" in answer["hint"] and (saved.int() - expected.int()).abs().max() <= 1


def test_two_pages_save_under_two_names(server, page):
    with AppPage(server) as other:
        paths = {one.ask("save_selection", selected=bits(first(3)))["path"] for one in (page, other)}
    assert len(paths) == 2


# --- a scene without features


@pytest.fixture
def plain(tmp_path: Path, generator: torch.Generator) -> Gaussians:
    return make_gaussians(generator)


def test_a_ply_without_features_is_served_with_what_it_has(tmp_path, plain):
    run = write_run(tmp_path, plain)
    ply = export_run(ExportArguments(run.folder, out=tmp_path / "plain.ply"))
    with serve_shared(open_shared_scene(open_field(ply)), page=True) as server, AppPage(server) as page:
        assert server.answers.modes == ("colour", "depth", "opacity")
        assert '"words": []' in get(server)[1]
        camera = choose_cameras(server.answers.shared.field)[0].resized(60, 45)
        assert page.draw(camera, "depth").any()
        assert "expected features" in page.ask("encode", texts=["chair"])["text"]
        question = {"positives": ["chair"], "negatives": [], "threshold": 0.5, "score_range": [0, 1], "colors": COLORS}
        answer = page.ask("draw", window=window_of(camera), scenery={"mode": "relevancy", "question": question})
        assert "mode 'relevancy': expected one of colour, depth, opacity" in answer["text"]
