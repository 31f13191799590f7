"""A viser client without a browser: it records all controls and values, and rejects calls that viser would reject.

`client.gui["Mode"].choose("depth")` is an action of the user, `client.gui["Mode"].value = "depth"` one of the program.
"""

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import viser

PROPERTIES = {"value", "options", "content", "label", "data", "position", "wxyz", "visible", "rgbs"}
"""Properties of handles, besides the arguments they were made with."""


def bound(method: Callable, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """Arguments of a call by name, including defaults; raises TypeError if viser's method does not take them."""
    call = inspect.signature(method).bind(None, *args, **kwargs)
    call.apply_defaults()
    return {name: value for name, value in call.arguments.items() if not name.startswith(("self", "_"))}


class Handle:
    """Handle of a control or a node."""

    __hash__ = None  # nor has viser's own

    def __init__(self, client: "FakeClient", kind: str, arguments: dict[str, Any]):
        values = {**arguments, "value": arguments.get("initial_value", arguments.get("value"))}
        vars(self).update(values, client=client, kind=kind, callbacks=[], children=[], changes=[], is_removed=False)

    def __setattr__(self, name: str, value: Any) -> None:
        assert name in vars(self) or name in PROPERTIES, f"{self.kind} has no {name}"
        if self.is_removed:
            raise RuntimeError(f"{self.kind} is gone")
        before = vars(self).get(name)
        vars(self)[name] = value
        self.changes.append(name)
        if name == "value" and before != value:
            self._call(None)
        if name == "options" and self.value not in value:
            self.value = value[0]

    def __enter__(self) -> "Handle":
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def on_update(self, function: Callable) -> Callable:
        self.callbacks.append(function)
        return function

    on_click = on_submit = on_update

    def add_tab(self, label: str, icon: Any = None) -> "Handle":
        return Handle(self.client, "tab", {"label": label})

    def set_gaussians(self, centers: np.ndarray, covariances: np.ndarray, rgbs: np.ndarray, opacities: np.ndarray):
        new = {"centers": centers, "covariances": covariances, "rgbs": rgbs, "opacities": opacities}
        vars(self).update(new)
        self.changes.append("gaussians")

    def remove(self) -> None:
        assert not self.is_removed, f"{self.kind} removed twice"
        vars(self)["is_removed"] = True

    # --- actions of the user

    def choose(self, value: Any) -> None:
        """Changes the value of the control."""
        if "options" in vars(self):
            assert value in self.options
        vars(self)["value"] = value
        self._call(self.client)

    def press(self) -> None:
        """Clicks or submits the control."""
        self._call(self.client)

    def drag(self, position: Any) -> None:
        """Drags the handles to a position, and releases them."""
        for phase in ("start", "update", "end"):
            vars(self)["position"] = tuple(position)
            self._call(self.client, phase=phase)

    def _call(self, client: Any, **details: Any) -> None:
        for function in list(self.callbacks):
            function(SimpleNamespace(client=client, target=self, **details))


class Api:
    """The `add_...` methods of one of viser's interfaces."""

    def __init__(self, client: "FakeClient", interface: type):
        self.client, self.interface = client, interface
        self.added: list[Handle] = []

    def __getattr__(self, name: str) -> Callable[..., Handle]:
        if not name.startswith("add_"):
            raise AttributeError(name)
        method = getattr(self.interface, name)

        def add(*args: Any, **kwargs: Any) -> Handle:
            self.added.append(Handle(self.client, name.removeprefix("add_"), bound(method, *args, **kwargs)))
            return self.added[-1]

        return add

    def __getitem__(self, label: str) -> Handle:
        """Control with this label, or node with this name."""
        found = [handle for handle in self.added if label in (vars(handle).get("label"), vars(handle).get("name"))]
        found = [handle for handle in found if not handle.is_removed and handle.kind != "folder"]
        assert len(found) == 1, f"{label}: {len(found)} of them"
        return found[0]

    def of_kind(self, kind: str) -> list[Handle]:
        return [handle for handle in self.added if handle.kind == kind and not handle.is_removed]


class FakeScene(Api):
    """The scene of a page."""

    def __init__(self, client: "FakeClient"):
        super().__init__(client, viser.SceneApi)
        self.backgrounds: list[np.ndarray | None] = []
        self.listeners: dict[tuple[str, str | None], Callable] = {}

    def set_background_image(self, *args: Any, **kwargs: Any) -> None:
        self.backgrounds.append(bound(viser.SceneApi.set_background_image, *args, **kwargs)["image"])

    def on_click(self, *, modifier: str | None = None) -> Callable:
        return lambda function: self.listeners.__setitem__(("click", modifier), function)

    def on_rect_select(self, *, modifier: str | None = None) -> Callable:
        return lambda function: self.listeners.__setitem__(("box", modifier), function)

    def click(self, x: float, y: float, modifier: str | None = None) -> None:
        """Clicks at a point, 0..1 from the left and the top."""
        self.listeners["click", modifier](SimpleNamespace(client=self.client, screen_pos=(x, y)))

    def box(self, low: tuple[float, float], high: tuple[float, float], modifier: str | None) -> None:
        """Draws a box."""
        self.listeners["box", modifier](SimpleNamespace(client=self.client, screen_min=low, screen_max=high))


class FakeClient:
    """Client of a page with a window of `width` x `height` pixels."""

    def __init__(self, width: int = 64, height: int = 48, client_id: int = 0):
        self.client_id = client_id
        self.notes: list[tuple[str, str, str | None]] = []
        self.gui = Api(self, viser.GuiApi)
        self.scene = FakeScene(self)
        self.camera = viser.CameraHandle(self)  # viser's own class, for its rules of motion
        state = self.camera._state
        state.update_timestamp, state.fov = 1.0, 0.8
        state.image_width, state.image_height = width, height
        state.wxyz, state.position, state.look_at = np.array([1.0, 0, 0, 0]), np.zeros(3), np.array([0.0, 0, 1])
        state.up_direction = np.array([0.0, -1, 0])
        self._websock_connection = SimpleNamespace(queue_message=lambda message: None)

    def atomic(self) -> AbstractContextManager:
        return nullcontext()

    def add_notification(self, *args: Any, **kwargs: Any) -> None:
        said = bound(viser.ClientHandle.add_notification, *args, **kwargs)
        self.notes.append((said["title"], said["body"], said["color"]))

    def resize(self, width: int, height: int) -> None:
        """Resizes the window."""
        self.camera._state.image_width, self.camera._state.image_height = width, height
        self.move()

    def move(self) -> None:
        """Sends the position of the browser's camera."""
        for function in self.camera._state.camera_cb:
            function(self.camera)
