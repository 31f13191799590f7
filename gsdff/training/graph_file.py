"""The graph of neighbouring Gaussians of a run, and its file, from which a resumed run takes it."""

from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from gsdff.config.smoothing import GraphConfig
from gsdff.errors import UserError
from gsdff.files.checked import checksum
from gsdff.files.reading import read_torch
from gsdff.files.writing import whole_file
from gsdff.gaussians import Gaussians
from gsdff.neighbours_of_parts import cut_into_slabs
from gsdff.ranks import this_job
from gsdff.routes import Route, Spread, find_halo, find_starts
from gsdff.smoothing import NeighbourGraph, build_graph
from gsdff.training.parts import count_all, find_own_rows, join_rows

GRAPH_TENSORS = ("ids", "weights", "self_weights")
"""Tensors of a graph, in the order of its checksum; one of parts also has `homes`."""


def build_smoothing_graph(
    gaussians: Gaussians,
    features: Float[Tensor, "N K"],
    config: GraphConfig,
    reliability: Float[Tensor, "N"] | None = None,
) -> NeighbourGraph:
    """Graph of neighbouring Gaussians with the options of the config; its edges are weighed by `features` too."""
    graph = build_graph(
        gaussians,
        features=features,
        neighbours=config.neighbours,
        sigma_space=config.sigma,
        sigma_color=config.sigma_color,
        sigma_feature=config.sigma_feature,
    )
    return graph if reliability is None or config.reliability == 0 else graph.weighed(reliability**config.reliability)


def build_or_load_graph(
    path: Path,
    config: GraphConfig,
    gaussians: Gaussians,
    features: Float[Tensor, "N K"] | None,
    reliability: Float[Tensor, "N"] | None = None,
) -> NeighbourGraph:
    """Graph of the lifted features, written to the run's folder; a resumed run, which lifts nothing, loads it."""
    if features is None:
        tensors = _load(path, count_all(gaussians))
        ids, weights, self_weights = (tensors[name] for name in GRAPH_TENSORS)
        graph = _spread(tensors, gaussians) if gaussians.is_part else NeighbourGraph(ids, weights, self_weights)
        return graph.to(gaussians.means.device)
    graph = build_smoothing_graph(gaussians, features, config, reliability)
    tensors = _join(graph) if gaussians.is_part else {name: getattr(graph, name) for name in GRAPH_TENSORS}
    if not this_job().is_first:
        return graph
    with whole_file(path) as partial, partial.open("wb") as file:
        torch.save({**tensors, "checksum": _checksum(tensors)}, file)
    return graph


def _join(graph: NeighbourGraph) -> dict[str, Tensor]:
    """Tensors of the graph of the whole scene, in its order, on the first rank, and the ranks of all Gaussians' homes.

    Other ranks get tensors without rows.
    """
    spread, starts, rank = graph.spread, find_starts(len(graph)), this_job().rank
    numbers = torch.arange(starts[rank], starts[rank + 1], device=graph.ids.device)
    ids = spread.extend(spread.bring(numbers))[graph.ids.long()].int()
    homes = torch.full((len(graph.ids),), rank, dtype=torch.int32, device=graph.ids.device)
    tensors = {"ids": ids, "weights": graph.weights, "self_weights": graph.self_weights, "homes": homes}
    return {name: join_rows(spread.take(rows).cpu()) for name, rows in tensors.items()}


def _spread(tensors: Mapping[str, Tensor], gaussians: Gaussians) -> NeighbourGraph:
    """This rank's part of the graph of a scene: of the Gaussians that were at home here when it was made.

    With another number of ranks than then, homes are found anew.
    """
    ranks, own = this_job(), find_own_rows(gaussians)
    ids, weights, self_weights = (tensors[name][own].clone() for name in GRAPH_TENSORS)
    if "homes" in tensors and int(tensors["homes"].max()) + 1 == ranks.world_size:
        homes = tensors["homes"][own].long()
    else:
        homes, _ = cut_into_slabs(gaussians.means.detach().cpu())
    home = Route.by_homes(homes)
    starts_at_home = find_starts(sum(home.num_came))
    at_home = home.give_back(torch.arange(starts_at_home[ranks.rank], starts_at_home[ranks.rank + 1]))
    listed, places = ids.long().unique(return_inverse=True)
    ids = Route.of_wanted(listed, find_starts(len(gaussians))).give(at_home)[places]
    ids, halo = find_halo(home.give(ids), starts_at_home)
    spread = Spread(home, halo)
    return NeighbourGraph(ids.int(), spread.bring(weights), spread.bring(self_weights), spread)


def _load(path: Path, num: int) -> dict[str, Tensor]:
    """Reads the graph of a scene of `num` Gaussians; raises `UserError` if it is damaged or of others."""
    remedy = "start stage 2 again with `stage1_from` and another `out`"
    content = read_torch(path, "the graph of neighbours", remedy)
    stored = {name: content.get(name) for name in GRAPH_TENSORS} if isinstance(content, dict) else {}
    tensors = {name: tensor.detach() for name, tensor in stored.items() if isinstance(tensor, Tensor)}
    found = [(str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape)) for tensor in tensors.values()]
    shape = found[0][1] if found else ()
    if found != [("int32", shape), ("float32", shape), ("float32", (num,))] or len(shape) != 2 or shape[0] != num:
        raise UserError(f"{path}: is no graph of {num} neighbouring Gaussians, its tensors are {found}; {remedy}")
    ids, *weights = tensors.values()
    is_usable = ids.numel() == 0 or 0 <= int(ids.min()) <= int(ids.max()) < num
    is_usable &= all(bool(tensor.isfinite().all()) for tensor in weights)
    homes = content.get("homes")  # of a graph of parts
    if isinstance(homes, Tensor):
        tensors["homes"] = homes
        is_usable &= homes.dtype == torch.int32 and homes.shape == (num,) and (num == 0 or int(homes.min()) >= 0)
    # graphs of earlier versions have no checksum
    if not is_usable or content.get("checksum", _checksum(tensors)) != _checksum(tensors):
        raise UserError(f"{path}: cannot be read as the graph of neighbours (damaged, its checksum differs); {remedy}")
    return tensors


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    return checksum(" ".join(tensors), [tensor.cpu().numpy() for tensor in tensors.values()])
