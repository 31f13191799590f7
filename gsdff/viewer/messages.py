"""Checks of every message of a page before viser handles it, as any program can pose as a page.

viser would take over whatever values a message holds, and offers much that our pages do not use: a link that publishes
the page on the internet, uploads, commands. Only the messages of `CHECKS` get through, with values that our controls
can have; other values are answered in the page.
"""

import math
from collections.abc import Callable
from typing import Any

from gsdff.errors import UserError
from gsdff.viewer.failures import FAILURES, describe_failure
from gsdff.viewer.markup import printable

MAX_TEXT = 10_000
"""Largest number of characters of a text."""
FARTHEST = 1e6
"""Largest coordinate of a position, in the working frame, in which a scene measures about 1."""
WIDEST = 1e9
"""Largest number of pixels that a window can claim to have in a row; `bounded_size` makes it less."""


def guard(server: Any) -> None:
    """Makes a server of viser, which no page may have reached yet, check the messages of all its pages."""
    incoming = server._websock_server
    for kind in list(incoming._incoming_handlers):  # all controls are of one page each, none are the server's own
        incoming.unregister_handler(kind)
    incoming.on_client_connect(lambda connection: _guard_page(server, connection))


def _guard_page(server: Any, connection: Any) -> None:
    receive = connection._handle_incoming_message
    answered = ""

    async def receive_checked(client_id: int, message: Any) -> None:
        nonlocal answered
        check = CHECKS.get(type(message).__name__)
        client = server.get_clients().get(client_id)
        if check is None or (client is None and check is not check_camera):  # it is there after its first camera
            return
        try:
            check(message, client)
        except FAILURES as error:
            if client is not None and answered != str(error):  # a page may send the same every few milliseconds
                answered = str(error)
                client.add_notification(
                    "Error", printable(describe_failure(error)), auto_close_seconds=8.0, color="red"
                )
            return
        answered = ""
        await receive(client_id, message)

    connection._handle_incoming_message = receive_checked


# --- checks of values; they raise `UserError`


def check_numbers(values: Any, count: int, limit: float, what: str) -> None:
    """Checks for a tuple of numbers of at most this absolute value."""
    is_tuple = isinstance(values, tuple) and len(values) == count
    if not is_tuple or not all(type(value) in (int, float) and abs(value) <= limit for value in values):
        raise UserError(f"{what}: expected {count} numbers of at most {limit:g}, got {_shorten(values)}")


def check_text(value: object, what: str) -> None:
    """Checks for a text that is not too long."""
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise UserError(f"{what}: expected a text of at most {MAX_TEXT:,} characters, got {_shorten(value)}")


def check_value(control: Any, value: object) -> object:
    """Checks a value for a control; returns it as the control can have it."""
    label = getattr(control, "label", None) or "control"
    present = control.value
    if hasattr(control, "options"):
        if not isinstance(value, str) or value not in control.options:
            raise UserError(f"{label}: expected one of {', '.join(control.options)}; got {_shorten(value)}")
    elif isinstance(present, bool):
        if not isinstance(value, bool):
            raise UserError(f"{label}: expected true or false, got {_shorten(value)}")
    elif isinstance(present, str):
        check_text(value, label)
    elif isinstance(present, tuple):
        if not isinstance(value, list | tuple) or not all(type(part) in (int, float) for part in value):
            raise UserError(f"{label}: expected {len(present)} numbers, got {_shorten(value)}")
        check_numbers(tuple(value), len(present), 255, label)
        if min(value) < 0:
            raise UserError(f"{label}: expected numbers from 0 to 255, got {_shorten(value)}")
    elif not hasattr(control, "step"):
        raise UserError(f"{label}: shows a value and takes none")
    else:
        low, high, step = control.min, control.max, control.step
        if type(value) not in (int, float) or not low - step <= value <= high + step:
            raise UserError(f"{label}: expected a number from {low:g} to {high:g}, got {_shorten(value)}")
        return min(max(value, low), high)
    return value


def _shorten(value: object) -> str:
    text = repr(value) if not isinstance(value, str) else repr(value[:100])
    return text if len(text) <= 100 else f"{text[:100]}..."


# --- checks of messages; `client` is viser's handle of the page


def check_camera(message: Any, client: Any) -> None:
    """Checks a camera for a rotation, finite positions, an angle of view and a size."""
    check_numbers(message.wxyz, 4, 2, "rotation of the camera")
    if math.hypot(*message.wxyz) < 0.5:
        raise UserError(f"rotation of the camera: expected a unit quaternion, got {message.wxyz}")
    for name in ("position", "look_at", "up_direction"):
        check_numbers(getattr(message, name), 3, FARTHEST, f"{name} of the camera")
    check_numbers((message.near, message.far), 2, WIDEST, "range of the camera")
    check_numbers((message.image_width, message.image_height), 2, WIDEST, "size of the window")
    if min(message.image_width, message.image_height) < 0:
        raise UserError("size of the window: expected no negative number")
    if not 1e-3 < message.fov < 3.1:
        raise UserError(f"angle of view: expected 0.001 to 3.1 radians, got {message.fov}")


def check_update(message: Any, client: Any) -> None:
    """Checks the new value of a control, which is shown as it was if it cannot have this one."""
    check_text(message.uuid, "control")
    control = client.gui._gui_input_handle_from_uuid.get(message.uuid)
    if control is None:
        return  # viser ignores it too: it may just have been removed
    if not isinstance(message.updates, dict) or list(message.updates) != ["value"]:
        raise UserError("control: expected nothing but a new value")
    try:
        message.updates["value"] = check_value(control, message.updates["value"])
    except UserError:
        client._websock_connection.queue_message(type(message)(message.uuid, {"value": control.value}))
        raise


def check_submit(message: Any, client: Any) -> None:
    """Checks the name of a form that is submitted."""
    check_text(message.uuid, "form")


def check_pointer(message: Any, client: Any) -> None:
    """Checks a click into the scene, or a box."""
    if message.event_type not in ("click", "rect-select"):
        raise UserError(f"mouse: expected a click or a box, got {_shorten(message.event_type)}")
    corners = 1 if message.event_type == "click" else 2
    if not isinstance(message.screen_pos, tuple) or len(message.screen_pos) != corners:
        raise UserError(f"mouse: expected {corners} points, got {_shorten(message.screen_pos)}")
    for point in message.screen_pos:
        check_numbers(point, 2, 10, "place of the mouse in the window")
    for ray in (message.ray_origin, message.ray_direction):
        if corners == 1 or ray is not None:
            check_numbers(ray, 3, WIDEST, "ray of the mouse")


def check_node(message: Any, client: Any) -> None:
    """Checks the name of a frustum that is clicked, or of handles that are dragged."""
    check_text(message.name, "node")


def check_handles(message: Any, client: Any) -> None:
    """Checks the position of handles that are dragged."""
    check_node(message, client)
    check_numbers(message.wxyz, 4, 2, "rotation of the handles")
    check_numbers(message.position, 3, FARTHEST, "position of the handles")


CHECKS: dict[str, Callable[[Any, Any], None]] = {
    "ViewerCameraMessage": check_camera,
    "GuiUpdateMessage": check_update,
    "GuiFormSubmitMessage": check_submit,
    "ScenePointerMessage": check_pointer,
    "SceneNodeClickMessage": check_node,
    "TransformControlsDragStartMessage": check_node,
    "TransformControlsUpdateMessage": check_handles,
    "TransformControlsDragEndMessage": check_node,
}
"""All messages that our pages send, by the names of viser's classes, with their checks."""
