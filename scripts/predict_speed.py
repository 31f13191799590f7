"""Predicts the speed of the feature pass on cards that are not here, and writes docs/tensor-cores.md.

    python scripts/compile_kernels.py > report.txt  # then with nvcc, in /usr/local/cuda or CUDA_HOME:
    python scripts/predict_speed.py --points ../shared/assets/splats/garden.npz --report report.txt

Counted: what a real point cloud lists in the tiles of a 1080p picture, by the CPU rasteriser, and the instructions that
the kernels, and gsplat's, are compiled to. Assumed: the cards' published limits, and how near to them a kernel comes.
Nothing here is measured on a card.
"""

import argparse
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from bench_scenes import Scene, garden
from compile_kernels import Compiled, compile_kernel
from gsplat_kernels import LoopCost, measure_loop

from gsdff.render import rasterization
from gsdff.render.tensor_cores import CHUNK, COLUMNS

ROOT = Path(__file__).resolve().parents[1]
WIDTH, HEIGHT, TILE = 1920, 1080, 16
NUM_GAUSSIANS = 1_000_000
SAMPLE = 400
"""Tiles in which pixels are followed until they are finished."""
BANDWIDTH_SHARE, ISSUE_SHARE = 0.75, 0.6
"""Shares of a card's limits that are taken to be reached: of the memory's, and of the schedulers'."""
LAUNCHES, LAUNCH_US, WAIT_US = 24, 2.5, 20.0
"""Kernels of a picture that are too small to count, what each costs, and gsplat's one wait for the number of pairs."""
PER_GAUSSIAN, PER_GAUSSIAN_SH = 59, 48
"""Numbers that stage 1 trains of a Gaussian at degree 3, and those of its harmonics."""
LOSS_BYTES = 27 * 12
"""Bytes of a pixel that the four kernels of `gsdff.losses.cuda` read and write: 27 pictures of three channels."""
NUM_TEXTS = 5
"""One positive and LERF's four negatives."""


@dataclass(frozen=True)
class Card:
    """Published limits of a card."""

    name: str
    arch: int
    multiprocessors: int
    ghz: float
    """Boost clock that the published rates are for."""
    memory_gbs: float
    tensor_tflops: float
    """Dense, half precision with float32 sums."""
    atomics_gps: float
    """Sectors of 32 bytes that the second-level cache adds to a second: one a slice in two clocks."""


CARDS = (
    Card("A100 80 GB", 80, 108, 1.41, 2039, 312, 80 * 1.41 / 2),
    Card("H100 SXM", 90, 132, 1.755, 3350, 989, 96 * 1.755 / 2),
    Card("H200", 90, 132, 1.755, 4800, 989, 96 * 1.755 / 2),
)


@dataclass(frozen=True)
class Load:
    """What one picture has to blend."""

    boxes: int
    """Pairs of tile and Gaussian that gsplat lists, by bounding boxes."""
    listed: int
    """Pairs left by `list_ellipses`, whose test is the CPU rasteriser's but for rounding."""
    chunks: float
    """Chunks that a tile blends on average before all of its pixels are finished."""
    shown: float
    """Pairs of a tile's warps (32 pixels) and Gaussians that show in them, on average."""
    tiles: int

    @property
    def pairs(self) -> float:
        """Pixels times Gaussians that are blended, those that fill up chunks included."""
        return self.chunks * CHUNK * self.tiles * TILE**2


def crowd(scene: Scene, count: int) -> Scene:
    """The cloud with each Gaussian split into several within itself, as densification does."""
    times = round(count / len(scene.means))
    generator = torch.Generator().manual_seed(1)
    tensors = {name: getattr(scene, name).repeat_interleave(times, 0) for name in ("means", "quats", "opacities")}
    scales = scene.scales.repeat_interleave(times, 0)
    offsets = torch.randn(len(scales), 3, generator=generator) * scales
    means, colors = tensors["means"] + offsets, torch.zeros(len(scales), 1)
    return replace(scene, **tensors | {"means": means, "colors": colors}, scales=scales / math.sqrt(times))


def enlarge(scene: Scene) -> Scene:
    """The scene in an image of 1080p: the camera's height fills the picture's."""
    factor = HEIGHT / scene.height
    K = scene.Ks * torch.tensor([factor, factor, 1])[:, None]
    K[:, 0, 2] = WIDTH / 2
    return replace(scene, Ks=K, width=WIDTH, height=HEIGHT)


@torch.no_grad()
def measure_load(scene: Scene) -> Load:
    """Counts pairs in all tiles, and follows the pixels of some tiles until they are finished."""
    meta = rasterization(**scene.arguments())[2]
    limits = torch.tensor([-(-WIDTH // TILE), -(-HEIGHT // TILE)])
    means, radii = meta["means2d"][0], meta["radii"][0]
    first = ((means - radii) / TILE).floor().clamp(torch.zeros(2), limits)
    last = ((means + radii) / TILE).ceil().clamp(torch.zeros(2), limits)
    boxes = int(((last - first).prod(-1) * (radii > 0).all(-1)).sum())
    ids, starts = meta["flatten_ids"].long(), meta["isect_offsets"].flatten().tolist()
    ends = [*starts[1:], len(ids)]
    chosen = np.random.default_rng(0).choice(len(starts), SAMPLE, replace=False)
    followed = [follow(meta, ids[starts[tile] : ends[tile]], int(tile), int(limits[0])) for tile in chosen]
    chunks, shown = np.mean(followed, axis=0)
    return Load(boxes, len(ids), float(chunks), float(shown), len(starts))


def follow(meta: dict, gaussians: torch.Tensor, tile: int, tiles_x: int) -> tuple[int, int]:
    """Chunks that a tile blends until its last pixel is finished, and pairs of its warps and what shows in them."""
    pixels = torch.arange(TILE) + 0.5
    dx = (tile % tiles_x) * TILE + pixels - meta["means2d"][0, gaussians, 0, None]
    dy = (tile // tiles_x) * TILE + pixels - meta["means2d"][0, gaussians, 1, None]
    a, b, c = meta["conics"][0, gaussians].T[..., None, None]
    dx, dy = dx[:, None, :], dy[:, :, None]
    alphas = meta["opacities"][0, gaussians, None, None] * torch.exp(-(a * dx * dx + c * dy * dy) / 2 - b * dx * dy)
    alphas = torch.where(alphas < 1 / 255, 0, alphas.clamp(max=0.999))
    alive = (1 - alphas).cumprod(0) > 1e-4
    chunks = min(-(-len(gaussians) // CHUNK), int(alive.flatten(1).any(1).sum()) // CHUNK + 1)
    warps = (alive & (alphas > 0)).reshape(len(gaussians), TILE * TILE // 32, 32)  # two rows of pixels each
    return chunks, int(warps.any(-1).sum())


class Predictor:
    """Milliseconds of the steps of a picture."""

    def __init__(self, card: Card, load: Load, num_gaussians: int):
        self.card, self.load, self.num_gaussians = card, load, num_gaussians

    def move(self, num_bytes: float) -> float:
        """Reading and writing this much."""
        return num_bytes / (self.card.memory_gbs * BANDWIDTH_SHARE) / 1e6

    def project(self) -> float:
        """gsplat's projection: 76 bytes of a Gaussian's parameters and their activations, 36 bytes of results."""
        return self.move((76 + 36) * self.num_gaussians)

    def sort(self) -> float:
        """gsplat's lists: keys and ids (12 bytes) are written, sorted in six passes of 8 bits, and looked through."""
        return self.move((12 + 6 * (8 + 24) + 8) * self.load.boxes)

    def list_ellipses(self) -> float:
        """An id and three sectors of 32 bytes are read for a pair; a pair that is kept is written."""
        return self.move((4 + 96) * self.load.boxes + 4 * (COLUMNS + 1) * self.load.listed)

    def halve(self, num_channels: int) -> float:
        """Features are read twice, for the largest and for the quotients, and written in half precision."""
        return self.move(10 * num_channels * self.num_gaussians)

    def issue(self, instructions: float) -> float:
        """Instructions of warps, at the schedulers' rate: four a clock and multiprocessor."""
        return instructions / (4 * self.card.multiprocessors * self.card.ghz * ISSUE_SHARE) / 1e6

    def blend(self, kernel: Compiled, products: int = 1) -> float:
        """The loop over Gaussians, or the tensor cores if they are slower, for all chunks of channels."""
        times = -(-kernel.num_channels // min(64, max(16, kernel.num_channels)))
        issued = self.issue(times * self.load.pairs * len(kernel.loop) / kernel.pairs / 32)
        flops = 2 * self.load.pairs * max(16, 2 ** math.ceil(math.log2(kernel.num_channels))) * products
        return max(issued, flops / self.card.tensor_tflops / ISSUE_SHARE / 1e9)

    def query(self, num_channels: int) -> float:
        """Products of every pixel with every text, on the ordinary units, twice for the sums over channels."""
        return self.issue(2 * WIDTH * HEIGHT * NUM_TEXTS * num_channels / 32)

    @property
    def small(self) -> float:
        """Launches and the wait."""
        return (LAUNCHES * LAUNCH_US + WAIT_US) / 1e3

    def lists(self) -> float:
        """Everything before blending."""
        return self.project() + self.sort() + self.list_ellipses() + self.small

    def write(self, num_channels: int) -> float:
        """A picture of this many channels, in float32."""
        return self.move(4 * num_channels * WIDTH * HEIGHT)

    def add(self, num_channels: int) -> float:
        """Rows of gradients that are added up in the second-level cache, one for each pair that is blended."""
        rows = min(self.load.listed, self.load.chunks * CHUNK * self.load.tiles)
        return rows * math.ceil(4 * num_channels / 32) / self.card.atomics_gps / 1e6

    def walk(self, cost: LoopCost) -> float:
        """gsplat's loop over the Gaussians in its lists of boxes, by the warps of a tile until they are finished."""
        walked = self.load.chunks * CHUNK * self.load.boxes / self.load.listed * (TILE * TILE // 32)
        issued = cost.blended * self.load.shown + cost.skipped * max(walked - self.load.shown, 0)
        added = cost.atomics * self.load.shown * self.load.tiles / self.card.atomics_gps / 1e6
        return max(self.issue(issued * self.load.tiles), added)

    def step_of_colours(self) -> float:
        """A step of stage 1: projection and harmonics both ways, gsplat's blending both ways, loss, and Adam.

        The least that it can be: what a step costs besides its kernels is left out, as it is for features.
        """
        shading = self.move(2 * (4 * PER_GAUSSIAN_SH + 24) * self.num_gaussians)
        projection_back = self.move((76 + 36 + 44) * self.num_gaussians)
        forward, backward = (measure_loop(direction, self.card.arch) for direction in ("Fwd", "Bwd"))
        loss = self.move(LOSS_BYTES * WIDTH * HEIGHT)
        adam = self.move(28 * PER_GAUSSIAN * self.num_gaussians)
        before = self.project() + self.sort() + self.small
        return before + shading + self.walk(forward) + loss + self.walk(backward) + projection_back + adam


def predict(card: Card, load: Load, num_gaussians: int, dims: list[int]) -> list[str]:
    """Rows of the table of one card."""
    at, rows = Predictor(card, load, num_gaussians), []
    colours = at.step_of_colours()
    for dim in dims:
        forward, gradients, scores = (
            compile_kernel(name, dim, "half", card.arch)
            for name in ("blend_features", "gather_gradients", "score_features")
        )
        scored = at.lists() + at.halve(dim) + at.blend(scores) + at.query(dim)
        rendered = at.lists() + at.halve(dim) + at.blend(forward) + at.write(dim)
        lifted = at.lists() + max(at.blend(gradients, 3), at.add(dim + 1)) + at.write(3 * (dim + 1))
        adam = at.move(28 * dim * num_gaussians)
        backward = max(at.blend(gradients, 3), at.add(dim)) + at.write(4 * dim) + adam
        shared = at.project() + at.sort() + at.small  # of the colours of the same view
        step = rendered - shared + backward
        rows.append(
            f"| {card.name} | {dim} | {at.lists():.2f} | {at.blend(scores):.2f} | {1e3 / scored:,.0f} | "
            f"{1e3 / rendered:,.0f} | {step:.2f} | {colours:.2f} | {step / colours:.2f} | {0.3 * lifted:.1f} |"
        )
    return rows


PAGE = """# Features on tensor cores

**Nothing on this page has been measured on a card.** The kernels are checked without one; the speeds are predicted.

On CUDA, features are blended by gsdff's own Triton kernels. Blending a tile is a matrix product, of the weights of its
256 pixels, [256, G], and the features of its Gaussians, [G, K]. The weights are found once in float32, for all
channels; the product is computed by tensor cores, with factors in half precision and sums in float32.

- gsplat projects the Gaussians and lists them by tiles. Of these lists, only Gaussians whose ellipse can reach a pixel
  of the tile are kept.
- Gradients go to the features only; positions, shapes and opacities get none. Their factors are split into two numbers
  of half precision each, so that they have the error of float32. They are summed in any order, as gsplat's are, so that
  the last bits vary.
- A text query in a view scores pixels in the same pass: relevancy, LERF's relevancy, cosine, or the best class. No
  K-channel picture is written. This is done up to K = 128; beyond, the features are rendered first.
- In half precision, an error of a rendered feature is at most a thousandth of the largest feature. A feature that is
  not finite spoils the whole tiles (16x16 pixels) that list its Gaussian.

## Choosing

| `GSDFF_FEATURE_PASS` | features are blended by |
| --- | --- |
| `half` (default) | our kernels, factors in half precision |
| `float32` | our kernels, factors in TF32 split into three: the error of float32, about half as fast |
| `gsplat` | gsplat's rasteriser, 32 channels at a time |

Triton comes with torch on Linux. The kernels need compute capability 8.0 (Ampere) or newer, and Triton a C compiler for
its launcher. If any of it is missing, gsplat blends the features, and one line of the log says why.

## What is checked without a card

`tests/render/test_feature_pass.py` runs the kernels in Triton's interpreter and compiles them for Hopper:

- renders agree with the float64 reference to 1e-3 (half precision) and 1e-5 (float32), alphas to 1e-5 and gradients to
  1e-3 of the largest; for 1 to 100 channels, images from 1x1, and all unusual Gaussians of the CPU rasteriser's tests;
- scores agree with those of rendered features to 2e-3 (half precision, at a temperature of 0.1) and 1e-5;
- no kernel spills registers.

`python scripts/compile_kernels.py` compiles every kernel for sm_80, sm_86 and sm_90 and prints:

```text
{report}
```

*shared* and *spilled* are bytes; *blocks* is how many of them a multiprocessor holds at a time; *instructions* are
those of the loop over Gaussians, per pixel and Gaussian.

## Predicted speed

By `python scripts/predict_speed.py --points {points} --report REPORT`, which writes this page.
The picture is 1920x1080. The scene is the point cloud `{points}` ({num_points:,} points) with {num_gaussians:,}
Gaussians: each point split into {times}, with scales of about the distance between points and an opacity of 0.5.
Counted by the CPU rasteriser, a tile has {boxes_per_tile:.0f} Gaussians on average in gsplat's lists of boxes
({boxes:,} pairs); {listed_per_tile:.0f} of them remain ({listed:,} pairs), and {walked:.0f} are blended before
all pixels of the tile are finished (mean of {sample} tiles). A trained scene differs: it has more faint Gaussians, and
its pixels are finished later.

| card | K | lists, ms | blending, ms | queries/s | features/s | stage 2, ms | colours, ms | ratio | lift, s |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
{rows}

*lists* is projection, sorting, `list_ellipses` and launches. *blending* is that of a query. *queries* are relevancies
with four negatives, *features* K-channel pictures. *stage 2* is what features add to a step: the shorter lists,
forward, gradients and Adam; projection and gsplat's lists are those of the colours of the same view. *colours* is a
step without features, at degree 3; instructions are those that gsplat's sources compile to, for {shown:.0f} pairs
a tile of warps and Gaussians that show in them. *ratio* is of these two. *lift* is of 300 views, without reading and
enlarging the teacher's maps.

Assumed: {bandwidth:.0%} of the published memory bandwidth (A100 80 GB 2,039 GB/s, H100 SXM 3,350, H200 4,800);
{issue:.0%} of the schedulers' rate (four instructions a clock and multiprocessor, at 1.41 and 1.755 GHz) and of the
tensor cores' (312 and 989 TFLOPS); atomic additions of one 32-byte sector in two clocks by each slice of the
second-level cache (80, 96); {launches} small launches of {launch_us} µs and one wait of {wait_us:.0f} µs. The blending
kernels are bound by the schedulers, not by the tensor cores. What a step costs on the host besides is not included.

| aim, on H100 or H200 at 1080p and 1 M Gaussians | predicted | measured |
| --- | --- | --- |
| 500 relevancy queries a second at K = 32 | {aim_query} | pending |
| features add to a step of stage 2 at most 1.3 times a step of colours, K = 32 | {aim_step} | pending |
| or, read more strictly, both together take at most 1.3 times a step of colours | missed: {both} | pending |
| lift of 300 views in 4 s | {aim_lift} | pending |
"""


def main() -> None:
    """Writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=Path, required=True, help="a point cloud such as garden.npz")
    parser.add_argument("--report", type=Path, required=True, help="what scripts/compile_kernels.py has printed")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "tensor-cores.md")
    options = parser.parse_args()
    points = garden(options.points, 1)
    scene = enlarge(crowd(points, NUM_GAUSSIANS))
    load = measure_load(scene)
    rows = [row for card in CARDS for row in predict(card, load, len(scene.means), [32, 64])]
    h100 = [
        row.split("|") for row in rows if row.startswith(("| H100", "| H200")) and row.split("|")[2].strip() == "32"
    ]
    text = PAGE.format(
        report=options.report.read_text().strip(),
        points=options.points.name,
        num_points=len(points.means),
        num_gaussians=len(scene.means),
        times=round(NUM_GAUSSIANS / len(points.means)),
        boxes=load.boxes,
        boxes_per_tile=load.boxes / load.tiles,
        listed=load.listed,
        listed_per_tile=load.listed / load.tiles,
        walked=load.chunks * CHUNK,
        sample=SAMPLE,
        rows="\n".join(rows),
        bandwidth=BANDWIDTH_SHARE,
        issue=ISSUE_SHARE,
        launches=LAUNCHES,
        launch_us=LAUNCH_US,
        wait_us=WAIT_US,
        aim_query=" and ".join(row[5].strip() for row in h100),
        aim_step=" and ".join(row[9].strip() for row in h100),
        both=" and ".join(f"{1 + float(row[9]):.2f}" for row in h100),
        aim_lift=" s and ".join(row[10].strip() for row in h100) + " s",
        shown=load.shown,
    )
    options.out.write_text(text)


if __name__ == "__main__":
    main()
