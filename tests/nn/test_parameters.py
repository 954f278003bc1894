"""Parameters of a new layer: torch's distribution, seeds and dtypes."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from common import FLOATS, same_bits
from hypothesis import given
from hypothesis import strategies as st
from layers import arguments, transposed_arguments

from refconv import nn

# Torch says these of layers that it makes and runs all the same.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Initializing zero-element tensors is a no-op"),
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths"),
]


SIGNIFICANCE = 1e-3  # of the tests of distributions, whose seeds are fixed


def bound_of(layer):
    """1 / sqrt(fan_in), as torch documents it: of a transposed layer it takes the output channels."""
    channels = layer.out_channels if layer.transposed else layer.in_channels
    return 1 / math.sqrt(channels // layer.groups * math.prod(layer.kernel_size))


@given(arguments(least_channels=1), st.sampled_from(FLOATS), st.integers(0, 2**32))
def test_parameters_lie_within_torchs_bound(given_arguments, dtype, seed):
    within_bound(nn.Conv2d(**given_arguments, dtype=dtype, seed=seed), dtype)


@given(transposed_arguments(), st.sampled_from(FLOATS), st.integers(0, 2**32))
def test_transposed_parameters_lie_within_torchs_bound(given_arguments, dtype, seed):
    within_bound(nn.ConvTranspose2d(**given_arguments, dtype=dtype, seed=seed), dtype)


def within_bound(layer, dtype):
    for values in (layer.weight, layer.bias):
        if values is not None:
            assert values.dtype == dtype
            assert abs(values).max() <= np.dtype(dtype).type(bound_of(layer))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("Conv2d", (64, 64, 3)),
        ("Conv2d", (256, 8192, (1, 2))),
        ("Conv2d", (32, 4096, (5, 1), 1, 0, 1, 4)),
        ("ConvTranspose2d", (16, 512, 3)),
        ("ConvTranspose2d", (32, 4096, (5, 1), 1, 0, 0, 4)),
    ],
)
def test_parameters_are_drawn_from_torchs_distribution(name, shape):
    """Kolmogorov-Smirnov against the documented uniform distribution, and against torch's own numbers."""
    torch.manual_seed(0)
    ours, theirs = getattr(nn, name)(*shape, seed=0), getattr(torch.nn, name)(*shape)
    bound = bound_of(ours)
    uniform = scipy.stats.uniform(-bound, 2 * bound)
    for mine, other in ((ours.weight, theirs.weight), (ours.bias, theirs.bias)):
        assert scipy.stats.kstest(mine.ravel(), uniform.cdf).pvalue > SIGNIFICANCE
        assert scipy.stats.ks_2samp(mine.ravel(), other.detach().numpy().ravel()).pvalue > SIGNIFICANCE


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_the_test_of_the_distribution_has_power(factor):
    """Numbers from a bound that is a tenth off would have been noticed."""
    layer = nn.Conv2d(64, 64, 3, seed=0)
    wrong = factor * bound_of(layer)
    assert scipy.stats.kstest(layer.weight.ravel(), scipy.stats.uniform(-wrong, 2 * wrong).cdf).pvalue < SIGNIFICANCE


def test_weight_and_bias_are_independent():
    """The bias is not the weight's first numbers once more, nor one image of filters the next one's."""
    layer = nn.Conv2d(1, 512, 1, seed=0)
    assert scipy.stats.pearsonr(layer.weight.ravel(), layer.bias).pvalue > SIGNIFICANCE
    assert np.unique(layer.weight).size > 500


def test_same_seed_same_parameters():
    first, second, other = (nn.Conv2d(3, 4, 3, seed=seed) for seed in (7, 7, 8))
    assert same_bits(first.weight, second.weight)
    assert same_bits(first.bias, second.bias)
    assert not same_bits(first.weight, other.weight)
    assert not same_bits(nn.Conv2d(3, 4, 3).weight, nn.Conv2d(3, 4, 3).weight)


def test_seed_is_left_to_a_generator():
    """A generator is drawn from: two layers of one are different, and the global random state is left alone."""
    rng = np.random.default_rng(7)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first, second = nn.Conv2d(3, 4, 3, seed=rng), nn.Conv2d(3, 4, 3, seed=rng)
    assert same_bits(first.weight, nn.Conv2d(3, 4, 3, seed=7).weight)
    assert not same_bits(first.weight, second.weight)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (None, "float32"),
        ("float64", "float64"),
        (np.float32, "float32"),
        (np.dtype("float64"), "float64"),
        (float, "float64"),
        (torch.float32, "float32"),
        (torch.float64, "float64"),
    ],
)
def test_dtype_by_any_name(dtype, expected):
    layer = nn.Conv2d(1, 2, 3, dtype=dtype)
    assert layer.weight.dtype == layer.bias.dtype == expected
