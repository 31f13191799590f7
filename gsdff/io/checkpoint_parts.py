"""States of a training of which each rank holds a part: joined to a whole one, and divided again."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gsdff.errors import UserError


def join_states(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The state of a training whose Gaussians are those of all parts, one after the other."""
    first = {key: value for key, value in parts[0].items() if key != "part"}
    names = [{name for name in part["gaussians"]} for part in parts]
    if any(other != names[0] for other in names):
        raise UserError("parts of a checkpoint have unlike attributes")
    return first | _map_rows(lambda *rows: torch.cat(rows), *parts)


def cut_state(state: Mapping[str, Any], rows: slice) -> dict[str, Any]:
    """The state of a training that holds these rows of the Gaussians."""
    return {**state, **_map_rows(lambda tensor: tensor[rows].clone(), state)}


def _map_rows(function: Callable[..., Tensor], *states: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a state that have a row per Gaussian, of all states one new one."""
    first = states[0]
    gaussians = {name: function(*(state["gaussians"][name] for state in states)) for name in first["gaussians"]}
    optimizers = {}
    for name, optimizer in first["optimizers"].items():
        found = [state["optimizers"][name]["state"].get(0) for state in states]
        moments = [each for each in found if each is not None]  # an empty part may lack them
        optimizers[name] = optimizer | {"state": {0: _map_tensors(function, *moments)} if moments else {}}
    densifier = _map_tensors(function, *(state["densifier"] for state in states))
    return {"gaussians": gaussians, "optimizers": optimizers, "densifier": densifier}


def _map_tensors(function: Callable[..., Tensor], *tables: Mapping[str, Any]) -> dict[str, Any]:
    """A table with the function of all tables' tensors of one or more dimensions; other values are the first's."""
    return {
        key: function(*(table[key] for table in tables)) if isinstance(value, Tensor) and value.ndim else value
        for key, value in tables[0].items()
    }
