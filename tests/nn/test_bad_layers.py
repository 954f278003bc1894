"""Wrong arguments of layers and of their calls: refused by an error that names argument, value and remedy."""

import math

import numpy as np
import pytest
import torch

from refconv import GeometryError, nn

GOOD = {"in_channels": 4, "out_channels": 6, "kernel_size": 3}
WRONG = [
    ({"in_channels": -1}, GeometryError, "in_channels=-1.*at least 0"),
    ({"in_channels": 4.0}, TypeError, r"in_channels=4\.0.*integer"),
    ({"in_channels": True}, TypeError, "in_channels=True.*integer"),
    ({"in_channels": (4,)}, TypeError, r"in_channels=\(4,\).*integer"),
    ({"in_channels": 2**31}, GeometryError, "in_channels=2147483648.*at most"),
    ({"out_channels": 0}, GeometryError, "out_channels=0.*at least 1"),
    ({"out_channels": None}, TypeError, "out_channels=None.*integer"),
    ({"kernel_size": 0}, GeometryError, "kernel_size=0.*at least 1"),
    ({"kernel_size": (3, -1)}, GeometryError, "kernel_size=-1.*at least 1"),
    ({"kernel_size": (3, 3, 3)}, GeometryError, r"kernel_size=\(3, 3, 3\).*2 of them"),
    ({"kernel_size": (3,)}, GeometryError, r"kernel_size=\(3,\).*2 of them"),
    ({"kernel_size": ()}, GeometryError, r"kernel_size=\(\).*2 of them"),
    ({"kernel_size": math.nan}, TypeError, "kernel_size=nan.*integer"),
    ({"kernel_size": "3"}, TypeError, "kernel_size='3'.*integer"),
    ({"stride": 0}, GeometryError, "stride=0.*at least 1"),
    ({"stride": (1, 2, 3)}, GeometryError, r"stride=\(1, 2, 3\).*2 of them"),
    ({"stride": 1.5}, TypeError, r"stride=1\.5.*integer"),
    ({"padding": -1}, GeometryError, "padding=-1.*at least 0"),
    ({"padding": 2**31}, GeometryError, "padding=2147483648.*at most"),
    ({"padding": "SAME"}, GeometryError, "padding='SAME'.*'same', 'valid'"),
    ({"padding": "same", "stride": (1, 2)}, GeometryError, r"padding='same'.*stride=\(1, 2\).*must be 1"),
    ({"padding": "same", "stride": [2]}, GeometryError, r"padding='same'.*stride=\(2, 2\).*must be 1"),
    ({"padding": ((1, 1), (1, -1))}, GeometryError, "padding=-1.*at least 0"),
    ({"padding": (1, 1, 1, 1)}, GeometryError, r"padding=\(1, 1, 1, 1\).*2 of them"),
    ({"padding": None}, TypeError, "padding=None.*integer"),
    ({"dilation": 0}, GeometryError, "dilation=0.*at least 1"),
    ({"dilation": False}, TypeError, "dilation=False.*integer"),
    ({"groups": 0}, GeometryError, "groups=0.*at least 1"),
    ({"groups": -2}, GeometryError, "groups=-2.*at least 1"),
    ({"groups": 3}, GeometryError, "groups=3.*in_channels=4"),
    ({"groups": 4}, GeometryError, "groups=4.*out_channels=6"),
    ({"groups": (2,)}, TypeError, r"groups=\(2,\).*integer"),
    ({"bias": None}, TypeError, "bias=None.*True or False"),
    ({"bias": 1}, TypeError, "bias=1.*True or False"),
    ({"bias": np.ones(6)}, TypeError, "bias=.*True or False"),
    ({"padding_mode": "constant"}, GeometryError, "padding_mode='constant'.*'reflect'"),
    ({"padding_mode": None}, GeometryError, "padding_mode=None.*'reflect'"),
    ({"dtype": "complex64"}, TypeError, "dtype='complex64'.*float32"),
    ({"dtype": "i4,,"}, TypeError, "dtype='i4,,'.*float32"),
    ({"dtype": ">f4"}, TypeError, "dtype='>f4'.*float32"),
    ({"dtype": int}, TypeError, "dtype=.*int.*float32"),
    ({"dtype": torch.complex64}, TypeError, r"dtype=torch\.complex64.*float32"),
    ({"dtype": np.ones(2)}, TypeError, "dtype=.*float32"),
    ({"seed": -1}, ValueError, "seed=-1.*non-negative"),
    ({"seed": 0.5}, TypeError, r"seed=0\.5.*integer"),
    ({"seed": "zero"}, TypeError, "seed='zero'.*integer"),
]


@pytest.mark.parametrize(("wrong", "error", "words"), WRONG, ids=[str(wrong)[1:-1] for wrong, *_ in WRONG])
def test_wrong_argument_is_refused(wrong, error, words):
    """At construction, by an error that names the argument, its value and what it must be."""
    nn.Conv2d(**GOOD)
    with pytest.raises(error, match=words) as info:
        nn.Conv2d(**GOOD | wrong)
    assert info.type in {error, GeometryError}


@pytest.mark.parametrize(
    ("image", "error", "words"),
    [
        (np.ones((1, 5, 8, 8), "float32"), GeometryError, r"weight of shape \(6, 4, 3, 3\)"),
        (np.ones((1, 4, 8, 8)), TypeError, "float32.*float64"),
        (np.ones((4, 8), "float32"), GeometryError, r"input of shape \(4, 8\)"),
        (np.ones((1, 4, 2, 8), "float32"), GeometryError, r"kernel \(3, 3\)"),
        ([[1.0]], TypeError, "input is of type list"),
    ],
)
def test_call_refuses_what_the_operator_refuses(image, error, words):
    with pytest.raises(error, match=words):
        nn.Conv2d(**GOOD)(image)


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ({"in_channels": 0}, GeometryError, "in_channels=0.*at least 1"),
        ({"out_channels": 0}, GeometryError, "out_channels=0.*at least 1"),
        ({"kernel_size": (3,)}, GeometryError, r"kernel_size=\(3,\).*2 of them"),
        ({"stride": 0}, GeometryError, "stride=0.*at least 1"),
        ({"padding": "same"}, GeometryError, "padding='same'.*not a string"),
        ({"padding": -1}, GeometryError, "padding=-1.*at least 0"),
        ({"output_padding": 1}, GeometryError, r"output_padding=\(1, 1\).*smaller than stride=\(1, 1\)"),
        ({"output_padding": (0, 3), "stride": (9, 2)}, GeometryError, r"output_padding=\(0, 3\).*smaller"),
        ({"output_padding": -1}, GeometryError, "output_padding=-1.*at least 0"),
        ({"output_padding": None}, TypeError, "output_padding=None.*integer"),
        ({"output_padding": (0, 0, 0)}, GeometryError, r"output_padding=\(0, 0, 0\).*2 of them"),
        ({"groups": 3}, GeometryError, "groups=3.*in_channels=4"),
        ({"groups": 4}, GeometryError, "groups=4.*out_channels=6"),
        ({"padding_mode": "reflect"}, GeometryError, "padding_mode='reflect'.*'zeros'"),
        ({"padding_mode": None}, GeometryError, "padding_mode=None.*'zeros'"),
        ({"bias": None}, TypeError, "bias=None.*True or False"),
        ({"dtype": "int32"}, TypeError, "dtype='int32'.*float32"),
        ({"seed": -1}, ValueError, "seed=-1.*non-negative"),
    ],
)
def test_wrong_argument_of_the_transposed_layer_is_refused(wrong, error, words):
    """At construction, by an error that names the argument, its value and what it must be."""
    nn.ConvTranspose2d(**GOOD)
    with pytest.raises(error, match=words) as info:
        nn.ConvTranspose2d(**GOOD | wrong)
    assert info.type in {error, GeometryError}


@pytest.mark.parametrize(
    ("image", "size", "error", "words"),
    [
        (np.ones((1, 5, 8, 8), "float32"), None, GeometryError, r"weight of shape \(4, 6, 3, 3\)"),
        (np.ones((1, 4, 8, 8)), None, TypeError, "float32.*float64"),
        (np.ones((4, 8), "float32"), None, GeometryError, r"input of shape \(4, 8\)"),
        (np.ones((4, 8), "float32"), (10, 10), GeometryError, r"input of shape \(4, 8\)"),
        ([[1.0]], (10, 10), TypeError, "input is of type list"),
        (np.ones((1, 4, 8, 8), "float32"), 10, TypeError, "output_size=10.*sequence"),
        (np.ones((1, 4, 8, 8), "float32"), (10, 11), GeometryError, r"output_size=\(10, 11\).*\(10, 10\)"),
    ],
)
def test_transposed_call_refuses_what_the_operator_refuses(image, size, error, words):
    with pytest.raises(error, match=words):
        nn.ConvTranspose2d(**GOOD)(image, size)
