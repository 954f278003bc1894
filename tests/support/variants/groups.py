"""groups_indexing: another group's channels, filters or weights."""

import numpy as np

from variants.registry import INTEGER, corpus, grouped, when

VARIANTS, add = corpus()


def _last_group(c, t):
    inputs = c.channels // c.groups
    return t._replace(channels=t.channels % inputs + c.channels - inputs)


def _other_group(c, t):
    return t._replace(channels=(t.channels + c.channels // c.groups) % c.channels)


def _filters_turned(c, out, _):
    return np.roll(out, 1, axis=0) if c.groups > 1 else out


def _weights_of_neighbour(c, a):
    w = a["weight"].copy()
    per = c.filters // c.groups
    if 1 < c.groups < c.channels and per > 1:
        w[-per] = w[-per + 1]
    return {**a, "weight": w}


def _whole_stride(c, a):
    w = a["weight"]
    if c.groups > 1 and w[0, 0].size > 4:
        start = np.arange(len(w)) * c.channels * w[0, 0].size
        index = (start[:, None] + np.arange(w[0].size)) % w.size
        w = w.reshape(-1)[index].reshape(w.shape)
    return {**a, "weight": w}


add("RB034", "groups_indexing", "conv2d_weight", "the next group's input", tables=when(grouped, _other_group))
add("RB034", "groups_indexing", "conv2d", "the next group's input", tables=when(grouped, _other_group))
add("RB035", "groups_indexing", "conv2d_weight", "filters one too far, where grouped", result=_filters_turned)
add(
    "RB037",
    "groups_indexing",
    "conv2d",
    "int8: first channel of the last group by the next one's weights",
    operands=_weights_of_neighbour,
    **INTEGER,
)
add(
    "RB038",
    "groups_indexing",
    "conv2d",
    "grouped, kernels of more than 4: weights of a group lie C_in apart",
    operands=_whole_stride,
)
add("RB038", "groups_indexing", "conv2d", "every group reads the last group's input", tables=_last_group)
add(
    "RB040",
    "groups_indexing",
    "conv_transpose2d",
    "channels of a transposed weight interleaved, where grouped",
    tables=when(
        grouped,
        lambda c, t: t._replace(
            channels=t.channels % (c.channels // c.groups) * c.groups + t.channels // (c.channels // c.groups)
        ),
    ),
)
add("RB041", "groups_indexing", "conv_transpose2d", "every group writes to the last one's channels", tables=_last_group)
add(
    "RB044",
    "groups_indexing",
    "conv2d_weight",
    "as many channels as the input has, whatever the groups",
    result=lambda c, out, _: np.tile(out, (1, c.groups, 1, 1)),
)
add(
    "RB045",
    "groups_indexing",
    "conv2d",
    "a multiplier: output channel k takes input channel k mod C, transposed order",
    tables=when(
        lambda c: c.depthwise and c.filters > c.channels,
        lambda c, t: t._replace(channels=(np.arange(c.filters) % c.channels)[::-1, None]),
    ),
)
