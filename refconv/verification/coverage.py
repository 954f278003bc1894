"""Coverage: which classes of geometry a case belongs to, the conditions under which convolution kernels break.

Knows cases; not who was judged on them.
"""

from collections.abc import Callable

from refconv.case import Case
from refconv.geometry import Geometry


def classes(case: Case) -> list[str]:
    """Names of the classes that a case belongs to.

    >>> import numpy as np
    >>> classes(Case(input=np.ones((1, 2, 1, 3)), weight=np.ones((2, 1, 1, 2)), groups=2))
    ['batch 1', 'depthwise', 'unequal size', 'unequal kernel']
    """
    g = case.geometry
    found = [name for name, belongs in OF_GEOMETRY.items() if belongs(g)]
    if isinstance(case.padding, str):
        found.append(f"padding {case.padding!r}")
        if case.padding == "same" and any(taps % 2 == 0 for taps in g.kernel):
            found.append("even kernel with 'same'")
    elif any(before != after for before, after in g.padding):
        found.append("four-sided padding")
    if g.padding_mode != "zeros":
        found.append(f"padding mode {g.padding_mode!r}")
    if case.input.ndim == 3:
        found.append("unbatched")
    if case.bias is not None:
        found.append("bias")
    return found


def _depthwise(g: Geometry) -> bool:
    return g.groups == g.in_channels > 1


def _extents(g: Geometry) -> list[int]:
    return [dilation * (taps - 1) + 1 for taps, dilation in zip(g.kernel, g.dilation, strict=True)]


def _remainders(g: Geometry) -> list[int]:
    """Rows or columns that the last step of the stride leaves over, for axes with a stride."""
    axes = zip(g.padded_size, _extents(g), g.stride, strict=True)
    return [(padded - extent) % stride for padded, extent, stride in axes if stride > 1]


def _near_power_of_two(size: int) -> bool:
    """Whether it is 8, 16, 32, ... or next to one."""
    return size >= 7 and any((size + step).bit_count() == 1 for step in (-1, 0, 1))


OF_GEOMETRY: dict[str, Callable[[Geometry], bool]] = {
    "batch 0": lambda g: g.batch == 0,
    "batch 1": lambda g: g.batch == 1,
    "batch above 1": lambda g: g.batch > 1,
    "depthwise": _depthwise,
    "depthwise, multiplier above 1": lambda g: _depthwise(g) and g.out_channels > g.in_channels,
    "grouped, not depthwise": lambda g: 1 < g.groups < g.in_channels,
    "stride": lambda g: max(g.stride) > 1,
    "stride above kernel": lambda g: any(step > taps for step, taps in zip(g.stride, g.kernel, strict=True)),
    "stride leaves 0 over": lambda g: 0 in _remainders(g),
    "stride leaves 1 over": lambda g: 1 in _remainders(g),
    "stride leaves 2 or more over": lambda g: max(_remainders(g), default=0) > 1,
    "dilation": lambda g: max(g.dilation) > 1 and max(_extents(g)) > max(g.kernel),
    "unequal size": lambda g: g.size[0] != g.size[1],
    "unequal kernel": lambda g: g.kernel[0] != g.kernel[1],
    "unequal stride": lambda g: g.stride[0] != g.stride[1],
    "unequal padding": lambda g: g.padding[0] != g.padding[1],
    "unequal dilation": lambda g: g.dilation[0] != g.dilation[1],
    "kernel larger than input": lambda g: any(e > size for e, size in zip(_extents(g), g.size, strict=True)),
    "padding": lambda g: any(map(any, g.padding)),
    "padding not below kernel": lambda g: any(max(p) >= taps for p, taps in zip(g.padding, g.kernel, strict=True)),
    "1x1 kernel": lambda g: g.kernel == (1, 1),
    "output of size 1": lambda g: g.output_size == (1, 1),
    "size near a power of two": lambda g: any(map(_near_power_of_two, g.size)),
    "channels near a power of two": lambda g: any(map(_near_power_of_two, (g.in_channels, g.out_channels))),
}
