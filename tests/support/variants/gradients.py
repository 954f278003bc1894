"""transposed_geometry, bwd_geometry: geometry of the transposed convolution and of gradients."""

import numpy as np

from variants.registry import corpus, grouped, setting, when

VARIANTS, add = corpus()
add(
    "RB095",
    "transposed_geometry",
    "conv_transpose2d",
    "output padding at the top",
    result=lambda c, out, a: np.roll(out, c.output_padding[0], axis=2),
)
add(
    "RB097",
    "transposed_geometry",
    "conv_transpose2d",
    "one row too few cropped, where grouped",
    read=when(grouped, setting(pads=lambda c: ((max(0, c.pads[0][0] - 1), c.pads[0][1]), c.pads[1]))),
)
add(
    "RB098",
    "transposed_geometry",
    "conv_transpose2d",
    "output padding counted in strides",
    result=lambda c, out, a: np.pad(out, ((0, 0), (0, 0), (0, c.output_padding[0] * (c.stride[0] - 1)), (0, 0))),
)
add(
    "RB099",
    "transposed_geometry",
    "conv_transpose2d",
    "nothing in the columns that the output padding adds",
    result=lambda c, out, a: np.where(np.arange(c.size[1]) < c.size[1] - c.output_padding[1], out, 0),
)
add(
    "RB103",
    "bwd_geometry",
    "conv2d_input",
    "k - 1 - p for d (k - 1) - p, in the height",
    read=setting(pads=lambda c: ((c.pads[0][0] - (c.dilation[0] - 1) * (c.kernel[0] - 1),) * 2, c.pads[1])),
)


def _cropped(c, most):
    kept = [
        n - max(0, (n + p - d * (k - 1) - 1) % s - most)
        for n, p, d, k, s in zip(c.size, c.total, c.dilation, c.kernel, c.stride, strict=True)
    ]
    return tuple(map(max, kept, (0, 0)))


add(
    "RB104",
    "bwd_geometry",
    "conv2d_input",
    "one row of the remainder at most",
    result=lambda c, out, _: out[:, :, : _cropped(c, 1)[0]],
)
add(
    "RB107",
    "bwd_geometry",
    "conv2d_input",
    "columns that no window covers missing",
    result=lambda c, out, _: out[..., : _cropped(c, 0)[1]],
)
add(
    "RB108",
    "bwd_geometry",
    "conv2d_weight",
    "stride and dilation exchanged",
    read=setting(stride=lambda c: c.dilation, dilation=lambda c: c.stride),
)
