"""Opens files of gsdff in splat viewers of others, in a browser without a window, and compares with our rendering.

    python scripts/check_third_party.py runs/demo [--view 0] [--tools spark supersplat]

Writes an edited PLY, its .splat and compressed PLY, and a PLY with labels, as `python -m gsdff.edit`, `export` and
`segment` do; installs the viewers of scripts/third_party/package.json with npm; opens every file in each of them
from the camera of one photo. Prints a Markdown table and writes it, the screenshots and `third_party.png` (ours beside
theirs) into the folder. Needs node, npm, Chromium or Chrome, Python's playwright, and the network once; no graphics
card. Takes 60 to 80 seconds on two shared cores.

- Gaussians: how many the viewer says it holds, of those in the file; all, or the check fails.
- PSNR: of the viewer's picture to ours, in the harmonics that both the file and the viewer have.
- PSNR, same rules: against ours drawn with two rules of the viewer, see `Tool`.
- deleted: the share of the deleted thing's pixels that change in the viewer, between the labelled PLY (which is not
  edited) and the edited file.
"""

import gsdff  # noqa: F401  # isort: skip  # before torch: it sets how torch's threads wait

import functools
import http.server
import json
import math
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlencode

import numpy as np
import torch
import torch.nn.functional as F
import tyro
from chromium import find_browser, open_browser
from jaxtyping import Bool, Float
from PIL import Image
from study_tools import markdown_table
from torch import Tensor

from gsdff.cameras import Camera, WorldFrame
from gsdff.cli import run_door
from gsdff.errors import UserError
from gsdff.field.load import load
from gsdff.gaussians import Gaussians
from gsdff.io.pictures import save_png, titled
from gsdff.io.ply import read_ply
from gsdff.metrics import psnr
from gsdff.render import rasterization
from gsdff.render.reference import evaluate_sh
from gsdff.scene import find_view

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "scripts" / "third_party"
WIDTH, HEIGHT = 640, 480
"""Size of the browser's window."""
PANEL_WIDTH = 224
QUIET = (
    "--ignore-gpu-blocklist",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
CHANGED = 0.1
"""Least change of a channel of a pixel, in [0, 1], that counts as visible."""


PLYS = ("labelled", "edited", "compressed")


@dataclass(frozen=True)
class Tool:
    """A viewer, with its differences from the rendering of 3DGS."""

    package: str
    page: str
    """Name of scripts/third_party/<page>.js, which shows a file in the viewer."""
    title: str
    max_degree: int = 3
    """Highest SH degree that the viewer draws."""
    clamps: bool = False
    """Whether colours of Gaussians are clamped to 1, as they are blended in 8 bits; 3DGS lets them be brighter."""
    eps2d: float = 0.3
    """Variance in pixels squared that is added to projected Gaussians."""
    kinds: tuple[str, ...] = ("labelled", "edited", "splat", "compressed")
    """Kinds of files that it opens (`write_files`), the unedited one first."""


TOOLS = {
    tool.page: tool
    for tool in (
        Tool("@sparkjsdev/spark", "spark", "Spark", clamps=True),
        Tool("@mkkellogg/gaussian-splats-3d", "gaussian_splats_3d", "GaussianSplats3D", max_degree=2, clamps=True),
        # its engine assumes a screen twice as large here, which leaves a quarter of the 0.3
        Tool("@playcanvas/supersplat-viewer", "supersplat", "SuperSplat Viewer", eps2d=0.075, kinds=PLYS),
    )
}


@dataclass(frozen=True)
class Options:
    """Opens files of gsdff in splat viewers of others, and compares their pictures with our own rendering."""

    run: Annotated[Path, tyro.conf.Positional] = Path("runs/demo")
    """Run whose features know the words below."""
    delete: str = "teapot"
    """Text of the object that is deleted."""
    recolor: str = "table:#2a6fdb"
    """Text of the object that is recoloured, and its colour."""
    view: str | None = None
    """Photo whose camera is used; by default the first one held out."""
    tools: tuple[str, ...] = tuple(TOOLS)
    """Viewers to check."""
    folder: Path = field(default_factory=lambda: ROOT / "build" / "third_party")
    """Folder of the installed viewers, the files and the results."""
    timeout: float = 180
    """Time limit in seconds for one file in one viewer."""


@dataclass(frozen=True)
class Shown:
    """Number of Gaussians and picture of a file in a viewer."""

    num_gaussians: int
    picture: Float[Tensor, "H W 3"]


@dataclass(frozen=True)
class Expected:
    """Expected contents of a file."""

    gaussians: Gaussians
    """In the working frame."""
    num_gaussians: int
    degree: int
    """SH degree of the file."""


def main() -> None:
    """Checks the viewers that the command line names."""
    options = tyro.cli(Options, description=__doc__.partition("\n\n")[0])
    if unknown := [name for name in options.tools if name not in TOOLS]:
        raise UserError(f"--tools {unknown[0]}: expected some of {', '.join(TOOLS)}")
    require_programs()
    scene = load(options.run, device="cpu").scene
    name = options.view if options.view is not None else (scene.test_ids or [0])[0]
    camera = check_camera(find_view(scene, name).camera).resized(WIDTH, HEIGHT)
    install(options.folder)
    files = write_files(options)
    expected = {kind: expect(kind, files, scene.frame) for kind in files}
    gone = changed(draw(expected["labelled"], camera), draw(expected["deleted"], camera))
    rows, pictures = [], {"gsdff": draw(expected["edited"], camera)}
    with serve(options.folder) as address, open_browser(*QUIET) as browser:
        chromium = browser.version
        for tool in (TOOLS[name] for name in options.tools):
            title = f"{tool.title} {installed_version(tool, options.folder)}"
            before = None
            for kind in tool.kinds:
                query = {"tool": tool.page, "file": files[kind].name, "camera": page_camera(camera, scene.frame)}
                found = open_page(browser, f"{address}/view.html?{urlencode(query)}", options.timeout)
                rows.append([title, files[kind].name, *judge(found, expected[kind], tool, camera, before, gone)])
                print(" | ".join(rows[-1]), flush=True)
                if isinstance(found, Shown):
                    save_png(options.folder / f"{tool.page}_{kind}.png", found.picture)
                    before = found.picture if kind == "labelled" else before
                    if kind == "edited":
                        pictures[title] = found.picture
    report(options.folder, rows, pictures, chromium)


def report(
    folder: Path, rows: list[list[str]], pictures: dict[str, Float[Tensor, "H W 3"]], browser_version: str
) -> None:
    """Writes the table and the picture; raises `UserError` if a viewer did not open a file."""
    table = markdown_table(["viewer", "file", "Gaussians", "PSNR", "PSNR, same rules", "deleted"], rows)
    text = f"{table}\n\nChromium {browser_version}, WebGL in software, {WIDTH}x{HEIGHT}."
    (folder / "third_party.md").write_text(f"{text}\n")
    save_png(folder / "third_party.png", titled({title: small(picture) for title, picture in pictures.items()}))
    print(f"\n{text}\nscreenshots, third_party.png and this table: {folder}")
    if failed := [row for row in rows if row[2].startswith("failed")]:
        raise UserError(f"{len(failed)} of {len(rows)} files did not open as written; the table says which")


def require_programs() -> None:
    """Raises one `UserError` that names all programs that are missing."""
    missing = [name for name in ("node", "npm") if shutil.which(name) is None]
    missing += [] if find_browser() else ["Chromium or Chrome"]
    advice = ["on Debian and Ubuntu `sudo apt install nodejs npm chromium`"] if missing else []
    if find_spec("playwright") is None:
        missing, advice = [*missing, "Python's playwright"], [*advice, "`pip install playwright`"]
    if missing:
        raise UserError(f"missing: {', '.join(missing)}; {', '.join(advice)}")


def install(folder: Path) -> None:
    """Installs the pages and the viewers they import; runs npm only if the versions have changed."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in PAGES.iterdir():
        shutil.copy(path, folder)
    wanted, stamp = (PAGES / "package.json").read_text(), folder / "node_modules" / "installed.json"
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    command = ["npm", "install", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        message = next(iter(done.stderr.strip().splitlines()), "no message")
        raise UserError(f"npm could not install the viewers into {folder}: {message}")
    stamp.write_text(wanted)


def write_files(options: Options) -> dict[str, Path]:
    """Writes the files with our commands; returns them by kind."""
    folder = options.folder
    edited = folder / "edited.ply"
    names = (options.delete, options.recolor.partition(":")[0])
    run_gsdff("segment", options.run, "--classes", *names, "--views", "0", "--out", folder / "segmentation")
    shutil.copy(folder / "segmentation" / "scene.ply", folder / "labelled.ply")
    run_gsdff("edit", options.run, "--delete", options.delete, "--out", folder / "deleted.ply")
    run_gsdff("edit", options.run, "--delete", options.delete, "--recolor", options.recolor, "--out", edited)
    run_gsdff("export", edited, "--format", "splat", "--out", folder / "edited.splat")
    run_gsdff("export", edited, "--format", "compressed", "--out", folder / "edited.compressed.ply")
    return {
        "labelled": folder / "labelled.ply",
        "deleted": folder / "deleted.ply",
        "edited": edited,
        "splat": folder / "edited.splat",
        "compressed": folder / "edited.compressed.ply",
    }


def run_gsdff(door: str, *arguments: object) -> None:
    """Runs one of our commands; raises `UserError` with its message if it fails."""
    command = [sys.executable, "-m", f"gsdff.{door}", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        message = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UserError(f"python -m gsdff.{door}: {message.removeprefix('error: ')}")


def installed_version(tool: Tool, folder: Path) -> str:
    """Version of the viewer, from its package."""
    return json.loads((folder / "node_modules" / tool.package / "package.json").read_text())["version"]


def check_camera(camera: Camera) -> Camera:
    """Returns the camera; raises `UserError` if a camera in a browser cannot be the same."""
    fx, fy, cx, cy = (float(camera.K[i]) for i in ((0, 0), (1, 1), (0, 2), (1, 2)))
    is_plain = math.isclose(fx, fy, rel_tol=1e-3) and math.isclose(camera.width * HEIGHT, camera.height * WIDTH)
    if not is_plain or max(abs(cx - camera.width / 2), abs(cy - camera.height / 2)) > 0.1:
        raise UserError(
            f"expected photos of {WIDTH}:{HEIGHT} with square pixels and their centre in the middle, got "
            f"{camera.width}x{camera.height}, focal lengths {fx:g} and {fy:g}, centre {cx:g}, {cy:g}; take the demo"
        )
    return camera


def page_camera(camera: Camera, frame: WorldFrame) -> str:
    """The camera as JSON for a page, in the frame of the files: the input's world, relative to their origin."""
    pose = camera.camtoworld
    position = frame.relative_to(frame.origin).points_to_input(pose[None, :3, 3])[0]
    fov_y = 2 * math.degrees(math.atan(camera.height / 2 / float(camera.K[1, 1])))
    return json.dumps({"position": position.tolist(), "camtoworld": pose[:3, :3].tolist(), "fov_y": fov_y})


def expect(kind: str, files: dict[str, Path], frame: WorldFrame) -> Expected:
    """Expected contents of a kind of file; the lossy ones are made from the edited PLY."""
    gaussians = read_ply(files["edited" if kind in ("splat", "compressed") else kind]).to_working_frame(frame)
    num = int((gaussians.opacities > 1 / 255).sum()) if kind == "compressed" else len(gaussians)
    return Expected(gaussians, num, 0 if kind == "splat" else gaussians.sh_degree)


@torch.no_grad()
def draw(
    expected: Expected, camera: Camera, *, degree: int = 3, clamps: bool = False, eps2d: float = 0.3
) -> Float[Tensor, "H W 3"]:
    """Renders in [0, 1] over black."""
    g, degree = expected.gaussians, min(degree, expected.degree)
    colors = (0.5 + evaluate_sh(degree, g.means - camera.position, g.sh)).clamp(0, 1 if clamps else None)
    matrices = camera.viewmat[None], camera.K[None], camera.width, camera.height
    renders, _, _ = rasterization(g.means, g.quats, g.scales, g.opacities, colors, *matrices, eps2d=eps2d)
    return renders[0].clamp(0, 1)


def changed(before: Float[Tensor, "H W 3"], after: Float[Tensor, "H W 3"]) -> Bool[Tensor, "H W"]:
    """Mask of the pixels in which two pictures differ visibly."""
    return (before - after).abs().amax(-1) > CHANGED


def judge(
    found: Shown | str,
    expected: Expected,
    tool: Tool,
    camera: Camera,
    before: Float[Tensor, "H W 3"] | None,
    gone: Bool[Tensor, "H W"],
) -> list[str]:
    """Figures of one row of the table."""
    if isinstance(found, str):
        return [f"failed: {found}", "", "", ""]
    count = f"{found.num_gaussians:,} of {expected.num_gaussians:,}"
    if found.num_gaussians != expected.num_gaussians:
        count = f"failed: {count}"
    ours = draw(expected, camera, degree=tool.max_degree)
    alike = draw(expected, camera, degree=tool.max_degree, clamps=tool.clamps, eps2d=tool.eps2d)
    figures = [f"{psnr(found.picture, picture):.1f}" for picture in (ours, alike)]
    share = "" if before is None else f"{changed(before, found.picture)[gone].float().mean():.1%}"
    return [count, *figures, share]


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serves the folder to this machine only; yields the address."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            """Logs nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def open_page(browser: "Browser", url: str, timeout: float) -> Shown | str:
    """Returns the picture of the page once it no longer changes, or the message of a failure."""
    from playwright.sync_api import Error

    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
    page.set_default_timeout(timeout * 1000)
    try:
        page.goto(url)
        page.wait_for_function("window.shown !== undefined || window.failed !== undefined")
        if failed := page.evaluate("window.failed"):
            return failed
        picture = None
        for _ in range(20):
            page.wait_for_timeout(1000)
            last, picture = picture, page.screenshot()
            if picture == last:
                break
        else:
            return "its picture does not come to rest"
        return Shown(page.evaluate("window.shown"), decode_png(picture))
    except Error as error:
        return str(error).splitlines()[0]
    finally:
        page.close()


def decode_png(data: bytes) -> Float[Tensor, "H W 3"]:
    """Decodes a screenshot to [0, 1]."""
    return torch.from_numpy(np.array(Image.open(BytesIO(data)).convert("RGB"))).float() / 255


def small(picture: Float[Tensor, "H W 3"]) -> Float[Tensor, "h w 3"]:
    """Shrinks a picture so that several fit side by side."""
    size = (PANEL_WIDTH * HEIGHT // WIDTH, PANEL_WIDTH)
    return F.interpolate(picture.permute(2, 0, 1)[None], size, mode="area")[0].permute(1, 2, 0)


if __name__ == "__main__":
    run_door(main)
