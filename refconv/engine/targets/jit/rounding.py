"""Steps of correct rounding in plain Python, which every target compiles by its own decorator.

Knows float64 arithmetic; neither Numba nor a target, whose functions for a number's bits are given.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from typing import Any


def two_sum(a, b):
    """The sum of two numbers and what rounding takes from it, exactly (Knuth)."""
    total = a + b
    b_part = total - a
    return total, (a - (total - b_part)) + (b - b_part)


def to_odd_by(bits_of: Any, number_of: Any) -> Any:
    """`to_odd` of float64, by a target's functions from a number to its bits (int64) and back."""

    def to_odd(value, rest):
        """A number between which and value + rest there is none of fewer bits: rounding it once more is right.

        The neighbor of `value` toward the sum, if that is not `value` and ends in a 1 bit. Boldo and Melquiond, "When
        double rounding is odd", IMACS 2005.
        """
        bits = bits_of(value)
        if rest != 0 and bits & 1 == 0:
            bits += 1 if (rest > 0) == (value > 0) else -1
        return number_of(bits)

    return to_odd
