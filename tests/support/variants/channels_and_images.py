"""kernel_orientation, bias_handling, batch_reduction: kernels turned, biases and images exchanged."""

import numpy as np

from variants.registry import corpus, grouped, when

VARIANTS, add = corpus()


def _flipped(*axes):
    return lambda c, a: {**a, "weight": np.flip(a["weight"], axes)}


add("RB109", "kernel_orientation", "conv2d", "kernel upside down", operands=_flipped(2))
add(
    "RB109",
    "kernel_orientation",
    "conv2d",
    "kernel transposed where square",
    operands=when(lambda c: c.kernel[0] == c.kernel[1], lambda c, a: {**a, "weight": a["weight"].swapaxes(2, 3)}),
)
add("RB109", "kernel_orientation", "conv2d_input", "kernel turned round", operands=_flipped(2, 3))
add(
    "RB111",
    "kernel_orientation",
    "conv2d",
    "grouped: input channels of a filter in reverse",
    operands=when(grouped, _flipped(1, 2, 3)),
)


def _biased(index):
    """Another channel's bias, at an index computed from the call."""

    def change(c, a):
        b = a["bias"]
        return a if b is None or not len(b) else {**a, "bias": b[index(c, np.arange(len(b))) % len(b)]}

    return change


def _bias_by_image(c, out, a):
    b = a["bias"]
    if b is None or not len(b):
        return out
    other = b[(np.arange(c.batch) + 1) % len(b)]
    return out - b[:, None, None] + other[:, None, None, None]


add(
    "RB113",
    "bias_handling",
    "conv2d",
    "grouped: every group has the last one's bias",
    operands=_biased(lambda c, k: k % (c.filters // c.groups) - c.filters // c.groups),
)
add("RB113", "bias_handling", "conv_transpose2d", "bias of the next channel", operands=_biased(lambda c, k: k + 1))
add("RB114", "bias_handling", "conv2d", "bias by the image, from 1", result=_bias_by_image)
add("RB114", "param_ignored", "conv2d", "bias forgotten", operands=lambda c, a: {**a, "bias": None})
add("RB115", "bias_handling", "conv2d", "bias in reverse", operands=_biased(lambda c, k: -1 - k))
add(
    "RB115",
    "bias_handling",
    "conv2d",
    "bias added twice",
    result=lambda c, out, a: out + (0 if a["bias"] is None else a["bias"][:, None, None]),
)


def _images_mixed(c, out, _):
    n, k = out.shape[:2]
    return out.reshape(n * k, *out.shape[2:])[np.arange(n * k).reshape(n, k).T.reshape(-1)].reshape(out.shape)


add("RB119", "batch_reduction", "conv2d", "images and channels mixed", result=_images_mixed)
add(
    "RB119",
    "batch_reduction",
    "conv2d",
    "the first image for all",
    result=lambda c, out, _: np.repeat(out[:1], len(out), 0),
)
add(
    "RB120",
    "batch_reduction",
    "conv2d",
    "W = 1: images in reverse",
    result=when(lambda c: c.size[1] == 1, lambda c, out, _: out[::-1]),
)
add(
    "RB120",
    "batch_reduction",
    "conv2d_weight",
    "only the first image counts",
    operands=lambda c, a: {**a, "grad_output": np.concatenate([a["grad_output"][:1], a["grad_output"][1:] * 0])},
)
