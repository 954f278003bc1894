"""Lowering: every operator as a correlation over views.

Knows geometry and what a correlation is; not who computes it, and nothing of the caller's kinds of arrays.
"""

import numpy as np

from refconv.correlation import Correlation
from refconv.geometry import Geometry


def forward(
    g: Geometry, x: np.ndarray, w: np.ndarray, bias: np.ndarray | None, accumulator: np.dtype, out: np.ndarray
) -> Correlation:
    """conv of x (N, C_in, H, W) with w (C_out, C_in // groups, R, S) into out (N, C_out, P, Q), as it stands."""
    split = (g.groups, g.out_channels // g.groups)  # splitting an axis leaves a view, whatever the strides
    return Correlation(
        x.reshape(g.batch, g.groups, g.in_channels // g.groups, *g.size),
        w.reshape(*split, *w.shape[1:]),
        None if bias is None else bias.reshape(split),
        out.reshape(g.batch, *split, *g.output_size),
        g.stride,
        g.dilation,
        g.padding,
        g.padding_mode,
        accumulator,
    )
