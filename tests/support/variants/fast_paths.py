"""fastpath_gate: fast paths taken where they must not be."""

import numpy as np

from variants.registry import corpus, grouped, setting, strided, when

VARIANTS, add = corpus()
add(
    "RB024",
    "fastpath_gate",
    "conv2d",
    "1x1: stride of the height ignored",
    read=when(lambda c: c.kernel == (1, 1), setting(stride=lambda c: (1, c.stride[1]))),
)
add(
    "RB024",
    "fastpath_gate",
    "conv2d",
    "1x1: padding ignored",
    read=when(lambda c: c.kernel == (1, 1), setting(pads=lambda c: ((0, 0), (0, 0)))),
)
add(
    "RB024",
    "fastpath_gate",
    "conv2d",
    "3x3 without stride: dilation ignored",
    read=when(lambda c: c.kernel == (3, 3) and c.stride == (1, 1), setting(dilation=lambda c: (1, 1))),
)
add(
    "RB025",
    "fastpath_gate",
    "conv2d_input",
    "1x1: stride ignored",
    read=when(lambda c: c.kernel == (1, 1), setting(stride=lambda c: (1, 1))),
)


def _first_group(c, t):
    return t._replace(channels=t.channels % (c.channels // c.groups))


add(
    "RB026",
    "fastpath_gate",
    "conv2d_weight",
    "groups ignored where there is a stride",
    tables=when(lambda c: grouped(c) and strided(c), _first_group),
)


def _one_phase(c, out, _):
    rows = (np.arange(c.size[0]) + c.pads[0][0]) % c.stride[0] == 0
    return np.where(rows[:, None], out, 0)


add(
    "RB027",
    "fastpath_gate",
    "conv2d_input",
    "only the first phase of the rows, where the stride is above the dilation",
    result=when(lambda c: c.groups == 1 and c.stride[0] > c.dilation[0], _one_phase),
)


def _no_kernel(c):
    if c.dtype.itemsize < 4 and c.kernel == (3, 3):
        raise RuntimeError("no such kernel")
    return c


add(
    "RB032",
    "fastpath_gate",
    "conv2d",
    "3x3 in a narrow format: there is no kernel",
    shape=_no_kernel,
    dtypes=("float32", "bfloat16", "float16"),
)
