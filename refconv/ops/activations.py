"""Activation functions in float64: what the steps of an epilogue compute of a sum, as formulas.

Knows NumPy; not where sums come from, and nothing of errors. At an infinity each function has its limit.
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

CUBIC = 0.044715  # of the approximation of GELU by tanh: Hendrycks and Gimpel, arXiv:1606.08415, section 2
_erfc = np.frompyfunc(math.erfc, 1, 1)


def clipped(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """min(max(x, low), high); NaN stays NaN, as in torch."""
    clip: np.ndarray = np.minimum(np.maximum(x, low), high)
    return clip


def leaky(x: np.ndarray, slope: float) -> np.ndarray:
    """x, below 0 multiplied by the slope."""
    return np.where(x < 0, 0.0 if slope == 0 else slope * x, x)


def hardswish(x: np.ndarray) -> np.ndarray:
    """x min(max(x + 3, 0), 6) / 6: Howard et al., "Searching for MobileNetV3", ICCV 2019.

    >>> hardswish(np.array([-4.0, 0.0, 1.5, 4.0])).tolist()
    [0.0, 0.0, 1.125, 4.0]
    """
    inner = np.clip(x, -3.0, 3.0)
    middle: np.ndarray = np.where(np.abs(x) < 3, inner * (inner + 3) / 6, np.where(x < 0, 0.0, x))
    return middle


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), by way of exp(-|x|), which does not overflow.

    >>> sigmoid(np.array([-np.inf, 0.0, np.inf])).tolist()
    [0.0, 0.5, 1.0]
    """
    small = np.exp(-np.abs(x))
    value: np.ndarray = np.where(x < 0, small, 1.0) / (1 + small)
    return value


def silu(x: np.ndarray) -> np.ndarray:
    """x sigmoid(x)."""
    return _times(x, sigmoid(x))


def gelu(x: np.ndarray) -> np.ndarray:
    """x times the normal distribution's function at x, by way of erfc, of which nothing cancels.

    >>> gelu(np.array([-np.inf, 0.0])).tolist()
    [0.0, 0.0]
    """
    return _times(x, 0.5 * np.asarray(_erfc(-math.sqrt(0.5) * x), np.float64))


def tanh_argument(x: np.ndarray) -> np.ndarray:
    """Twice what GELU's approximation takes the tanh of: sqrt(8 / pi) (x + 0.044715 x^3)."""
    argument: np.ndarray = math.sqrt(8 / math.pi) * (x + CUBIC * (x * x * x))
    return argument


def gelu_tanh(x: np.ndarray) -> np.ndarray:
    """x (1 + tanh(t / 2)) / 2 = x sigmoid(t), t as `tanh_argument` has it."""
    return _times(x, sigmoid(tanh_argument(x)))


def _times(x: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """The product; 0 where a factor is 0, at negative infinity too."""
    with np.errstate(invalid="ignore"):
        return np.where(factor == 0, 0.0, x * factor)


FUNCTIONS: Mapping[str, Callable[..., np.ndarray]] = MappingProxyType(
    {
        "relu": lambda x: clipped(x, 0.0, np.inf),
        "relu6": lambda x: clipped(x, 0.0, 6.0),
        "clip": clipped,
        "leaky_relu": leaky,
        "hardswish": hardswish,
        "silu": silu,
        "gelu": gelu,
        "gelu_tanh": gelu_tanh,
        "sigmoid": sigmoid,
        "tanh": np.tanh,
    }
)
CLAMPS = ("relu", "relu6", "clip")  # which commute with every rounding: it is monotone
