"""nonfinite: NaN and infinity that spread, or vanish."""

import numpy as np

from variants.registry import corpus

VARIANTS, add = corpus()


def _nan_spreads(c, out, a):
    bad = ~np.isfinite(a["input"]).all(axis=1)  # (N, H, W)
    if not bad.any():
        return out
    return np.where(bad.any(axis=(1, 2))[:, None, None, None], np.nan, out)


def _nan_lanes(c, out, a):
    bad = ~np.isfinite(a["input"]).all(axis=(1, 2, 3))
    leaks = c.channels % 4 != 0
    return np.where(bad[:, None, None, None] & leaks, np.nan, out)


SPECIAL = {"supports": {"fills": ("special", "integers", "normal")}}


add("RB156", "nonfinite", "conv2d", "one that is not finite makes the whole image NaN", result=_nan_spreads, **SPECIAL)
add("RB155", "nonfinite", "conv2d", "NaN leaks where channels are no multiple of 4", result=_nan_lanes, **SPECIAL)
add(
    "RB156",
    "nonfinite",
    "conv2d",
    "NaN taken for 0",
    operands=lambda c, a: {**a, "input": np.nan_to_num(a["input"], nan=0, posinf=np.inf, neginf=-np.inf)},
    **SPECIAL,
)
