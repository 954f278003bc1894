"""Wrong options, sizes and dtypes of every operator: refused before anything is computed."""

import numpy as np
import pytest
from family import (
    CONVOLUTIONS,
    OPERATORS,
    TRANSPOSED,
    Arrays,
    axes_of,
    random_numbers,
)

import refconv
from refconv.core.geometry import convolution


def test_messages_name_the_sizes_that_were_given():
    """And not arrays that the operator does not have."""
    x, w = np.ones((1, 2, 5, 5)), np.ones((2, 2, 3, 3))
    for size in ((2, 2, 0, 3), (2, 3, 3, 3), (2, 2, 9, 3)):
        with pytest.raises(refconv.GeometryError, match=r"^weight_size"):
            refconv.conv2d_weight(x, size, np.ones((1, 2, 3, 3)))
    with pytest.raises(refconv.GeometryError, match=r"^input_size"):
        refconv.conv2d_input((2, 2, 0, 3), w, np.ones((2, 2, 3, 3)))


def test_results_that_a_library_cannot_hold_are_refused_before_anything_is_computed():
    """JAX without x64: int64 results."""
    jax_numpy = pytest.importorskip("jax.numpy")
    ones = jax_numpy.ones((1, 1, 3, 3), "int32")
    with pytest.raises(TypeError, match=r"grad_output of type .*int64 .*out_dtype"):
        refconv.conv2d_bias(ones)
    assert refconv.conv2d_bias(ones, out_dtype="int32").item() == 9


@pytest.fixture
def nothing_computed(monkeypatch):
    """No target may be asked to compute."""

    def run(correlation):
        raise AssertionError(f"asked to compute {correlation}")

    for target in ("cpu", "python"):
        monkeypatch.setattr(f"refconv.engine.targets.{target}.run", run)


BAD_OPTIONS = [
    ("precision", "exactly"),
    ("precision", None),
    ("overflow", "ignore"),
    ("layout", "CHWN"),
    ("layout", 1),
    ("out_dtype", "float128"),
    ("out_dtype", "int8"),
    ("out_dtype", bool),
    ("out_dtype", []),
    ("backend", "tpu"),
]


@pytest.mark.usefixtures("nothing_computed")
@pytest.mark.parametrize("op", OPERATORS)
@pytest.mark.parametrize(("option", "value"), BAD_OPTIONS)
def test_bad_options(op, option, value):
    """Named, with the value and what it must be, by one error and not by a chain of them."""
    arrays = plain_arrays(op)
    with pytest.raises((refconv.GeometryError, TypeError), match=f"^{option}=.*must be") as caught:
        arrays.call(op, **{option: value})
    assert caught.value.__context__ is None


def plain_arrays(op, dtype="float32"):
    axes = axes_of(op)
    shapes = (2, 4, *(6,) * axes), (4, 2, *(3,) * axes)
    return Arrays(convolution(*shapes, None, 1, 0, 1, 2, "zeros"), 0, random_numbers(dtype))


@pytest.mark.usefixtures("nothing_computed")
@pytest.mark.parametrize("op", OPERATORS)
def test_unknown_options(op):
    """As for any Python function."""
    with pytest.raises(TypeError, match="unexpected keyword argument 'paddingmode'"):
        plain_arrays(op).call(op, paddingmode="zeros")


@pytest.mark.usefixtures("nothing_computed")
@pytest.mark.parametrize("op", [*CONVOLUTIONS, *TRANSPOSED, "conv2d_input", "conv2d_weight"])
@pytest.mark.parametrize("other", ["float64", "int32", "complex64", "bfloat16"])
def test_mixed_dtypes(op, other):
    """Floats with integers, and floats of other widths."""
    arrays = plain_arrays(op)
    name = "grad" if op == "conv2d_weight" else "weight"
    setattr(arrays, name, getattr(arrays, name).real.astype(np.dtype(other)))
    with pytest.raises(TypeError, match=f"has dtype {other}: must be that of .*float32"):
        arrays.call(op)


@pytest.mark.usefixtures("nothing_computed")
@pytest.mark.parametrize("op", ["conv2d_input", "conv2d_weight"])
@pytest.mark.parametrize("change", [(1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, -1)])
def test_sizes_that_contradict_the_gradient(op, change):
    """Of the output."""
    arrays = plain_arrays(op)
    arrays.grad = np.ones([n + more for n, more in zip(arrays.grad.shape, change, strict=True)], "float32")
    with pytest.raises(refconv.GeometryError, match=r"grad_output of shape .* must be"):
        arrays.call(op)


@pytest.mark.usefixtures("nothing_computed")
@pytest.mark.parametrize("op", TRANSPOSED)
@pytest.mark.parametrize("output_padding", [1, 2, -1, "1", (1, 1, 1, 1)], ids=repr)
def test_impossible_output_padding(op, output_padding):
    """Not smaller than stride and dilation, negative, or for no axis."""
    arrays = plain_arrays(op)
    x, w, bias = arrays.arguments(op)[:3]
    with pytest.raises((refconv.GeometryError, TypeError), match=r"^output_padding="):
        getattr(refconv, op)(x, w, bias, output_padding=output_padding, groups=2)


@pytest.mark.usefixtures("nothing_computed")
def test_shapes_in_messages_say_in_which_order_they_are():
    """Where the caller's is another."""
    with pytest.raises(refconv.GeometryError, match=r"\(1, 3, 4, 4\).*channels before the spatial axes"):
        refconv.conv2d(np.ones((1, 4, 4, 3)), np.ones((3, 2, 1, 1)), layout="NHWC")
