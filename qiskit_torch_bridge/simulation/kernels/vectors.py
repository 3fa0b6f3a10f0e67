# SPDX-License-Identifier: Apache-2.0
"""What all kernels are made of: vectors of lanes as a Numba type, bits, aligned memory, a barrier.

Kernels say which values a processor handles at once: a compiler that must prove that arrays do not
overlap gives up on the kernels' loops, so loads, stores and multiply-adds of whole vectors are
written down. The vectors are as wide as the processor's registers; LLVM splits them where they are
not.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

from .disk_cache import name_apart
from .tables import ARRIVALS, PATIENCE, STOP

if TYPE_CHECKING:
    from numba.core.base import BaseContext as Context
    from numba.core.typing import Signature

    Builder: TypeAlias = ir.IRBuilder
    Value: TypeAlias = ir.Value
    Args: TypeAlias = Sequence[Value]
    Codegen: TypeAlias = Callable[[Context, Builder, Signature, Args], Value | None]
    Intrinsic: TypeAlias = tuple[Signature, Codegen]

BYTES = 64 if llvmlite.binding.get_host_cpu_features().get("avx512f") else 32
_I32 = ir.IntType(32)


def elements(dtype: types.Float) -> int:
    """The number of lanes in a vector of a Numba float type."""
    return BYTES // (dtype.bitwidth // 8)


class Vector(types.Type):
    """The Numba type of a vector."""

    def __init__(self, dtype: types.Float) -> None:
        self.dtype = dtype
        super().__init__(name=f"Vector({dtype}, {elements(dtype)})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: object, vector: Vector) -> None:
        element = ir.DoubleType() if vector.dtype.bitwidth == 64 else ir.FloatType()
        super().__init__(manager, vector, ir.VectorType(element, elements(vector.dtype)))


def _place(
    context: Context, builder: Builder, kind: types.Array, array: ir.Value, index: ir.Value
) -> tuple[ir.Value, int]:
    data = context.make_array(kind)(context, builder, value=array).data
    vector = context.get_value_type(Vector(kind.dtype))
    pointer = builder.bitcast(builder.gep(data, [index]), vector.as_pointer())
    return pointer, kind.dtype.bitwidth // 8


@intrinsic
def load(typing: object, array: types.Array, index: types.Type) -> Intrinsic:
    """Return the vector that starts at ``array[index]``."""

    def codegen(context: Context, builder: Builder, signature: Signature, args: Args) -> Value:
        pointer, align = _place(context, builder, signature.args[0], *args)
        return builder.load(pointer, align=align)

    return Vector(array.dtype)(array, index), codegen


@intrinsic
def store(typing: object, array: types.Array, index: types.Type, vector: types.Type) -> Intrinsic:
    """Write a vector to ``array[index:]``."""

    def codegen(context: Context, builder: Builder, signature: Signature, args: Args) -> None:
        pointer, align = _place(context, builder, signature.args[0], *args[:2])
        builder.store(args[2], pointer, align=align)

    return types.void(array, index, vector), codegen


@intrinsic
def widen(typing: object, array: types.Array, numbers: types.Array, index: types.Type) -> Intrinsic:
    """Return the bytes that start at ``numbers[index]`` as a vector of the other array's dtype."""

    def codegen(context: Context, builder: Builder, signature: Signature, args: Args) -> Value:
        data = context.make_array(signature.args[1])(context, builder, value=args[1]).data
        kind = context.get_value_type(signature.return_type)
        some = ir.VectorType(ir.IntType(8), kind.count).as_pointer()
        pointer = builder.bitcast(builder.gep(data, [args[2]]), some)
        whole = builder.zext(builder.load(pointer, align=1), ir.VectorType(_I32, kind.count))
        return builder.sitofp(whole, kind)

    return Vector(array.dtype)(array, numbers, index), codegen


@intrinsic
def copy_pair(
    typing: object, target: types.Array, at: types.Type, source: types.Type, index: types.Type
) -> Intrinsic:
    """Copy two numbers from ``source[index]`` to ``target[at]``."""

    def codegen(context: Context, builder: Builder, signature: Signature, args: Args) -> None:
        places = []
        for kind, array, place in zip(signature.args[::2], args[::2], args[1::2], strict=True):
            data = context.make_array(kind)(context, builder, value=array).data
            pair = ir.VectorType(context.get_value_type(kind.dtype), 2).as_pointer()
            places.append(builder.bitcast(builder.gep(data, [place]), pair))
        align = target.dtype.bitwidth // 8
        builder.store(builder.load(places[1], align=align), places[0], align=align)

    return types.void(target, at, source, index), codegen


def _every_other(start: int) -> Callable[..., Any]:
    @intrinsic
    def operation(typing: object, array: types.Array, index: types.Type) -> Intrinsic:
        def codegen(context: Context, builder: Builder, signature: Signature, args: Args) -> Value:
            pointer, align = _place(context, builder, signature.args[0], *args)
            kind = context.get_value_type(signature.return_type)
            both = ir.VectorType(kind.element, 2 * kind.count)
            numbers = builder.load(builder.bitcast(pointer, both.as_pointer()), align=align)
            order = list(range(start, 2 * kind.count, 2))
            mask = ir.Constant(ir.VectorType(_I32, kind.count), order)
            return builder.shuffle_vector(numbers, ir.Constant(both, ir.Undefined), mask)

        return Vector(array.dtype)(array, index), codegen

    return operation


load_first_of_pairs = _every_other(0)
load_second_of_pairs = _every_other(1)


@intrinsic
def splat(typing: object, array: types.Array, number: types.Type) -> Intrinsic:
    """Return a vector of equal elements, of the array's dtype."""

    def codegen(context: Context, builder: Builder, signature: Signature, args: Args) -> Value:
        kind = context.get_value_type(signature.return_type)
        scalar = context.cast(builder, args[1], signature.args[1], signature.return_type.dtype)
        one = builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, _I32(0))
        mask = ir.Constant(ir.VectorType(_I32, kind.count), [0] * kind.count)
        return builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), mask)

    return Vector(array.dtype)(array, number), codegen


@intrinsic(prefer_literal=True)
def exchange(typing: object, vector: types.Type, distance: types.Type) -> Intrinsic | None:
    """Exchange the elements whose positions differ in one bit, ``distance``, a literal."""

    def codegen(context: Context, builder: Builder, signature: Signature, args: Args) -> Value:
        kind = context.get_value_type(signature.return_type)
        step = signature.args[1].literal_value
        order = [i ^ step if i ^ step < kind.count else i for i in range(kind.count)]
        mask = ir.Constant(ir.VectorType(_I32, kind.count), order)
        return builder.shuffle_vector(args[0], ir.Constant(kind, ir.Undefined), mask)

    if isinstance(distance, types.IntegerLiteral):
        return vector(vector, distance), codegen
    return None


@intrinsic
def size(typing: object, array: types.Array) -> Intrinsic:
    """The number of elements in a vector of the array's dtype."""

    def codegen(context: Context, builder: Builder, signature: Signature, args: Args) -> Value:
        return context.get_constant(types.int64, elements(signature.args[0].dtype))

    return types.int64(array), codegen


def _binary(name: str) -> Callable[..., Any]:
    @intrinsic
    def operation(typing: object, a: types.Type, b: types.Type) -> Intrinsic:
        def codegen(context: Context, builder: Builder, signature: Signature, args: Args) -> Value:
            return getattr(builder, name)(*args)

        return a(a, b), codegen

    return operation


def _overloaded(symbol, operation):  # Numba compares signatures, so they carry no annotations
    def choose(a, b):
        if isinstance(a, Vector):
            return name_apart(symbol.__name__)(lambda a, b: operation(a, b))
        return None

    overload(symbol)(choose)


_overloaded(operator.add, _binary("fadd"))
_overloaded(operator.sub, _binary("fsub"))
_overloaded(operator.mul, _binary("fmul"))


def _fused(negated: bool) -> Callable[..., Any]:
    @intrinsic
    def operation(typing: object, a: types.Type, b: types.Type, c: types.Type) -> Intrinsic:
        def codegen(context: Context, builder: Builder, signature: Signature, args: Args) -> Value:
            kind = context.get_value_type(signature.return_type)
            name = f"llvm.fma.v{kind.count}f{signature.return_type.dtype.bitwidth}"
            function = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(kind, [kind] * 3), name
            )
            first = builder.fneg(args[0]) if negated else args[0]
            return builder.call(function, [first, *args[1:]])

        return a(a, b, c), codegen

    return operation


fma = _fused(False)  # a * b + c
fnma = _fused(True)  # c - a * b


@intrinsic
def prefetch(typing: object, array: types.Array, index: types.Type) -> Intrinsic:
    """Ask for the cache line of ``array[index]``, which will be written."""

    def codegen(context: Context, builder: Builder, signature: Signature, args: Args) -> None:
        data = context.make_array(signature.args[0])(context, builder, value=args[0]).data
        byte = ir.IntType(8).as_pointer()
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [byte, _I32, _I32, _I32]),
            "llvm.prefetch.p0" if getattr(ir, "PointerType", None) else "llvm.prefetch.p0i8",
        )  # fmt: skip
        pointer = builder.bitcast(builder.gep(data, [args[1]]), byte)
        builder.call(function, [pointer, _I32(1), _I32(3), _I32(1)])

    return types.void(array, index), codegen


@intrinsic
def popcount(typing: object, number: types.Type) -> Intrinsic:
    """The number of bits set in an integer."""

    def codegen(context: Context, builder: Builder, signature: Signature, args: Args) -> Value:
        return builder.ctpop(args[0])

    return types.int64(types.int64), codegen


def _atomic(value: int) -> Callable[..., Any]:
    @intrinsic
    def operation(typing: object, array: types.Array, index: types.Type) -> Intrinsic:
        def codegen(context: Context, builder: Builder, signature: Signature, args: Args) -> Value:
            data = context.make_array(signature.args[0])(context, builder, value=args[0]).data
            pointer = builder.gep(data, [args[1]])
            return builder.atomic_rmw("add", pointer, ir.IntType(64)(value), "seq_cst")

        return types.int64(array, index), codegen

    return operation


atomic_increment = _atomic(1)
atomic_read = _atomic(0)


@intrinsic
def glance(typing: object, array: types.Array, index: types.Type) -> Intrinsic:
    """Return an integer that another thread may be writing, sooner or later as it is written."""

    def codegen(context: Context, builder: Builder, signature: Signature, args: Args) -> Value:
        data = context.make_array(signature.args[0])(context, builder, value=args[0]).data
        return builder.load_atomic(builder.gep(data, [args[1]]), "monotonic", 8)

    return types.int64(array, index), codegen


# -- what is compiled of them ---------------------------------------------------------------------

jit = njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)

give_way = types.ExternalFunction(
    "SwitchToThread" if sys.platform == "win32" else "sched_yield", types.int32()
)


@jit
def odd(number):
    """Whether an odd number of bits is set: 0 or 1."""
    return popcount(number) & 1


@jit
def cosine(power):
    """The real part of a power of i."""
    return (1 - (power & 2)) * (1 - (power & 1))


@jit
def sine(power):
    """The imaginary part of a power of i."""
    return (1 - (power & 2)) * (power & 1)


@jit
def aligned(count, like):
    """Return an array of the dtype of another one that starts at a cache line."""
    array = np.empty(count + 64 // like.itemsize, like.dtype)
    skip = (-array.ctypes.data & 63) // like.itemsize
    return array[skip : skip + count]


@jit
def xor_load(array, start, lane, shift):
    """The vector of lanes ``lane ^ shift, ...`` of the row at ``start``."""
    width = size(array)
    vector = load(array, start + (lane ^ (shift & ~(width - 1))))
    if shift & (width - 1):
        if shift & 1:
            vector = exchange(vector, 1)
        if shift & 2:
            vector = exchange(vector, 2)
        if shift & 4 and width > 4:
            vector = exchange(vector, 4)
        if shift & 8 and width > 8:
            vector = exchange(vector, 8)
    return vector


@jit
def stopped(share):
    """Whether nobody wants the results of this pass any more."""
    return glance(share.signals, STOP) != 0


@jit
def barrier(share):
    """Wait until all parts have come here, or some may have left; signals start at zero."""
    if share.parts > 1:
        target = (atomic_increment(share.signals, ARRIVALS) // share.parts + 1) * share.parts
        turns = 0
        while atomic_read(share.signals, ARRIVALS) < target and not stopped(share):
            turns += 1
            if turns > PATIENCE:  # the others may be waiting for this core
                give_way()


@jit
def bounds(count, share):
    """This part's share of ``count`` things: the first one, and where it ends."""
    return count * share.part // share.parts, count * (share.part + 1) // share.parts


@jit
def lane_sign(lane_row, mask):
    """The sign that a mask gives to a lane: 1.0 or -1.0."""
    return 1.0 - 2.0 * odd(lane_row & mask)
