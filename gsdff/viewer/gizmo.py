"""Handles in the page that move the selection."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from gsdff.errors import UserError
from gsdff.viewer.session import NOTHING_SELECTED


class Gizmo:
    """Handles of one tab; `move` gets the offset in the working frame whenever they are released."""

    def __init__(self, scene: Any, move: Callable[[np.ndarray], None]):
        self.scene, self.move = scene, move
        self._handle: Any = None

    def toggle(self, selected: Float[Tensor, "P 3"]) -> None:
        """Shows the handles at the median of these means, or hides them; raises `UserError` for no means."""
        if self._handle is not None:
            self.hide()
            return
        if not len(selected):
            raise UserError(NOTHING_SELECTED)
        position = selected.median(0).values.cpu().numpy()
        self._handle = self.scene.add_transform_controls(
            "/gizmo", scale=0.3, disable_rotations=True, depth_test=False, position=position
        )

        @self._handle.on_update
        def _(event: Any) -> None:
            nonlocal position
            if event.phase == "end":
                before, position = position, np.array(event.target.position)
                self.move(position - before)

    def hide(self) -> None:
        """Removes the handles from the page."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None
