"""One open page of the app: its pictures, in a thread of their own, and its other requests, one after another."""

import io
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from jaxtyping import Int, UInt8
from msgspec import Struct, structs
from PIL import Image
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.errors import UserError
from gsdff.gaussians import Gaussians
from gsdff.viewer.failures import FAILURES, describe_failure
from gsdff.viewer.render_loop import RenderLoop, RowBlock
from gsdff.viewer.rendering import bounded_size, split_view, to_numpy
from gsdff.viewer.visible_scene import VisibleScene
from gsdff.viewer.wire.actions import LONG, Actions, sceneries
from gsdff.viewer.wire.answers import Answers, PageEdits
from gsdff.viewer.wire.messages import (
    Draw,
    Encode,
    Follow,
    Request,
    SavePicture,
    Scenery,
    Stop,
    read_number,
    read_request,
)
from gsdff.viewer.wire.replies import Done, Failed, Hello, Pictured, write_answer

MOST_WAITING = 16
"""Requests of a page, but for pictures, that may wait."""
MOST_CUTS = 2
"""Sceneries whose Gaussians are remembered."""
JPEG_QUALITY = 95


class AppTab:
    """One open page. `send` sends it a message; it may be called from several threads, and for a page that is gone."""

    def __init__(self, answers: Answers, send: Callable[[str | bytes], None]):
        self.answers, self.send = answers, send
        """Answers about the newest state of the scene that the page was sent."""
        self._known = {answers.version: answers}
        """Those, and those about the state before: what is on its way may be about that."""
        self._following: Follow | None = None
        """Newest request for the progress of the training, until it is answered."""
        lock = answers.shared.render_lock
        self.render_loop = RenderLoop(
            self._size,
            self._render_block,
            self._send_picture,
            self._fail_picture,
            lambda: lock.clock() - self._looked_up,
        )
        self._looked_up = 0.0
        """Seconds in which words were looked up, which say nothing about the cost of a picture."""
        self._asked: Draw | None = None
        """Newest request for a picture."""
        self._drawn: tuple[Draw, list[VisibleScene]] | None = None
        """The request that is being met, and the scenes that it shows."""
        self._cuts: dict[Hashable, tuple[Gaussians, Int[Tensor, "M"]]] = {}
        """Gaussians that are left after what is edited and hidden, and their indices, of the last sceneries."""
        self._edited: tuple[int, PageEdits] | None = None
        """The Gaussians after the last edits, and the state of the scene that they are of."""
        self._cutting = threading.Lock()
        self._actions = Actions(self, self._reply)
        self._newest_text = -1
        self._num_waiting = 0
        self._is_making = False
        """Whether something is being made that takes long."""
        self._counting = threading.Lock()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="gsdff-answers")
        self._maker = ThreadPoolExecutor(1, thread_name_prefix="gsdff-maker")
        self._reply(Hello(answers.scene))

    def close(self) -> None:
        """Ends all threads of the page, after what they are doing."""
        self._actions.close()
        self.render_loop.close()
        for pool in (self._worker, self._maker):
            pool.shutdown(cancel_futures=True)

    def receive(self, data: str | bytes) -> None:
        """Takes a message of the page, and returns at once."""
        try:
            request = read_request(data)
        except UserError as error:
            self._reply(Failed(read_number(data), str(error)))
            return
        match request:
            case Draw():
                request = self._complete(request)
                if request is None:
                    return
                # newer Gaussians of a training from where the page looks already: a coarse picture would flicker
                is_renewed = self._asked is not None and (
                    request.window == self._asked.window
                    and sceneries(request)[0].version != sceneries(self._asked)[0].version
                )
                self._asked = request
                self.render_loop.is_enabled = True
                modes = tuple(scenery.mode for scenery in sceneries(request))
                self.render_loop.invalidate(modes, is_moving=not is_renewed)
            case Stop():
                self._actions.stop()
                self._reply(Done(request.id))
            case Follow() if self.answers.shared.training is not None:
                self._following = request
            case Follow():
                self._reply(Failed(request.id, "the training is over; load the page again"))
            case _:
                self._queue(request)

    def take_follow(self) -> Follow | None:
        """The request for the progress of the training, which its taker answers; None if there is none."""
        request, self._following = self._following, None
        return request

    def give(self, answers: Answers) -> None:
        """Takes over answers about a newer state of the scene, which the page is sent."""
        if answers is not self.answers:
            self._known = {self.answers.version: self.answers, answers.version: answers}
            self.answers = answers

    def answers_of(self, version: int) -> Answers:
        """Answers about a state of the scene; raises `UserError` for one that is too old."""
        answers = self._known.get(version)
        if answers is None:
            raise UserError("the training has gone on since; newer Gaussians come")
        return answers

    def do(self, action: Callable[[], None]) -> None:
        """Does something in the page's own thread, so that a page that takes nothing in holds nobody else up."""
        with suppress(RuntimeError):  # the page has been closed
            self._worker.submit(action)

    def _reply(self, answer: Struct, payload: bytes = b"") -> None:
        self.send(write_answer(answer, payload))

    # --- pictures

    def _complete(self, request: Draw) -> Draw | None:
        """The request with what it is to show; None, with an answer, if it names nothing and nothing came before."""
        if request.scenery is not None:
            return request
        if self._asked is None:
            self._reply(Failed(request.id, "message: expected a scenery in the first request for a picture"))
            return None
        return structs.replace(request, scenery=self._asked.scenery, beside=self._asked.beside)

    def _size(self) -> tuple[int, int]:
        assert self._asked is not None, "nothing is drawn before it is asked for"
        return bounded_size(self._asked.window.width, self._asked.window.height)

    def _render_block(self, block: RowBlock) -> UInt8[Tensor, "h w 3"]:
        if block.top == 0:  # later blocks are of the same picture, whatever has been asked since
            assert self._asked is not None
            self._drawn = self._asked, self._look_up(self._asked)
        assert self._drawn is not None
        request, visible = self._drawn
        camera = request.window.camera().resized(block.width, block.height)
        return self.render(request, visible, camera, slice(block.top, block.bottom))

    def _look_up(self, request: Draw) -> list[VisibleScene]:
        started = time.perf_counter()
        visible = [self.show(scenery) for scenery in sceneries(request)]
        self._looked_up += time.perf_counter() - started
        return visible

    def _send_picture(self, image: UInt8[Tensor, "H W 3"]) -> None:
        assert self._drawn is not None
        request, (height, width, _) = self._drawn[0], image.shape
        if request is self._asked:
            is_whole = (width, height) == self.render_loop.full_size
            mode = sceneries(request)[0].mode
            self._reply(Pictured(request.id, mode, width, height, is_whole), jpeg_bytes(image))

    def _fail_picture(self, error: BaseException) -> None:
        assert self._asked is not None
        self._reply(Failed(self._asked.id, describe_failure(error)))

    def render(
        self, request: Draw | SavePicture, visible: list[VisibleScene], camera: Camera, rows: slice
    ) -> UInt8[Tensor, "h w 3"]:
        """Some rows of a picture of the scenes that a request shows."""
        modes = [scenery.mode for scenery in sceneries(request)]
        images = [self.answers.render(scene, mode, camera, rows) for scene, mode in zip(visible, modes, strict=True)]
        return images[0] if len(images) == 1 else split_view(*images)

    def show(self, scenery: Scenery) -> VisibleScene:
        """The scene that the page shows; Gaussians are edited and cut out anew only if others are than before.

        Edits that follow those before are made on their result: each costs a copy of the scene.
        """
        answers = self.answers_of(scenery.version)
        key = scenery.version, scenery.hidden, scenery.edits
        with self._cutting:
            if key not in self._cuts:
                while len(self._cuts) >= MOST_CUTS:
                    del self._cuts[next(iter(self._cuts))]
                version, before = self._edited or (scenery.version, None)
                edited = answers.edit(scenery.edits, before if version == scenery.version else None)
                if scenery.edits:  # the half before the edits has none
                    self._edited = scenery.version, edited
                self._cuts[key] = answers.cut(scenery, edited)
            gaussians, ids = self._cuts[key]
        return answers.show(scenery, gaussians, ids)

    # --- other requests

    def _queue(self, request: Request) -> None:
        is_long = isinstance(request, LONG)
        with self._counting:
            if is_long and self._is_making:
                problem = "something else is being made; wait for it, or stop it"
            elif not is_long and self._num_waiting >= MOST_WAITING:
                problem = f"{MOST_WAITING} requests are waiting already; try again later"
            else:
                problem = ""
                self._is_making = self._is_making or is_long
                self._num_waiting += not is_long
                if isinstance(request, Encode):
                    self._newest_text = request.id
        if problem:
            self._reply(Failed(request.id, problem))
        else:
            (self._maker if is_long else self._worker).submit(self._answer, request)

    def _answer(self, request: Request) -> None:
        try:
            if isinstance(request, Encode) and request.id != self._newest_text:
                raise UserError("a newer text has come before it")
            self._actions.answer(request)
        except FAILURES as error:
            self._reply(Failed(request.id, describe_failure(error)))
        finally:
            with self._counting:
                if isinstance(request, LONG):
                    self._is_making = False
                else:
                    self._num_waiting -= 1


def jpeg_bytes(image: UInt8[Tensor, "H W 3"]) -> bytes:
    """An image as a JPEG that shows no loss: fine steps, and colours at full resolution."""
    buffer = io.BytesIO()
    Image.fromarray(to_numpy(image)).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()
