"""One correlation, as every operator is seen.

Knows views and padding; not which operator it came from, and not who computes it.
"""

from typing import NamedTuple

import numpy as np

from refconv.padding import Sides


class Correlation(NamedTuple):
    """`out` = `bias` + the correlation of the padded `x` with `w`, over views of any strides and dtypes.

    The group is an axis of its own: in a weight gradient images and channels change places and groups do not, which no
    array without it could say.
    """

    x: np.ndarray  # (images, groups, channels of a group, *size)
    w: np.ndarray  # (groups, output channels of a group, channels of a group, *kernel)
    bias: np.ndarray | None  # (groups, output channels of a group)
    out: np.ndarray  # (images, groups, output channels of a group, *output size)
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: Sides
    padding_mode: str
    accumulator: np.dtype
