"""degenerate, large_index: empty tensors and outputs of one pixel, indices past 16 bits."""

import numpy as np

from variants.registry import corpus, when

VARIANTS, add = corpus()


# --- degenerate sizes


def _garbage(c, out, _):
    return np.random.default_rng().standard_normal(out.shape)


add(
    "RB122",
    "degenerate",
    "conv2d_weight",
    "without images: whatever was there",
    result=when(lambda c: c.batch == 0, _garbage),
)
add(
    "RB123",
    "degenerate",
    "conv2d_weight",
    "without columns: whatever was there",
    result=when(lambda c: 0 in c.size, _garbage),
)
add(
    "RB124",
    "degenerate",
    "conv2d",
    "without images: one image of zeros",
    function=None,
    result=when(lambda c: c.batch == 0, lambda c, out, _: np.zeros((1, *out.shape[1:]))),
)
add(
    "RB128",
    "degenerate",
    "conv2d",
    "an output of one pixel: zero",
    result=when(lambda c: c.out == (1, 1), lambda c, out, _: out * 0),
)


# --- large sizes


def _first_images(limit):
    def change(c, out, _):
        out = out.copy()
        out[limit:] = 0
        return out

    return change


def _wrapped_channels(c, out, _):
    k = out.shape[1]
    return out[:, np.arange(k) % 2**16]


add("RB139", "large_index", "conv2d", "images beyond 65535 missing", result=_first_images(2**16 - 1))
add("RB139", "large_index", "conv2d", "channels modulo 65536", result=_wrapped_channels)
add(
    "RB138",
    "large_index",
    "conv2d_weight",
    "images beyond 65535 do not count",
    operands=lambda c, a: {
        **a,
        "grad_output": np.where(np.arange(c.batch)[:, None, None, None] < 2**16 - 1, a["grad_output"], 0),
    },
)
add(
    "RB141",
    "large_index",
    "conv2d",
    "taps from 256 on do not count",
    operands=lambda c, a: {
        **a,
        "weight": np.where(np.arange(np.prod(c.kernel)).reshape(c.kernel) < 256, a["weight"], 0),
    },
)
add(
    "RB143",
    "large_index",
    "conv2d",
    "pixels beyond 65536 missing",
    result=lambda c, out, _: np.where(np.arange(np.prod(c.out)).reshape(c.out) < 2**16, out, 0),
)
