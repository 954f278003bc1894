"""Operands of epilogues: scale, shift and residual of a generated call, from its seed.

Knows epilogues, formats and fills by name; not where the call comes from.
"""

import numpy as np

from refconv.core.formats import rounded, underflow_unit
from refconv.ops.epilogue import operand_names, steps_of

SPECIAL = (np.nan, np.inf, -np.inf, -0.0)
SEED = 2  # beside that of the call: its own arrays are others


def operands_of(
    epilogue: str, shape: tuple[int, ...], channels: int, dtype: str, fill: str, seed: int
) -> tuple[np.ndarray, ...]:
    """The operands of an epilogue, of the kind of numbers that the call has; the same for the same arguments.

    Integers, where the sums are small ones: then scales are powers of two, so that nothing is rounded.

    Examples
    --------
    >>> scale, shift, residual = operands_of("scale,residual", (1, 2, 1, 1), 2, "float32", "integers", 0)
    >>> set(np.abs(scale).tolist()) <= {0.5, 1.0, 2.0}, residual.shape
    (True, (1, 2, 1, 1))
    """
    random = np.random.default_rng([seed, SEED])
    return tuple(
        rounded(_numbers(random, name, shape if name.startswith("residual") else (channels,), dtype, fill), dtype)
        for name in operand_names(steps_of(epilogue))
    )


def _numbers(random: np.random.Generator, name: str, shape: tuple[int, ...], dtype: str, fill: str) -> np.ndarray:
    if fill in ("integers", "positions"):
        if name.startswith("scale"):
            return random.choice([-2.0, -1.0, -0.5, 0.5, 1.0, 2.0], shape)
        return random.choice([-1.0, 1.0], shape) * random.integers(1, 8, shape)
    numbers = random.uniform(0.5, 2, shape) if name.startswith("scale") else random.standard_normal(shape)
    if fill != "positive":
        numbers = numbers * random.choice([-1.0, 1.0], shape)
    if fill == "subnormal" and name.startswith("residual"):
        numbers = np.rint(8 * numbers) * 2 * underflow_unit(dtype)
    if fill == "special":
        replaced = random.random(shape) < 1 / 8
        numbers[replaced] = random.choice(SPECIAL, int(replaced.sum()))
    return numbers
