"""One open page: its session, its display, and the actions of its controls."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.editing.operations.recolor import Recolor
from gsdff.editing.operations.transform import Move
from gsdff.errors import UserError, command
from gsdff.field.examples import Seen
from gsdff.field.query import Query
from gsdff.viewer import saving
from gsdff.viewer.camera_path import CameraPath
from gsdff.viewer.failures import FAILURES, describe_failure
from gsdff.viewer.frustums import add_frustums
from gsdff.viewer.gizmo import Gizmo
from gsdff.viewer.markup import printable
from gsdff.viewer.modes import MODES
from gsdff.viewer.picking import Point, in_rectangle, latents_at
from gsdff.viewer.render_loop import RenderLoop, RowBlock, render_whole
from gsdff.viewer.rendering import (
    ALL_ROWS,
    available_modes,
    bounded_size,
    render_mode,
    splat_colors,
    split_view,
    to_numpy,
)
from gsdff.viewer.session import SelectionMode, Session, VisibleScene
from gsdff.viewer.shared_scene import Renderer, SharedScene, make_camera
from gsdff.viewer.splats import Splats


@dataclass(frozen=True)
class RenderRequest:
    """Everything that determines an image, except the camera."""

    visible: VisibleScene
    mode: str
    split_mode: str | None
    """Mode of the right half; None without a split."""
    highlight: bool
    """Whether the selection is highlighted."""


class Tab:
    """One open page. Actions of its controls run in threads of the server, one at a time."""

    def __init__(self, shared: SharedScene, client: Any):
        self.shared = shared
        self.client = client
        self.session = Session(shared.gaussians, shared.frame, shared.field)
        self.modes = available_modes(shared)
        self.mode = "colour"
        self.split_mode: str | None = None
        self.renderer: Renderer = shared.default_renderer
        self.highlight = True
        self.selection_mode: SelectionMode = "replace"
        self.lock = threading.RLock()
        self.camera_path = CameraPath()
        self.is_closed = False
        self.frustums: list[tuple[Any, Camera]] = []
        self.splats = Splats(client.scene)
        self.gizmo = Gizmo(client.scene, lambda offset: self.perform(lambda: self.move(offset)))
        self.render_loop = RenderLoop(
            self._window_size, self._render_block, self._send, self.show_failure, shared.render_lock.clock
        )
        self._failure: str | None = None
        """Why the last image could not be rendered; None if it could."""
        self.set_camera(shared.initial_camera)
        self.on_refresh: Callable[[VisibleScene], None] = lambda visible: None
        """Called after every change."""
        self.on_image: Callable[[RenderLoop], None] = lambda render_loop: None
        """Called after every image that the server rendered."""
        client.camera.on_update(lambda _: self._camera_moved())
        if shared.training is None:
            self.register_mouse()

    def close(self) -> None:
        """Ends all threads of the tab and frees its memory."""
        self.is_closed = True
        self.camera_path.stop()
        self.render_loop.close()
        self.splats.forget()

    def reload_scene(self) -> None:
        """Shows the shared scene after it was replaced; camera and query stay."""
        shared = self.shared
        self.session.replace_scene(shared.gaussians, shared.field)
        self.modes = available_modes(shared)
        self.show_cameras(False)
        if shared.training is None:
            self.register_mouse()

    def perform(self, action: Callable[[], object]) -> None:
        """Runs the action of a control and shows the result; an error becomes a notification."""
        with self.lock, self.answering():
            selected = self.session.selected
            with self.answering():
                action()
            if self.session.selected is not selected:
                self.gizmo.hide()  # it stands at the old selection
            self.refresh()

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Context in which an error becomes a notification, and nothing else."""
        try:
            yield
        except FAILURES as error:
            if not self.is_closed:  # nobody sees it, and it may be due to that
                self.notify("Error", describe_failure(error), color="red")

    def show_failure(self, error: BaseException) -> None:
        """Shows why an image could not be rendered, once until one can."""
        if self.is_closed:
            return
        text = str(error)
        if text != self._failure:
            self._failure = text
            self.notify("Cannot be drawn", describe_failure(error), color="red")

    def notify(self, title: str, body: str, *, color: str | None = None) -> None:
        """Shows a notification in the page."""
        self.client.add_notification(printable(title), printable(body), auto_close_seconds=8.0, color=color)

    def register_mouse(self) -> None:
        """Lets clicks select similar Gaussians, if there are features, and dragged boxes the Gaussians inside."""
        self._register_key(None, None)
        self._register_key("shift", "add")
        self._register_key("cmd/ctrl", "subtract")

    def _register_key(self, key: str | None, selection_mode: SelectionMode | None) -> None:
        scene = self.client.scene
        if self.shared.field.has_features:
            scene.on_click(modifier=key)(
                lambda event: self.perform(lambda: self.select_similar(event.screen_pos, selection_mode))
            )
        if key is not None:
            scene.on_rect_select(modifier=key)(
                lambda event: self.perform(lambda: self.select_box(event.screen_min, event.screen_max, selection_mode))
            )

    # --- display

    @property
    def renders_on_server(self) -> bool:
        """Whether the server renders, by choice or because a browser cannot."""
        return self.renderer == "server" or self.split_mode is not None or MODES[self.mode].splat_colors is None

    @property
    def camera(self) -> Camera:
        """Camera of the window, in the working frame; its image is smaller than a window that is too large."""
        width, height = self._window_size()
        viewer_camera = self.client.camera
        return make_camera(viewer_camera.wxyz, viewer_camera.position, viewer_camera.fov, width, height)

    def set_display(
        self, *, mode: str | None = None, split_mode: str | None = None, renderer: Renderer | None = None
    ) -> None:
        """Changes the mode, the mode of the right half ("" for no split) or the renderer; None changes nothing."""
        self.mode = mode or self.mode
        self.split_mode = self.split_mode if split_mode is None else (split_mode or None)
        self.renderer = renderer or self.renderer

    def show_cameras(self, is_shown: bool) -> None:
        """Shows or hides the cameras of the photos."""
        for handle, _ in self.frustums:
            handle.remove()
        self.frustums = add_frustums(self.client.scene, self.shared, self.fly_to) if is_shown else []
        self._camera_moved()

    def set_camera(self, camera: Camera, distance: float | None = None) -> None:
        """Moves the window's camera; it orbits a point at this distance, by default that in the middle of the image."""
        position, forward = camera.position.numpy(), camera.viewmat[2, :3].numpy()
        if distance is None:
            distance = self._depth_at(camera)
        with self.client.atomic():
            self.client.camera.up_direction = self.shared.up.numpy()
            self.client.camera.position = position
            self.client.camera.look_at = position + distance * forward
            self.client.camera.fov = camera.fov_y

    def update_scene(self) -> None:
        """Shows the present state of the training."""
        with self.lock:
            self.session.replace_scene(self.shared.gaussians, self.shared.field)
            self.refresh(is_moving=False)

    def refresh(self, *, is_moving: bool = True) -> None:
        """Shows the present state of the session; `is_moving` as in `RenderLoop.invalidate`."""
        visible = self.session.visible
        self.render_loop.is_enabled = self.renders_on_server
        if self.renders_on_server:
            self.splats.hide()
            self.render_loop.invalidate((self.mode, self.split_mode, self.highlight), is_moving=is_moving)
        else:
            colors = splat_colors(self.shared, visible, self.mode, highlight=self.highlight)
            self.splats.show(visible.gaussians, colors)
            self.client.scene.set_background_image(self.shared.background_pixel)
            self._failure = None
        self.on_refresh(visible)

    def _camera_moved(self) -> None:
        """Renders anew, and hides the frustum that the camera is inside of."""
        position = torch.from_numpy(self.client.camera.position).float()
        with self.answering():
            for handle, camera in self.frustums:
                handle.visible = float((camera.position - position).norm()) > 1.5 * handle.scale
        self.render_loop.invalidate()

    def _window_size(self) -> tuple[int, int]:
        return bounded_size(self.client.camera.image_width, self.client.camera.image_height)

    @property
    def render_request(self) -> RenderRequest:
        """The present display."""
        return RenderRequest(self.session.visible, self.mode, self.split_mode, self.highlight)

    def render(self, request: RenderRequest, camera: Camera, rows: slice = ALL_ROWS) -> UInt8[Tensor, "h w 3"]:
        """Some rows of an image."""

        def render_in(mode: str) -> Tensor:
            return render_mode(self.shared, request.visible, mode, camera, highlight=request.highlight, rows=rows)

        with self.shared.render_lock:
            image = render_in(request.mode)
            return image if request.split_mode is None else split_view(image, render_in(request.split_mode))

    def render_whole(self, request: RenderRequest, camera: Camera) -> UInt8[Tensor, "h w 3"]:
        """A whole image (`render_loop.render_whole`)."""
        return render_whole(camera.width, camera.height, lambda rows: self.render(request, camera, rows))

    def _render_block(self, block: RowBlock) -> UInt8[Tensor, "h w 3"]:
        with self.lock:
            request, viewer_camera = self.render_request, self.client.camera
        camera = make_camera(viewer_camera.wxyz, viewer_camera.position, viewer_camera.fov, block.width, block.height)
        return self.render(request, camera, slice(block.top, block.bottom))

    def _send(self, image: UInt8[Tensor, "h w 3"]) -> None:
        with self.lock:  # otherwise splats, or another panel, may have replaced what this image is for
            self._failure = None
            if self.render_loop.is_enabled and not self.is_closed:
                self.client.scene.set_background_image(to_numpy(image), format="jpeg", jpeg_quality=90)
                self.on_image(self.render_loop)

    # --- queries and selections

    def search(self, text: str, negatives: str) -> None:
        """Selects by texts, separated by commas."""
        positives = split_texts(text)
        if not positives:
            raise UserError("expected a text to search for, such as: chair, red plate")
        with self.shared.encoding_text():
            self.session.search(Query(positives=positives, negatives=split_texts(negatives)), self.selection_mode)
        if self.mode not in ("relevancy", "classes"):
            self.set_display(mode="relevancy")

    def segment(self, text: str) -> None:
        """Segments the scene into classes, separated by commas."""
        with self.shared.encoding_text():
            self.session.segment(split_texts(text))
        self.set_display(mode="classes")

    def select_similar(self, point: Point, selection_mode: SelectionMode | None = None) -> None:
        """Selects Gaussians with features similar to those at a point of the window."""
        latents = latents_at(self.shared, self.session.visible, self.camera, point)
        self.session.search(Query(like=Seen(latents)), selection_mode or self.selection_mode)

    def select_box(self, low: Point, high: Point, selection_mode: SelectionMode | None = None) -> None:
        """Selects the Gaussians whose centres lie in a rectangle of the window, at any depth."""
        mask = torch.zeros_like(self.session.alive)
        mask[self.session.visible_ids] = in_rectangle(self.session.visible, self.camera, low, high)
        self.session.select(mask, selection_mode or self.selection_mode)

    # --- editing

    def recolor(self, rgb: tuple[int, int, int]) -> None:
        """Gives the selection the hue of a colour."""
        red, green, blue = (channel / 255 for channel in rgb)
        if not any(rgb):
            raise UserError("black has no hue; choose another colour")
        self.session.edit(partial(Recolor, color=(red, green, blue)))

    def toggle_gizmo(self) -> None:
        """Shows or hides the handles that move the selection."""
        visible = self.session.visible
        self.gizmo.toggle(visible.gaussians.means[visible.selected])

    def move(self, offset: np.ndarray) -> None:
        """Moves the selection by an offset in the working frame."""
        scale = self.shared.frame.scale
        x, y, z = (float(value) * scale for value in offset)
        self.session.edit(partial(Move, translation=(x, y, z)))

    # --- camera path

    def fly_to(self, camera: Camera) -> None:
        """Moves the window's camera to another one in half a second."""
        with self.answering():
            here = self.camera
            self._play([here, camera.resized(here.width, here.height)], 0.5)

    def play_path(self, seconds: float) -> None:
        """Moves the window's camera through the keyframes."""
        with self.answering():
            self._play(self.camera_path.resized_keyframes(), seconds)

    def _play(self, cameras: list[Camera], seconds: float) -> None:
        distance = self._depth_at(cameras[-1])  # once: at every step it would make the motion jerky
        self.camera_path.play(cameras, lambda camera: self.set_camera(camera, distance), seconds)

    def _depth_at(self, camera: Camera) -> float:
        with self.shared.render_lock:
            return self.shared.depth_at(camera)

    def save_video(self, seconds: float, report: Callable[[float], None]) -> None:
        """Saves a video of the present display along the camera path; `report` gets the share that is done."""
        with self.answering():
            with self.lock:
                request = self.render_request
            path = saving.free_path(self.shared, "video", ".mp4")
            if self.camera_path.save(path, seconds, lambda camera: self.render_whole(request, camera), report):
                self._notify_saved(path, self._size_hint)
            else:
                self.notify("Stopped", "no video was saved", color="green")
        with suppress(RuntimeError):  # the page has been closed
            report(1.0)

    # --- saving

    def save_screenshot(self) -> None:
        """Saves the window's image as the server renders it."""
        image = self.render_whole(self.render_request, self.camera)
        self._notify_saved(saving.save_screenshot(self.shared, image), self._size_hint)

    def save_edits(self) -> None:
        """Saves the edits as a file to replay."""
        path = saving.save_edits(self.shared, self.session)
        self._notify_saved(path, f"replay: {command('edit', self.shared.field.source, '--edits', path)}")

    def save_scene(self, *, only_selected: bool) -> None:
        """Saves the edited scene, or its selection."""
        self._notify_saved(saving.save_scene(self.shared, self.session, only_selected=only_selected))

    @property
    def _size_hint(self) -> str:
        """Sentence about images of a window that is too large; empty for others."""
        width, height = self._window_size()
        viewer_camera = self.client.camera
        is_whole = (width, height) == (viewer_camera.image_width, viewer_camera.image_height)
        return "" if is_whole else f"{width}x{height} pixels, the largest for a window of this shape"

    def _notify_saved(self, path: Path, hint: str = "") -> None:
        # the name in the title, as the page cuts long paths
        self.notify(f"Saved {path.name}", f"{path}\n{hint}" if hint else str(path), color="green")


def split_texts(text: str) -> tuple[str, ...]:
    """Texts separated by commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())
