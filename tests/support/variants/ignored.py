"""param_ignored: parameters that do not count."""

from variants.registry import MODES, corpus, dilated, grouped, setting, when

VARIANTS, add = corpus()
add(
    "RB011",
    "param_ignored",
    "conv2d",
    "nothing but the bias where grouped and dilated",
    result=when(
        lambda c: grouped(c) and dilated(c),
        lambda c, out, a: out * 0 + (0 if a["bias"] is None else a["bias"][:, None, None]),
    ),
)


def _rows_in_pairs(c, t):
    rows = t.rows.copy()
    rows[:, 1::2] = rows[:, 0 : 2 * (rows.shape[1] // 2) : 2]
    return t._replace(rows=rows)


add(
    "RB013",
    "param_ignored",
    "conv2d",
    "depthwise, even dilation of rows: every second row is the one before",
    tables=when(lambda c: c.depthwise and c.dilation[0] % 2 == 0, _rows_in_pairs),
)
add(
    "RB014",
    "param_ignored",
    "conv2d",
    "depthwise, dilation 3: as if it were 2",
    read=when(
        lambda c: c.depthwise and 3 in c.dilation,
        setting(dilation=lambda c: tuple(2 if d == 3 else d for d in c.dilation)),
    ),
)
add(
    "RB016",
    "param_ignored",
    "conv2d",
    "dilation ignored where depthwise",
    read=when(lambda c: c.depthwise, setting(dilation=lambda c: (1, 1))),
)
add(
    "RB018",
    "param_ignored",
    "conv2d",
    "dilation of the height ignored",
    read=setting(dilation=lambda c: (1, c.dilation[1])),
)
add("RB018", "param_ignored", "conv2d", "dilation ignored, the size too", shape=setting(dilation=lambda c: (1, 1)))
add(
    "RB019",
    "param_ignored",
    "conv_transpose2d",
    "dilation of the width ignored when scattering",
    read=setting(dilation=lambda c: (c.dilation[0], 1)),
)
add("RB020", "param_ignored", "conv2d_input", "padding ignored", read=setting(pads=lambda c: ((0, 0), (0, 0))))
add("RB020", "param_ignored", "conv2d_weight", "stride ignored", read=setting(stride=lambda c: (1, 1)))
add(
    "RB021",
    "param_ignored",
    "conv2d",
    "stride of the width ignored when reading",
    read=setting(stride=lambda c: (c.stride[0], 1)),
)
add("RB021", "param_ignored", "conv2d", "padding ignored when reading", read=setting(pads=lambda c: ((0, 0), (0, 0))))
add("RB021", "param_ignored", "conv2d", "padding mode ignored", read=setting(mode=lambda c: "zeros"), **MODES)
