"""A tensor on a card that is only pretended: the CPU computes, and the rules are a card's.

The wrapper says `cuda:0`, has no `.numpy()`, and every operation on it is checked and counted in `__torch_dispatch__`:
tensors of two devices do not mix (a number, that is a CPU tensor without dimensions, may), uninitialised memory is NaN,
and what would make the host wait for the card is counted. For torch's C++ the wrapper is a CPU tensor, so that autograd
needs no driver.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from typing import Any

import torch
from pretended.counts import COUNTS, find_line
from torch import Tensor

CARD = torch.device("cuda", 0)
aten = torch.ops.aten

MIXED = "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"
WAITING = {
    aten._local_scalar_dense, aten.is_nonzero, aten.equal, aten.nonzero, aten.masked_select, aten._unique2,
    aten.unique_dim, aten.unique_consecutive, aten.bincount, aten.histc, aten._linalg_check_errors, aten._linalg_eigh,
    aten._linalg_svd, aten.linalg_lstsq, aten.linalg_eig, aten.segment_reduce,
}  # fmt: skip
"""Operations of which the host reads a result: a number, an error code, or the size of the output."""
UNINITIALISED = {aten.empty_like, aten.new_empty, aten.new_empty_strided}
INDEXING = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}
JOINING = {aten.cat, aten.stack, aten._foreach_copy_}
SHAPING = {aten.squeeze_, aten.unsqueeze_, aten.t_, aten.transpose_, aten.as_strided_}
"""Operations that change the shape of their argument, and so of the wrapper."""
FREE = {aten.detach, aten.alias, aten.lift_fresh, aten._reshape_alias, *UNINITIALISED}
"""Operations besides views that launch nothing."""


class CardTensor(Tensor):
    """A tensor that says it is on the card; `inner` holds its values."""

    inner: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: Tensor) -> CardTensor:
        assert type(inner) is Tensor, type(inner)
        made = Tensor._make_wrapper_subclass(
            cls, inner.size(), strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype
        )
        made.inner = inner.detach() if inner.requires_grad else inner
        return made

    device = property(lambda self: CARD)
    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)

    def get_device(self) -> int:
        return 0

    def __repr__(self, **_options: Any) -> str:
        return f"{self.inner!r} on the pretended card"

    def numpy(self, *_args: Any, **_kwargs: Any) -> None:
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first.")

    __array__ = numpy

    def tolist(self) -> Any:
        wait("tolist")
        return self.inner.tolist()

    def cpu(self, *_args: Any) -> Tensor:
        return copy_down(self)

    def cuda(self, *_args: Any, **_kwargs: Any) -> CardTensor:
        return self

    def pin_memory(self, *_args: Any) -> None:
        raise RuntimeError("cannot pin 'torch.cuda.FloatTensor' only dense CPU tensors can be pinned")

    def is_pinned(self, *_args: Any) -> bool:
        return False

    def record_stream(self, _stream: Any) -> None:
        """Nothing to do: memory is not reused before Python lets go of it."""

    def __reduce_ex__(self, protocol: int) -> Any:
        wait("saved")
        return self.inner.__reduce_ex__(protocol)

    @classmethod
    def __torch_dispatch__(cls, func: Any, _types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return run(func, args, kwargs or {})


def run(func: Any, args: tuple, kwargs: dict) -> Any:
    """One operation among whose tensors is one of the card."""
    packet = func.overloadpacket
    if packet in SHAPING:
        func(inner(args[0]), *args[1:], **kwargs)
        with torch._C._DisableTorchDispatch():
            return func(*args, **kwargs)
    wrappers: dict[int, CardTensor] = {}
    strangers: list[Tensor] = []

    def lower(value: Any) -> Any:
        if isinstance(value, CardTensor):
            wrappers[id(value.inner)] = value
            return value.inner
        if isinstance(value, Tensor):
            strangers.append(value)
        elif isinstance(value, (list, tuple)):
            return type(value)(map(lower, value))
        return value

    def raise_up(value: Any) -> Any:
        if type(value) is Tensor:
            # an operation in place gives its argument, not a new one
            known = wrappers.get(id(value))
            return wrap(value) if known is None else known
        if isinstance(value, (list, tuple)):
            return type(value)(map(raise_up, value))
        return value

    lowered = [lower(value) for value in args]
    options = {name: lower(value) for name, value in kwargs.items() if name not in ("device", "pin_memory")}
    if packet is aten.copy_ and strangers:
        return copy_between(args[0], args[1], args[2] if len(args) > 2 else kwargs.get("non_blocking", False))
    if strangers:
        check_mixed(func, packet, args, strangers)
    if not (func.is_view or packet in FREE):
        COUNTS.launches[find_line()] += 1
    count_waits(packet, args, kwargs)
    result = func(*lowered, **options)
    if packet in UNINITIALISED:
        spoil(result)
    return raise_up(result)


def wrap(values: Tensor) -> CardTensor:
    """The wrapper of new values; it is an inference tensor if they are, and not whenever it is made in that mode."""
    if torch.is_inference_mode_enabled() and not values.is_inference():
        with torch.inference_mode(False):
            return CardTensor(values)
    return CardTensor(values)


def check_mixed(func: Any, packet: Any, args: tuple, strangers: list[Tensor]) -> None:
    """Raises torch's error if a CPU tensor takes part in an operation on the card."""
    if packet in INDEXING:
        if not isinstance(args[0], CardTensor):
            raise RuntimeError("indices should be either on cpu or on the same device as the indexed tensor (cpu)")
        values = args[2] if len(args) > 2 else args[0]
        if not isinstance(values, CardTensor) and values.dim():
            raise RuntimeError(f"{MIXED} [{func}]")
        return
    have_sizes = any(tensor.dim() for tensor in strangers)
    if (packet in JOINING or have_sizes) and not (is_in_backward() and not any(map(torch.any, strangers))):
        raise RuntimeError(f"{MIXED} [{func}]")


def is_in_backward() -> bool:
    """Whether autograd's C++ called: it makes the zeros of missing gradients on the wrapper's C++ device, the CPU."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    return frame is not None and frame.f_code.co_name == "_engine_run_backward"


def count_waits(packet: Any, args: tuple, kwargs: dict) -> None:
    """Counts an operation after which the host waits."""
    if packet in WAITING:
        wait(packet._qualified_op_name.removeprefix("aten::"))
    elif packet is aten.repeat_interleave and kwargs.get("output_size") is None:
        wait("repeat_interleave without an output size")
    elif packet in INDEXING:
        value = args[2] if len(args) > 2 else None
        # torch fills a mask with a number, and does not look for the mask's pixels
        is_fill = value is not None and not isinstance(value, CardTensor) and value.numel() == 1
        for index in args[1]:
            if index is None:
                continue
            if not isinstance(index, CardTensor):
                wait("indexing by CPU indices")
                COUNTS.bytes_up[find_line()] += index.nbytes
            elif index.dtype in (torch.bool, torch.uint8) and not is_fill:
                wait("indexing by a mask")


def spoil(tensor: Tensor) -> Tensor:
    """Fills memory that nobody has written yet: NaN, or for integers a number that is no index."""
    if tensor.dtype == torch.bool:
        return tensor.fill_(True)
    return tensor.fill_(float("nan") if tensor.is_floating_point() else 85)


# --- transfers -------------------------------------------------------------------------------------------------------

_underway: list[tuple[Tensor, Tensor]] = []
"""Copies to pinned memory that the host has not waited for: where to, and what will be there."""
_pinned: OrderedDict[int, Any] = OrderedDict()
"""Storages of pinned memory, by address; they are kept, so that no address is used twice."""
MOST_PINNED = 512


def wait(reason: str) -> None:
    """Counts that the host waits for the card; afterwards all that was on its way has arrived."""
    COUNTS.waits[find_line(), reason] += 1
    finish_transfers()


def finish_transfers() -> None:
    """Lets what is on its way to the host arrive."""
    with torch.no_grad():
        while _underway:
            place, values = _underway.pop(0)
            place.copy_(values)


def pin(tensor: Tensor) -> Tensor:
    """A copy in pinned memory, or the tensor itself if it is there already."""
    if is_pinned(tensor):
        return tensor
    made = tensor.clone()
    storage = made.untyped_storage()
    _pinned[storage.data_ptr()] = storage
    while len(_pinned) > MOST_PINNED:
        _pinned.popitem(last=False)
    return made


def is_pinned(tensor: Tensor) -> bool:
    return not isinstance(tensor, CardTensor) and tensor.untyped_storage().data_ptr() in _pinned


class _Up(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return CardTensor(values.detach().clone())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return copy_down(gradient) if isinstance(gradient, CardTensor) else gradient


class _Down(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: CardTensor) -> Tensor:
        return tensor.inner.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return CardTensor(gradient.detach().clone())


def copy_up(tensor: Tensor, is_async: bool = False) -> Tensor:
    """The tensor on the card; the host goes on at once only from pinned memory, and only if asked."""
    COUNTS.bytes_up[find_line()] += tensor.nbytes
    if not (is_async and is_pinned(tensor)):
        wait("copy to the card" if not is_async else "copy to the card from memory that is not pinned")
    return _Up.apply(tensor)


def copy_down(tensor: CardTensor, is_async: bool = False) -> Tensor:
    """The tensor on the host; asynchronous, it holds garbage until the host has waited."""
    COUNTS.bytes_down[find_line()] += tensor.nbytes
    if not is_async:
        wait("copy to the host")
        return _Down.apply(tensor)
    place = pin(torch.empty_like(tensor.inner))
    _underway.append((spoil(place), tensor.inner.detach().clone()))
    return place


def copy_between(place: Tensor, values: Tensor, is_async: bool) -> Tensor:
    """`place.copy_(values)` from one device to the other."""
    if isinstance(place, CardTensor):
        COUNTS.bytes_up[find_line()] += values.nbytes
        if not (is_async and is_pinned(values)):
            wait("copy to the card")
        place.inner.copy_(values)
        return place
    COUNTS.bytes_down[find_line()] += place.nbytes
    if is_async and is_pinned(place):
        _underway.append((spoil(place), values.inner.detach().clone()))
    else:
        wait("copy to the host")
        place.copy_(values.inner)
    return place


def inner(value: Any) -> Any:
    """A value with the tensors of the card replaced by what they hold."""
    if isinstance(value, CardTensor):
        return value.inner
    return type(value)(map(inner, value)) if isinstance(value, (list, tuple)) else value
