"""Controls of a tab during training: progress, curves, a pause, display and queries."""

from typing import Any

import numpy as np

from gsdff.viewer.markup import line, note
from gsdff.viewer.panel import Panel
from gsdff.viewer.session import VisibleScene
from gsdff.viewer.training_progress import thin_out

NO_EDITS = "Selecting, editing and saving are available after the training."
GREY = "rgba(160,160,160,0.9)"
FAINT = "rgba(160,160,160,0.2)"


class LivePanel(Panel):
    """A panel without the controls that change the scene."""

    def _build_view(self) -> None:
        assert self.tab.shared.training is not None, "a live panel is of a run that trains"
        self.progress = self.tab.shared.training
        with self.gui.add_folder("Training"):
            self.state = self.gui.add_html("")
            self.switch = self.gui.add_button("Pause")
            self.loss = self._add_curve("Loss", "#ff9e0d")
            self.psnr = self._add_curve("PSNR of training views (dB)", "#4dabf7")
            self.gui.add_html(note(NO_EDITS))
        self.switch.on_click(lambda _: self._toggle_pause())
        super()._build_view()
        self.show_training()

    def _build_tools(self) -> None:
        pass

    def _show_tools(self, visible: VisibleScene) -> None:
        pass

    def show_training(self) -> None:
        """Updates numbers and curves."""
        progress = self.progress
        self.state.content = line("<br>".join(progress.describe()))
        self.switch.label = "Resume" if progress.is_paused else "Pause"
        for plot, points in ((self.loss, progress.curves.losses), (self.psnr, progress.curves.psnrs)):
            data = thin_out(points)
            if len(data[0]) and not (len(data[0]) == len(plot.data[0]) and np.array_equal(data, plot.data)):
                plot.data = data

    def _toggle_pause(self) -> None:
        if self.progress.is_paused:
            self.progress.resume()
        else:
            self.progress.pause()

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
