"""The controls of a tab while the scene trains: how far it is, a switch to pause, all ways to see, questions."""

from typing import Any

import numpy as np

from gsdff.viewer.document import Shown
from gsdff.viewer.markup import line, small
from gsdff.viewer.panel import Panel
from gsdff.viewer.progress import thin_out

NO_EDITS = "Selecting, editing and saving come when training has ended."
GREY = "rgba(160,160,160,0.9)"
FAINT = "rgba(160,160,160,0.2)"


class LivePanel(Panel):
    """A panel without what changes the scene."""

    def _build_view(self) -> None:
        progress = self.tab.world.training
        with self.gui.add_folder("Training"):
            self.state = self.gui.add_html("")
            self.switch = self.gui.add_button("Pause")
            self.loss = self._add_curve("loss", "#ff9e0d")
            self.psnr = self._add_curve("PSNR of training views, dB", "#4dabf7")
            self.gui.add_html(small(NO_EDITS))
        self.switch.on_click(lambda _: progress.resume() if progress.is_paused else progress.pause())
        super()._build_view()
        self.show_training()

    def _build_work(self) -> None:
        pass

    def _show_work(self, shown: Shown) -> None:
        pass

    def show_training(self) -> None:
        """Brings the numbers and the curves to what they are now."""
        progress = self.tab.world.training
        self.state.content = line("<br>".join(progress.describe()))
        self.switch.label = "Resume" if progress.is_paused else "Pause"
        for plot, points in ((self.loss, progress.curves.losses), (self.psnr, progress.curves.psnrs)):
            data = thin_out(points)
            if len(data[0]) and not (len(data[0]) == len(plot.data[0]) and np.array_equal(data, plot.data)):
                plot.data = data

    def _add_curve(self, label: str, color: str) -> Any:
        axis = {"stroke": GREY, "grid": {"stroke": FAINT, "width": 1}, "ticks": {"stroke": FAINT, "width": 1}}
        return self.gui.add_uplot(
            (np.zeros(1), np.zeros(1)),
            ({"label": "step"}, {"label": label, "stroke": color, "width": 1.5}),
            title=label,
            scales={"x": {"time": False}},
            axes=(axis, axis | {"space": 20}),
            legend={"show": False},
            height=110,
            padding=(10, 24, 0, 0),
        )
