"""Sixteen float32 lanes as one numba value, so that the blending kernels are vector code by construction.

LLVM's own vectoriser gives up on these loops (short trip counts, arrays that may alias). Here an `f32x16` is LLVM's
`<16 x float>`: one AVX-512 register, two of AVX, four of SSE or NEON. Arithmetic is written with the usual operators
between vectors and float32 scalars; comparisons give a `mask16`.
"""

import math
import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import intrinsic as numba_intrinsic
from numba.extending import lower_builtin, models, register_model

LANES = 16
_F32, _I32 = ir.FloatType(), ir.IntType(32)
_VECTOR, _INTS, _MASK = (ir.VectorType(lane, LANES) for lane in (_F32, _I32, ir.IntType(1)))
# a*b+c may become one fused instruction and sums may be reordered; infinities and NaN keep their meaning
_FLAGS = ("contract", "reassoc", "nsz")


class _LaneType(types.Type):
    """A numba type kept in one LLVM vector."""


f32x16, mask16 = _LaneType("f32x16"), _LaneType("mask16")


def intrinsic(function: Callable) -> Callable[..., Any]:
    """numba's `intrinsic`, untyped: kernels call the function without its typing context."""
    return numba_intrinsic(function)


@register_model(_LaneType)
class _LaneModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, _VECTOR if fe_type == f32x16 else _MASK)


def _splat(builder, scalar):
    """The same float32 in every lane."""
    first = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), scalar, _I32(0))
    return builder.shuffle_vector(first, ir.Constant(_VECTOR, ir.Undefined), ir.Constant(_INTS, [0] * LANES))


def _constant(value):
    return ir.Constant(_VECTOR, [value] * LANES)


def _call(builder, name, result, operands):
    """A call of an LLVM intrinsic."""
    function_type = ir.FunctionType(result, [operand.type for operand in operands])
    function = builder.module.globals.get(name) or ir.Function(builder.module, function_type, name)
    return builder.call(function, operands, fastmath=_FLAGS if result in (_F32, _VECTOR) else ())


# --- operators ------------------------------------------------------------------------------------------------------


def _define_operator(python_operator, result, emit):
    """Registers one binary operator with numba, between vectors, or a vector and a float32 scalar."""
    pairs = [(f32x16, f32x16), (f32x16, types.float32), (types.float32, f32x16)]

    @infer_global(python_operator)  # pyright: ignore[reportOptionalCall]  (numba has no types)
    class _Template(ConcreteTemplate):
        cases = [signature(result, *pair) for pair in pairs]  # noqa: RUF012

    def lower(context, builder, sig, args):
        vectors = [arg if ty == f32x16 else _splat(builder, arg) for ty, arg in zip(sig.args, args, strict=True)]
        return emit(builder, *vectors)

    for pair in pairs:
        lower_builtin(python_operator, *pair)(lower)


_ARITHMETIC = (
    (operator.add, "fadd"),
    (operator.iadd, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
)
for _python, _llvm in _ARITHMETIC:
    _define_operator(_python, f32x16, lambda b, x, y, op=_llvm: getattr(b, op)(x, y, flags=_FLAGS))
for _python, _llvm in ((operator.lt, "<"), (operator.le, "<="), (operator.gt, ">"), (operator.ge, ">=")):
    _define_operator(_python, mask16, lambda b, x, y, op=_llvm: b.fcmp_ordered(op, x, y))


@infer_global(operator.and_)  # pyright: ignore[reportOptionalCall]  (numba has no types)
class _And(ConcreteTemplate):
    cases = [signature(mask16, mask16, mask16)]  # noqa: RUF012


@lower_builtin(operator.and_, mask16, mask16)
def _lower_and(context, builder, sig, args):
    return builder.and_(*args)


# --- memory ---------------------------------------------------------------------------------------------------------


def _address(context, builder, array_type, array, index, lanes):
    assert array_type.dtype == types.float32, f"lanes hold float32, not {array_type.dtype}"
    data = context.make_array(array_type)(context, builder, array).data
    pointer = builder.gep(data, [index], inbounds=True)
    return builder.bitcast(pointer, (_VECTOR if lanes else _F32).as_pointer())


@intrinsic
def load(typingctx, array, index):
    """`array[index : index + 16]` of a flat float32 array, as a vector; no bounds check."""

    def emit(context, builder, sig, args):
        return builder.load(_address(context, builder, sig.args[0], *args, lanes=True), align=4)

    return f32x16(array, types.intp), emit


@intrinsic
def store(typingctx, array, index, vector):
    """Writes a vector to `array[index : index + 16]` of a flat float32 array; no bounds check."""

    def emit(context, builder, sig, args):
        builder.store(args[2], _address(context, builder, sig.args[0], args[0], args[1], lanes=True), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, f32x16), emit


@intrinsic
def at(typingctx, array, index):
    """`array[index]` of a flat float32 array, without numba's test for a negative index."""

    def emit(context, builder, sig, args):
        return builder.load(_address(context, builder, sig.args[0], *args, lanes=False))

    return types.float32(array, types.intp), emit


@intrinsic
def splat(typingctx, scalar):
    """The same float32 in every lane."""

    def emit(context, builder, sig, args):
        return _splat(builder, args[0])

    return f32x16(types.float32), emit


# --- across lanes and choices ---------------------------------------------------------------------------------------


@intrinsic
def where(typingctx, mask, yes, no):
    """Lane by lane `yes` where the mask is set, else `no`."""

    def emit(context, builder, sig, args):
        return builder.select(*args)

    return f32x16(mask16, f32x16, f32x16), emit


@intrinsic
def smaller(typingctx, x, y):
    """The smaller of two vectors, lane by lane."""

    def emit(context, builder, sig, args):
        return builder.select(builder.fcmp_ordered("<", *args), *args)

    return f32x16(f32x16, f32x16), emit


@intrinsic
def larger(typingctx, x, y):
    """The larger of two vectors, lane by lane."""

    def emit(context, builder, sig, args):
        return builder.select(builder.fcmp_ordered(">", *args), *args)

    return f32x16(f32x16, f32x16), emit


@intrinsic
def root(typingctx, vector):
    """Square roots."""

    def emit(context, builder, sig, args):
        return _call(builder, f"llvm.sqrt.v{LANES}f32", _VECTOR, [args[0]])

    return f32x16(f32x16), emit


@intrinsic
def magnitude(typingctx, vector):
    """|x| per lane."""

    def emit(context, builder, sig, args):
        return _call(builder, f"llvm.fabs.v{LANES}f32", _VECTOR, [args[0]])

    return f32x16(f32x16), emit


@intrinsic
def any_lane(typingctx, mask):
    """Whether the mask is set in any lane."""

    def emit(context, builder, sig, args):
        bits = builder.bitcast(args[0], ir.IntType(LANES))
        return builder.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0))

    return types.boolean(mask16), emit


@intrinsic
def lane_bits(typingctx, mask):
    """The mask as an integer, lane 0 in the lowest bit."""

    def emit(context, builder, sig, args):
        return builder.zext(builder.bitcast(args[0], ir.IntType(LANES)), ir.IntType(64))

    return types.int64(mask16), emit


@intrinsic
def lowest_bit(typingctx, bits):
    """The position of the lowest bit that is set."""

    def emit(context, builder, sig, args):
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), emit


@intrinsic
def totals(typingctx, array, index):
    """The sums over lanes of sixteen vectors that lie one after another in a flat array: one vector of sums.

    A tree of merges: each takes two vectors and halves the lanes that a sum is spread over.
    """

    def emit(context, builder, sig, args):
        address = _address(context, builder, sig.args[0], *args, lanes=True)
        rows = [builder.load(builder.gep(address, [_I32(row)]), align=4) for row in range(LANES)]
        width = LANES
        while len(rows) > 1:
            width //= 2
            # both halves of every group of 2 * width lanes, those of the first vector before those of the second
            low = [group * 2 * width + lane for group in range(LANES // (2 * width)) for lane in range(width)]
            low = low + [LANES + lane for lane in low]
            rows = [
                builder.fadd(
                    builder.shuffle_vector(a, b, ir.Constant(_INTS, low)),
                    builder.shuffle_vector(a, b, ir.Constant(_INTS, [lane + width for lane in low])),
                    flags=_FLAGS,
                )
                for a, b in zip(rows[0::2], rows[1::2], strict=True)
            ]
        return rows[0]

    return f32x16(array, types.intp), emit


@intrinsic
def exp_negative(typingctx, vector):
    """exp(-x) for x >= 0, relative error below 1e-6 where x < 6; arguments above 80 count as 80.

    2^(n + f) with n the nearest integer and |f| <= 1/2: n goes into the exponent's bits, 2^f is a polynomial.
    """

    def emit(context, builder, sig, args):
        bounded = builder.select(builder.fcmp_ordered("<", args[0], _constant(80.0)), args[0], _constant(80.0))
        power = builder.fmul(bounded, _constant(-1 / math.log(2)), flags=_FLAGS)
        whole = _call(builder, f"llvm.rint.v{LANES}f32", _VECTOR, [power])
        rest = builder.fsub(power, whole, flags=("contract",))
        value = _constant(math.log(2) ** 6 / 720)
        for order in range(5, -1, -1):
            coefficient = _constant(math.log(2) ** order / math.factorial(order))
            value = builder.fadd(builder.fmul(value, rest, flags=_FLAGS), coefficient, flags=_FLAGS)
        exponent = builder.shl(builder.fptosi(whole, _INTS), ir.Constant(_INTS, [23] * LANES))
        return builder.bitcast(builder.add(builder.bitcast(value, _INTS), exponent), _VECTOR)

    return f32x16(f32x16), emit
