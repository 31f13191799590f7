"""What the controls of one tab do: its document, its way of seeing, its pictures."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from gsdff.asking import Query
from gsdff.cameras import Camera
from gsdff.edit_steps import Delete, Move, Recolor, parse_color
from gsdff.errors import UserError
from gsdff.exemplars import Seen
from gsdff.gaussians import Gaussians
from gsdff.pictures import save_png
from gsdff.render import render_features
from gsdff.viewer.document import Combine, Document, Shown
from gsdff.viewer.painting import SPLAT_MODES, halves, modes_of, paint, splat_colors, to_numpy
from gsdff.viewer.screen import Screen, Strip
from gsdff.viewer.splats import SPLAT_SCALE, to_splats
from gsdff.viewer.world import World, make_camera

log = logging.getLogger("gsdff")

Way = Literal["browser", "server"]
"""Who draws: the browser, splats with colours, or this process, exactly."""
BROWSER_LIMIT = 1_000_000
"""Gaussians that a laptop's browser still sorts while it is dragged."""
PATCH = 3
"""Pixels to a side that a click looks at."""


class Tab:
    """One open page. Its controls run in threads of the server, one at a time."""

    def __init__(self, world: World, client: Any):
        self.world = world
        self.client = client
        self.document = Document(world.gaussians, world.frame, world.field)
        self.modes = modes_of(world)
        self.mode, self.other = "colour", None
        self.way: Way = "server" if world.device.type == "cuda" or len(world.gaussians) > BROWSER_LIMIT else "browser"
        self.marks = True
        self.combine: Combine = "replace"
        self.lock = threading.RLock()
        self.splats: Any = None
        self.gizmo: Any = None
        self._sent_gaussians: Gaussians | None = None
        self.screen = Screen(self._window, self._paint_strip, self._send)
        self.stand_at(world.first_camera)
        self.on_refresh: Callable[[Shown], None] = lambda shown: None
        """Told after every change."""
        self.on_picture: Callable[[Screen], None] = lambda screen: None
        """Told after every picture that was drawn here."""
        client.camera.on_update(lambda _: self.screen.touch())
        self._listen()

    def close(self) -> None:
        """Lets go of all that the tab held."""
        self.screen.close()
        self.splats = self._sent_gaussians = None

    def do(self, action: Callable[[], object], *, new_work: bool = False) -> None:
        """Runs what a control asks for and shows the result; what is the user's mistake is said in the page."""
        with self.lock:
            try:
                action()
            except UserError as error:
                self.say("That did not work", str(error), color="red")
            self.refresh(new_work=new_work)

    def say(self, title: str, body: str, *, color: str | None = None) -> None:
        """A note in the page."""
        self.client.add_notification(title, body, auto_close_seconds=8.0, color=color)

    def _listen(self) -> None:
        """Clicks select what is alike, where there are features; a rectangle drawn with shift what is in it."""
        scene = self.client.scene
        keys: dict[str | None, Combine | None] = {None: None, "shift": "add", "cmd/ctrl": "subtract"}
        for key, combine in keys.items():
            if self.world.field is not None:
                scene.on_click(modifier=key)(
                    lambda event, combine=combine: self.do(lambda: self.click(*event.screen_pos, combine))
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
        return self.way == "server" or self.other is not None or self.mode not in SPLAT_MODES

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

    def stand_at(self, camera: Camera) -> None:
        """Puts the window's camera there, turning about what is in the middle of the picture."""
        position, forward = camera.position.numpy(), camera.viewmat[2, :3].numpy()
        with self.client.atomic():
            self.client.camera.up_direction = self.world.up.numpy()
            self.client.camera.position = position
            self.client.camera.look_at = position + self.world.depth_at(camera) * forward
            self.client.camera.fov = float(2 * torch.atan(0.5 * camera.height / camera.K[1, 1]))

    def refresh(self, *, new_work: bool = False) -> None:
        """Shows the document as it is now."""
        shown = self.document.shown
        self.screen.is_on = self.draws_here
        if self.draws_here:
            if self.splats is not None:
                self.splats.visible = False
            self.screen.touch(new_work=new_work)
        else:
            self._send_splats()
            self.client.scene.set_background_image(None)
        self.on_refresh(shown)

    def _send_splats(self) -> None:
        shown = self.document.shown
        colors = splat_colors(self.world, shown, self.mode, marks=self.marks).cpu().numpy()
        if self.splats is not None and shown.gaussians is self._sent_gaussians:
            self.splats.rgbs = colors
            self.splats.visible = True
            return
        centers, covariances, opacities = to_splats(shown.gaussians)
        if self.splats is None:
            self.splats = self.client.scene.add_gaussian_splats(
                "/splats", centers, covariances, colors, opacities, scale=1 / SPLAT_SCALE
            )
        else:
            self.splats.set_gaussians(centers, covariances, colors, opacities)
            self.splats.visible = True
        self._sent_gaussians = shown.gaussians

    def _window(self) -> tuple[int, int]:
        return self.client.camera.image_width, self.client.camera.image_height

    def _paint_strip(self, strip: Strip) -> Tensor:
        with self.lock:
            shown, seen = self.document.shown, self.client.camera
            mode, other, marks = self.mode, self.other, self.marks
        camera = make_camera(seen.wxyz, seen.position, seen.fov, strip.width, strip.height)
        camera = camera.cropped(0, strip.top, strip.width, strip.bottom - strip.top)
        with self.world.rendering:
            left = paint(self.world, shown, mode, camera, marks=marks)
            return left if other is None else halves(left, paint(self.world, shown, other, camera, marks=marks))

    def _send(self, picture: Tensor) -> None:
        if self.screen.is_on:
            self.client.scene.set_background_image(to_numpy(picture), format="jpeg", jpeg_quality=90)
            self.on_picture(self.screen)

    # --- asking and selecting

    def ask(self, text: str, negatives: str) -> None:
        """Asks for texts with commas between them."""
        positives = split_texts(text)
        if not positives:
            raise UserError("type what to look for, such as: chair, red plate")
        self.document.ask(Query(positives=positives, negatives=split_texts(negatives)), self.combine)
        if self.mode not in ("relevancy", "classes"):
            self.see(mode="relevancy")

    def ask_classes(self, text: str) -> None:
        """Asks which of several names everything is."""
        self.document.ask_classes(split_texts(text))
        self.see(mode="classes")

    def click(self, x: float, y: float, combine: Combine | None = None) -> None:
        """Selects what is like what the window shows at x, y, in 0..1 from the top left."""
        camera = self.camera
        column, row = int(x * camera.width), int(y * camera.height)
        shown = self.document.shown
        if self.world.field is None or not len(shown.gaussians):
            raise UserError("nothing here can be asked by a click; draw a box instead")
        patch = camera.cropped(column - PATCH // 2, row - PATCH // 2, PATCH, PATCH).to(self.world.device)
        with torch.no_grad(), self.world.rendering:
            mode = self.world.subject.rasterize_mode
            latents = render_features(shown.gaussians, patch, rasterize_mode=mode).image
        self.document.ask(Query(like=Seen(latents.flatten(0, 1).mean(0))), combine or self.combine)

    def box(self, low: tuple[float, float], high: tuple[float, float], combine: Combine | None = None) -> None:
        """Selects the Gaussians whose centres are in a rectangle of the window, in 0..1, at any depth."""
        camera = self.camera.to(self.world.device)
        document = self.document
        ids = document.visible_ids
        means = document.shown.gaussians.means
        points = means @ camera.viewmat[:3, :3].T + camera.viewmat[:3, 3]
        pixels = (points @ camera.K.T)[:, :2] / points[:, 2:].clamp_min(1e-6)
        size = pixels.new_tensor([camera.width, camera.height])
        place = pixels / size
        inside = ((place >= place.new_tensor(low)) & (place <= place.new_tensor(high))).all(1) & (points[:, 2] > 0.01)
        mask = torch.zeros_like(document.alive)
        mask[ids] = inside
        document.select(mask, combine or self.combine)

    # --- editing

    def delete(self) -> None:
        """Takes the selection out."""
        self.document.edit(Delete())

    def recolor(self, rgb: tuple[int, int, int]) -> None:
        """Gives the selection another hue."""
        color = tuple(channel / 255 for channel in rgb)
        if not any(color):
            raise UserError("black has no hue to give; choose another colour")
        self.document.edit(Recolor(parse_color(list(color))))

    def toggle_gizmo(self) -> None:
        """Shows handles to drag the selection by, or takes them away."""
        if self.gizmo is not None:
            self.gizmo.remove()
            self.gizmo = None
            return
        selected = self.document.shown.gaussians.means[self.document.shown.selected]
        if not len(selected):
            raise UserError("nothing is selected; ask for a text, click or draw a box first")
        centre = selected.median(0).values.cpu().numpy()
        self.gizmo = self.client.scene.add_transform_controls(
            "/gizmo", scale=0.3, disable_rotations=True, depth_test=False, position=centre
        )
        start = {"at": centre}

        @self.gizmo.on_update
        def _(event: Any) -> None:
            if event.phase == "end":
                moved = np.asarray(event.target.position) - start["at"]
                start["at"] = np.asarray(event.target.position)
                self.do(lambda: self.move(moved))

    def move(self, offset: np.ndarray) -> None:
        """Moves the selection, by so much in the working frame."""
        scale = self.world.frame.scale
        self.document.edit(Move(tuple(float(value) * scale for value in offset)))

    # --- saving

    def save_screenshot(self) -> None:
        """Writes the window's picture as this process draws it."""
        camera = self.camera
        path = self._free_path("screenshot", ".png")
        save_png(path, self._paint_strip(Strip(camera.width, camera.height, 0, camera.height)))
        self.say("Saved", str(path), color="green")

    def save_edits(self) -> None:
        """Writes the edits as a file to replay."""
        path = self._free_path("edits", ".toml")
        path.parent.mkdir(parents=True, exist_ok=True)
        self.document.save_edits(path)
        command = f"python -m gsdff.edit {self.world.subject.source} --edits {path}"
        self.say("Saved", command, color="green")

    def save_scene(self, *, only_selected: bool) -> None:
        """Writes the edited scene, or what is selected of it."""
        gaussians = self.document.result(only_selected=only_selected)
        path = self._free_path("selection" if only_selected else "scene", ".ply")
        self.world.subject.save(path, gaussians)
        self.say("Saved", f"{path}: {len(gaussians):,} Gaussians", color="green")

    def _free_path(self, stem: str, ending: str) -> Path:
        """A name in the world's folder that is not taken; no part of it comes from the page."""
        number = 1
        while (path := self.world.folder / f"{stem}_{number:03d}{ending}").exists():
            number += 1
        return path


def split_texts(text: str) -> tuple[str, ...]:
    """Texts with commas between them."""
    return tuple(part.strip() for part in text.split(",") if part.strip())
