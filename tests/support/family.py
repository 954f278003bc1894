"""The family of operators for tests: geometries of any number of axes, and the arguments of every operator for each."""

import numpy as np
from common import MODES
from hypothesis import settings
from hypothesis import strategies as st

import refconv
from refconv.core.geometry import convolution
from refconv.core.operators import axes_of, is_transposed, kind_of

INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
NARROW = ("float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")
FLOATS = (*NARROW, "float32", "float64")
COMPLEX = ("complex64", "complex128")
DTYPES = (*FLOATS, *COMPLEX, *INTEGERS)
PRECISIONS = ("float64", "exact")  # that every dtype has
SEEDS = st.integers(0, 2**32 - 1)
FEW = settings(max_examples=max(15, settings().max_examples // 10))  # JAX compiles for every geometry, some 0.1 s

CONVOLUTIONS = ("conv1d", "conv2d", "conv3d")
TRANSPOSED = ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
OF_CONVOLUTIONS = tuple(f"conv{axes}d_{of}" for axes in (2, 1, 3) for of in ("input", "weight", "bias"))
OF_TRANSPOSED = tuple(f"conv_transpose{axes}d_{of}" for axes in (2, 1, 3) for of in ("input", "weight"))
GRADIENTS = OF_CONVOLUTIONS + OF_TRANSPOSED
OPERATORS = CONVOLUTIONS + TRANSPOSED + GRADIENTS
# Where each takes long: of the gradients those with two axes, one with four in its sums, and a transposed one's.
FEWER = (*CONVOLUTIONS, *TRANSPOSED, *OF_CONVOLUTIONS[:3], "conv3d_weight", "conv_transpose3d_input")


# --- geometries and arrays -----------------------------------------------------------------------------------------


@st.composite
def small_geometries(draw, axes=2, modes=("zeros",), *, asymmetric=True, tiny=False):
    """Geometries of any number of spatial axes, the input as large as its kernel and mode need."""
    groups, inputs, outputs = (draw(st.integers(1, 2 if tiny else 3)) for _ in range(3))
    mode = draw(st.sampled_from(modes))
    limits = (3, 2, 3, 2, 1) if tiny else (6, 3, 4, 3, 3)
    along = [draw(_axes(mode, limits, asymmetric)) for _ in range(axes)]
    size, kernel, stride, sides, dilation = zip(*along, strict=True)
    # torch has no gradient through the padding of an empty batch.
    batch = draw(st.sampled_from([1, 2, 0, 3] if mode == "zeros" else [1, 2, 3]))
    shapes = (batch, groups * inputs, *size), (groups * outputs, inputs, *kernel)
    return convolution(*shapes, None, stride, sides, dilation, groups, mode)


@st.composite
def _axes(draw, mode, limits, asymmetric):
    """Size, kernel, stride, padding and dilation along one axis."""
    size, kernel, stride, dilation = (draw(st.integers(1, most)) for most in limits[:4])
    largest = min(limits[4], {"reflect": size - 1, "circular": size}.get(mode, limits[4]))
    before = draw(st.integers(0, largest))
    after = draw(st.integers(0, largest)) if asymmetric else before
    missing = dilation * (kernel - 1) + 1 - (before + size + after)
    return size + max(0, missing), kernel, stride, (before, after), dilation


@st.composite
def calls(draw, dtypes=DTYPES, *, tiny=False):
    """An operator, a dtype, a precision, a geometry and a seed."""
    op, dtype = draw(st.sampled_from(OPERATORS)), draw(st.sampled_from(dtypes))
    geometry = draw(small_geometries(axes_of(op), modes_of(op), tiny=tiny))
    return op, dtype, draw(st.sampled_from(precisions_of(dtype))), geometry, draw(SEEDS)


class Arrays:
    """Input, weight, bias and output gradient of a geometry; one image without its batch axis if not `batched`."""

    def __init__(self, geometry, seed, fill, *, batched=True):
        rng = np.random.default_rng(seed)
        g, self.geometry = geometry, geometry
        self.input, self.weight, self.bias, self.grad = (
            fill(rng, shape)
            for shape in (
                (g.batch, g.in_channels, *g.size),
                (g.out_channels, g.in_channels // g.groups, *g.kernel),
                (g.out_channels,),
                (g.batch, g.out_channels, *g.output_size),
            )
        )
        self.input_bias = fill(rng, (g.in_channels,))  # of a transposed convolution
        if g.batch == 1 and not batched:
            self.input, self.grad = self.input[0], self.grad[0]

    @property
    def padding(self):
        """One number for each axis where they are enough."""
        sides = self.geometry.padding
        return sides if any(before != after for before, after in sides) else tuple(before for before, _ in sides)

    @property
    def output_padding(self):
        """What the transposed convolution of `grad` lacks to the size of the input."""
        g = self.geometry
        return tuple(
            before + size + after - d * (k - 1) - 1 - (out - 1) * step
            for size, k, step, (before, after), d, out in zip(
                g.size, g.kernel, g.stride, g.padding, g.dilation, g.output_size, strict=True
            )
        )

    def arguments(self, op):
        """Arguments of an operator: of the convolution, of its gradients, or of the transposed one that undoes it."""
        g = self.geometry
        kind = kind_of(op)
        if kind == "conv_bias":
            return (self.grad,)
        if is_transposed(op):
            steps = (g.stride, self.padding, self.output_padding, g.groups, g.dilation)
            operands = {
                "conv_transpose_input": (self.grad.shape, self.weight, self.input),
                "conv_transpose_weight": (self.grad, self.weight.shape, self.input),
            }.get(kind, (self.grad, self.weight, self.input_bias))
            return *operands, *steps
        operands = {
            "conv_input": (self.input.shape, self.weight, self.grad),
            "conv_weight": (self.input, self.weight.shape, self.grad),
        }.get(kind, (self.input, self.weight, self.bias))
        return (*operands, g.stride, self.padding, g.dilation, g.groups)

    def call(self, op, **options):
        """The operator's result."""
        if kind_of(op) in ("conv", "conv_input", "conv_weight") and self.geometry.padding_mode != "zeros":
            options = {"padding_mode": self.geometry.padding_mode, **options}
        return getattr(refconv, op)(*self.arguments(op), **options)


def small_integers(rng, shape):
    return rng.integers(-8, 8, shape, endpoint=True).astype("float64")


def complex_integers(rng, shape):
    return small_integers(rng, shape) + 1j * small_integers(rng, shape)


def random_numbers(dtype):
    """Numbers that a dtype has, with sums that need rounding; integers whose sums fit."""

    def fill(rng, shape):
        if dtype in INTEGERS:
            return rng.integers(0 if dtype.startswith("u") else -5, 9, shape).astype(dtype)
        values = rng.standard_normal(shape)
        return (values + 1j * rng.standard_normal(shape) if dtype in COMPLEX else values).astype(np.dtype(dtype))

    return fill


def modes_of(op):
    return ("zeros",) if is_transposed(op) or kind_of(op) == "conv_bias" else MODES


def ops_of(geometry):
    """The operators that have such a geometry."""
    axes = len(geometry.size)
    return [op for op in OPERATORS if axes_of(op) == axes and geometry.padding_mode in modes_of(op)]


def precisions_of(dtype):
    return (*PRECISIONS, "float32") if dtype in (*NARROW, "float32", "complex64") else PRECISIONS


def assert_equal(actual, expected):
    """The same numbers, dtype and shape; +0 and -0 are the same number."""
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    assert np.array_equal(actual, expected)
