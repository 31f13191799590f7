"""What a page asks for besides pictures: words, selections, flights, files."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import UInt8
from msgspec import Struct
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.errors import UserError
from gsdff.io.camera_paths import interpolate
from gsdff.io.pictures import label_palette
from gsdff.viewer.film import Film, in_one_window
from gsdff.viewer.page.tour import FRAMES_PER_SECOND, describe_flight
from gsdff.viewer.render_loop import render_whole
from gsdff.viewer.visible_scene import VisibleScene
from gsdff.viewer.wire import saves
from gsdff.viewer.wire.answers import Answers
from gsdff.viewer.wire.messages import (
    Draw,
    Encode,
    Fetch,
    FindSimilar,
    Fly,
    Keyframes,
    Modify,
    NameClasses,
    Pause,
    Request,
    SaveEdits,
    SaveFilm,
    SavePage,
    SavePicture,
    SaveScene,
    SaveSelection,
    Scenery,
)
from gsdff.viewer.wire.replies import (
    Done,
    FilePart,
    Flown,
    Likeness,
    NamedClasses,
    Progressed,
    Saved,
    Selected,
    Vectors,
)
from gsdff.viewer.wire.saves import SavedFile

MOST_SAVED = 64
"""Saved files that a page may fetch, the newest."""
NOT_YET = "the scene still trains: edits, selections and films can be saved when it is finished"
LONG = SaveFilm | SavePage | SaveScene
"""Requests that may take minutes."""


class Shows(Protocol):
    """The page, as far as its answers need it."""

    answers: Answers

    def answers_of(self, version: int) -> Answers:
        """Answers about a state of a scene that trains."""
        ...

    def show(self, scenery: Scenery) -> VisibleScene:
        """The scene as the page shows it."""
        ...

    def render(self, request: Draw | SavePicture, visible: list[VisibleScene], camera: Camera, rows: slice) -> Tensor:
        """Some rows of a picture."""
        ...


class Actions:
    """Answers to the requests of one page. `send` sends it an answer, with bytes after it."""

    def __init__(self, page: Shows, send: Callable[[Struct, bytes], None]):
        self.page, self._send = page, send
        self.film: Film | None = None
        """The film that is being made."""
        self._is_closed = False
        self._saved: dict[int, tuple[Path, ...]] = {}
        """Files that the page may fetch, by the request that saved them."""

    def answer(self, request: Request) -> None:
        """Answers a request; raises `UserError` for one that cannot be met."""
        if isinstance(request, Fetch):
            self._fetch(request)
        else:
            self._send(*self._find_answer(request))

    def stop(self) -> None:
        """Stops the film that is being made, if there is one."""
        film = self.film
        if film is not None:
            film.stop()

    def close(self) -> None:
        """Stops the film that is being made, and any that is yet to begin."""
        self._is_closed = True
        self.stop()

    def _find_answer(self, request: Request) -> tuple[Struct, bytes]:
        answers = self.page.answers
        training = answers.shared.training
        match request:
            case Encode():
                return Vectors(request.id, answers.encode(request.texts).tolist()), b""
            case NameClasses():
                colors = (label_palette(len(request.names)) / 255).tolist()
                return NamedClasses(request.id, answers.encode(request.names).tolist(), colors), b""
            case Pause():
                if training is None:
                    raise UserError("the training is over")
                (training.pause if request.is_paused else training.resume)()
                return Done(request.id), b""
            case Fly():
                num_frames = max(2, round(FRAMES_PER_SECOND * request.seconds))
                flown = interpolate(in_one_window(_cameras(request.keyframes)), num_frames)
                return Flown(request.id, request.seconds, describe_flight(flown)), b""
            case FindSimilar():
                visible = self.page.show(request.scenery)
                found = self.page.answers_of(request.scenery.version).find_similar(
                    visible, request.window.camera(), request.place
                )
                scores = found.scores.cpu().numpy().astype("<f4").tobytes()
                return Likeness(request.id, found.latents, found.threshold, found.score_range), scores
            case Modify():
                modified = self.page.answers_of(request.version).modify(request)
                return Selected(request.id), np.packbits(modified.numpy()).tobytes()
            case SavePicture():
                return self._keep(request, saves.save_picture(answers, self._draw(request)))
        if training is not None:
            raise UserError(NOT_YET)
        match request:
            case SaveSelection():
                return self._keep(request, saves.save_selection(answers, request))
            case SaveEdits():
                return self._keep(request, saves.save_edits(answers, request))
            case SaveScene():
                return self._keep(request, saves.save_scene(answers, request))
            case SavePage():
                return self._keep(request, saves.save_page(answers, request, self._reporter(request)))
            case SaveFilm():
                return self._keep(request, self._film(request))
        raise AssertionError(f"no answer for {type(request).__name__}")

    def _keep(self, request: Request, saved: SavedFile) -> tuple[Saved, bytes]:
        """The answer about a file, which the page may fetch from now on."""
        while len(self._saved) >= MOST_SAVED:
            del self._saved[next(iter(self._saved))]
        self._saved[request.id] = saved.files
        return Saved(request.id, str(saved.path), saved.hint, [file.name for file in saved.files]), b""

    def _reporter(self, request: Request) -> Callable[[float], None]:
        """What tells the page the share of a request that is done."""
        return lambda share: self._send(Progressed(request.id, share), b"")

    def _fetch(self, request: Fetch) -> None:
        files = self._saved.get(request.saved, ())
        if request.place >= len(files):
            raise UserError("this file is not known any more; save it again")
        for data, is_last in saves.read_parts(files[request.place]):
            self._send(FilePart(request.id, is_last), data)

    def _draw(self, request: SavePicture) -> UInt8[Tensor, "H W 3"]:
        camera, visible = request.window.camera(), [self.page.show(scenery) for scenery in sceneries(request)]
        return render_whole(camera.width, camera.height, lambda rows: self.page.render(request, visible, camera, rows))

    def _film(self, request: SaveFilm) -> SavedFile:
        """Makes a film; raises `UserError` if it is stopped."""
        answers, visible = self.page.answers, self.page.show(request.scenery)

        def render(camera: Camera) -> UInt8[Tensor, "H W 3"]:
            return render_whole(
                camera.width,
                camera.height,
                lambda rows: answers.render(visible, request.scenery.mode, camera, rows),
            )

        self.film = film = Film(_cameras(request.keyframes), request.seconds)
        if self._is_closed:
            film.stop()
        path = saves.free_path(answers.shared, "video", ".mp4")
        try:
            is_written = film.write(path, render, self._reporter(request))
        finally:
            self.film = None
        if not is_written:
            raise UserError("stopped; no film was saved")
        first = film.cameras[0]
        return SavedFile(path, f"{first.width}x{first.height} pixels, {request.seconds:g} s", (path,))


def sceneries(request: Draw | SavePicture) -> list[Scenery]:
    """What a picture shows: one scene, or two halves."""
    assert request.scenery is not None, "a tab completes requests"
    return [request.scenery] if request.beside is None else [request.scenery, request.beside]


def _cameras(keyframes: Keyframes) -> list[Camera]:
    return [window.camera() for window in keyframes]
