"""Times the viewer on this machine: following a drag, switching modes, answering a query.

    python scripts/bench_viewer.py runs/fox_animals
    python scripts/bench_viewer.py runs/fox_animals --gaussians 200000 --out docs/benchmarks/viewer_200k.json

A browser (Chromium by Playwright) opens a page of a server in this process, and its mouse and keys are moved. Times are
from the event in the page (key, mouse) or in the server (camera) until the page has drawn the result. Without a
graphics card the page draws in software WebGL, on the cores that the server renders with. That part depends on the
machine, so the server's own part is listed beside the whole. Every row has a quality: PSNR to the sharp picture.
"""

import gsdff  # noqa: F401  # isort: skip  # before torch: it sets how torch's threads wait

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import torch
import torch.nn.functional as F
import tyro
from bench_rasterizer import DeviceName, machine, print_table, spread

from gsdff.cli import run_door
from gsdff.errors import UserError
from gsdff.field.load import load
from gsdff.gaussians import Gaussians
from gsdff.viewer.render_loop import RenderLoop
from gsdff.viewer.server import Server, find_address
from gsdff.viewer.shared_scene import SharedScene, open_shared_scene
from gsdff.viewer.tab import Tab

ROOT = Path(__file__).resolve().parents[1]
SOFTWARE_WEBGL = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
LISTENER = """
window.told = [];
window.frames = 0;
const now = () => (performance.timeOrigin + performance.now()) / 1000;
for (const kind of ["pointerdown", "keydown"]) addEventListener(kind, () => told.push([kind, 0, now()]), true);
const gl = WebGL2RenderingContext.prototype;
let drew = false;
for (const name of ["drawElements", "drawArrays", "drawElementsInstanced", "drawArraysInstanced"]) {
  const own = gl[name];
  gl[name] = function (...given) { drew = true; return own.apply(this, given); };
}
for (const name of ["texImage2D", "texSubImage2D"]) {
  const own = gl[name];
  gl[name] = function (...given) {
    own.apply(this, given);
    const data = given.find(one => one && (one.width > 64 || one.byteLength > 2e4));
    if (!data) return;
    requestAnimationFrame(() => {  // the frame with it has been handed over; reading a pixel waits until it is drawn
      this.readPixels(0, 0, 1, 1, this.RGBA, this.UNSIGNED_BYTE, new Uint8Array(4));
      told.push(data.width ? ["picture", data.width, now()] : ["splats", data.byteLength, now()]);
    });
  };
}
const count = () => { if (drew) frames += 1; drew = false; requestAnimationFrame(count); };
requestAnimationFrame(count);
"""
"""Script of the page that logs when keys came and pictures and splats were drawn (wall clock), and counts frames."""
PATIENCE = 60.0


@dataclass(frozen=True)
class Options:
    """Times a page: frames while dragging, renderings of the server, mode switches, a query."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")] = Path("runs/fox_animals")
    """A run with features, or a PLY."""
    texts: tuple[str, str] = ("dog", "cat")
    """Prompts, queried in turn."""
    gaussians: int | None = None
    """Number of Gaussians: copies of those of the run, jittered, or a part of them; by default all of the run."""
    size: tuple[int, int] = (1280, 800)
    """Width and height of the window, in pixels."""
    repeats: int = 8
    """Number of timed moves and switches of every kind."""
    seconds: float = 4.0
    """Length of a drag."""
    device: DeviceName = "auto"
    """Device that the server renders on."""
    out: Path | None = None
    """Writes the figures here as JSON; by default docs/benchmarks/viewer_<device>.json."""


def resample(gaussians: Gaussians, count: int) -> Gaussians:
    """A scene of `count` Gaussians: a seeded choice, or copies that are moved by about their size."""
    generator = torch.Generator().manual_seed(0)
    times = -(-count // len(gaussians))
    chosen = torch.randperm(times * len(gaussians), generator=generator)[:count].to(gaussians.means.device)
    copied = gaussians.map(lambda tensor: tensor[chosen % len(gaussians)])
    noise = torch.randn(count, 3, generator=generator).to(copied.scales) * copied.scales
    return replace(copied, means=copied.means + noise) if times > 1 else copied


def open_bench(options: Options) -> SharedScene:
    """The run's scene with the number of Gaussians of the options."""
    shared = open_shared_scene(load(options.run, device=options.device))
    if not shared.field.has_features:
        raise UserError(f"{options.run}: expected a run that can be queried; train it with a teacher")
    if options.gaussians is not None:
        gaussians = resample(shared.gaussians, options.gaussians)
        shared.field = replace(shared.field, gaussians=gaussians)
    return shared


class Bench:
    """One page under measurement."""

    def __init__(self, browser: Any, server: Server, options: Options):
        width, height = options.size
        self.options = options
        self.row = height // 2
        """Row of the window along which the mouse is moved."""
        self.page = browser.new_page(viewport={"width": width, "height": height})
        self.page.set_default_timeout(1000 * PATIENCE)
        self.page.add_init_script(LISTENER)
        self.page.goto(server.address.url + "/?fixedDpr=1")
        self.page.get_by_text("Gaussians selected").wait_for()
        if (note := self.page.locator("#webgl-software-rendering button")).count():
            note.click()
        (self.panel,) = server.open_panels
        self.tab: Tab = self.panel.tab
        self.told: list[tuple[str, float, float]] = []
        """Events of the server: name, figure, time."""
        self._listen()
        self.renderer = self.page.evaluate(
            "(() => { const gl = document.createElement('canvas').getContext('webgl2');"
            "return gl.getParameter(gl.getExtension('WEBGL_debug_renderer_info').UNMASKED_RENDERER_WEBGL); })()"
        )

    def _listen(self) -> None:
        tab, told = self.tab, self.told
        do, on_image = tab.perform, tab.on_image

        def timed_do(*given: Any, **named: Any) -> None:
            told.append(("begun", 0, time.time()))
            do(*given, **named)
            told.append(("done", 0, time.time()))

        def heard(render_loop: RenderLoop) -> None:
            told.append(("sent", render_loop.scale, time.time()))
            on_image(render_loop)

        tab.perform, tab.on_image = timed_do, heard
        tab.client.camera.on_update(lambda _: told.append(("camera", 0, time.time())))

    # --- acting

    def choose(self, label: str, value: str) -> None:
        """Chooses an entry of a drop-down list by its keys and clicks."""
        has_label = self.page.locator(f"xpath=./div/p/label[text()='{label}']")
        row = self.page.locator("div.mantine-Flex-root").filter(has=has_label).last
        row.locator("input").first.click()
        option = self.page.get_by_role("option", name=value, exact=True).first
        option.wait_for()
        self.rest()
        self.forget()
        option.click()

    def ask(self, text: str) -> None:
        """Types a text and Enter."""
        has_label = self.page.locator("xpath=./div/p/label[text()='Prompts']")
        field = self.page.locator("div.mantine-Flex-root").filter(has=has_label).last.locator("input").last
        field.fill(text)
        self.rest()
        self.forget()
        field.press("Enter")

    def rest(self) -> None:
        """Waits until neither page nor server draws."""
        quiet = 0
        while quiet < 4:
            before = self.page.evaluate("frames")
            self.page.wait_for_timeout(150)
            is_quiet = not self.tab.render_loop.is_busy and self.page.evaluate("frames") - before < 2
            quiet = quiet + 1 if is_quiet else 0

    def forget(self) -> None:
        """Begins a new measurement."""
        self.told.clear()
        self.page.evaluate("told.length = 0")

    def events(self, kind: str) -> list[tuple[float, float]]:
        """Figures and times of the events that the page logged."""
        return [(figure, at) for name, figure, at in self.page.evaluate("told") if name == kind]

    def server_events(self, kind: str) -> list[tuple[float, float]]:
        """Figures and times of the events of the server."""
        return [(figure, at) for name, figure, at in list(self.told) if name == kind]

    def wait_for(self, holds: Callable[[], Any]) -> None:
        """Lets the page run until a condition holds."""
        end = time.monotonic() + PATIENCE
        while not holds():
            if time.monotonic() > end:
                raise UserError(f"waited {PATIENCE:.0f} s for the page in vain")
            self.page.wait_for_timeout(20)

    def shown_sharp(self) -> bool:
        """Whether the page has drawn a picture as wide as the window."""
        return any(width >= 0.99 * self.options.size[0] for width, _ in self.events("picture"))

    # --- measuring

    def drag(self) -> dict:
        """Frames of the page, and renderings of the server, per second of a steady drag."""
        mouse, seconds = self.page.mouse, self.options.seconds
        self.rest()
        mouse.move(300, self.row)
        mouse.down()
        self.forget()
        frames, began, i = self.page.evaluate("frames"), time.time(), 0
        while time.time() - began < seconds:
            i += 1
            mouse.move(300 + 4 * (i % 60 if i // 60 % 2 == 0 else 60 - i % 60), self.row)
            self.page.wait_for_timeout(8)
        frames, took = self.page.evaluate("frames") - frames, time.time() - began
        mouse.up()
        scales = [scale for scale, _ in self.server_events("sent")]
        pictures = [at for _, at in self.events("picture") if at < began + took]
        row = {"what": "drag", "frames_a_second": frames / took}
        if scales:
            row |= {"pictures_a_second": len(pictures) / took, "scale": median(scales)}
        return row | {"psnr": self.quality(median(scales) if scales else 1.0)}

    def moves(self) -> dict:
        """Time from one move of the camera in the server until the page shows a new picture, and until a sharp one."""
        times: dict[str, list[float]] = {"first_ms": [], "first_server_ms": [], "sharp_ms": [], "scale": []}
        for i in range(self.options.repeats + 1):  # one to warm up
            self.rest()
            self.page.mouse.move(300, self.row)
            self.page.mouse.down()
            self.rest()
            self.forget()
            self.page.mouse.move(300 + (25 if i % 2 else -25), self.row)
            self.wait_for(self.shown_sharp)
            self.page.mouse.up()
            cameras, sent, shown = self.server_events("camera"), self.server_events("sent"), self.events("picture")
            sharp_at = next(at for width, at in shown if width >= 0.99 * self.options.size[0])
            last_camera = max(at for _, at in cameras if at < sharp_at)
            if i:
                times["first_ms"].append(1e3 * (shown[0][1] - cameras[0][1]))
                times["first_server_ms"].append(1e3 * (sent[0][1] - cameras[0][1]))
                times["sharp_ms"].append(1e3 * (sharp_at - last_camera))
                times["scale"].append(sent[0][0])
        row = {"what": "move, standing still before"}
        row |= {name: median(values) for name, values in times.items()}
        spreads = {f"{name[:-3]}_spread_ms": spread(values) for name, values in times.items() if name.endswith("_ms")}
        return row | spreads | {"psnr": self.quality(row["scale"])}

    def switch(self, what: str, act: Callable[[int], None]) -> dict:
        """Time from a click or a key until the page shows the first picture that follows from it."""
        kind = "picture" if self.tab.renders_on_server else "splats"
        ends = "sent" if kind == "picture" else "done"
        begins = "keydown" if what == "query" else "pointerdown"
        whole, server, scales = [], [], []
        for i in range(self.options.repeats + 1):
            self.rest()
            act(i)
            self.wait_for(lambda: self.events(begins))
            pressed = self.events(begins)[-1][1]

            # a picture that was on its way before does not follow from it
            def follow(events: list, pressed: float = pressed) -> list:
                return [event for event in events if event[1] > pressed]

            self.wait_for(lambda: follow(self.events(kind)) and follow(self.server_events(ends)))
            shown, sent = follow(self.events(kind))[0][1], follow(self.server_events(ends))[0]
            if i:
                whole.append(1e3 * (shown - pressed))
                server.append(1e3 * (sent[1] - follow(self.server_events("begun"))[0][1]))
                scales.append(sent[0] if kind == "picture" else 1.0)
        return {
            "what": what,
            "shown_ms": median(whole),
            "shown_spread_ms": spread(whole),
            "server_ms": median(server),
            "page_ms": median(w - s for w, s in zip(whole, server, strict=True)),
            "scale": median(scales),
            "psnr": self.quality(median(scales)),
        }

    def quality(self, scale: float) -> float | None:
        """PSNR of the server's picture at this scale, enlarged, to the sharp one; None for the sharp one itself."""
        if scale > 0.99:
            return None
        camera, request = self.tab.camera, self.tab.render_request
        small = camera.resized(max(round(scale * camera.width), 1), max(round(scale * camera.height), 1))
        sharp, coarse = (self.tab.render(request, one).float().permute(2, 0, 1)[None] / 255 for one in (camera, small))
        enlarged = F.interpolate(coarse, sharp.shape[-2:], mode="bilinear", align_corners=False)
        return float(-10 * (enlarged - sharp).square().mean().log10())


def measure(bench: Bench) -> list[dict]:
    """All rows."""
    rows, texts = [], bench.options.texts
    for renderer in ("browser (splats)", "server (exact)"):
        if bench.panel.renderer.value != renderer:
            bench.choose("Rendering", renderer)
        bench.choose("Mode", "colour")
        found = [bench.drag()]
        if bench.tab.renders_on_server:
            found.append(bench.moves())
        found.append(bench.switch("mode", lambda i: bench.choose("Mode", ("features", "colour")[i % 2])))
        found.append(bench.switch("query", lambda i: bench.ask(texts[i % 2])))
        rows += [{"drawn_by": renderer.split()[0], **row} for row in found]
    return rows


def main() -> None:
    """Measures, prints and writes."""
    options = tyro.cli(Options, description=Options.__doc__)
    from playwright.sync_api import Error, sync_playwright

    shared = open_bench(options)
    device = shared.gaussians.means.device.type
    load = os.getloadavg()[0]
    with Server(shared, find_address("127.0.0.1", 8080)) as server, sync_playwright() as driver:
        path = shutil.which("chromium") or driver.chromium.executable_path
        try:
            browser = driver.chromium.launch(executable_path=path, args=SOFTWARE_WEBGL)
        except Error as error:
            raise UserError("needs a browser: chromium of the system, or `playwright install chromium`") from error
        bench = Bench(browser, server, options)
        rows = measure(bench)
        renderer = bench.renderer
        browser.close()
    scene = {
        "run": options.run.name,
        "gaussians": len(shared.gaussians),
        "device": device,
        "window": "x".join(map(str, options.size)),
        "webgl": renderer,
        "load_before": load,
    }
    for table in ([scene], rows):
        print_table([{key: row.get(key) for key in {key: 0 for one in table for key in one}} for row in table])
        print()
    report = {"machine": machine(device), "command": sys.argv[1:], "scene": scene, "rows": rows}
    out = options.out or ROOT / "docs" / "benchmarks" / f"viewer_{device}.json"
    out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    run_door(main)
