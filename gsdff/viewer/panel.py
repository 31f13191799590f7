"""Controls of one tab: display, query, selection, edits, camera path, saving."""

from collections.abc import Callable
from html import escape
from typing import Any, get_args

from gsdff.editing.operations.delete import Delete
from gsdff.field.search import PreparedQuery
from gsdff.viewer.markup import line, note
from gsdff.viewer.render_loop import RenderLoop
from gsdff.viewer.rendering import mode_legends
from gsdff.viewer.session import MadeEdit, SelectionMode, VisibleScene
from gsdff.viewer.shared_scene import Renderer
from gsdff.viewer.tab import Tab

OFF = "off"
"""Entry of the drop-down list of split modes for no split."""
NO_QUERY = "—"
"""Entry of the drop-down list of past queries for none of them."""
RENDERERS: dict[str, Renderer] = {"browser (splats)": "browser", "server (exact)": "server"}
NEGATIVES_HINT = "Texts that compete with the prompts, besides the default ones; separated by commas"
CLASSES_HINT = "Every Gaussian gets the best of these names; separated by commas"
MOUSE = "Click: select similar Gaussians. With Shift: add. With Ctrl: subtract. Drag with Shift or Ctrl: box."
MAX_HISTORY = 20
"""Largest number of past queries that are kept."""
MAX_HINT_NAMES = 40
"""Largest number of names of a closed vocabulary in a hint."""


class Panel:
    """Folders of controls, each of which calls a method of the tab."""

    def __init__(self, gui: Any, tab: Tab):
        self.gui, self.tab = gui, tab
        self.history: list[tuple[str, str]] = []
        """Past queries, as prompts and negative prompts, the latest first."""
        self._prepared: PreparedQuery | None = None
        """Query whose scores the slider ranges over."""
        self._build_view()
        if tab.shared.field.has_features:
            self._build_query()
        self._build_tools()
        tab.on_refresh, tab.on_image = self.show, self.show_speed
        tab.refresh()

    # --- building

    def _build_view(self) -> None:
        tab = self.tab
        with self.gui.add_folder("View"):
            self.mode = self.gui.add_dropdown("Mode", tab.modes, initial_value=tab.mode)
            self.split_mode = self.gui.add_dropdown("Split view", (OFF, *tab.modes), initial_value=OFF)
            self.renderer = self.gui.add_dropdown(
                "Rendering", tuple(RENDERERS), initial_value=_key(RENDERERS, tab.renderer)
            )
            self.highlight = self.gui.add_checkbox("Highlight selection", tab.highlight)
            self.cameras = self.gui.add_checkbox("Show cameras", False, visible=bool(tab.shared.views))
            self.legend = self.gui.add_html("")
            self.speed = self.gui.add_html("")
        self._on_change(self.mode, lambda: tab.set_display(mode=self.mode.value))
        self._on_change(self.split_mode, self._choose_split_mode)
        self._on_change(self.renderer, lambda: tab.set_display(renderer=RENDERERS[self.renderer.value]))
        self._on_change(self.highlight, lambda: setattr(tab, "highlight", self.highlight.value))
        self._on_change(self.cameras, lambda: tab.show_cameras(self.cameras.value))

    def _build_query(self) -> None:
        tab = self.tab
        names = tab.shared.names
        with self.gui.add_folder("Query"):
            with self.gui.add_form(None) as form:
                self.prompts = self.gui.add_text("Prompts", "", hint=_prompt_hint(names))
                self.negatives = self.gui.add_text("Negative prompts", "", hint=NEGATIVES_HINT)
            button = self.gui.add_button("Search")
            self.past = self.gui.add_dropdown("History", (NO_QUERY,), initial_value=NO_QUERY)
            self.threshold = self.gui.add_slider("Threshold", 0.0, 1.0, 0.001, 0.5, disabled=True)
            with self.gui.add_form(None) as class_form:
                self.classes = self.gui.add_text("Classes", ", ".join(names), hint=CLASSES_HINT)
            class_button = self.gui.add_button("Segment")
        button.on_click(lambda _: self._search())
        form.on_submit(lambda _: self._search())
        class_button.on_click(lambda _: tab.perform(lambda: tab.segment(self.classes.value)))
        class_form.on_submit(lambda _: tab.perform(lambda: tab.segment(self.classes.value)))
        self._on_change(self.past, self._search_again)
        self.threshold.on_update(self._follow_threshold)

    def _build_tools(self) -> None:
        self.count = self.gui.add_html("")
        tabs = self.gui.add_tab_group()
        with tabs.add_tab("Select"):
            self._build_selection()
        with tabs.add_tab("Edit"):
            self._build_edits()
        with tabs.add_tab("Video"):
            self._build_camera_path()
        with tabs.add_tab("Save"):
            self._build_saving()

    def _build_selection(self) -> None:
        tab, session = self.tab, self.tab.session
        self.selection_mode = self.gui.add_dropdown(
            "Selection mode", get_args(SelectionMode), initial_value=tab.selection_mode
        )
        modify = self.gui.add_button_group("Modify", ("invert", "grow", "shrink"))
        clean = self.gui.add_button_group("Clean up", ("keep largest", "drop floaters"))
        deselect = self.gui.add_button("Deselect")
        self.gui.add_html(note(MOUSE))
        self._on_change(self.selection_mode, lambda: setattr(tab, "selection_mode", self.selection_mode.value))
        functions: dict[str, Callable] = {
            "invert": lambda selection, means: ~selection,
            "grow": lambda selection, means: selection.grow(means),
            "shrink": lambda selection, means: selection.shrink(means),
            "keep largest": lambda selection, means: selection.keep_largest(means) if selection else selection,
            "drop floaters": lambda selection, means: selection.drop_floaters(means) if selection else selection,
        }
        for group in (modify, clean):
            group.on_click(lambda event: tab.perform(lambda: session.modify_selection(functions[event.target.value])))
        deselect.on_click(lambda _: tab.perform(session.deselect))

    def _build_edits(self) -> None:
        tab, session = self.tab, self.tab.session
        visibility = self.gui.add_button_group("Visibility", ("hide", "isolate", "show all"))
        delete = self.gui.add_button("Delete", color="red")
        self.color = self.gui.add_rgb("Colour", (42, 111, 219))
        recolor = self.gui.add_button("Recolour")
        move = self.gui.add_button("Move with handles")
        undo = self.gui.add_button_group("Edits", ("undo", "redo"))
        self.edits = self.gui.add_html("")
        actions = {"hide": session.hide, "isolate": session.isolate, "show all": session.show_all}
        actions |= {"undo": session.undo, "redo": session.redo}
        for group in (visibility, undo):
            group.on_click(lambda event: tab.perform(actions[event.target.value]))
        delete.on_click(lambda _: tab.perform(lambda: session.edit(Delete)))
        recolor.on_click(lambda _: tab.perform(lambda: tab.recolor(self.color.value)))
        move.on_click(lambda _: tab.perform(tab.toggle_gizmo))

    def _build_camera_path(self) -> None:
        tab = self.tab
        add = self.gui.add_button("Add keyframe")
        remove = self.gui.add_button_group("Keyframes", ("remove last", "remove all"))
        self.keyframes = self.gui.add_html("")
        self.seconds = self.gui.add_slider("Seconds", 1.0, 60.0, 0.5, 6.0)
        playback = self.gui.add_button_group("Playback", ("play", "stop"))
        save = self.gui.add_button("Save video (.mp4)")
        self.video_progress = self.gui.add_progress_bar(0.0, visible=False)
        add.on_click(lambda _: tab.perform(lambda: tab.camera_path.add(tab.camera)))
        removals = {"remove last": tab.camera_path.remove_last, "remove all": tab.camera_path.keyframes.clear}
        remove.on_click(lambda event: tab.perform(removals[event.target.value]))
        actions = {"play": lambda: tab.play_path(self.seconds.value), "stop": tab.camera_path.stop}
        playback.on_click(lambda event: actions[event.target.value]())
        save.on_click(lambda _: tab.save_video(self.seconds.value, self._show_video_progress))

    def _build_saving(self) -> None:
        tab = self.tab
        self.gui.add_html(note(f"Files are saved in {tab.shared.folder}"))
        buttons = {
            "Edits (.toml)": tab.save_edits,
            "Scene (.ply)": lambda: tab.save_scene(only_selected=False),
            "Selection (.ply)": lambda: tab.save_scene(only_selected=True),
            "Screenshot (.png)": tab.save_screenshot,
        }
        for label, action in buttons.items():
            self.gui.add_button(label).on_click(lambda _, action=action: tab.perform(action))

    # --- actions that need values of several controls

    def _on_change(self, control: Any, action: Callable[[], object]) -> None:
        @control.on_update
        def _(event: Any) -> None:
            if event.client is not None:  # None if the value was set by this program
                self.tab.perform(action)

    def _choose_split_mode(self) -> None:
        chosen = self.split_mode.value
        self.tab.set_display(split_mode="" if chosen == OFF else chosen)

    def _search(self) -> None:
        query = self.prompts.value, self.negatives.value

        def action() -> None:
            self.tab.search(*query)
            self.history = [query, *(past for past in self.history if past != query)][:MAX_HISTORY]

        self.tab.perform(action)

    def _search_again(self) -> None:
        for past in self.history:
            if self.past.value == _history_entry(past):
                self.prompts.value, self.negatives.value = past
                self.tab.search(*past)

    def _follow_threshold(self, event: Any) -> None:
        session = self.tab.session
        with self.tab.lock:  # events that waited while the last value was applied find it, and have nothing to do
            threshold = self.threshold.value
            if event.client is not None and session.scores is not None and threshold != session.threshold:
                self.tab.perform(lambda: session.set_threshold(threshold))

    def _show_video_progress(self, share: float) -> None:
        self.video_progress.visible = share < 1
        self.video_progress.value = 100 * share

    # --- showing the state

    def show(self, visible: VisibleScene) -> None:
        """Sets the controls to the state of the tab."""
        tab = self.tab
        self.mode.value = tab.mode
        self.split_mode.value = tab.split_mode or OFF
        self.renderer.value = _key(RENDERERS, tab.renderer)
        self.legend.content = mode_legends((tab.mode, tab.split_mode), visible, on_server=tab.renders_on_server)
        if not tab.renders_on_server:
            self.speed.content = note("rendered by your browser, SH degree 0")
        self._show_tools(visible)
        if tab.shared.field.has_features:
            self._show_query(visible)

    def _show_tools(self, visible: VisibleScene) -> None:
        tab, session = self.tab, self.tab.session
        count = int(visible.selected.sum())
        hidden = len(session.base) - int((~session.alive).sum()) - len(visible.gaussians)
        text = f"<b>{count:,}</b> of {len(visible.gaussians):,} Gaussians selected"
        self.count.content = line(text + (f", {hidden:,} hidden" if hidden else ""))
        num_keyframes = len(tab.camera_path.keyframes)
        self.keyframes.content = line(f"{num_keyframes} keyframe{'' if num_keyframes == 1 else 's'}")
        self.edits.content = line("<br>".join(escape(_describe(edit)) for edit in session.edits) or "no edits yet")

    def _show_query(self, visible: VisibleScene) -> None:
        options = (NO_QUERY, *map(_history_entry, self.history))
        if tuple(self.past.options) != options:
            self.past.options = options
        prepared, threshold = visible.prepared, visible.threshold
        if prepared is None or threshold is None or prepared is self._prepared:
            return  # the slider of the same query is the user's: it may have moved on by now
        self._prepared = prepared
        low, high = min(prepared.score_range[0], threshold), max(prepared.score_range[1], threshold)
        self.threshold.disabled = False
        self.threshold.min, self.threshold.max = low, high
        self.threshold.step = max((high - low) / 1000, 1e-6)
        self.threshold.value = threshold

    def show_speed(self, render_loop: RenderLoop) -> None:
        """Shows resolution and time of the last image."""
        scale = render_loop.scale
        resolution = "full resolution" if scale > 0.99 else f"{scale:.0%} of the resolution while moving"
        self.speed.content = note(f"rendered by the server, {resolution}, {render_loop.seconds * 1000:.0f} ms")


def _prompt_hint(names: tuple[str, ...]) -> str:
    if not names:
        return "Words or phrases, any of which may match; separated by commas"
    return "Known names: " + ", ".join(names[:MAX_HINT_NAMES]) + (", ..." if len(names) > MAX_HINT_NAMES else "")


def _key(table: dict[str, Renderer], value: Renderer) -> str:
    return next(key for key, entry in table.items() if entry == value)


def _history_entry(query: tuple[str, str]) -> str:
    prompts, negatives = query
    return prompts + (f" (not {negatives})" if negatives else "")


def _describe(made: MadeEdit) -> str:
    count = f"{int(made.mask.sum()):,} Gaussians"
    return f"{made.edit.name} {count}" if made.edit.selection is not None else f"{made.edit} ({count})"
