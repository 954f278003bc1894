"""The GPU computes the same bits as the CPU.

Run on a GPU by `make gpu`; without one, under an interpreter of PTX and under Numba's simulator by test_gpu_elsewhere.
"""

import os

import ml_dtypes
import numpy as np
import pytest
from common import MODES, same_bits
from family import DTYPES, NARROW, OPERATORS, SEEDS, TRANSPOSED, Arrays, axes_of, random_numbers, small_geometries
from hypothesis import given, settings
from hypothesis import strategies as st

import refconv
from refconv.errors import BackendUnavailable

try:
    from refconv import device

    device.check()
    MISSING = ""
except BackendUnavailable as error:
    MISSING = str(error)

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(bool(MISSING), reason=MISSING)]

EXAMPLES = int(os.environ.get("REFCONV_GPU_EXAMPLES", "300"))
SIMULATED = not MISSING and device.SIMULATED
slow = pytest.mark.skipif(SIMULATED, reason="takes minutes in the simulator")
on_devices = pytest.mark.skipif(SIMULATED, reason="the simulator's arrays have no addresses")


@st.composite
def calls(draw):
    """An operator, a dtype, a precision, a geometry and a seed."""
    op, dtype = draw(st.sampled_from(OPERATORS)), draw(st.sampled_from(DTYPES))
    narrow = dtype in (*NARROW, "float32", "complex64")
    precision = draw(st.sampled_from(("float64", "float32", "exact") if narrow else ("float64", "exact")))
    modes = ("zeros",) if op in TRANSPOSED or op == "conv2d_bias" else MODES
    return op, dtype, precision, draw(small_geometries(axes_of(op), modes)), draw(SEEDS)


@pytest.mark.parametrize("op", OPERATORS)
def test_operators(op):
    """Two groups, a stride, padding, a dilation: small enough for the simulator."""
    axes = axes_of(op)
    shapes = (1, 4, *(4,) * axes), (4, 2, *(2,) * axes)
    geometry = refconv.geometry.convolution(*shapes, None, 2, 1, 2 if axes < 3 else 1, 2, "zeros")
    arrays = Arrays(geometry, 0, random_numbers("float32"))
    expected = arrays.call(op, precision="float32", backend="cpu")
    assert same_bits(arrays.call(op, precision="float32", backend="cuda"), expected)


@slow
@given(calls())
@settings(max_examples=EXAMPLES)
def test_arrays_of_the_host(call):
    op, dtype, precision, geometry, seed = call
    arrays = Arrays(geometry, seed, random_numbers(dtype))
    expected = arrays.call(op, precision=precision, backend="cpu")
    assert same_bits(arrays.call(op, precision=precision, backend="cuda"), expected)


def on_device(array):
    """A copy in the device's memory: Numba's, which has no bits but NumPy's own."""
    from numba import cuda

    found = cuda.device_array(array.shape, array.dtype)
    if array.size:
        found.copy_to_device(np.ascontiguousarray(array))
    return found


class OnDevice(Arrays):
    """The same arrays in the device's memory."""

    def arguments(self, op):
        return tuple(on_device(each) if isinstance(each, np.ndarray) else each for each in super().arguments(op))


@on_devices
@given(calls())
@settings(max_examples=EXAMPLES // 3)
def test_arrays_of_the_device(call):
    """They are read and written where they lie, and the result is one of them."""
    op, dtype, precision, geometry, seed = call
    if np.dtype(dtype).kind == "V" or np.dtype(dtype).type in vars(ml_dtypes).values():
        dtype = "float16"  # Numba can't copy the others
    expected = Arrays(geometry, seed, random_numbers(dtype)).call(op, precision=precision)
    found = OnDevice(geometry, seed, random_numbers(dtype)).call(op, precision=precision)
    assert hasattr(found, "__cuda_array_interface__")
    assert same_bits(found.copy_to_host(), expected)


@slow
@pytest.mark.parametrize("op", refconv.operators.OPERATORS)
def test_property_suite(op):
    """What is asked of anybody's kernel: views, batches, groups, adjoints, the same bits twice."""

    def candidate(*arguments, **keywords):
        return getattr(refconv, op)(*arguments, backend="cuda", **keywords)

    candidate.deterministic = True
    report = refconv.verify(candidate, op, cases=EXAMPLES, isolate=False)
    assert report.ok, str(report)


# Images, input channels, size, output channels, kernel, stride, groups: each kind of unit, with terms that fill blocks
# or do not, and channels and positions that fill units or do not; sums in parts.
SIZES = {
    "dense, whole": (1, 16, 9, 64, 4, 1, 1),
    "dense, ragged": (2, 31, 8, 70, 3, 2, 1),
    "grouped": (2, 36, 6, 20, 3, 1, 2),
    "depthwise": (2, 5, 9, 5, 3, 2, 5),
    "depthwise, long": (1, 6, 40, 3, 33, 1, 3),
    "in parts": (1, 700, 3, 3, 2, 1, 1),
    "in parts, one channel": (1, 700, 3, 1, 2, 1, 1),
}


@slow
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "exact"])
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_units(size, dtype):
    """Accumulators float32, float64, int64, and two float64."""
    images, channels, edge, out_channels, kernel, stride, groups = size
    rng = np.random.default_rng(0)
    element = "float32" if dtype == "exact" else dtype

    def numbers(*shape):
        if dtype == "int32":
            return rng.integers(-(2**24), 2**24, shape, dtype)
        return rng.standard_normal(shape).astype(element)

    options = {"out_dtype": "int64"} if dtype == "int32" else {"precision": dtype}
    x, w = numbers(images, channels, edge, edge), numbers(out_channels, channels // groups, kernel, kernel)
    arguments = (x, w, numbers(out_channels), stride, 1, 1, groups)
    expected = refconv.conv2d(*arguments, backend="cpu", **options)
    assert same_bits(refconv.conv2d(*arguments, backend="cuda", **options), expected)


@slow
@pytest.mark.parametrize("shapes", [((65537, 1, 1, 1), (1, 1, 1, 1)), ((1, 1, 1, 1), (65537, 1, 1, 1))])
def test_many_images_and_channels(shapes):
    """More than a grid has in its second dimension."""
    x, w = (np.arange(np.prod(each), dtype="float32").reshape(each) for each in shapes)
    assert same_bits(refconv.conv2d(x, w, backend="cuda"), refconv.conv2d(x, w, backend="cpu"))


@slow
@pytest.mark.parametrize("budget", [1, 2000])
@pytest.mark.parametrize("op", ["conv2d", "conv2d_input", "conv2d_weight", "conv2d_bias"])
def test_less_memory(op, budget, monkeypatch):
    """Work is split, and the bits are the same."""
    from refconv.targets import cuda

    geometry = refconv.geometry.convolution((3, 4, 5, 4), (6, 2, 2, 3), None, 1, 1, 1, 2, "zeros")
    arrays = Arrays(geometry, 0, random_numbers("float32"))
    monkeypatch.setattr(cuda, "BUDGET", budget)
    assert same_bits(arrays.call(op, backend="cuda"), arrays.call(op, backend="cpu"))


@slow
def test_special_numbers():
    """Of every format: NaN of both signs, infinities, zeros, subnormals; as operands and as results."""
    for name in (*NARROW, "float32", "float64"):
        dtype = np.dtype(name)
        if dtype.itemsize < 4:
            values = np.arange(2 ** (8 * dtype.itemsize), dtype=f"u{dtype.itemsize}").view(dtype)
        else:
            info = np.finfo(dtype)
            some = [0, info.smallest_subnormal, info.tiny, 1, info.max, np.inf, np.nan]
            values = np.array([sign * each for each in some for sign in (1, -1)], dtype)
        x = values.reshape(1, 1, 1, -1)
        for weight in (1, -1, 2.0**-3, 0):
            w = np.full((1, 1, 1, 1), weight).astype(dtype)
            for precision in {"float64", "exact"} | ({"float32"} if dtype.itemsize < 8 else set()):
                expected = refconv.conv2d(x, w, precision=precision, backend="cpu")
                assert same_bits(refconv.conv2d(x, w, precision=precision, backend="cuda"), expected), (name, weight)


@on_devices
def test_views_of_the_device():
    """Arrays with steps are read as they lie."""
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(shape).astype("float32") for shape in ((2, 3, 8, 9), (4, 3, 4, 5)))
    expected = refconv.conv2d(x[:, :, ::2, 1:], w[:, :, 1:, ::2])
    found = refconv.conv2d(on_device(x)[:, :, ::2, 1:], on_device(w)[:, :, 1:, ::2])
    assert same_bits(found.copy_to_host(), expected)


@on_devices
def test_mixed_devices():
    """Neither is copied silently."""
    x, w = np.ones((1, 1, 2, 2)), np.ones((1, 1, 1, 1))
    with pytest.raises(TypeError, match="weight lies on the CPU and input on the GPU: must be on the same device"):
        refconv.conv2d(on_device(x), w)
    with pytest.raises(BackendUnavailable, match=r"backend='cpu'.*must be 'cuda' or 'auto' for arrays on the GPU"):
        refconv.conv2d(on_device(x), on_device(w), backend="cpu")


@on_devices
def test_quantised():
    """Zero points are subtracted on the device."""
    rng = np.random.default_rng(0)
    x, w = rng.integers(0, 255, (2, 3, 5, 5), "uint8"), rng.integers(-128, 127, (4, 3, 3, 3), "int8")
    expected = refconv.conv2d_integer(x, w, 7, 3)
    found = refconv.conv2d_integer(on_device(x), on_device(w), 7, 3)
    assert same_bits(found.copy_to_host(), expected)
    scales = (0.5, 7, w, 0.25, 3, 9.0, 11)
    expected = refconv.conv2d_quantized(x, *scales)
    found = refconv.conv2d_quantized(on_device(x), *scales[:2], on_device(w), *scales[3:])
    assert same_bits(found.copy_to_host(), expected)


@on_devices
def test_layers():
    """Parameters follow the input; a layer that was moved computes the host's arrays there."""
    layer = refconv.nn.Conv2d(2, 3, 3, seed=0)
    x = np.random.default_rng(0).standard_normal((1, 2, 5, 5)).astype("float32")
    expected = layer(x)
    assert same_bits(layer(on_device(x)).copy_to_host(), expected)
    assert same_bits(layer.to("cuda")(x), expected)


def free_memory():
    """Bytes of the device's, when all that is given back is."""
    from numba import cuda

    context = cuda.current_context()
    context.deallocations.clear()
    return context.get_memory_info().free


@on_devices
def test_memory_comes_back():
    """Calls leave nothing on the device but their results."""
    x, w = (np.ones(shape, "float32") for shape in ((1, 1, 512, 512), (1, 1, 1, 1)))
    refconv.conv2d(x, w, backend="cuda")
    before = free_memory()
    for _ in range(3):
        out = refconv.conv2d(x, w, backend="cuda")
    assert before - free_memory() < out.nbytes


@on_devices
def test_operands_are_not_written_to():
    x, w = np.ones((1, 2, 4, 4), "float32"), np.ones((2, 2, 3, 3), "float32")
    given_x, given_w = on_device(x), on_device(w)
    refconv.conv2d(given_x, given_w, precision="exact")
    assert same_bits(given_x.copy_to_host(), x)
    assert same_bits(given_w.copy_to_host(), w)
