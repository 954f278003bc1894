"""Number formats on the device: from the bits of any format to a number of an accumulator's, and back, rounded once.

A format is described by numbers (`Format`), so that one kernel converts all formats. Bits of formats narrower than
float32 are converted by arithmetic on the bits, for not every device has instructions for them. The steps are those of
`jit.convert` and `jit.certify`, whose comments say why they are right. Knows memory; not where numbers lie.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from refconv.core.formats import FLOATS
from refconv.engine.targets.cuda.primitives import (  # fmt: skip
    bits_of_double,
    bits_of_float,
    double_of,
    float_of,
    inner,
    load,
    product,
    store,
)
from refconv.engine.targets.jit import rounding

FLOAT32, FLOAT64, NARROW, SIGNED, UNSIGNED = range(5)
_EXPONENT = 0x7FF << 52
_MAGNITUDE = 2**63 - 1
_UNIT = 2.0**-106  # from the power of two that a sum's first number starts from to the unit of `slack`: see `pairs`


class Format(NamedTuple):
    """A format: its kind and size; of a narrow one, also the layout and meaning of its bits."""

    kind: int
    size: int  # bytes
    mantissa: int  # bits
    rebias: int  # from its stored exponent to that of the accumulator's format, or of float64
    largest: int  # bits of the largest finite number; those of infinity, or NaN without infinity, come next
    nan: int  # bits of the positive quiet NaN
    mark: int  # bits that stand for a sum whose rounding is not certain: a negative NaN
    smallest: float  # subnormal number


def format_of(dtype: np.dtype, wide: np.dtype) -> Format:
    """The format of a dtype, to be converted to or from a wide one, float32 or float64."""
    if dtype not in FLOATS:
        return Format(SIGNED if dtype.kind == "i" else UNSIGNED, dtype.itemsize, 0, 0, 0, 0, 0, 0.0)
    info: Any = ml_dtypes.finfo(dtype)
    bits = f"u{dtype.itemsize}"
    sign = 1 << (8 * dtype.itemsize - 1)
    largest, nan = (int(np.array(value, dtype).view(bits)) for value in (info.max, np.nan))
    kind = {4: FLOAT32, 8: FLOAT64}.get(dtype.itemsize, NARROW)
    rebias = int(info.minexp) - int(ml_dtypes.finfo(wide).minexp)
    mark = (nan | sign) - (2**64 if dtype.itemsize == 8 else 0)  # as 64 bits have it
    return Format(
        kind, dtype.itemsize, int(info.nmant), rebias, largest, nan & (sign - 1), mark, float(info.smallest_subnormal)
    )


@inner
def _bits(address, size):
    """The bits at an address as an int64, without extending a sign."""
    if size == 1:
        return np.int64(load(np.uint8, address, 0))
    if size == 2:
        return np.int64(load(np.uint16, address, 0))
    if size == 4:
        return np.int64(load(np.uint32, address, 0))
    return load(np.int64, address, 0)


@inner
def store_bits(address, size, bits):
    """Store the lowest `size` bytes of some bits."""
    if size == 1:
        store(np.uint8, address, 0, np.uint8(bits))
    elif size == 2:
        store(np.uint16, address, 0, np.uint16(bits))
    elif size == 4:
        store(np.uint32, address, 0, np.uint32(bits))
    else:
        store(np.int64, address, 0, bits)


@inner
def _integer(bits, form):
    """The integer that some bits stand for; for uint64 the int64 with the same bits."""
    if form.kind == SIGNED:
        shift = np.int64(64 - 8 * form.size)
        return (bits << shift) >> shift
    return bits


def _widening(mantissa: int, exponent: int, number: Any, bits_type: Any, from_bits: Any) -> Any:
    """Function from a narrow number's bits to the same number in a wide format."""
    size = mantissa + (8 if mantissa == 23 else 11)

    @inner
    def widen(bits, form):
        narrow_size = np.int64(8 * form.size - 1)
        magnitude = bits & ((np.int64(1) << narrow_size) - 1)
        sign = (bits >> narrow_size) << np.int64(size)
        if magnitude >> np.int64(form.mantissa) == 0:
            signed = product(np.float64(magnitude), form.smallest)
            return number(-signed if bits >> narrow_size else signed)
        wide = (magnitude << np.int64(mantissa - form.mantissa)) + (np.int64(form.rebias) << np.int64(mantissa))
        if magnitude > form.largest:
            wide |= exponent
        return from_bits(bits_type(wide | sign))

    return widen


_WIDENING = {
    4: _widening(23, 0xFF << 23, np.float32, np.int32, float_of),
    8: _widening(52, _EXPONENT, np.float64, np.int64, double_of),
}


def reading(number: np.dtype) -> Any:
    """Function of an address, a format and a zero point for the number that lies there, in an accumulator's format."""
    of_number = number.type
    if number.kind == "i":

        @inner
        def read_integer(address, form, zero_point):
            return _integer(_bits(address, form.size), form) - zero_point

        return read_integer
    widen = _WIDENING[number.itemsize]

    @inner
    def read(address, form, zero_point):
        if form.kind == FLOAT32:
            return of_number(load(np.float32, address, 0))
        if form.kind == FLOAT64:
            return of_number(load(np.float64, address, 0))
        bits = _bits(address, form.size)
        if form.kind == NARROW:
            return widen(bits, form)
        if form.kind == UNSIGNED and form.size == 8:
            return of_number(np.uint64(bits))
        return of_number(_integer(bits, form) - zero_point)

    return read


@inner
def _narrowed(value, form):
    """The bits of the nearest narrow number, ties to even."""
    bits = bits_of_double(value)
    magnitude = bits & _MAGNITUDE
    if magnitude > _EXPONENT:
        return np.int64(form.nan)
    dropped = np.int64(52 - form.mantissa)
    past = ((form.largest >> np.int64(form.mantissa)) + 1 + form.rebias) << np.int64(52)  # the next power of two
    least = np.int64(1 + form.rebias) << np.int64(52)
    clipped = min(magnitude, past)
    exponent = max(clipped, least) & _EXPONENT
    power = exponent + (dropped << np.int64(52))
    significand = bits_of_double(double_of(clipped) + double_of(power)) - power
    narrow = min(((exponent - least) >> dropped) + significand, np.int64(form.largest + 1))
    sign = 1 if bits < 0 and narrow < form.nan else 0
    return narrow | (np.int64(sign) << np.int64(8 * form.size - 1))


@inner
def _rounded(value, form):
    """The bits of the nearest number of a floating format; a NaN's are those of the positive quiet one."""
    if value != value:
        return np.int64(form.nan)
    if form.kind == FLOAT32:
        return np.int64(bits_of_float(np.float32(value)))
    if form.kind == FLOAT64:
        return bits_of_double(value)
    return _narrowed(value, form)


_two_sum = inner(rounding.two_sum)
_to_odd = inner(rounding.to_odd_by(bits_of_double, double_of))


@inner
def _rounded_sum(value, rest, form):
    total, left = _two_sum(value, rest)
    return _rounded(total if form.kind == FLOAT64 else _to_odd(total, left), form)


@inner
def _certified(high, low, slack, form):
    """The bits of a sum of two numbers rounded to nearest, or the mark."""
    exponent = bits_of_double(high) & _EXPONENT
    power = double_of(exponent)
    value, rest = _two_sum(high - product(1.5, power), low)
    spread = 0.0
    if slack != 0:
        spread = product(np.float64(slack), product(power, _UNIT)) + product(abs(rest), 2.0**-52)
    below, above = _rounded_sum(value, rest - spread, form), _rounded_sum(value, rest + spread, form)
    if below == above and spread + spread <= abs(value) and exponent != _EXPONENT:
        return below
    return np.int64(form.mark)


def writing(number: np.dtype, numbers: int) -> Any:
    """Function of a sum's address, the step to its second number, slack and a format, for the bits of the sum."""
    of_number = number.type

    @inner
    def certified_bits(address, second, slack, form):
        return _certified(load(np.float64, address, 0), load(np.float64, address, second), slack, form)

    @inner
    def bits(address, second, slack, form):
        value = load(of_number, address, 0)
        if form.kind == SIGNED:
            return np.int64(value)
        return _rounded(np.float64(value), form)

    return certified_bits if numbers == 2 else bits
