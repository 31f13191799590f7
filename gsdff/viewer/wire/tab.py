"""One open page of the app: its pictures, in a thread of their own, and its other requests, one after another."""

import io
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor

from jaxtyping import Int, UInt8
from msgspec import Struct
from PIL import Image
from torch import Tensor

from gsdff.errors import UserError, command
from gsdff.gaussians import Gaussians
from gsdff.viewer import saving
from gsdff.viewer.failures import FAILURES, describe_failure
from gsdff.viewer.render_loop import RenderLoop, RowBlock, render_whole
from gsdff.viewer.rendering import bounded_size, to_numpy
from gsdff.viewer.session import VisibleScene
from gsdff.viewer.wire.answers import Answers
from gsdff.viewer.wire.messages import (
    Draw,
    Encode,
    Failed,
    Hello,
    Pictured,
    Request,
    Saved,
    SaveEdits,
    SavePicture,
    SaveSelection,
    Scenery,
    Vectors,
    read_bits,
    read_request,
    write_answer,
)

MOST_WAITING = 16
"""Requests of a page, but for pictures, that may wait."""
JPEG_QUALITY = 95


class AppTab:
    """One open page. `send` sends it a message; it may be called from several threads, and for a page that is gone."""

    def __init__(self, answers: Answers, send: Callable[[str | bytes], None]):
        self.answers, self.send = answers, send
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
        self._drawn: tuple[Draw, VisibleScene] | None = None
        """The request that is being met."""
        self._cut: tuple[Hashable, Gaussians, Int[Tensor, "M"]] | None = None
        """Gaussians that are left after what is edited and hidden, and their indices."""
        self._cutting = threading.Lock()
        self._newest_text = -1
        self._num_waiting = 0
        self._counting = threading.Lock()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="gsdff-answers")
        send(write_answer(Hello(answers.scene)))

    def close(self) -> None:
        """Ends all threads of the page."""
        self.render_loop.close()
        self._worker.shutdown(cancel_futures=True)

    def receive(self, data: str | bytes) -> None:
        """Takes a message of the page, and returns at once."""
        try:
            request = read_request(data)
        except UserError as error:
            self.send(write_answer(Failed(None, str(error))))
            return
        if isinstance(request, Draw):
            self._asked = request
            self.render_loop.is_enabled = True
            self.render_loop.invalidate(request.scenery.mode)
            return
        if isinstance(request, Encode):
            self._newest_text = request.id
        with self._counting:
            is_too_much = self._num_waiting >= MOST_WAITING
            self._num_waiting += not is_too_much
        if is_too_much:
            self.send(write_answer(Failed(request.id, f"{MOST_WAITING} requests are waiting already; try again later")))
        else:
            self._worker.submit(self._answer, request)

    # --- pictures

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
        return self.answers.render(visible, request.scenery.mode, camera, slice(block.top, block.bottom))

    def _look_up(self, request: Draw) -> VisibleScene:
        started = time.perf_counter()
        visible = self._show(request.scenery)
        self._looked_up += time.perf_counter() - started
        return visible

    def _send_picture(self, image: UInt8[Tensor, "H W 3"]) -> None:
        assert self._drawn is not None
        request, (height, width, _) = self._drawn[0], image.shape
        if request is self._asked:
            is_whole = (width, height) == self.render_loop.full_size
            answer = Pictured(request.id, request.scenery.mode, width, height, is_whole)
            self.send(write_answer(answer, jpeg_bytes(image)))

    def _fail_picture(self, error: BaseException) -> None:
        assert self._asked is not None
        self.send(write_answer(Failed(self._asked.id, describe_failure(error))))

    def _show(self, scenery: Scenery) -> VisibleScene:
        """The scene that the page shows; Gaussians are edited and cut out anew only if others are than before."""
        key = scenery.hidden, scenery.edits
        with self._cutting:
            if self._cut is None or self._cut[0] != key:
                self._cut = key, *self.answers.cut(scenery)
            _, gaussians, ids = self._cut
        return self.answers.show(scenery, gaussians, ids)

    # --- other requests

    def _answer(self, request: Request) -> None:
        try:
            if isinstance(request, Encode) and request.id != self._newest_text:
                raise UserError("a newer text has come before it")
            self.send(write_answer(self._find_answer(request)))
        except FAILURES as error:
            self.send(write_answer(Failed(request.id, describe_failure(error))))
        finally:
            with self._counting:
                self._num_waiting -= 1

    def _find_answer(self, request: Request) -> Struct:
        shared = self.answers.shared
        match request:
            case Encode():
                return Vectors(request.id, self.answers.encode(request.texts).tolist())
            case SavePicture():
                return self._save_picture(request)
            case SaveSelection():
                path = saving.save_selection(shared, read_bits(request.selected, len(self.answers.gaussians)))
                return Saved(request.id, str(path), f'in a file of edits: selection = "{path.name}"')
            case SaveEdits():
                num, frame = len(self.answers.gaussians), shared.frame
                path = saving.write_edit_file(shared, [edit.make(num, frame) for edit in request.edits])
                return Saved(request.id, str(path), f"replay: {command('edit', shared.field.source, '--edits', path)}")
        raise AssertionError(f"no answer for {type(request).__name__}")

    def _save_picture(self, request: SavePicture) -> Saved:
        camera, visible = request.window.camera(), self._show(request.scenery)
        image = render_whole(
            camera.width, camera.height, lambda rows: self.answers.render(visible, request.scenery.mode, camera, rows)
        )
        path = saving.save_screenshot(self.answers.shared, image)
        return Saved(request.id, str(path), f"{camera.width}x{camera.height} pixels")


def jpeg_bytes(image: UInt8[Tensor, "H W 3"]) -> bytes:
    """An image as a JPEG that shows no loss: fine steps, and colours at full resolution."""
    buffer = io.BytesIO()
    Image.fromarray(to_numpy(image)).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()
