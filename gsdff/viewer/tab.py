"""What the controls of one tab do: its document, its way of seeing, its pictures."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gsdff.cameras import Camera
from gsdff.editing.operations import Move, Recolor
from gsdff.errors import UserError
from gsdff.field.examples import Seen
from gsdff.field.query import Query
from gsdff.viewer import saving
from gsdff.viewer.document import Combine, Document, Look, Shown
from gsdff.viewer.film import Film
from gsdff.viewer.frustums import add_frustums
from gsdff.viewer.gizmo import Gizmo
from gsdff.viewer.modes import MODES
from gsdff.viewer.painting import ALL_ROWS, halves, modes_of, paint, splat_colors, to_numpy
from gsdff.viewer.pointing import Point, in_rectangle, latents_at
from gsdff.viewer.screen import Screen, Strip
from gsdff.viewer.splats import Splats
from gsdff.viewer.world import Way, World, make_camera


class Tab:
    """One open page. Its controls run in threads of the server, one at a time."""

    def __init__(self, world: World, client: Any):
        self.world = world
        self.client = client
        self.document = Document(world.gaussians, world.frame, world.field)
        self.modes = modes_of(world)
        self.mode, self.other = "colour", None
        self.way = world.way
        self.marks = True
        self.combine: Combine = "replace"
        self.lock = threading.RLock()
        self.film = Film()
        self.is_closed = False
        self.frustums: list[tuple[Any, Camera]] = []
        self.splats = Splats(client.scene)
        self.gizmo = Gizmo(client.scene, lambda offset: self.do(lambda: self.move(offset)))
        self.screen = Screen(self._window, self._paint_strip, self._send, world.rendering.clock)
        self.stand_at(world.first_camera)
        self.on_refresh: Callable[[Shown], None] = lambda shown: None
        """Told after every change."""
        self.on_picture: Callable[[Screen], None] = lambda screen: None
        """Told after every picture that was drawn here."""
        client.camera.on_update(lambda _: self._moved())
        if world.training is None:
            self.listen()

    def close(self) -> None:
        """Lets go of all that the tab held."""
        self.is_closed = True
        self.film.stop()
        self.screen.close()
        self.splats.forget()

    def renew(self) -> None:
        """Begins again with the world as it is now; the camera stays where it is, and what was asked."""
        world = self.world
        self.document.rebase(world.gaussians, world.field)
        self.modes = modes_of(world)
        self.show_cameras(False)
        if world.training is None:
            self.listen()

    def do(self, action: Callable[[], object]) -> None:
        """Runs what a control asks for and shows the result; what is the user's mistake is said in the page."""
        with self.lock:
            selected = self.document.selected
            try:
                action()
            except UserError as error:
                self.say("That did not work", str(error), color="red")
            if self.document.selected is not selected:
                self.gizmo.hide()  # it is where the old selection was
            self.refresh()

    def say(self, title: str, body: str, *, color: str | None = None) -> None:
        """A note in the page."""
        self.client.add_notification(title, body, auto_close_seconds=8.0, color=color)

    def listen(self) -> None:
        """Clicks select what is alike, where there are features; a rectangle drawn with shift what is in it."""
        scene = self.client.scene
        keys: dict[str | None, Combine | None] = {None: None, "shift": "add", "cmd/ctrl": "subtract"}
        for key, combine in keys.items():
            if self.world.field.has_features:
                scene.on_click(modifier=key)(
                    lambda event, combine=combine: self.do(lambda: self.click(event.screen_pos, combine))
                )
            if key is not None:
                scene.on_rect_select(modifier=key)(
                    lambda event, combine=combine: self.do(
                        lambda: self.box(event.screen_min, event.screen_max, combine)
                    )
                )

    # --- seeing

    @property
    def draws_here(self) -> bool:
        """Whether this process draws, be it that a browser cannot draw the mode."""
        return self.way == "server" or self.other is not None or MODES[self.mode].splat_colors is None

    @property
    def camera(self) -> Camera:
        """The window's, in the working frame."""
        width, height = self._window()
        seen = self.client.camera
        return make_camera(seen.wxyz, seen.position, seen.fov, width, height)

    def see(self, *, mode: str | None = None, other: str | None = None, way: Way | None = None) -> None:
        """Changes the mode, the mode of the right half ("" for none) or who draws."""
        self.mode = mode or self.mode
        self.other = self.other if other is None else (other or None)
        self.way = way or self.way

    def show_cameras(self, wanted: bool) -> None:
        """Shows the photos' cameras, or takes them away."""
        for handle, _ in self.frustums:
            handle.remove()
        self.frustums = add_frustums(self.client.scene, self.world, self.fly_to) if wanted else []
        self._moved()

    def stand_at(self, camera: Camera, distance: float | None = None) -> None:
        """Puts the window's camera there, turning about what is so far away, or in the middle of the picture."""
        position, forward = camera.position.numpy(), camera.viewmat[2, :3].numpy()
        if distance is None:
            distance = self._depth_at(camera)
        with self.client.atomic():
            self.client.camera.up_direction = self.world.up.numpy()
            self.client.camera.position = position
            self.client.camera.look_at = position + distance * forward
            self.client.camera.fov = camera.fov_y

    def follow(self) -> None:
        """Shows the scene as far as it is trained now."""
        with self.lock:
            self.document.rebase(self.world.gaussians, self.world.field)
            self.refresh(moves=False)

    def refresh(self, *, moves: bool = True) -> None:
        """Shows the document as it is now; nothing `moves` where it is the scene that has become another."""
        shown = self.document.shown
        self.screen.is_on = self.draws_here
        if self.draws_here:
            self.splats.hide()
            self.screen.touch((self.mode, self.other, self.marks), moves=moves)
        else:
            self.splats.show(shown.gaussians, splat_colors(self.world, shown, self.mode, marks=self.marks))
            self.client.scene.set_background_image(self.world.backdrop)
        self.on_refresh(shown)

    def _moved(self) -> None:
        """The camera did; one does not see the frustum that one stands in."""
        position = torch.from_numpy(self.client.camera.position).float()
        for handle, camera in self.frustums:
            handle.visible = float((camera.position - position).norm()) > 1.5 * handle.scale
        self.screen.touch()

    def _window(self) -> tuple[int, int]:
        return self.client.camera.image_width, self.client.camera.image_height

    @property
    def look(self) -> Look:
        """What is shown now, and how."""
        return Look(self.document.shown, self.mode, self.other, self.marks)

    def draw(self, look: Look, camera: Camera, rows: slice = ALL_ROWS) -> Tensor:
        """Some rows of a picture."""
        with self.world.rendering:
            left = paint(self.world, look.shown, look.mode, camera, marks=look.marks, rows=rows)
            if look.other is None:
                return left
            return halves(left, paint(self.world, look.shown, look.other, camera, marks=look.marks, rows=rows))

    def _paint_strip(self, strip: Strip) -> Tensor:
        with self.lock:
            look, seen = self.look, self.client.camera
        camera = make_camera(seen.wxyz, seen.position, seen.fov, strip.width, strip.height)
        return self.draw(look, camera, slice(strip.top, strip.bottom))

    def _send(self, picture: Tensor) -> None:
        with self.lock:  # else splats, or another panel, may have taken the place of what this is for
            if self.screen.is_on and not self.is_closed:
                self.client.scene.set_background_image(to_numpy(picture), format="jpeg", jpeg_quality=90)
                self.on_picture(self.screen)

    # --- asking and selecting

    def ask(self, text: str, negatives: str) -> None:
        """Asks for texts with commas between them."""
        positives = split_texts(text)
        if not positives:
            raise UserError("type what to look for, such as: chair, red plate")
        with self.world.asking():
            self.document.ask(Query(positives=positives, negatives=split_texts(negatives)), self.combine)
        if self.mode not in ("relevancy", "classes"):
            self.see(mode="relevancy")

    def ask_classes(self, text: str) -> None:
        """Asks which of several names everything is."""
        with self.world.asking():
            self.document.ask_classes(split_texts(text))
        self.see(mode="classes")

    def click(self, point: Point, combine: Combine | None = None) -> None:
        """Selects what is like what the window shows there."""
        latents = latents_at(self.world, self.document.shown, self.camera, point)
        self.document.ask(Query(like=Seen(latents)), combine or self.combine)

    def box(self, low: Point, high: Point, combine: Combine | None = None) -> None:
        """Selects the Gaussians whose centres are in a rectangle of the window, at any depth."""
        mask = torch.zeros_like(self.document.alive)
        mask[self.document.visible_ids] = in_rectangle(self.document.shown, self.camera, low, high)
        self.document.select(mask, combine or self.combine)

    # --- editing

    def recolor(self, rgb: tuple[int, int, int]) -> None:
        """Gives the selection another hue."""
        color = tuple(channel / 255 for channel in rgb)
        if not any(color):
            raise UserError("black has no hue to give; choose another colour")
        self.document.edit(Recolor(color))

    def toggle_gizmo(self) -> None:
        """Shows handles to drag the selection by, or takes them away."""
        shown = self.document.shown
        self.gizmo.toggle(shown.gaussians.means[shown.selected])

    def move(self, offset: np.ndarray) -> None:
        """Moves the selection, by so much in the working frame."""
        scale = self.world.frame.scale
        self.document.edit(Move(tuple(float(value) * scale for value in offset)))

    # --- filming

    def fly_to(self, camera: Camera) -> None:
        """Moves the window's camera there in half a second."""
        here = self.camera
        self._fly([here, camera.resized(here.width, here.height)], 0.5)

    def fly_film(self, seconds: float) -> None:
        """Moves it through the views that were kept."""
        cameras: list[Camera] = []
        self.do(lambda: cameras.extend(self.film.sized()))
        if cameras:
            self._fly(cameras, seconds)

    def _fly(self, cameras: list[Camera], seconds: float) -> None:
        distance = self._depth_at(cameras[-1])  # once: to look for it at every step would make the flight stumble
        self.film.fly(cameras, lambda camera: self.stand_at(camera, distance), seconds)

    def _depth_at(self, camera: Camera) -> float:
        with self.world.rendering:
            return self.world.depth_at(camera)

    def save_film(self, seconds: float, report: Callable[[float], None]) -> None:
        """Writes the path through the views that were kept as a video of what is shown now."""
        with self.lock:
            look = self.look
        path = saving.free_path(self.world, "film", ".mp4")
        try:
            is_whole = self.film.save(path, seconds, lambda camera: self.draw(look, camera), report)
        except UserError as error:
            self.say("That did not work", str(error), color="red")
            return
        report(1.0)
        self.say("Saved" if is_whole else "Stopped", str(path) if is_whole else "no video was written", color="green")

    # --- saving

    def save_screenshot(self) -> None:
        """Writes the window's picture as this process draws it."""
        self._say_saved(saving.save_screenshot(self.world, self.draw(self.look, self.camera)))

    def save_edits(self) -> None:
        """Writes the edits as a file to replay."""
        path = saving.save_edits(self.world, self.document)
        self._say_saved(path, f"replay: python -m gsdff.edit {self.world.field.source} --edits {path}")

    def save_scene(self, *, only_selected: bool) -> None:
        """Writes the edited scene, or what is selected of it."""
        self._say_saved(saving.save_scene(self.world, self.document, only_selected=only_selected))

    def _say_saved(self, path: Path, hint: str = "") -> None:
        self.say("Saved", f"{path}\n{hint}" if hint else str(path), color="green")


def split_texts(text: str) -> tuple[str, ...]:
    """Texts with commas between them."""
    return tuple(part.strip() for part in text.split(",") if part.strip())
