"""Variants of the bug corpus: its mistakes made in another kernel, and on another path.

The base is `offset_tables`, not that of refconv.mutants; where the corpus has the height a variant has the
width, other gates, other sizes of blocks. `kind` is what a diagnosis should say. Sound kernels under a wrong model are
here too. A file for each kind of mistake.
"""

from variants import (
    accumulators,
    axes,
    channels_and_images,
    fast_paths,
    gradients,
    groups,
    ignored,
    layouts,
    not_finite,
    padding,
    quantized,
    sizes,
    state,
    tile_tails,
)
from variants.registry import DTYPES, Variant

__all__ = ["DTYPES", "VARIANTS", "Variant"]

KINDS = (
    axes,
    ignored,
    fast_paths,
    groups,
    padding,
    tile_tails,
    layouts,
    gradients,
    channels_and_images,
    sizes,
    quantized,
    accumulators,
    not_finite,
    state,
)
VARIANTS = [variant for kind in KINDS for variant in kind.VARIANTS]
