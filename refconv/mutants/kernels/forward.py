"""The correct kernels that all mutants share: a call of each operator as a few steps, any of which a mutant replaces.

Written over NumPy alone, apart from refconv's kernels: it knows geometries (what is valid, and the sizes) and formats,
nothing of cases and judges. Fast for small calls, and without loops over batch, channels or groups.

All operators are written in terms of the *forward* convolution concerned: x is what it takes, w its weight, y what it
gives. So `out_size` is the size of y, for a gradient and for a transposed convolution too. Written for any number of
spatial axes; the letters of comments are those of two: (N, C, H, W), with R, S the taps and P, Q the outputs of each.
"""

import math
from typing import Any, ClassVar, TypeAlias

import numpy as np

from refconv.core import checks, formats, geometry, operators
from refconv.core.geometry import Geometry
from refconv.core.padding import ZERO, element
from refconv.ops import options
from refconv.ops.epilogue import Step, applied, arranged, operand_names, steps_of

Array: TypeAlias = np.ndarray


class KernelCall:
    """One call of an operator: its operands as wide numbers, its parameters, and the steps of its computation.

    Attributes
    ----------
    raw : dict of str to ndarray
        The arrays as they were given, by the names of the arguments.
    x, w, y, b : ndarray
        Operands in float64, complex128 or int64, x and y with a batch axis. Which there are depends on the operator.
    axes : int
        How many spatial axes the operator has.
    size, kernel, out_size, stride, before, after, dilation : list of int
        Per spatial axis; `before` and `after` are the padding.
    inputs, outputs : ndarray or None
        The channels of x and of y that belong to each group, (groups, channels of a group); None: as they come.
    outside : int
        The number that zero padding consists of: 0 or a zero point.
    given_padding : Any
        The padding as the call had it: "same", for instance.
    output_padding : tuple of int
        Of a transposed convolution.
    steps, further : tuple of Step, list of ndarray
        The epilogue, with its operands in float64.
    """

    op: ClassVar[str] = ""
    axes: ClassVar[int] = 2
    x: Array
    w: Array
    y: Array
    b: Array | None = None
    output_padding: tuple[int, ...] = ()
    inputs: Array | None = None
    outputs: Array | None = None
    outside: int = 0
    steps: tuple[Step, ...] = ()
    further: list[Array]

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        cls.axes = operators.axes_of(cls.op) if cls.op else cls.axes

    def __init__(self, *arguments: Any, padding_mode: str = "zeros", epilogue: str = "", **keywords: Any) -> None:
        self.raw: dict[str, Array] = {}
        self.mode, self.steps = padding_mode, steps_of(epilogue)
        names = operand_names(self.steps)
        own = len(arguments) - len(names)
        self.further = arranged(names, arguments[own:], self.axes)
        self.parse(*arguments[:own], **keywords)

    def parse(self, *arguments: Any, **keywords: Any) -> None:
        """Take the arguments over, and refuse what is impossible."""
        raise NotImplementedError

    def load(self, name: str, array: Array) -> Array:  # noqa: ARG002 - for mutants
        """The elements of an operand, read by its shape and strides, however it lies in memory."""
        return array

    def run(self) -> Array:
        """Compute the result: the steps in their order."""
        if 0 in self.shape:
            return self.empty()
        self.prepare()
        with np.errstate(all="ignore"):
            return self.store(self.activate(self.add_bias(self.finish(self.compute()))))

    def empty(self) -> Array:
        """The result if it has no elements."""
        return np.zeros(self.shape if self.batched else self.shape[1:], self.dtype)

    def prepare(self) -> None:
        """Change the parameters: where most mutants go wrong."""

    def compute(self) -> Array:
        """The sums, without bias."""
        raise NotImplementedError

    def finish(self, sums: Array) -> Array:
        """Change the sums: where what is written last goes wrong."""
        return sums

    def add_bias(self, sums: Array) -> Array:
        """The sums with the bias of each channel added."""
        return sums if self.b is None else sums + self.behind(self.b)

    def activate(self, sums: Array) -> Array:
        """What the epilogue makes of the sums."""
        return applied(self.steps, sums, self.further)

    def store(self, sums: Array) -> Array:
        """The result, rounded to its dtype, once."""
        result = np.ascontiguousarray(sums if self.batched else sums[0])
        if self.dtype.kind in "iu":
            return result.astype(self.dtype)
        return formats.rounded(result + 0.0, self.dtype)  # never -0.0, which depends on how products are added up

    def deliver(self, result: Array, out: Array) -> None:
        """Write a result to an array of the caller's."""
        out[...] = result

    # --- what the operators share

    def every(self, value: int) -> list[int]:
        """The same number for each spatial axis."""
        return [value] * self.axes

    def behind(self, vector: Array) -> Array:
        """Numbers by channel, with the spatial axes behind them."""
        return vector.reshape(-1, *self.every(1))

    @property
    def depthwise(self) -> bool:
        """Whether each group has one input channel, and there is more than one."""
        return self.groups == self.in_channels > 1

    @property
    def multiplier(self) -> int:
        """Output channels of a group."""
        return self.out_channels // self.groups

    @property
    def filter_size(self) -> int:
        """Input channels of a group."""
        return self.in_channels // self.groups

    def take(self, name: str, array: Any, *, batched: bool | None = None) -> Array:
        """An operand in wide numbers; with a batch axis, unless `batched` is None."""
        raw = self.raw[name] = array if isinstance(array, np.ndarray) else np.asarray(array)
        operand = self.load(name, raw)
        if batched is False:
            operand = operand[None]
        return wide(operand)

    def adopt(self, g: Geometry, dtype: np.dtype, padding: Any, *, batched: bool) -> None:
        """Take over what a geometry says."""
        self.geometry, self.given_padding, self.batched = g, padding, batched
        self.dtype = formats.result_dtype(dtype)
        self.batch, self.in_channels, self.out_channels, self.groups = g.batch, g.in_channels, g.out_channels, g.groups
        self.size, self.kernel, self.out_size = list(g.size), list(g.kernel), list(g.output_size)
        self.stride, self.dilation = list(g.stride), list(g.dilation)
        self.before, self.after = ([side[i] for side in g.padding] for i in (0, 1))
        self.shape: tuple[int, ...] = g.output_shape

    def extent(self, axis: int) -> int:
        """How many elements the kernel spans from its first tap to its last, along an axis."""
        return self.dilation[axis] * (self.kernel[axis] - 1) + 1

    def remainder(self, axis: int) -> int:
        """How many elements of the padded input the last window leaves over, along an axis."""
        return (self.size[axis] + self.before[axis] + self.after[axis] - self.extent(axis)) % self.stride[axis]

    def resize(self) -> None:
        """Compute the size of the result from the parameters."""
        self.out_size = [
            max(0, (self.size[i] + self.before[i] + self.after[i] - self.extent(i)) // self.stride[i] + 1)
            for i in range(self.axes)
        ]

    def positions(self, axis: int) -> Array:
        """The position in x that each tap reads for each output along an axis; outside of x it is in the padding."""
        taps, outputs = np.arange(self.kernel[axis]), np.arange(self.out_size[axis])
        return taps[:, None] * self.dilation[axis] + outputs * self.stride[axis] - self.before[axis]

    def source(self, axis: int) -> Array:
        """The index of the element of x at each of the `positions`; `ZERO` where there is none."""
        size = self.size[axis]
        elements = element(self.positions(axis), size, self.mode)
        return np.where((elements >= 0) & (elements < size), elements, ZERO)

    def gather(self) -> Array:
        """What each tap reads for each output, (N, C_in, R, P, S, Q)."""
        sources = [self.source(axis) for axis in range(self.axes)]
        shape = (*self.x.shape[:2], *(length for source in sources for length in source.shape))
        if not self.x.size:
            return np.full(shape, self.outside, self.x.dtype)
        gathered = self.x
        for axis, source in enumerate(sources, 2):
            gathered = gathered.take(source.reshape(-1), axis)
        for axis, source in enumerate(sources, 2):
            gathered[(*(slice(None),) * axis, source.reshape(-1) == ZERO)] = self.outside
        return gathered.reshape(shape)

    def windows(self) -> Array:
        """What `gather` gives, as a matrix for each group: (groups, N * P * Q, C_in // groups * R * S)."""
        gathered = self.gather()
        if self.inputs is not None:
            gathered = gathered[:, self.inputs.reshape(-1)]
        N, _, *sizes = gathered.shape
        taps, outputs = (range(first, 3 + 2 * self.axes, 2) for first in (3, 4))
        grouped = gathered.reshape(N, self.groups, self.filter_size, *sizes).transpose(1, 0, *outputs, 2, *taps)
        return grouped.reshape(self.groups, N * math.prod(sizes[1::2]), self.filter_size * math.prod(sizes[::2]))

    def filters(self) -> Array:
        """The weights as a matrix for each group: (groups, C_out // groups, C_in // groups * R * S)."""
        w = self.w if self.outputs is None else self.w[self.outputs.reshape(-1)]
        return w.reshape(self.groups, self.multiplier, self.filter_size * math.prod(w.shape[2:]))

    def pixels(self) -> Array:
        """The elements of y as a matrix for each group: (groups, N * P * Q, C_out // groups)."""
        y = self.y if self.outputs is None else self.y[:, self.outputs.reshape(-1)]
        grouped = np.moveaxis(y.reshape(len(y), self.groups, self.multiplier, *y.shape[2:]), (1, 2), (0, -1))
        return grouped.reshape(self.groups, len(y) * math.prod(y.shape[2:]), self.multiplier)

    def image(self, sums: Array) -> Array:
        """Sums for each group, (groups, N * P * Q, C_out // groups), as (N, C_out, P, Q)."""
        grouped = sums.reshape(self.groups, self.batch, *self.out_size, self.multiplier)
        image = np.moveaxis(grouped, (0, -1), (1, 2)).reshape(self.batch, self.out_channels, *self.out_size)
        return image if self.outputs is None else placed(image, self.outputs, 1)

    def dot(self, left: Array, right: Array) -> Array:
        """Products of matrices, one for each group: this step accumulates the sums."""
        products: Array = left @ right
        return products

    def scatter(self, spread: Array) -> Array:
        """The sum, in (N, C_in, H, W), of what each tap writes for each element of y, (N, C_in, R, P, S, Q)."""
        partial = spread
        for axis in range(self.axes):  # rows first: (N, C_in, H, S, Q)
            source = self.source(axis)
            out = np.zeros((*partial.shape[: 2 + axis], self.size[axis], *partial.shape[4 + axis :]), partial.dtype)
            ahead = (slice(None),) * (2 + axis)
            for tap, targets in enumerate(source):
                inside = targets != ZERO
                part = partial[(*ahead, tap)][(*ahead, inside)]  # type: ignore[arg-type] # NumPy's word for an index
                if self.mode == "zeros":
                    out[(*ahead, targets[inside])] += part  # no target twice, as long as the stride is not 0
                else:
                    np.add.at(out, (*ahead, targets[inside]), part)
            partial = out
        return partial

    def spread(self) -> Array:
        """What each tap writes for each element of y: (N, C_in, R, P, S, Q)."""
        sums = self.dot(self.pixels(), self.filters())
        outputs, taps = self.y.shape[2:], self.w.shape[2:]
        grouped = sums.reshape(self.groups, len(self.y), *outputs, self.filter_size, *taps)
        pairs = (axis for i in range(self.axes) for axis in (3 + self.axes + i, 2 + i))
        sizes = (size for pair in zip(taps, outputs, strict=True) for size in pair)
        spread = grouped.transpose(1, 0, 2 + self.axes, *pairs).reshape(len(self.y), self.in_channels, *sizes)
        return spread if self.inputs is None else placed(spread, self.inputs, 1)


class Windowed(KernelCall):
    """A forward convolution, of numbers of any kind: what floating and quantized ones share."""

    def operands(self, x: Array, w: Array, b: Array | None, options: tuple[Any, ...]) -> None:
        """The operands and options of a forward convolution, of any dtypes."""
        checks.check_weight("weight", w.shape, self.axes)
        batched = checks.check_batched("input", x.shape, self.axes)
        shapes = x.shape if batched else (1, *x.shape), w.shape, None if b is None else b.shape
        self.adopt(self.check(*shapes, *options, self.mode), x.dtype, options[1], batched=batched)
        self.x, self.w = self.take("input", x, batched=batched), self.take("weight", w)
        self.b = None if b is None else self.take("bias", b)

    def check(self, *shapes_and_options: Any) -> Geometry:
        """The geometry of a call that is possible."""
        return geometry.convolution(*shapes_and_options)

    def compute(self) -> Array:
        """The sums, without bias."""
        return self.image(self.dot(self.windows(), self.filters().swapaxes(1, 2)))


class Forward(Windowed):
    """conv2d(input, weight, bias, stride, padding, dilation, groups)."""

    op = "conv2d"

    def parse(
        self, input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
        groups: Any = 1,
    ) -> None:  # fmt: skip
        """Take the arguments over, and refuse what is impossible."""
        x, w = np.asarray(input), np.asarray(weight)
        b = None if bias is None else np.asarray(bias)
        options.common_dtype(x, w, b)
        self.operands(x, w, b, (stride, padding, dilation, groups))


def wide(array: Array) -> Array:
    """An array in the widest format of its kind, which sums are accumulated in."""
    if array.dtype.kind in "iu":
        return array.astype(np.int64)  # sums are those modulo 2**64, of uint64 too
    with np.errstate(invalid="ignore"):  # signalling NaNs
        return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def placed(array: Array, channels: Array, axis: int) -> Array:
    """An array whose channels, in the order in which the groups have them, go where they belong."""
    moved = np.zeros_like(array)
    moved[(slice(None),) * axis + (channels.reshape(-1),)] = array
    return moved
