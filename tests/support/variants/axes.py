"""axis_mixup: one axis' parameters for the other's."""

from offset_tables import Kernel

from variants.registry import SIDES, corpus, setting, size

VARIANTS, add = corpus()
add(
    "RB001",
    "axis_mixup",
    "conv2d",
    "height of the output from kernel, stride and dilation of the width",
    out=lambda c, out: (size(c, 0, kernel=c.kernel[1], stride=c.stride[1], dilation=c.dilation[1]), out[1]),
)
add(
    "RB002",
    "axis_mixup",
    "conv2d",
    "dilation of the width for both, when reading",
    read=setting(dilation=lambda c: (c.dilation[1],) * 2),
)
add(
    "RB002",
    "axis_mixup",
    "conv2d",
    "height of the output from the width's dilation",
    out=lambda c, out: (size(c, 0, dilation=c.dilation[1]), out[1]),
)
add(
    "RB005", "axis_mixup", "conv2d", "dilations swapped when reading", read=setting(dilation=lambda c: c.dilation[::-1])
)
add(
    "RB005",
    "axis_mixup",
    "conv2d",
    "stride of the width for both, when reading",
    read=setting(stride=lambda c: (c.stride[1],) * 2),
)
add("RB007", "axis_mixup", "conv2d", "paddings swapped", shape=setting(pads=lambda c: c.pads[::-1]))
add("RB007", "axis_mixup", "conv2d", "padding of the height for both", shape=setting(pads=lambda c: (c.pads[0],) * 2))
add(
    "RB008",
    "axis_mixup",
    "conv2d",
    "four sides as (top, left), (bottom, right)",
    shape=setting(pads=lambda c: tuple(zip(*c.pads, strict=True))),
    **SIDES,
)


def _groups_and_dilation(x, w, b, stride, padding, output_padding, groups, dilation):
    swapped = dilation[1], (groups, groups)
    return Kernel().conv_transpose2d(x, w, b, stride, padding, output_padding, *swapped)


add(
    "RB010",
    "axis_mixup",
    "conv_transpose2d",
    "dilation of the width for the groups, and the other way round",
    _groups_and_dilation,
)
add(
    "RB010",
    "axis_mixup",
    "conv_transpose2d",
    "strides swapped when scattering",
    read=setting(stride=lambda c: c.stride[::-1]),
)
