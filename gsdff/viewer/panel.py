"""The controls of one tab: what is there to press, and what they say."""

from collections.abc import Callable
from html import escape
from typing import Any

from gsdff.editing.operations import Delete
from gsdff.field.search import PreparedQuery
from gsdff.viewer.document import Shown
from gsdff.viewer.markup import line, small
from gsdff.viewer.painting import describe_modes
from gsdff.viewer.screen import Screen
from gsdff.viewer.tab import Tab

NO_SPLIT = "—"
WAYS = {"browser (splats)": "browser", "server (exact)": "server"}
COMBINE = {"replaces": "replace", "adds to": "add", "takes from": "subtract", "stays within": "within"}
"""What a new selection does to the old one."""
MOUSE = "click: what is like it; with shift adds, with ctrl takes away; drag a box with shift or ctrl"
MAX_HISTORY = 20
MAX_KNOWN = 40
"""Names of a closed vocabulary that a hint tells."""


class Panel:
    """Folders of controls; every one of them calls a method of the tab."""

    def __init__(self, gui: Any, tab: Tab):
        self.gui, self.tab = gui, tab
        self.history: list[tuple[str, str]] = []
        self._asked: PreparedQuery | None = None
        """The question that the slider is of."""
        self._build_view()
        if tab.world.field.has_features:
            self._build_questions()
        self._build_work()
        tab.on_refresh, tab.on_picture = self.show, self.show_speed
        tab.refresh()

    # --- building

    def _build_view(self) -> None:
        tab = self.tab
        with self.gui.add_folder("View"):
            self.mode = self.gui.add_dropdown("Show", tab.modes, initial_value=tab.mode)
            self.other = self.gui.add_dropdown("Right half", (NO_SPLIT, *tab.modes), initial_value=NO_SPLIT)
            self.way = self.gui.add_dropdown("Drawn by", tuple(WAYS), initial_value=_key(WAYS, tab.way))
            self.marks = self.gui.add_checkbox("Mark selection", tab.marks)
            self.cameras = self.gui.add_checkbox("Cameras", False, visible=bool(tab.world.views))
            self.legend = self.gui.add_html("")
            self.speed = self.gui.add_html("")
        self._on_change(self.mode, lambda: tab.see(mode=self.mode.value))
        self._on_change(self.other, lambda: tab.see(other=self.other.value.replace(NO_SPLIT, "")))
        self._on_change(self.way, lambda: tab.see(way=WAYS[self.way.value]))
        self._on_change(self.marks, lambda: setattr(tab, "marks", self.marks.value))
        self._on_change(self.cameras, lambda: tab.show_cameras(self.cameras.value))

    def _build_questions(self) -> None:
        tab = self.tab
        names = tab.world.names
        with self.gui.add_folder("Ask"):
            with self.gui.add_form(None) as form:
                self.text = self.gui.add_text("Text", "", hint=_hint(names))
                self.negatives = self.gui.add_text("Not", "", hint="What it is not, besides the usual; commas between")
            button = self.gui.add_button("Ask")
            self.past = self.gui.add_dropdown("Earlier", (NO_SPLIT,), initial_value=NO_SPLIT)
            self.threshold = self.gui.add_slider("Threshold", 0.0, 1.0, 0.001, 0.5, disabled=True)
            with self.gui.add_form(None) as class_form:
                self.classes = self.gui.add_text("Classes", ", ".join(names), hint="The best of these, commas between")
            class_button = self.gui.add_button("Tell classes apart")
        button.on_click(lambda _: self._ask())
        form.on_submit(lambda _: self._ask())
        class_button.on_click(lambda _: tab.do(lambda: tab.ask_classes(self.classes.value)))
        class_form.on_submit(lambda _: tab.do(lambda: tab.ask_classes(self.classes.value)))
        self._on_change(self.past, self._ask_again)
        self.threshold.on_update(self._follow_threshold)

    def _build_work(self) -> None:
        self.count = self.gui.add_html("")
        tabs = self.gui.add_tab_group()
        with tabs.add_tab("Select"):
            self._build_selection()
        with tabs.add_tab("Edit"):
            self._build_edits()
        with tabs.add_tab("Film"):
            self._build_film()
        with tabs.add_tab("Save"):
            self._build_saving()

    def _build_selection(self) -> None:
        tab, document = self.tab, self.tab.document
        self.combine = self.gui.add_dropdown("A new one", tuple(COMBINE), initial_value="replaces")
        change = self.gui.add_button_group("Change", ("invert", "grow", "shrink"))
        keep = self.gui.add_button_group("Keep", ("largest part", "no floaters"))
        nothing = self.gui.add_button("Nothing")
        self.gui.add_html(small(MOUSE))
        self._on_change(self.combine, lambda: setattr(tab, "combine", COMBINE[self.combine.value]))
        changes: dict[str, Callable] = {
            "invert": lambda s, means: ~s,
            "grow": lambda s, means: s.grow(means),
            "shrink": lambda s, means: s.shrink(means),
            "largest part": lambda s, means: s.keep_largest(means) if s else s,
            "no floaters": lambda s, means: s.drop_floaters(means) if s else s,
        }
        for group in (change, keep):
            group.on_click(lambda event: tab.do(lambda: document.change(changes[event.target.value])))
        nothing.on_click(lambda _: tab.do(document.select_nothing))

    def _build_edits(self) -> None:
        tab, document = self.tab, self.tab.document
        sight = self.gui.add_button_group("Sight", ("hide", "isolate", "show all"))
        delete = self.gui.add_button("Delete", color="red")
        self.color = self.gui.add_rgb("Colour", (42, 111, 219))
        recolor = self.gui.add_button("Recolour")
        move = self.gui.add_button("Move with handles")
        back = self.gui.add_button_group("Steps", ("undo", "redo"))
        self.edits = self.gui.add_html("")
        actions = {"hide": document.hide, "isolate": document.isolate, "show all": document.show_all}
        actions |= {"undo": document.undo, "redo": document.redo}
        for group in (sight, back):
            group.on_click(lambda event: tab.do(actions[event.target.value]))
        delete.on_click(lambda _: tab.do(lambda: document.edit(Delete())))
        recolor.on_click(lambda _: tab.do(lambda: tab.recolor(self.color.value)))
        move.on_click(lambda _: tab.do(tab.toggle_gizmo))

    def _build_film(self) -> None:
        tab = self.tab
        keep = self.gui.add_button("Keep this view")
        change = self.gui.add_button_group("Views", ("drop last", "drop all"))
        self.keyframes = self.gui.add_html("")
        self.seconds = self.gui.add_slider("Seconds", 1.0, 60.0, 0.5, 6.0)
        run = self.gui.add_button_group("Path", ("fly", "stop"))
        save = self.gui.add_button("Save video (.mp4)")
        self.progress = self.gui.add_progress_bar(0.0, visible=False)
        keep.on_click(lambda _: tab.do(lambda: tab.film.keyframes.append(tab.camera)))
        drops = {"drop last": tab.film.drop_last, "drop all": tab.film.keyframes.clear}
        change.on_click(lambda event: tab.do(drops[event.target.value]))
        run.on_click(lambda event: self._run_film(event.target.value))
        save.on_click(lambda _: tab.save_film(self.seconds.value, self._show_progress))

    def _build_saving(self) -> None:
        tab = self.tab
        self.gui.add_html(small(f"into {tab.world.folder}"))
        buttons = {
            "Edits (.toml)": tab.save_edits,
            "Scene (.ply)": lambda: tab.save_scene(only_selected=False),
            "Selection (.ply)": lambda: tab.save_scene(only_selected=True),
            "Screenshot (.png)": tab.save_screenshot,
        }
        for label, action in buttons.items():
            self.gui.add_button(label).on_click(lambda _, action=action: tab.do(action))

    # --- what controls do that need values of others

    def _on_change(self, control: Any, action: Callable[[], object]) -> None:
        @control.on_update
        def _(event: Any) -> None:
            if event.client is not None:  # None where the value was set from here: that is no wish of the user's
                self.tab.do(action)

    def _ask(self) -> None:
        asked = self.text.value, self.negatives.value

        def action() -> None:
            self.tab.ask(*asked)
            self.history = [asked, *(past for past in self.history if past != asked)][:MAX_HISTORY]

        self.tab.do(action)

    def _ask_again(self) -> None:
        for past in self.history:
            if self.past.value == _said(past):
                self.text.value, self.negatives.value = past
                self.tab.ask(*past)

    def _follow_threshold(self, event: Any) -> None:
        document = self.tab.document
        with self.tab.lock:  # what waited here while the last value was shown finds that one, and has nothing to do
            wanted = self.threshold.value
            if event.client is not None and document.scores is not None and wanted != document.threshold:
                self.tab.do(lambda: document.set_threshold(wanted))

    def _run_film(self, what: str) -> None:
        if what == "stop":
            self.tab.film.stop()
        else:
            self.tab.fly_film(self.seconds.value)

    def _show_progress(self, share: float) -> None:
        self.progress.visible = share < 1
        self.progress.value = 100 * share

    # --- saying

    def show(self, shown: Shown) -> None:
        """Brings the controls to what the document says."""
        tab = self.tab
        self.mode.value = tab.mode
        self.other.value = tab.other or NO_SPLIT
        self.way.value = _key(WAYS, tab.way)
        self.legend.content = describe_modes((tab.mode, tab.other), shown, on_server=tab.draws_here)
        if not tab.draws_here:
            self.speed.content = small("drawn by your browser, colours of one side")
        self._show_work(shown)
        if tab.world.field.has_features:
            self._show_question(shown)

    def _show_work(self, shown: Shown) -> None:
        tab, document = self.tab, self.tab.document
        count = int(shown.selected.sum())
        hidden = len(document.base) - int((~document.alive).sum()) - len(shown.gaussians)
        words = f"<b>{count:,}</b> of {len(shown.gaussians):,} Gaussians selected"
        self.count.content = line(words + (f", {hidden:,} hidden" if hidden else ""))
        self.keyframes.content = line(f"{len(tab.film.keyframes)} views kept")
        self.edits.content = line("<br>".join(escape(_name(edit)) for edit in document.edits) or "no edits yet")

    def _show_question(self, shown: Shown) -> None:
        options = (NO_SPLIT, *map(_said, self.history))
        if tuple(self.past.options) != options:
            self.past.options = options
        if shown.asked is None or shown.asked is self._asked:
            return  # of a question that is shown already the slider is the user's: it may be further by now
        self._asked = shown.asked
        low, high = min(shown.asked.score_range[0], shown.threshold), max(shown.asked.score_range[1], shown.threshold)
        self.threshold.disabled = False
        self.threshold.min, self.threshold.max = low, high
        self.threshold.step = max((high - low) / 1000, 1e-6)
        self.threshold.value = shown.threshold

    def show_speed(self, screen: Screen) -> None:
        """How the last picture was drawn."""
        size = "sharp" if screen.scale > 0.99 else f"at {screen.scale:.0%} while it moves"
        self.speed.content = small(f"drawn here, {size}, {screen.seconds * 1000:.0f} ms")


def _key(table: dict[str, str], value: str) -> str:
    return next(key for key, entry in table.items() if entry == value)


def _said(past: tuple[str, str]) -> str:
    return past[0] + (f" (not {past[1]})" if past[1] else "")


def _name(edit: Any) -> str:
    name = type(edit.operation).__name__.lower()
    count = f"{int(edit.mask.sum()):,} Gaussians"
    return f"{name} {count}" if edit.selector is None else f"{name} {edit.selector} ({count})"


def _hint(names: tuple[str, ...]) -> str:
    if not names:
        return "Any words; commas between alternatives"
    return "Known: " + ", ".join(names[:MAX_KNOWN]) + (", ..." if len(names) > MAX_KNOWN else "")
