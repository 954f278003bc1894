"""Random calls of every operator with small integers, as candidates take them: for tests of kernels against others.

Knows operators and their arguments; none that is tested.
"""

import numpy as np

from refconv.core import geometry, transposed_geometry
from refconv.core.errors import GeometryError

OPERATORS = (
    "conv2d",
    "conv_transpose2d",
    "conv2d_input",
    "conv2d_weight",
    "conv2d_bias",
    "conv2d_integer",
    "conv2d_quantized",
)
QUANTISED = OPERATORS[-2:]
SIMPLE = {
    "stride": (1, 1),
    "padding": (0, 0),
    "dilation": (1, 1),
    "output_padding": (0, 0),
    "groups": 1,
    "mode": "zeros",
    "batched": True,
    "bias": False,
    "zero_points": False,
}
PLAIN = SIMPLE | {"batch": 1, "inputs": 2, "outputs": 2, "size": (8, 8), "kernel": (3, 3)}
ONE_PIXEL = SIMPLE | {"batch": 1, "inputs": 1, "outputs": 1, "size": (1, 1), "kernel": (1, 1)}


class NoSuchCallError(Exception):
    """Parameters that no call has."""


def call(op, seed, dtype="float32", **fixed):
    """Positional arguments and keywords of a valid call; `fixed` are parameters that are not drawn (see `_drawn`)."""
    rng = np.random.default_rng(seed)
    for _ in range(200):
        drawn = _drawn(rng, op) | fixed
        try:
            return _call(op, rng, dtype, drawn)
        except GeometryError:  # a kernel that does not fit, or a padding too large for its mode
            pass
    raise NoSuchCallError(f"{fixed}: no call of {op} has these")


def _drawn(rng, op):
    pick = lambda *values: values[rng.integers(len(values))]  # noqa: E731
    pair = lambda *values: (pick(*values), pick(*values))  # noqa: E731
    groups = pick(1, 1, 2, 3, 4)
    drawn = {
        "batch": pick(1, 2, 3),
        "groups": groups,
        "inputs": pick(1, 1, 2, 3, 4, 5),
        "outputs": pick(1, 2, 3, 4, 5),
        "size": pair(*range(1, 12)),
        "kernel": pick(pair(1, 1, 2, 3, 3, 4, 5), (1, 1), (3, 3)),
        "stride": pair(1, 1, 2, 3),
        "dilation": pair(1, 1, 2, 3),
        "padding": pick(pair(0, 1, 2, 3), pair(0, 1, 2, 3), (pair(0, 1, 2), pair(0, 1, 2))),
        "mode": "zeros",
        "output_padding": pair(0, 0, 1, 2),
        "batched": bool(pick(True, True, False)),
        "bias": bool(pick(True, False)),
        "zero_points": True,
    }
    if op in {"conv2d", "conv2d_input", "conv2d_weight"}:
        drawn["mode"] = pick("zeros", "zeros", "reflect", "replicate", "circular")
        drawn["padding"] = pick(drawn["padding"], drawn["padding"], "valid", "same")
        if drawn["padding"] == "same":
            drawn["stride"] = (1, 1)
    return drawn


def _integers(rng, shape, dtype):
    low, high = (1, 17) if np.dtype(dtype).kind == "u" else (-16, 17)
    numbers = rng.integers(low, high, shape)
    return np.where(numbers == 0, 3, numbers).astype(dtype)


def _call(op, rng, dtype, d):
    batch = d["batch"] if d["batched"] else 1
    x_shape = (batch, d["groups"] * d["inputs"], *d["size"])
    w_shape = (d["groups"] * d["outputs"], d["inputs"], *d["kernel"])
    options = (d["stride"], d["padding"], d["dilation"], d["groups"])
    keywords = {} if d["mode"] == "zeros" else {"padding_mode": d["mode"]}

    def array(shape, kind=dtype):
        return _integers(rng, shape, kind)

    def unbatched(array):
        return array if d["batched"] else array[0]

    if op == "conv_transpose2d":
        w_shape = (d["groups"] * d["inputs"], d["outputs"], *d["kernel"])
        stride, padding, dilation, groups = options
        transposed_geometry.transposed(x_shape, w_shape, None, stride, padding, d["output_padding"], dilation, groups)
        b = array((d["groups"] * d["outputs"],)) if d["bias"] else None
        return (
            unbatched(array(x_shape)),
            array(w_shape),
            b,
            stride,
            padding,
            d["output_padding"],
            groups,
            dilation,
        ), {}
    g = geometry.convolution(x_shape, w_shape, None, *options, d["mode"])
    if op == "conv2d":
        b = array(w_shape[:1]) if d["bias"] else None
        return (unbatched(array(x_shape)), array(w_shape), b, *options), keywords
    if op == "conv2d_input":
        shape = x_shape if d["batched"] else x_shape[1:]
        return (shape, array(w_shape), unbatched(array(g.output_shape)), *options), keywords
    if op == "conv2d_weight":
        return (unbatched(array(x_shape)), w_shape, unbatched(array(g.output_shape)), *options), keywords
    if op == "conv2d_bias":
        return (unbatched(array(g.output_shape)),), {}
    return _quantised(op, rng, dtype, (unbatched(array(x_shape)), array(w_shape)), options, d), {}


def _quantised(op, rng, dtype, operands, options, d):
    x, w = operands
    if not d["zero_points"]:
        x_zero, w_zero, y_zero = (np.zeros((), dtype) for _ in range(3))
    else:
        x_zero, y_zero = (real(rng, np.zeros((), dtype)) for _ in range(2))
        w_zero = real(rng, np.zeros(() if rng.integers(2) else w.shape[:1], dtype))
    if op == "conv2d_integer":
        return x, w, x_zero, w_zero, *options
    w_scale = np.float32(0.25) if rng.integers(2) else (rng.integers(1, 9, w.shape[:1]) / 8).astype("float32")
    b = _integers(rng, w.shape[:1], "int32") if d["bias"] else None
    y_scale = np.float32((3, 50, 400)[rng.integers(3)])
    return x, np.float32(0.5), x_zero, w, w_scale, w_zero, y_scale, y_zero, b, *options


# --- the same calls with other numbers, and other memory


def with_numbers(op, seed, dtype, change, **fixed):
    """A call whose arrays of floats, or of integers, hold other numbers: `change` takes a generator and an array."""
    arguments, keywords = call(op, seed, dtype, **fixed)
    rng = np.random.default_rng(seed)
    return tuple(change(rng, argument) if _is_tensor(argument) else argument for argument in arguments), keywords


def _is_tensor(value):
    return isinstance(value, np.ndarray) and value.ndim > 0


def real(rng, array):
    """Numbers of the normal distribution; 8-bit integers of the whole range; wider ones, and scales, as they are."""
    if array.dtype in ("int32", "uint64") or (array.dtype == "float32" and (array > 0).all() and array.ndim < 2):
        return array
    if array.dtype.kind in "iu":
        info = np.iinfo(array.dtype)
        return np.asarray(rng.integers(info.min, info.max, array.shape, endpoint=True), array.dtype)
    return rng.standard_normal(array.shape).astype(array.dtype)


def special(rng, array):
    """Small integers, and here and there infinity, NaN and 0; of integers 0 only."""
    values = rng.choice([np.inf, -np.inf, np.nan, 0, 0] if array.dtype.kind not in "iu" else [0], array.shape)
    return np.where(rng.random(array.shape) < 0.1, values, array).astype(array.dtype)


def large(_, array):
    """Numbers so large that some sums overflow; integers past what float32 holds the sums of, if they are wide."""
    if array.dtype.kind in "iu":
        return array * 2**9 + 1 if array.itemsize >= 4 else array
    return (array.astype("float64") * 2.0 ** (7 if array.dtype == "float16" else 63)).astype(array.dtype)


def view(rng, array):
    """Equal numbers in memory of another arrangement, at an offset in more memory, which holds other numbers."""
    if array.ndim < 3:
        whole = np.full((*array.shape[:-1], 2 * array.shape[-1] + 3), 7, array.dtype)
        view = whole[..., 3::2]
        view[...] = array
        return view
    order = [*range(array.ndim)]
    way = rng.integers(6)
    if way == 0:  # channels last
        order = [*order[:-3], *order[-2:], order[-3]]
    elif way == 1:
        order[0], order[1] = order[1], order[0]
    moved = array.transpose(order)
    extra = 0 if way == 0 else 3
    whole = np.full(tuple(size + extra for size in moved.shape), 7, array.dtype)
    view = whole[(slice(extra, None),) * array.ndim]
    if way in {2, 3}:
        view = view[..., ::-1] if way == 2 else view[..., ::-1, :]
    elif way == 4:  # a step between columns
        whole = np.full((*moved.shape[:-1], 2 * moved.shape[-1]), 7, array.dtype)
        view = whole[..., ::2]
    if way == 5:
        return np.broadcast_to(array[..., :1], array.shape)
    view[...] = moved
    return view.transpose(np.argsort(order))


# Where the options of an operator stand among its arguments.
PLACES = {
    "conv2d": {"weight": 1, "bias": 2, "stride": 3, "padding": 4, "dilation": 5, "groups": 6},
    "conv_transpose2d": {
        "weight": 1, "bias": 2, "stride": 3, "padding": 4, "output_padding": 5, "groups": 6, "dilation": 7,
    },
    "conv2d_input": {"weight": 1, "grad_output": 2, "stride": 3, "padding": 4, "dilation": 5, "groups": 6},
    "conv2d_weight": {"grad_output": 2, "stride": 3, "padding": 4, "dilation": 5, "groups": 6},
}  # fmt: skip


def impossible(op, seed):
    """A call that must be refused."""
    arguments, keywords = call(op, seed, **PLAIN)
    wrong = [
        {"stride": (0, 1)},
        {"padding": (0, -1)},
        {"dilation": (1, 0)},
        {"groups": 3},
        {"padding": (9, 9), "stride": (1, 1)} if op == "conv_transpose2d" else {"dilation": (9, 9)},
        {"output_padding": (1, 1)},
        {"padding": "same", "stride": (2, 2)},
        {"weight": np.ones((2 + (op == "conv_transpose2d"), 3, 3, 3), "float32")},
        {"bias": np.ones(5, "float32")},
        {"grad_output": np.ones((1, 2, 5, 9), "float32")},
    ]
    changed = list(arguments)
    places = PLACES[op]
    for name, value in wrong[seed % len(wrong)].items():
        if name in places:
            changed[places[name]] = value
    if op == "conv2d_weight" and "weight" in wrong[seed % len(wrong)]:
        changed[1] = (2, 3, 3, 3)
    return tuple(changed), keywords
