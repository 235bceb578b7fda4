"""Loops that go eight numbers, or 64 bytes, at a time, for the compiled arithmetic of this room.

The compiler does this by itself only where it may change the order of a sum, which would change the last digits. So
they are written as vector instructions here: LLVM's own, for any processor, and with every sum in the order of the
bars, so that they give what a loop over single numbers gives, to the last bit. No bounds are checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.extending import intrinsic
from numba.np.arrayobj import make_array

from jobnb.research.jit import compiled

Floats = npt.NDArray[np.float64]

#: So many numbers are read at once: the arrays must go on for as many beyond the last that counts, see `padded`.
LANES = 8
#: And so many bytes.
BYTES = 64

_NUMBER = ir.DoubleType()
_NUMBERS = ir.VectorType(_NUMBER, LANES)
_WHOLE = ir.IntType(64)
_WHOLES = ir.VectorType(_WHOLE, LANES)
_PLACE = ir.IntType(32)
_PAIR: Any = types.UniTuple(types.float64, 2)  # type: ignore[attr-defined]  # filled in when it is imported


def _called(typed: Callable[..., Any]) -> Any:
    """Let compiled code call what is emitted: the function gives, for some types, the signature and what emits."""
    return intrinsic(typed)


@compiled
def padded(values: Floats) -> Floats:
    """Return a copy that goes on with its last value, to be read `LANES` at a time up to its end."""
    made = np.empty(values.size + LANES)
    made[: values.size] = values
    made[values.size :] = values[-1]
    return made


def _data(context: Any, builder: Any, kind: Any, array: Any) -> Any:
    """Return the address of an array's first element."""
    return make_array(kind)(context, builder, array).data


def _all(builder: Any, value: Any, kind: Any) -> Any:
    """Return a vector with one value in each lane."""
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(_PLACE, 0))
    lanes = ir.Constant(ir.VectorType(_PLACE, kind.count), [0] * kind.count)
    return builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), lanes)


def _numbers(value: float) -> Any:
    return ir.Constant(_NUMBERS, [value] * LANES)


def _load(builder: Any, data: Any, at: Any) -> Any:
    """Read the eight numbers from place ``at`` on."""
    place = builder.bitcast(builder.gep(data, [at]), _NUMBERS.as_pointer())
    return builder.load(place, align=8)


@contextmanager
def _eights(builder: Any, count: Any) -> Iterator[tuple[Any, Any]]:
    """Go through ``count`` numbers; give the first place of each eight, and which lanes are still among them."""
    numbered = ir.Constant(_WHOLES, list(range(LANES)))
    with cgutils.for_range_slice(builder, ir.Constant(_WHOLE, 0), count, ir.Constant(_WHOLE, LANES), _WHOLE) as (at, _):
        yield at, builder.icmp_signed("<", numbered, _all(builder, builder.sub(count, at), _WHOLES))


class _Range:
    """Lowest and highest of the numbers seen."""

    def __init__(self, builder: Any) -> None:
        self._builder = builder
        self._low = cgutils.alloca_once_value(builder, _numbers(np.inf))
        self._high = cgutils.alloca_once_value(builder, _numbers(-np.inf))

    def see(self, values: Any, among: Any) -> None:
        builder = self._builder
        for kept, sign in ((self._low, "<"), (self._high, ">")):
            before = builder.load(kept)
            better = builder.and_(among, builder.fcmp_ordered(sign, values, before))
            builder.store(builder.select(better, values, before), kept)

    def ends(self) -> tuple[Any, Any]:
        return self._over(self._low, "<"), self._over(self._high, ">")

    def _over(self, kept: Any, sign: str) -> Any:
        builder = self._builder
        values = builder.load(kept)
        for half in (4, 2, 1):
            order = [(lane + half) % LANES for lane in range(LANES)]
            other = builder.shuffle_vector(values, values, ir.Constant(ir.VectorType(_PLACE, LANES), order))
            values = builder.select(builder.fcmp_ordered(sign, other, values), other, values)
        return builder.extract_element(values, ir.Constant(_PLACE, 0))


@_called
def extremes(typing: Any, x: Any, start: Any, stop: Any) -> Any:
    """Return lowest and highest of ``x[start:stop]``, which is not empty; ``x`` is `padded`."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, first, end = arguments
        data = builder.gep(_data(context, builder, signature.args[0], array), [first])
        found = _Range(builder)
        with _eights(builder, builder.sub(end, first)) as (at, among):
            found.see(_load(builder, data, at), among)
        return context.make_tuple(builder, _PAIR, found.ends())

    return _PAIR(x, types.int64, types.int64), emit


@_called
def held(typing: Any, x: Any, start: Any, stop: Any, cash: Any, units: Any, last: Any, returns: Any, place: Any) -> Any:
    """Go through ``x[start:stop]``, not empty, with a position; return its lowest and highest.

    ``x`` is `padded`. The equity is ``cash + units * x``, ``last`` the one before; ``returns`` gets, from ``place``
    on, the returns from each to the next, and has room for `LANES` more.
    """

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, first, end, *money, made, place = arguments
        data = builder.gep(_data(context, builder, signature.args[0], array), [first])
        out = builder.gep(_data(context, builder, signature.args[-2], made), [place])
        cashes, unit, before = (_all(builder, value, _NUMBERS) for value in money)
        found = _Range(builder)
        carried = cgutils.alloca_once_value(builder, before)
        # The equity before each: the last of the eight before, then all but the last of these.
        shifted = ir.Constant(ir.VectorType(_PLACE, LANES), list(range(LANES - 1, 2 * LANES - 1)))
        with _eights(builder, builder.sub(end, first)) as (at, among):
            values = _load(builder, data, at)
            found.see(values, among)
            equity = builder.fadd(cashes, builder.fmul(unit, values))
            base = builder.shuffle_vector(builder.load(carried), equity, shifted)
            builder.store(equity, carried)
            r = builder.fsub(builder.fdiv(equity, base), _numbers(1.0))
            builder.store(r, builder.bitcast(builder.gep(out, [at]), _NUMBERS.as_pointer()), align=8)
        return context.make_tuple(builder, _PAIR, found.ends())

    return _PAIR(x, types.int64, types.int64, *[types.float64] * 3, returns, types.int64), emit


@_called
def summed(typing: Any, rows: Any, count: Any, sums: Any) -> Any:
    """Write Σ r, Σ r² and Σ min(r, 0)² of each of eight rows of returns to ``sums`` (3, 8).

    ``rows`` is (8, width); of each the first ``count`` count, and up to the next multiple of `LANES` it holds 0. An
    addition must wait for the one before, which eight rows do together.
    """

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, many, out = arguments
        data = _data(context, builder, signature.args[0], array)
        width = builder.extract_value(make_array(signature.args[0])(context, builder, array).shape, 1)
        begins = [builder.gep(data, [builder.mul(width, ir.Constant(_WHOLE, m))]) for m in range(LANES)]
        kept = [cgutils.alloca_once_value(builder, _numbers(0.0)) for _ in range(3)]
        with _eights(builder, many) as (at, _):
            columns = _turned(builder, [_load(builder, begin, at) for begin in begins])
            values = [builder.load(each) for each in kept]
            for r in columns:
                down = builder.select(builder.fcmp_ordered("<", r, _numbers(0.0)), r, _numbers(0.0))
                terms = (r, builder.fmul(r, r), builder.fmul(down, down))
                values = [builder.fadd(value, term) for value, term in zip(values, terms, strict=True)]
            for value, each in zip(values, kept, strict=True):
                builder.store(value, each)
        target = _data(context, builder, signature.args[2], out)
        for i, each in enumerate(kept):
            place = builder.gep(target, [ir.Constant(_WHOLE, LANES * i)])
            builder.store(builder.load(each), builder.bitcast(place, _NUMBERS.as_pointer()), align=8)
        return context.get_dummy_value()

    return types.void(rows, types.int64, sums), emit


def _turned(builder: Any, rows: list[Any]) -> list[Any]:
    """Return the columns of eight rows of eight."""
    # Squares of twice the size change their off-diagonal quarters at each step.
    for size in (1, 2, 4):
        left = [lane if not lane & size else LANES + lane - size for lane in range(LANES)]
        right = [LANES + lane if lane & size else lane + size for lane in range(LANES)]
        made = list(rows)
        for lane in range(LANES):
            if not lane & size:
                for place, order in ((lane, left), (lane + size, right)):
                    mask = ir.Constant(ir.VectorType(_PLACE, LANES), order)
                    made[place] = builder.shuffle_vector(rows[lane], rows[lane + size], mask)
        rows = made
    return rows


@_called
def differing(typing: Any, x: Any, at: Any) -> Any:
    """Return, for the 64 bytes from ``x[at]`` on, which differ from the one before, the first in the lowest bit.

    ``x`` is of bytes, and goes on to ``at + 64`` at least; ``at`` is 1 at least.
    """
    sizes = ir.VectorType(ir.IntType(8), BYTES)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, place = arguments
        here = builder.gep(_data(context, builder, signature.args[0], array), [place])
        before = builder.gep(here, [ir.Constant(_WHOLE, -1)])
        now, then = (builder.load(builder.bitcast(p, sizes.as_pointer()), align=1) for p in (here, before))
        return builder.bitcast(builder.icmp_unsigned("!=", now, then), _WHOLE)

    return types.uint64(x, types.int64), emit


@_called
def lowest_bit(typing: Any, bits: Any) -> Any:
    """Return the place of the lowest bit that is set; 64 if none is."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), emit


@_called
def bits_set(typing: Any, bits: Any) -> Any:
    """Return how many bits are set."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), emit
