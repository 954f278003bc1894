"""Hypothesis strategies: geometries, tensors and cases of a convolution, for any property test.

Every draw gives a valid case (nothing is filtered), and a failing one shrinks towards a 1x1 kernel over one pixel. What
is drawn are the parameters and one seed, never tensor elements: a draw costs some 0.1 ms. Knows Hypothesis and recipes;
none of the libraries that are judged.
"""

import math
import operator
from collections.abc import Sequence
from typing import NamedTuple, TypedDict, TypeVar, Unpack

import hypothesis.strategies as st
from hypothesis.strategies import SearchStrategy

from refconv.arrays import Operands
from refconv.case import OPERATORS, Case
from refconv.fills import known, names, operands
from refconv.formats import SUPPORTED
from refconv.geometry import LARGEST, Geometry, Padding, choice, convolution, integer
from refconv.padding import MODES
from refconv.recipes import Recipe, input_shape, weight_shape

_T = TypeVar("_T")

MAX_MULTIPLICATIONS = 100_000

# What is worth trying, simplest first; a value that stands here twice is drawn twice as often.
BATCHES = (1,) * 9 + (2,) * 6 + (3, 3, 3, 5, 0)
GROUPS = (1, 1, 1, 1, 2, 2, 3, 4, 5, 8)
CHANNELS = (1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33)
SIZES = (1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 7, 8, 9, 10, 12, 15, 16, 17, 31, 32, 33, 63, 64, 65)
KERNELS = (1, 1, 1, 2, 2, 3, 3, 3, 4, 5, 7)
STRIDES = (1, 1, 1, 2, 2, 3, 4)
DILATIONS = (1, 1, 1, 1, 2, 2, 3, 4)
PADDINGS = (0, 0, 0, 1, 1, 2, 2, 3, 4, 6)


class Limits(TypedDict, total=False):
    """What may be drawn; the parameters of `geometries`."""

    depthwise: bool | None
    padding_modes: Sequence[str]
    string_padding: bool
    asymmetric_padding: bool
    max_multiplications: int


class _Drawn(NamedTuple):
    """The numbers drawn, before they are made to fit each other."""

    batch: int
    groups: int
    inputs: int  # of a group
    outputs: int  # of a group
    height: int
    width: int
    rows: int  # of the kernel
    columns: int
    top: int
    left: int
    bottom: int  # used for four-sided padding only, and so is right
    right: int
    strides: tuple[int, int]
    dilations: tuple[int, int]
    depthwise: bool | None  # None: as it comes
    padding: str  # "valid", "same", "symmetric" or "four-sided"
    mode: str


class _Shape(NamedTuple):
    """A geometry, and the padding as the call has it."""

    geometry: Geometry
    padding: Padding


def geometries(
    *,
    depthwise: bool | None = None,
    padding_modes: Sequence[str] = ("zeros",),
    string_padding: bool = True,
    asymmetric_padding: bool = False,
    max_multiplications: int = MAX_MULTIPLICATIONS,
) -> SearchStrategy[Geometry]:
    """Geometries of convolutions: shapes, stride, padding, dilation, groups.

    Parameters
    ----------
    depthwise : bool, optional
        Only depthwise ones (one input channel per group), none of them, or both.
    padding_modes : sequence of {"zeros", "reflect", "replicate", "circular"}
        The modes to draw from.
    string_padding : bool
        Whether the padding may be "same" or "valid". "Same" is unequal on the two sides of an axis where
        dilation * (kernel - 1) is odd.
    asymmetric_padding : bool
        Whether any other padding may be.
    max_multiplications : int
        Largest number of multiplications of a convolution.

    Returns
    -------
    SearchStrategy of Geometry

    Raises
    ------
    GeometryError, TypeError
        For an unknown padding mode or a limit below 1.

    Examples
    --------
    >>> from hypothesis import find
    >>> geometry = find(geometries(depthwise=True), lambda g: g.stride[0] > g.kernel[0])
    >>> geometry.size, geometry.kernel, geometry.stride
    ((1, 1), (1, 1), (2, 1))
    """
    shapes = _shapes(
        depthwise=depthwise,
        padding_modes=padding_modes,
        string_padding=string_padding,
        asymmetric_padding=asymmetric_padding,
        max_multiplications=max_multiplications,
    )
    return st.builds(operator.attrgetter("geometry"), shapes)


def arrays(geometry: Geometry, *, dtype: str = "float32", bias: bool | None = None) -> SearchStrategy[Operands]:
    """Input, weight and bias (or None) for a geometry, by all the fills of `refconv.fills.names`.

    Parameters
    ----------
    geometry : Geometry
        The shapes.
    dtype : str
        A float or integer dtype.
    bias : bool, optional
        With one, without, or both.

    Returns
    -------
    SearchStrategy of (ndarray, ndarray, ndarray or None)

    Examples
    --------
    >>> from hypothesis import find
    >>> from refconv.geometry import convolution
    >>> geometry = convolution((1, 2, 3, 3), (2, 1, 2, 2), None, 1, 0, 1, 2, "zeros")
    >>> [each.shape for each in find(arrays(geometry, bias=True), lambda operands: True)]
    [(1, 2, 3, 3), (2, 1, 2, 2), (2,)]
    """
    return st.builds(
        lambda fill, with_bias, seed: operands(
            fill, input_shape(geometry), weight_shape(geometry), bias=with_bias, dtype=dtype, seed=seed
        ),
        st.sampled_from(names(dtype)),
        _either(bias),
        _SEEDS,
    )


def cases(
    op: str = "conv2d",
    *,
    dtypes: Sequence[str] = ("float32",),
    fills: Sequence[str] | None = None,
    unbatched: bool = True,
    **limits: Unpack[Limits],
) -> SearchStrategy[Case]:
    """Calls of an operator, with their arrays.

    Parameters
    ----------
    op : {"conv2d"}
        The operator.
    dtypes : sequence of str
        The dtypes to draw from.
    fills : sequence of str, optional
        What the arrays may be filled with (`refconv.fills.operands`); `refconv.fills.names` if not given.
    unbatched : bool
        Whether the input may be a single image (C_in, H, W).
    **limits
        As `geometries` takes them.

    Returns
    -------
    SearchStrategy of Case

    Examples
    --------
    A property test of a kernel of one's own, with the error bound as the judge:

    >>> from hypothesis import given, settings
    >>> import refconv
    >>> @settings(deadline=None, max_examples=10)  # no deadline: the first call compiles
    ... @given(cases(dtypes=["float32", "float64"], string_padding=False))
    ... def test_kernel(case):
    ...     refconv.assert_close(refconv.conv2d(*case.arguments()), case)
    >>> test_kernel()
    """
    return st.builds(Recipe.case, recipes(op, dtypes=dtypes, fills=fills, unbatched=unbatched, **limits))


def recipes(
    op: str = "conv2d",
    *,
    dtypes: Sequence[str] = ("float32",),
    fills: Sequence[str] | None = None,
    unbatched: bool = True,
    **limits: Unpack[Limits],
) -> SearchStrategy[Recipe]:
    """As `cases`, but before the tensors are made."""
    choice("op", op, OPERATORS)
    return st.builds(
        _recipe,
        _shapes(**limits),
        # One draw for both: which fills there are depends on the dtype.
        st.sampled_from([(dtype, fill) for dtype in map(_dtype, dtypes) for fill in _fills(dtype, fills)]),
        st.booleans(),
        st.sampled_from((True, True, True, False)) if unbatched else st.just(True),
        _SEEDS,
    )


def _dtype(name: str) -> str:
    return choice("dtypes", name, tuple(map(str, SUPPORTED)))


def _fills(dtype: str, wanted: Sequence[str] | None) -> tuple[str, ...]:
    return names(dtype) if wanted is None else tuple(choice("fills", fill, known(dtype)) for fill in wanted)


_SEEDS = st.integers(0, 2**32 - 1)


def _recipe(shape: _Shape, dtype_and_fill: tuple[str, str], bias: bool, batched: bool, seed: int) -> Recipe:
    geometry, padding = shape
    return Recipe(geometry, padding, batched or geometry.batch != 1, bias, *dtype_and_fill, seed)


def _shapes(
    *,
    depthwise: bool | None = None,
    padding_modes: Sequence[str] = ("zeros",),
    string_padding: bool = True,
    asymmetric_padding: bool = False,
    max_multiplications: int = MAX_MULTIPLICATIONS,
) -> SearchStrategy[_Shape]:
    """Shapes from numbers that are drawn independently, so that each shrinks by itself, and are made to fit then."""
    modes = tuple(choice("padding_modes", mode, MODES) for mode in padding_modes)
    integer("max_multiplications", max_multiplications, 1)
    paddings = ["symmetric"] * 6 + ["four-sided"] * 4 * asymmetric_padding + ["same", "same", "valid"] * string_padding
    drawn = st.builds(
        _Drawn,
        batch=_one_of(0, BATCHES),
        groups=_one_of(1, GROUPS),
        inputs=_one_of(2, CHANNELS),
        outputs=_one_of(3, CHANNELS),
        height=_one_of(4, SIZES),
        width=_one_of(5, SIZES),
        rows=_one_of(6, KERNELS),
        columns=_one_of(7, KERNELS),
        top=_one_of(8, PADDINGS),
        left=_one_of(9, PADDINGS),
        bottom=_one_of(10, PADDINGS) if asymmetric_padding else st.just(0),
        right=_one_of(11, PADDINGS) if asymmetric_padding else st.just(0),
        strides=st.tuples(_one_of(12, STRIDES), _one_of(13, STRIDES)),
        dilations=st.tuples(_one_of(14, DILATIONS), _one_of(15, DILATIONS)),
        depthwise=_one_of(16, (None, None, None, True) if depthwise is None else (depthwise,)),
        padding=_one_of(17, paddings),
        mode=_one_of(18, modes),
    )
    return st.builds(_fitted, drawn, st.just(max_multiplications))


def _one_of(number: int, values: Sequence[_T]) -> SearchStrategy[_T]:
    """One of `values`, of which the first is the simplest.

    Numbered, so that no two draws look alike to Hypothesis: where they do (so would two `map` in a row), it spends five
    cases out of six on copying one over another, which is little more than making the axes equal.
    """
    return st.sampled_from([(number, value) for value in values]).map(operator.itemgetter(1))


# In the order in which the equally large are halved: the batch last, for it may not become 0.
_HALVED = (
    "bottom", "right", "top", "left", "height", "width", "rows", "columns", "inputs", "outputs", "groups", "batch",
)  # fmt: skip


def _fitted(drawn: _Drawn, max_multiplications: int) -> _Shape:
    """The shape of the numbers drawn, the largest of them halved until it is small enough.

    Halving keeps what lies around a power of two close to one.
    """
    shape = _shape(drawn)
    while math.prod(shape.geometry.output_shape) * shape.geometry.terms > max_multiplications:
        largest = max(_HALVED, key=lambda name: getattr(drawn, name))
        drawn = drawn._replace(**{largest: getattr(drawn, largest) // 2})
        shape = _shape(drawn)
    return shape


def _shape(drawn: _Drawn) -> _Shape:
    """A valid geometry near the numbers drawn: the input grows, or its padding, until the kernel fits."""
    groups, inputs, outputs = (max(1, each) for each in (drawn.groups, drawn.inputs, drawn.outputs))
    if drawn.depthwise:
        groups, inputs, outputs = inputs, 1, 1 + (outputs - 1) % 3
    elif drawn.depthwise is False and groups > 1:
        inputs = max(2, inputs)
    kernel = max(1, drawn.rows), max(1, drawn.columns)
    sizes, sides = [], []
    for size, taps, dilation, *wanted in zip(
        (drawn.height, drawn.width),
        kernel,
        drawn.dilations,
        (drawn.top, drawn.left),
        (drawn.bottom, drawn.right),
        strict=True,
    ):
        extent = dilation * (taps - 1) + 1
        sizes.append(max(size, _smallest_size(extent, drawn.padding, drawn.mode)))
        sides.append(_sides(sizes[-1], extent, wanted, drawn))
    padding: Padding = drawn.padding if drawn.padding in ("same", "valid") else tuple(sides)
    geometry = convolution(
        (drawn.batch, groups * inputs, *sizes),
        (groups * outputs, inputs, *kernel),
        None,
        (1, 1) if padding == "same" else drawn.strides,  # all that torch takes
        padding,
        drawn.dilations,
        groups,
        drawn.mode,
    )
    return _Shape(geometry, padding)


def _smallest_size(extent: int, padding: str, mode: str) -> int:
    """Smallest input along an axis that a dilated kernel of length `extent` fits into, once padded."""
    if padding == "valid":
        return extent
    if padding == "same":  # extent // 2 is the larger of its two sides
        return {"reflect": extent // 2 + 1, "circular": max(1, extent // 2)}.get(mode, 1)
    return {"reflect": (extent + 4) // 3, "circular": (extent + 2) // 3}.get(mode, 1)


def _sides(size: int, extent: int, wanted: Sequence[int], drawn: _Drawn) -> tuple[int, int]:
    """Padding before and after, as wanted if the mode allows it and the kernel fits then."""
    largest = {"reflect": size - 1, "circular": size}.get(drawn.mode, LARGEST)
    missing = max(0, extent - size)
    before, after = wanted
    if drawn.padding == "symmetric":
        before = min(max(before, -(-missing // 2)), largest)
        return before, before
    before = min(max(before, missing - largest), largest)
    return before, min(max(after, missing - before), largest)


def _either(value: bool | None) -> SearchStrategy[bool]:
    return st.booleans() if value is None else st.just(value)
