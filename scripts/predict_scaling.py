"""Predicts time, memory and traffic of a training on 1 to 64 cards, and writes the tables of docs/scaling.md.

    python scripts/predict_scaling.py             # prints the tables
    python scripts/predict_scaling.py --write     # puts them into docs/scaling.md

Counted: the bytes of a Gaussian, of a splat that is exchanged, and of what a step reads and writes of them. Published:
the cards' limits, and the time of a step from which that of a picture follows. Assumed: how near to its limits a card
comes, and how much of a scene a photo shows. Measured on a CPU: neighbours beyond a slab, and the time and memory of
their search. Nothing here is measured on a card.
"""

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs" / "scaling.md"
START, END = "<!-- predicted by scripts/predict_scaling.py -->", "<!-- end of what is predicted -->"
WORLDS = (1, 2, 4, 8, 16, 32, 64)

FLOAT = 4
PARAMETERS = 59
"""Numbers of a Gaussian of degree 3: mean 3, rotation 4, scales 3, opacity, 48 of the harmonics."""
STATES = 4
"""Copies of them in training: values, gradients, two moments of Adam."""
JOINED = 2 * 48
"""Numbers of the harmonics in one piece, and their gradient (`Gaussians.sh`)."""
STATISTICS = 2
PROJECTED = 12
"""Numbers of a projected Gaussian: mean 2, depth, conic 3, opacity, radii 2, colour 3; as many gradients."""
SPLAT = 12
"""Numbers of a splat that is exchanged, and of its gradient."""
ADAM = 7 * PARAMETERS
"""Numbers that Adam reads (value, gradient, moments) and writes (value, moments)."""
GEOMETRY = 11
"""Numbers that a projection reads of a Gaussian; its gradient reads and adds as many."""

REFINED = 45
"""Numbers of the largest attribute, of which a refinement holds the old beside the new."""
RESERVED = 1.1
"""Memory that torch holds, as a multiple of what is used."""
SHARE = 0.75
"""Share of published limits that is reached."""
LAUNCHES_MS = 1.5
"""Small kernels of a step and its waits: about 250 launches and four waits (docs/benchmarks/waits.md)."""
ROUND_TRIP_US = 30
"""An exchange of no bytes between two nodes."""
EXCHANGES = {"replicated": 3, "sharded": 7}
"""Exchanges of a step: gradients, sums and scalars; or cameras, counts, splats, gradients, scalars."""
PUBLISHED_STEP_MS, PUBLISHED_MEGAPIXELS = 1768 / 30, 1297 * 840 / 1e6
"""nerfbaselines' mip-splatting on garden of MipNeRF360: 30,000 steps in 1,768 s; taken for those of an A100."""
SPREAD = 0.2
"""Standard deviation of pictures' times, as a share of their mean: all cards wait for the slowest."""
GSPLAT_SPEEDUP = 2
"""Speed of gsplat beside the original code, "up to 2x less training time" (gsplat 1.0)."""
NEIGHBOURS, DIFFUSIONS = 16, 5
"""Neighbours in the graph of the lift, and its steps."""
BORDER = 1.46
"""Neighbours beyond one side of a slab, of N Gaussians in a ball, in units of N^(2/3): bench_graph_parts.py, 400,000
Gaussians, two ranks. Scenes are surfaces, which have fewer (garden.npz 0.51)."""
SEARCH_S, SEARCH_BYTES = 5.5e-6, 590
"""CPU seconds and bytes of main memory of the search for a Gaussian's neighbours: docs/scaling.md, "One machine", and
the peak of 200,000."""
PUBLISHED_GBS = 2039
PICTURE_GB = 2.5
"""Memory of a picture of two megapixels, its gradients, SSIM and tile lists."""


@dataclass(frozen=True)
class Card:
    """Published limits of a card in a node of eight."""

    name: str
    memory_gb: float
    memory_gbs: float
    link_gbs: float
    """To the other cards of its node, in one direction."""
    network_gbs: float
    """To other nodes, in one direction."""


H100 = Card("H100 SXM", 80, 3350, 450, 50)
NODE = 8


@dataclass(frozen=True)
class Capture:
    """Scene and photos that are trained."""

    photos: int = 10_000
    gaussians: float = 50e6
    megapixels: float = 2.07
    shown: float = 0.03
    """Share of the Gaussians that a photo shows: those of a room or a facade of a building."""
    views: int = 300_000
    """Views shown in training: thirty times each photo."""


@dataclass(frozen=True)
class Step:
    """A round of all cards, each of which shows a view."""

    compute_ms: float
    traffic_ms: float
    traffic_gb: float
    """Sent by a card."""
    memory_gb: float

    @property
    def total_ms(self) -> float:
        """Time of the round; computing and sending do not overlap here."""
        return self.compute_ms + self.traffic_ms


def picture_ms(card: Card, capture: Capture) -> float:
    """Time of blending a view, its loss and their gradients."""
    scaled = PUBLISHED_STEP_MS / GSPLAT_SPEEDUP * capture.megapixels / PUBLISHED_MEGAPIXELS
    return scaled * PUBLISHED_GBS / card.memory_gbs


def slowest(world: int) -> float:
    """Time of the slowest of so many pictures, as a multiple of their mean (normally distributed)."""
    return 1 + SPREAD * math.sqrt(2 * math.log(world)) * 0.8 if world > 1 else 1.0


def speed(card: Card, world: int, sharded: bool) -> float:
    """GB/s at which a card sends in a step.

    Sums go around rings through all network cards of a node at once; splats go to each card through its own.
    """
    abroad = card.network_gbs if sharded else NODE * card.network_gbs
    return SHARE * (card.link_gbs if world <= NODE else min(card.link_gbs, abroad))


def predict(card: Card, capture: Capture, world: int, sharded: bool) -> Step:
    """A step in which every card holds all Gaussians, or a part."""
    held = capture.gaussians / (world if sharded else 1)
    seen = capture.gaussians * capture.shown
    cameras = world if sharded else 1
    # numbers moved in the card's memory: every camera is a pass over what is held
    numbers = held * (ADAM + cameras * 2 * (GEOMETRY + PROJECTED))
    numbers += held * JOINED * 3 + seen * (48 + 3) * 2
    compute = numbers * FLOAT / (SHARE * card.memory_gbs * 1e9) * 1e3 + LAUNCHES_MS
    compute += picture_ms(card, capture) * slowest(world)
    if world == 1:
        sent = 0.0
    elif sharded:
        abroad = (world - 1) / world
        sent = 2 * seen * SPLAT * FLOAT * abroad / 1e9
    else:
        sent = 2 * (PARAMETERS + STATISTICS) * FLOAT * capture.gaussians * (world - 1) / world / 1e9
    kind = "sharded" if sharded else "replicated"
    latency = 0 if world == 1 else EXCHANGES[kind] * ROUND_TRIP_US / 1e3 * (1 + world / 64)
    in_a_step = JOINED + 2 * PROJECTED
    memory = held * (PARAMETERS * STATES + STATISTICS + max(in_a_step, REFINED)) * FLOAT / 1e9 * RESERVED + PICTURE_GB
    memory += 2 * seen * (SPLAT + 48) * FLOAT / 1e9 if sharded else 0
    return Step(compute, sent / speed(card, world, sharded) * 1e3 + latency, sent, memory)


def describe_steps(card: Card, capture: Capture) -> list[str]:
    """Table of steps."""
    lines = [
        f"On {card.name} cards, eight in a node, {capture.gaussians / 1e6:.0f} M Gaussians of which a photo shows "
        f"{capture.shown:.0%}, photos of {capture.megapixels:.1f} megapixels, {capture.views:,} views shown:",
        "",
        "| cards | replicated: GB a card | ms a step | of it sending | GB sent | hours "
        "| sharded: GB a card | ms a step | of it sending | GB sent | hours |",
        "| --- " * 11 + "|",
    ]
    for world in WORLDS:
        cells = []
        for sharded in (False, True):
            if sharded and world == 1:
                cells += ["-"] * 5
                continue
            step = predict(card, capture, world, sharded)
            fits = "" if step.memory_gb < 0.95 * card.memory_gb else " (too much)"
            hours = capture.views / world * step.total_ms / 3.6e6
            cells += [
                f"{step.memory_gb:.0f}{fits}", f"{step.total_ms:.0f}", f"{step.traffic_ms:.0f}",
                f"{step.traffic_gb:.2f}", f"{hours:.1f}",
            ]  # fmt: skip
        lines.append(f"| {world} | " + " | ".join(cells) + " |")
    return lines


def count_halo(capture: Capture, world: int) -> float:
    """Copies of other ranks' Gaussians that the rank with most of them holds while the lift is diffused."""
    return min(2, world - 1) * BORDER * capture.gaussians ** (2 / 3)


def describe_graph(card: Card, capture: Capture, latents: int) -> list[str]:
    """Table of the graph and of stage 2, of parts."""
    lines = [
        f"Stage 2 in parts, {latents} latent channels. *While the lift is diffused* counts the graph of {NEIGHBOURS} "
        "neighbours, the search is that of one core for each card:",
        "",
        "| cards | GB a card: step | while lifted | while the lift is diffused | halo, share of the part "
        "| GB sent for the graph | search, CPU minutes | its GB of main memory |",
        "| --- " * 8 + "|",
    ]
    for world in WORLDS[1:]:
        held, halo, seen = capture.gaussians / world, count_halo(capture, world), capture.gaussians * capture.shown
        step = predict(card, capture, world, sharded=True).memory_gb
        step += (held * latents * STATES + 2 * seen * latents) * FLOAT / 1e9
        kept = held * PARAMETERS * (STATES - 1)  # no gradients
        # gradients, their sums and squares; one row of ones for the view of each rank
        lifted = (kept + held * (2 * (latents + 1 + world) + 1)) * FLOAT / 1e9 + PICTURE_GB
        # of the graph: ids of 8 bytes, distances, exponents, weights, means of 8 bytes; features before, then with the
        # halo, and these normalised
        graph = kept + held * (NEIGHBOURS * 7 + latents) + (held + halo) * 2 * latents
        sent = held * (world - 1) / world * (7 + 2 * latents) + halo * ((DIFFUSIONS + 1) * latents + 5)
        cells = [
            f"{step:.0f}", f"{lifted * RESERVED:.0f}", f"{graph * FLOAT / 1e9 * RESERVED:.0f}", f"{halo / held:.0%}",
            f"{sent * FLOAT / 1e9:.2f}", f"{held * SEARCH_S / 60:.1f}", f"{held * SEARCH_BYTES / 1e9:.1f}",
        ]  # fmt: skip
        lines.append(f"| {world} | " + " | ".join(cells) + " |")
    return lines


@dataclass(frozen=True)
class Extraction:
    """Teacher maps of all photos, made once."""

    seconds_a_photo: float = 0.05
    """CLIP ViT-B/16 in windows over a photo: 35 GFLOPs a window, 50 windows, a third of 312 TFLOPS: and decoding."""
    channels: int = 512
    latents: int = 32
    size: tuple[int, int] = (136, 240)
    """Pixels of a map."""


def describe_extraction(capture: Capture, extraction: Extraction) -> list[str]:
    """Table of the extraction."""
    height, width = extraction.size
    stored = height * width * extraction.latents * 2 / 1e6
    moment = extraction.channels**2 * 8 / 1e6
    lines = [
        f"Teacher maps of {capture.photos:,} photos, each made once, {extraction.seconds_a_photo * 1e3:.0f} ms a photo "
        f"(assumed), {width}x{height} pixels of {extraction.latents} latent channels in half precision. Until the "
        f"basis is known, each map lies on a disk with all of its {extraction.channels} channels:",
        "",
        "| cards | minutes | GB kept by a card | GB on its disk meanwhile | MB exchanged by a card |",
        "| --- " * 5 + "|",
    ]
    for world in WORLDS:
        photos = -(-capture.photos // world)
        seconds, whole = photos * extraction.seconds_a_photo, stored * extraction.channels / extraction.latents
        sent = 0 if world == 1 else 2 * moment
        lines.append(
            f"| {world} | {seconds / 60:.1f} | {photos * stored / 1e3:.1f} | {photos * whole / 1e3:.0f} | {sent:.1f} |"
        )
    return lines


def describe() -> str:
    """All tables."""
    capture, extraction = Capture(), Extraction()
    tables = [describe_steps(H100, capture), describe_graph(H100, capture, extraction.latents)]
    return "\n\n".join("\n".join(table) for table in [*tables, describe_extraction(capture, extraction)])


def main() -> None:
    """Prints the tables, or writes them into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put them into docs/scaling.md")
    tables = describe()
    if not parser.parse_args().write:
        print(tables)
        return
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(START)
    _, after = rest.split(END)
    PAGE.write_text(f"{before}{START}\n\n{tables}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
