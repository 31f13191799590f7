"""`pretended_card()`: within it, `device="cuda"` means the pretended card, in every thread.

Torch's functions that make and move tensors are replaced, `torch.cuda` says what a card would, and the compiled half of
gsplat is `pretended.gsplat_stand_in`. All of it is undone at the end.
"""

import contextlib
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch
import torch.distributed
from pretended import device as card
from pretended.counts import COUNTS, Counts, find_line
from pretended.device import CARD, CardTensor, copy_down, copy_up, finish_transfers, inner, pin, spoil, wait
from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.utils._device import _device_constructors
from torch.utils._pytree import tree_map_only

FACTORIES = (
    "arange", "empty", "empty_strided", "eye", "full", "linspace", "logspace", "ones", "rand", "randint", "randn",
    "randperm", "scalar_tensor", "tensor", "tril_indices", "triu_indices", "zeros", "empty_like", "full_like",
    "ones_like", "rand_like", "randint_like", "randn_like", "zeros_like",
)  # fmt: skip
NEW = ("new_empty", "new_full", "new_ones", "new_tensor", "new_zeros")
BACKEND = "gsplat.cuda._backend"
MEMORY_GIB = 24
"""Memory that the card says it has."""

_to = torch._C.TensorBase.to


def is_card(device: Any) -> bool:
    """Whether a `device` argument means the card."""
    return device is not None and (isinstance(device, int) or torch.device(device).type == "cuda")


def read_numbers(value: Any) -> Any:
    """Nested lists with Python numbers in place of tensors of the card."""
    if isinstance(value, CardTensor):
        return value.tolist() if value.dim() == 0 else value
    return type(value)(map(read_numbers, value)) if type(value) in (list, tuple) else value


def _make(factory: Callable, name: str) -> Callable:
    """A function of torch's that makes tensors, which also makes them on the card."""

    def make(*args: Any, **kwargs: Any) -> Tensor:
        device, is_pinned = kwargs.get("device"), kwargs.pop("pin_memory", False)
        if name == "tensor":  # of numbers on the card too, which the host reads one by one
            args = tuple(read_numbers(value) for value in args)
        if device is None and not (name == "new_tensor" and isinstance(args[0], CardTensor)):
            made = factory(*args, **kwargs)
            return pin(made) if is_pinned else made
        if device is not None and not is_card(device):
            made = factory(*map(inner, args), **kwargs)
            return pin(made) if is_pinned else made
        needs_gradient = kwargs.pop("requires_grad", False)
        made = factory(*map(inner, args), **{**kwargs, "device": "cpu"})
        if name.endswith("tensor"):
            COUNTS.bytes_up[find_line()] += made.nbytes
            wait("tensor made of Python numbers")
        elif not name.startswith(("empty", "new_empty")):
            COUNTS.launches[find_line()] += 1
        else:
            spoil(made)
        return CardTensor(made.detach()).requires_grad_(needs_gradient)

    return make


def _as_tensor(original: Callable) -> Callable:
    """`torch.as_tensor` and `torch.asarray`."""

    def as_tensor(data: Any, dtype: torch.dtype | None = None, device: Any = None, **options: Any) -> Tensor:
        if isinstance(data, CardTensor):
            return data.to(device or CARD, dtype or data.dtype)
        if not is_card(device):
            return original(data, dtype=dtype, device=device, **options)
        return copy_up(original(data, dtype=dtype, **options))

    return as_tensor


def _move(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """`Tensor.to`."""
    is_copied = kwargs.pop("copy", False)
    first = args[0] if args else kwargs.pop("other", None)
    if isinstance(first, Tensor):
        args, kwargs = (first.device, first.dtype, *args[1:]), kwargs
    device, dtype, is_async, memory_format = torch._C._nn._parse_to(*args, **kwargs)
    options = {"memory_format": memory_format} if memory_format is not None else {}
    if device is not None and device.type not in ("cpu", "cuda"):
        return _to(self, device, dtype or self.dtype, **options)
    moved = self
    if device is not None and (device.type == "cuda") != isinstance(self, CardTensor):
        if device.type == "cpu":
            moved = copy_down(self, is_async)
        else:
            moved = copy_up(_to(self, dtype or self.dtype, **options), is_async)
    if is_copied and moved is self:
        return _to(moved, dtype or self.dtype, copy=True, **options)
    return _to(moved, dtype, **options) if (dtype or self.dtype) != moved.dtype or options else moved


def _load(original: Callable) -> Callable:
    """`torch.load`, with the card as a `map_location`."""

    def load(file: Any, map_location: Any = None, **options: Any) -> Any:
        goes_up = isinstance(map_location, str | torch.device) and is_card(map_location)
        content = original(file, map_location="cpu" if goes_up else map_location, **options)
        return tree_map_only(Tensor, copy_up, content) if goes_up else content

    return load


def _autocast(original: type) -> Callable:
    """`torch.autocast`: the card's is that of the CPU, for the same dtype."""

    def autocast(device_type: str, dtype: torch.dtype | None = None, enabled: bool = True, **options: Any) -> Any:
        if device_type == "cuda":
            device_type, dtype = "cpu", dtype or torch.float16
        return original(device_type, dtype=dtype, enabled=enabled, **options)

    return autocast


def _backward(original: Callable) -> Callable:
    """The backward pass of a Python function: autograd makes missing gradients on the CPU, on a card on the card."""

    def apply(self: Any, *gradients: Any) -> Any:
        tensors = [value for value in (*gradients, *self.saved_tensors) if isinstance(value, Tensor)]
        if any(isinstance(value, CardTensor) for value in tensors):
            gradients = tuple(
                CardTensor(value) if type(value) is Tensor and not value.any() else value for value in gradients
            )
        return original(self, *gradients)

    return apply


def _generator(original: type) -> type:
    """`torch.Generator`: those of the card are the CPU's, from which the card draws."""

    class Kind(type):
        def __instancecheck__(cls, value: Any) -> bool:
            return isinstance(value, original)

        def __call__(cls, device: Any = "cpu") -> Any:
            return original("cpu" if is_card(device) else device)

    return Kind("Generator", (), {})


class Stream:
    """A stream; everything is done at once, so that there is nothing to order."""

    def __init__(self, *_args: Any, **_kwargs: Any):
        self.device = CARD

    def wait_stream(self, _stream: Any) -> None: ...
    def wait_event(self, _event: Any) -> None: ...

    def record_event(self, event: Any = None) -> Any:
        return event or Event()

    def query(self) -> bool:
        return True

    def synchronize(self) -> None:
        wait("Stream.synchronize")

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_error: object) -> None: ...


class Event:
    """An event of a stream."""

    def __init__(self, *_args: Any, **_kwargs: Any): ...
    def record(self, _stream: Any = None) -> None: ...
    def wait(self, _stream: Any = None) -> None: ...

    def query(self) -> bool:
        finish_transfers()
        return True

    def synchronize(self) -> None:
        wait("Event.synchronize")

    def elapsed_time(self, _other: Any) -> float:
        return 1.0


def _cuda_functions() -> dict[str, Any]:
    """What `torch.cuda` says."""
    states = {"card": torch.Generator().manual_seed(0).get_state()}
    stream, total = Stream(), MEMORY_GIB * 2**30
    properties = types.SimpleNamespace(
        name="Pretended card", major=9, minor=0, total_memory=total, multi_processor_count=132
    )
    return {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "init": lambda: None,
        "_lazy_init": lambda: None,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "set_device": lambda _device: None,
        "device": lambda _device: contextlib.nullcontext(),
        "get_device_name": lambda *_: "Pretended card",
        "get_device_capability": lambda *_: (9, 0),
        "get_device_properties": lambda *_: properties,
        "is_bf16_supported": lambda *_, **__: True,
        "is_current_stream_capturing": lambda: False,
        "mem_get_info": lambda *_: (total // 2, total),
        "memory_allocated": lambda *_: 0,
        "max_memory_allocated": lambda *_: 0,
        "memory_reserved": lambda *_: 0,
        "max_memory_reserved": lambda *_: 0,
        "reset_peak_memory_stats": lambda *_: None,
        "empty_cache": lambda: None,
        "synchronize": lambda *_: wait("torch.cuda.synchronize"),
        "get_rng_state": lambda *_: states["card"],
        "set_rng_state": lambda state, *_: states.update(card=state.clone()),
        "manual_seed": lambda _seed: None,
        "manual_seed_all": lambda _seed: None,
        "Stream": Stream,
        "Event": Event,
        "current_stream": lambda *_: stream,
        "default_stream": lambda *_: stream,
        "stream": lambda _stream: contextlib.nullcontext(),
    }


def _patches() -> Iterator[Any]:
    """All that is replaced."""
    for name in FACTORIES:
        yield mock.patch.object(torch, name, _make(getattr(torch, name), name))
    for name in NEW:
        yield mock.patch.object(Tensor, name, _make(getattr(Tensor, name), name), create=True)
    for name in ("as_tensor", "asarray"):
        yield mock.patch.object(torch, name, _as_tensor(getattr(torch, name)))
    yield mock.patch.object(torch, "Generator", _generator(torch.Generator))
    yield mock.patch.object(torch, "load", _load(torch.load))
    yield mock.patch.object(torch, "autocast", _autocast(torch.autocast))
    yield mock.patch.object(Tensor, "to", _move, create=True)
    yield mock.patch.object(Tensor, "cuda", lambda self, device=None, non_blocking=False: copy_up(self, non_blocking))
    yield mock.patch.object(Tensor, "pin_memory", lambda self, *_: pin(self), create=True)
    yield mock.patch.object(Tensor, "is_pinned", lambda self, *_: card.is_pinned(self), create=True)
    yield mock.patch.object(BackwardCFunction, "apply", _backward(BackwardCFunction.apply))
    for name in ("all_reduce", "all_to_all_single"):
        yield mock.patch.object(torch.distributed, name, _exchange(getattr(torch.distributed, name)))
    for name, value in _cuda_functions().items():
        yield mock.patch.object(torch.cuda, name, value)
    for name in ("_accelerator_graph_capture_health_check", "_cuda_graph_capture_health_check"):
        if hasattr(torch.optim.Optimizer, name):
            yield mock.patch.object(torch.optim.Optimizer, name, lambda self: None)


def _exchange(original: Callable) -> Callable:
    """A function of `torch.distributed` that writes into tensors of the card, of which NCCL is in charge."""

    def exchange(*tensors: Any, **options: Any) -> Any:
        if any(isinstance(tensor, CardTensor) for tensor in tensors):
            COUNTS.launches[find_line()] += 1
        return original(*map(inner, tensors), **options)

    return exchange


def _put_back(module: types.ModuleType | None) -> None:
    """Leaves `sys.modules` as it was, but for what has been imported since."""
    sys.modules.pop(BACKEND, None)
    if module is not None:
        sys.modules[BACKEND] = module


def _make_backend() -> types.ModuleType:
    """gsplat's module of compiled functions. The real one compiles when it is imported, this one loads when called."""

    def find(name: str) -> Any:
        if name != "_C":
            raise AttributeError(name)
        from pretended import gsplat_stand_in

        return gsplat_stand_in

    module = types.ModuleType(BACKEND)
    module.__dict__["__getattr__"] = find
    return module


@contextlib.contextmanager
def pretended_card() -> Iterator[Counts]:
    """Within it there is a card; gives its counts, which start from zero."""
    COUNTS.clear()
    _device_constructors()  # a list for `with torch.device(...)` that torch keeps: of the real functions
    overwrites = torch.__future__.get_overwrite_module_params_on_conversion()
    with contextlib.ExitStack() as stack:
        for patch in list(_patches()):
            stack.enter_context(patch)
        stack.callback(_put_back, sys.modules.get(BACKEND))
        sys.modules[BACKEND] = _make_backend()
        # parameters of a module are replaced by moved ones; a wrapper cannot be filled with other memory
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        try:
            yield COUNTS
        finally:
            torch.__future__.set_overwrite_module_params_on_conversion(overwrites)
            finish_transfers()
