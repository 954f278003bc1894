"""Geometries in one, two and three spatial axes: the shapes that torch has, and refused what torch refuses."""

import math

import pytest
import torch
from common import MODES
from hypothesis import assume, example, given
from hypothesis import strategies as st

from refconv import GeometryError
from refconv.core.checks import check_batched, check_weight, integer_sides, padding_sides
from refconv.core.geometry import convolution, input_gradient, weight_gradient
from refconv.core.transposed_geometry import output_padding_for, transposed

CONV = {axes: getattr(torch.nn.functional, f"conv{axes}d") for axes in (1, 2, 3)}
TRANSPOSED = {axes: getattr(torch.nn.functional, f"conv_transpose{axes}d") for axes in (1, 2, 3)}
AXES = st.sampled_from((1, 2, 3))
REFUSALS = (RuntimeError, ValueError, TypeError, NotImplementedError, IndexError)

pytestmark = [
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths"),
    pytest.mark.filterwarnings("ignore:Initializing zero-element tensors is a no-op"),
]


def per_axis(numbers, axes):
    """An int, a sequence of one, or one for each axis."""
    return st.one_of(numbers, st.tuples(numbers), st.tuples(*[numbers] * axes))


@st.composite
def shapes(draw, careful):
    """Number of spatial axes, of groups, and shape of an input and a kernel; where not `careful`, of any size."""
    axes, n_groups, least = draw(AXES), draw(st.integers(1, 3)), int(careful)
    channels = [n_groups * draw(st.integers(least, 3)) + (0 if careful else draw(st.integers(0, 1))) for _ in range(2)]
    size = draw(st.tuples(*[st.integers(4 * least, 6)] * axes))
    return axes, n_groups, channels, (draw(st.integers(0, 2)), channels[0], *size)


@st.composite
def forward_arguments(draw, careful):
    """Of `convolution`; where `careful`, nearly all are of a convolution."""
    axes, n_groups, (in_channels, out_channels), x = draw(shapes(careful))
    kernel = draw(st.tuples(*[st.integers(1, 3)] * axes))
    b = draw(st.sampled_from([None, (out_channels,)] if careful else [None, (out_channels,), (2,)]))
    steps = per_axis(st.integers(1, 2 if careful else 3), axes)
    padding = draw(st.one_of(per_axis(st.integers(0, 3), axes), st.sampled_from(("same", "valid"))))
    w = (out_channels, in_channels // n_groups, *kernel)
    return x, w, b, draw(steps), padding, draw(steps), n_groups, draw(st.sampled_from(MODES))


@st.composite
def transposed_arguments(draw, careful):
    """Of `transposed`; where `careful`, nearly all are of a transposed convolution."""
    axes, n_groups, (in_channels, out_channels), x = draw(shapes(careful))
    kernel = draw(st.tuples(*[st.integers(int(careful), 4)] * axes))
    group_channels = out_channels // n_groups
    b = draw(st.sampled_from([None, (group_channels * n_groups,)] if careful else [None, (out_channels,)]))
    w = (in_channels if careful else draw(st.sampled_from((in_channels, out_channels))), group_channels, *kernel)
    steps = per_axis(st.integers(1, 3), axes)
    padding = draw(per_axis(st.integers(0, 2 if careful else 4), axes))
    return x, w, b, draw(steps), padding, draw(per_axis(st.integers(0, 2), axes)), draw(steps), n_groups


def every(value, axes):
    """One number for each axis, as a tuple."""
    numbers = (value,) if isinstance(value, int) else value
    return tuple(numbers) * axes if len(numbers) == 1 else tuple(numbers)


def zeros(*shapes):
    """float64: of float32 torch leaves some transposed convolutions to oneDNN, which makes empty results."""
    return [None if shape is None else torch.zeros(shape, dtype=torch.float64) for shape in shapes]


def torch_output(x, w, b, stride, padding, dilation, groups, mode):
    """Shape of the output of torch's layer, padding modes included."""
    axes = len(w) - 2
    image, weight, bias = zeros(x, w, b)
    if mode != "zeros":
        if padding == "same" and any(step != 1 for step in every(stride, axes)):
            raise ValueError("torch's layer refuses it at construction")
        totals = [d * (k - 1) for d, k in zip(every(dilation, axes), w[2:], strict=True)]
        amounts = every(0 if isinstance(padding, str) else padding, axes)
        ends = [(t // 2, t - t // 2) for t in totals] if padding == "same" else [(p, p) for p in amounts]
        image = torch.nn.functional.pad(image, [side for pair in reversed(ends) for side in pair], mode=mode)
        padding = 0
    return CONV[axes](image, weight, bias, stride, padding, dilation, groups).shape


@given(st.one_of(forward_arguments(careful=True), forward_arguments(careful=False)))
@example(((0, 2, 0, 3), (2, 2, 1, 1), None, 1, 1, 1, 1, "zeros"))
@example(((1, 0, 5), (1, 0, 1), None, 1, 0, 1, 1, "reflect"))
@example(((0, 0, 1), (1, 0, 1), None, 1, "valid", 1, 1, "reflect"))  # torch's layer pads by nothing, and refuses
def test_convolution_refuses_what_torch_refuses(arguments):
    """Both raise, or both succeed with the same shape."""
    try:
        theirs = torch_output(*arguments)
    except REFUSALS as error:
        with pytest.raises(GeometryError):
            pytest.fail(f"torch: {error}; refconv: {convolution(*arguments).output_shape}")
    else:
        assert convolution(*arguments).output_shape == theirs


@given(st.one_of(transposed_arguments(careful=True), transposed_arguments(careful=False)))
@example(((2, 4, 5, 6), (4, 3, 2, 2), None, (1, 2), 0, (2, 0), (3, 1), 1))  # beyond the stride, within the dilation
@example(((2, 4, 5, 6), (4, 3, 2, 2), None, (1, 2), 0, (0, 2), (3, 1), 1))
@example(((0, 4, 5, 6), (4, 3, 2, 2), None, 1, 0, 1, 1, 1))  # beyond both: torch does not mind in an empty batch
@example(((0, 4, 0, 6), (4, 3, 2, 2), None, 1, 0, 0, 1, 1))
@example(((2, 4, 0, 6), (4, 3, 2, 2), None, 1, 0, 0, 1, 1))
@example(((2, 4, 1, 1), (4, 3, 2, 2), None, 1, 1, 0, 1, 1))  # nothing is left
@example(((0, 4, 1, 1), (4, 3, 2, 2), None, 1, 1, 0, 1, 1))
@example(((0, 4, 1, 1), (4, 3, 2, 2), None, 1, 2, 0, 1, 1))  # less than nothing
@example(((2, 0, 5), (0, 3, 2), None, 1, 0, 0, 1, 1))
@example(((2, 4, 5), (4, 0, 2), None, 1, 0, 0, 1, 1))
def test_transposed_refuses_what_torch_refuses(arguments):
    """Both raise, or both succeed with the same shape."""
    x, w, b, stride, padding, output_padding, dilation, groups = arguments
    try:
        theirs = TRANSPOSED[len(w) - 2](*zeros(x, w, b), stride, padding, output_padding, groups, dilation).shape
    except REFUSALS as error:
        with pytest.raises(GeometryError):
            pytest.fail(f"torch: {error}; refconv: {transposed(*arguments).size}")
    else:
        forward = transposed(*arguments)
        assert (forward.batch, forward.in_channels, *forward.size) == theirs


@given(transposed_arguments(careful=True))
def test_transposed_is_the_gradient_of_the_geometry_that_it_returns(arguments):
    """Its convolution leads back to the input's shape, longer only where the output padding reaches the stride."""
    x, _, _, stride, _, output_padding, _, _ = arguments
    try:
        forward = transposed(*arguments)
    except GeometryError:
        assume(False)
    axes = len(forward.size)
    beyond = [extra // step for extra, step in zip(every(output_padding, axes), every(stride, axes), strict=True)]
    assert forward.output_shape == (*x[:2], *[size + more for size, more in zip(x[2:], beyond, strict=True)])


def test_transposed_takes_each_side_by_itself():
    """Two rows less at the top, a column less at the right."""
    forward = transposed((1, 1, 4, 4), (1, 1, 3, 3), None, 1, ((2, 0), (0, 1)), 0, 1, 1)
    assert forward.size == (4, 5)
    assert forward.padding == ((2, 0), (0, 1))


@given(forward_arguments(careful=True), st.data())
def test_gradients_have_the_geometry_of_their_convolution(arguments, data):
    """With a gradient of the output's shape only; torch agrees, of which `grad` has no padding modes."""
    x, w, _, *options = arguments
    try:
        forward = convolution(x, w, None, *options)
    except GeometryError:
        assume(False)
    grad = forward.output_shape
    assert input_gradient(torch.Size(x), w, grad, *options) == weight_gradient(x, list(w), grad, *options) == forward
    axis = data.draw(st.integers(0, len(grad) - 1))
    for step in (-1, 1):
        wrong = (*grad[:axis], grad[axis] + step, *grad[axis + 1 :])
        for gradient, arrays in ((input_gradient, (x, w)), (weight_gradient, (x, w))):
            with pytest.raises(GeometryError) as caught:
                gradient(*arrays, wrong, *options)
            assert all(word in str(caught.value) for word in ("grad_output", str(wrong), str(grad)))
    stride, padding, dilation, groups, mode = options
    if mode == "zeros" and not isinstance(padding, str):
        given_, weight, gradient = zeros(x, w, grad)
        steps = [every(option, len(w) - 2) for option in (stride, padding, dilation)]
        family = f"conv{len(w) - 2}d"
        assert getattr(torch.nn.grad, f"{family}_input")(x, weight, gradient, *steps, groups).shape == x
        assert getattr(torch.nn.grad, f"{family}_weight")(given_, w, gradient, *steps, groups).shape == w


@pytest.mark.parametrize("size", [6, 7])
def test_sizes_that_the_stride_does_not_divide(size):
    """Both have three outputs: the size is the caller's to say."""
    assert input_gradient((2, 3, size), (4, 3, 2), (2, 4, 3), 2, 0, 1, 1, "zeros").size == (size,)
    assert weight_gradient((2, 3, size), (4, 3, 2), (2, 4, 3), 2, 0, 1, 1, "zeros").size == (size,)


WRONG_SIZES = [
    (5, TypeError, "sequence of 4 integers, not int"),
    (None, TypeError, "sequence of 4 integers, not NoneType"),
    ("1155", TypeError, "sequence of 4 integers, not str"),
    ((1, 5, 5), GeometryError, "4 integers, not 3"),
    ((1, 1, 1, 5, 5), GeometryError, "4 integers, not 5"),
    ((1, 1, 5, -5), GeometryError, "at least 0"),
    ((1, 1, 5, 5.0), TypeError, "must be an integer, not float"),
    ((1, True, 5, 5), TypeError, "must be an integer, not bool"),
]


@pytest.mark.parametrize(("size", "error", "words"), WRONG_SIZES, ids=lambda value: repr(value)[:20])
def test_wrong_sizes(size, error, words):
    with pytest.raises(error, match=f"input_size=.*{words}"):
        input_gradient(size, (1, 1, 1, 1), (1, 1, 5, 5), 1, 0, 1, 1, "zeros")
    with pytest.raises(error, match=f"weight_size=.*{words}"):
        weight_gradient((1, 1, 5, 5), size, (1, 1, 5, 5), 1, 0, 1, 1, "zeros")


GOOD = {
    "input_shape": (2, 4, 5, 6), "weight_shape": (4, 3, 2, 2), "bias_shape": None,
    "stride": 2, "padding": 0, "output_padding": 0, "dilation": 1, "groups": 1,
}  # fmt: skip
WRONG = [
    ({"weight_shape": (5, 3, 2, 2)}, GeometryError, ["weight of shape (5, 3, 2, 2)", "input of shape (2, 4, 5, 6)"]),
    ({"weight_shape": (4, 0, 2, 2)}, GeometryError, ["weight of shape (4, 0, 2, 2)", "empty"]),
    ({"weight_shape": (4, 3, 2, 0)}, GeometryError, ["weight of shape (4, 3, 2, 0)", "empty"]),
    ({"input_shape": (2, 4, 0, 6)}, GeometryError, ["input of shape (2, 4, 0, 6)", "batch", "empty"]),
    ({"groups": 3}, GeometryError, ["groups=3", "in_channels=4"]),
    ({"groups": 2, "bias_shape": (3,)}, GeometryError, ["bias of shape (3,)", "(6,)"]),
    ({"groups": True}, TypeError, ["groups=True", "integer"]),
    ({"stride": 0}, GeometryError, ["stride=0", "at least 1"]),
    ({"stride": 10**6}, GeometryError, ["stride=(1000000, 1000000)", "(2, 3, 4000002, 5000002)", "memory", "GiB"]),
    ({"input_shape": (0, 4, 5, 6), "stride": 2**30}, GeometryError, ["stride=", "memory", "GiB"]),
    ({"dilation": (1, 10**12)}, GeometryError, ["dilation=1000000000000", "at most"]),
    ({"output_padding": 2}, GeometryError, ["output_padding=(2, 2)", "stride=(2, 2)", "dilation=(1, 1)", "smaller"]),
    ({"output_padding": (1, -1)}, GeometryError, ["output_padding=-1", "at least 0"]),
    ({"output_padding": (1, 1, 1)}, GeometryError, ["output_padding=(1, 1, 1)", "2 of them"]),
    ({"output_padding": True}, TypeError, ["output_padding=True", "integer"]),
    ({"output_padding": (True, 1)}, TypeError, ["output_padding=True", "integer"]),
    ({"padding": "same"}, GeometryError, ["padding='same'", "integer", "not a string"]),
    ({"padding": "valid"}, GeometryError, ["padding='valid'", "integer", "not a string"]),
    ({"padding": ((1, 1), 1)}, GeometryError, ["padding=", "((top, bottom), (left, right))"]),
    ({"padding": (5, 0)}, GeometryError, ["padding=((5, 5), (0, 0))", "(0, 12)"]),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "error", "words"), WRONG, ids=[str(wrong)[1:-1] for wrong, *_ in WRONG])
def test_transposed_says_what_is_wrong(wrong, error, words):
    """Also right after the same call with right arguments was remembered."""
    transposed(*(GOOD | {"output_padding": 1, "padding": (1, 1)}).values())
    with pytest.raises(error) as caught:
        transposed(*(GOOD | wrong).values())
    for word in words:
        assert word in str(caught.value)


def test_absurd_results_of_gradients():
    """A weight may be no larger than memory even where its input, an empty batch, takes none."""
    with pytest.raises(GeometryError, match=r"weight_size: a result of shape \(1, 1, 9000000, 9000000\).*memory"):
        weight_gradient((0, 1, 9 * 10**6, 9 * 10**6), (1, 1, 9 * 10**6, 9 * 10**6), (0, 1, 1, 1), 1, 0, 1, 1, "zeros")
    with pytest.raises(GeometryError, match=r"input_size: a result of shape \(1, 1, 9000000, 9000000\).*memory"):
        input_gradient((1, 1, 9 * 10**6, 9 * 10**6), (1, 1, 1, 1), (1, 1, 1, 1), 9 * 10**6, 0, 1, 1, "zeros")


@given(transposed_arguments(careful=True), st.data())
def test_output_size_is_reached_as_in_torch(arguments, data):
    """torch's layers choose the same output padding, and refuse the same sizes, for each form of both arguments."""
    x, w, _, stride, padding, _, dilation, _ = arguments
    axes = len(w) - 2
    stride, padding, dilation = (every(setting, axes) for setting in (stride, padding, dilation))
    sides = tuple((side, side) for side in padding)
    shape = x if data.draw(st.booleans()) else x[1:]
    lead = data.draw(st.sampled_from([(), x[: len(shape) - axes], (7,)]))
    reach = [
        (n - 1) * s - 2 * p + d * (k - 1) for n, s, p, d, k in zip(x[2:], stride, padding, dilation, w[2:], strict=True)
    ]
    size = [*lead, *[max(0, least + data.draw(st.integers(0, 4))) for least in reach]]
    layer = getattr(torch.nn, f"ConvTranspose{axes}d")(1, 1, 1)
    try:
        theirs = layer._output_padding(torch.zeros(shape), size, stride, padding, w[2:], axes, dilation)
    except ValueError:
        with pytest.raises(GeometryError, match="output_size="):
            output_padding_for(size, shape, w[2:], stride, sides, dilation)
    else:
        assert output_padding_for(tuple(size), shape, w[2:], stride, sides, dilation) == tuple(theirs)


@pytest.mark.parametrize(
    ("size", "error", "words"),
    [
        (12, TypeError, "output_size=12: must be a sequence of 2 integers, not int"),
        ((12,), GeometryError, r"output_size=\(12,\): must be 2 integers, or 4 .*\(1, 16, 6, 6\), not 1"),
        ((12, 12.0), TypeError, r"output_size=12\.0: must be an integer, not float"),
        ((12, 14), GeometryError, r"output_size=\(12, 14\): must be from \(11, 11\) to \(12, 12\).*\(1, 16, 6, 6\)"),
        ((10, 12), GeometryError, r"output_size=\(10, 12\): must be from \(11, 11\) to \(12, 12\).*\(1, 16, 6, 6\)"),
    ],
)
def test_output_size_that_can_not_be(size, error, words):
    with pytest.raises(error, match=words):
        output_padding_for(size, (1, 16, 6, 6), (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1))


@pytest.mark.parametrize(("axes", "letters"), [(1, "(N, C_in, L)"), (2, "(N, C_in, H, W)"), (3, "(N, C_in, D, H, W)")])
def test_batch_axis(axes, letters):
    """There, not there, or an error that says what an input looks like."""
    assert check_batched("input", (2,) * (axes + 2), axes)
    assert not check_batched("input", (2,) * (axes + 1), axes)
    for shape in ((2,) * axes, (2,) * (axes + 3)):
        with pytest.raises(GeometryError) as caught:
            check_batched("input", shape, axes)
        for word in (f"input of shape {shape}", f"{axes + 2} axes {letters}", f"{axes + 1} without"):
            assert word in str(caught.value)
    with pytest.raises(GeometryError, match=r"grad_output.*\(N, C_out, "):
        check_batched("grad_output", (1,), axes, channels="C_out")


@pytest.mark.parametrize(("axes", "letters"), [(1, "S"), (2, "R, S"), (3, "Q, R, S")])
def test_weight_axes(axes, letters):
    check_weight("weight", (2,) * (axes + 2), axes)
    for shape in ((2,) * (axes + 1), (2,) * (axes + 3)):
        for transposing, expected in ((False, "(C_out, C_in // groups, "), (True, "(C_in, C_out // groups, ")):
            with pytest.raises(GeometryError) as caught:
                check_weight("weight", shape, axes, transposed=transposing)
            assert f"weight of shape {shape}: must have {axes + 2} axes {expected}{letters})" in str(caught.value)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_padding_of_each_side(axes):
    """(before, after) for each axis, however many there are."""
    sides = tuple((axis, axis + 1) for axis in range(axes))
    assert padding_sides(sides, axes) == integer_sides([list(side) for side in sides], axes) == sides
    assert padding_sides(2, axes) == padding_sides([2] * axes, axes) == ((2, 2),) * axes
    what = [
        "two-sided padding must be ((before, after),)",
        "four-sided",
        "((front, back), (top, bottom), (left, right))",
    ]
    for wrong in ((*sides, (0, 0)), (*sides[1:], (1,)), (*sides[1:], (1, 1, 1))):
        with pytest.raises(GeometryError) as caught:
            padding_sides(wrong, axes)
        assert f"padding={wrong}" in str(caught.value)
        assert what[axes - 1] in str(caught.value)


def test_every_shape_may_be_that_of_a_geometry():
    """Terms of a sum are counted over every axis of the kernel."""
    assert convolution((1, 4, 9, 9, 9), (6, 2, 1, 2, 3), None, 1, "same", 1, 2, "zeros").terms == 2 * math.prod(
        (1, 2, 3)
    )
