"""Numbers that a candidate takes of one kind: any, some, or the multiples of one from a least one on.

Knows integers; not what they are numbers of.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Multiples:
    """All multiples of a number that are not below another one.

    Examples
    --------
    >>> 48 in Multiples(16, 32), 16 in Multiples(16, 32), 40 in Multiples(16, 32)
    (True, False, False)
    """

    multiple_of: int = 1
    at_least: int = 1

    def __contains__(self, number: int) -> bool:
        return number >= self.at_least and number % self.multiple_of == 0

    @property
    def first(self) -> int:
        """The smallest one."""
        return -(-self.at_least // self.multiple_of) * self.multiple_of


Numbers: TypeAlias = tuple[int, ...] | Multiples
FEW = 6  # numbers near another one that are tried


def nearest(number: int, allowed: Numbers) -> int:
    """The largest allowed number up to this one; the smallest allowed one if all are above it.

    >>> nearest(40, Multiples(16, 32)), nearest(3, Multiples(16, 32)), nearest(5, (1, 4, 8))
    (32, 32, 4)
    """
    if isinstance(allowed, Multiples):
        return max(allowed.first, number // allowed.multiple_of * allowed.multiple_of)
    return max((other for other in allowed if other <= number), default=min(allowed))


def near(number: int, allowed: Numbers | None, least: int = 1) -> Iterator[int]:
    """The allowed numbers, from the nearest on: those up to this one, then larger ones; a few, if these are many."""
    if allowed is None:
        yield from dict.fromkeys((number, *(other for other in (number // 2, least) if other >= least)))
        return
    if isinstance(allowed, Multiples):
        first, step = nearest(number, allowed), allowed.multiple_of
        steps = (*range(0, -FEW, -1), *range(1, FEW))
        some = (first + n * step for n in steps)
        yield from dict.fromkeys(other for other in (*some, allowed.first) if other in allowed)
        return
    yield from sorted(allowed, key=lambda other: (other > number, abs(other - number)))


def at_least_near(number: int, least: int, allowed: Numbers | None) -> int | None:
    """The allowed number nearest to this one that is not below the least; None if there is none.

    >>> at_least_near(5, 9, None), at_least_near(20, 9, Multiples(8)), at_least_near(2, 9, (7, 14))
    (9, 16, 14)
    """
    if allowed is None:
        return max(number, least)
    if isinstance(allowed, Multiples):
        below = nearest(number, allowed)
        return below if below >= least else Multiples(allowed.multiple_of, max(least, allowed.at_least)).first
    return min((other for other in allowed if other >= least), key=lambda other: abs(other - number), default=None)


def multiple_near(of: int, number: int, allowed: Numbers | None) -> int | None:
    """The allowed multiple of a number that is nearest to another one; None if there is none.

    >>> multiple_near(6, 13, None), multiple_near(6, 13, Multiples(4)), multiple_near(5, 5, (3,))
    (12, 12, None)
    """
    multiples = both(Multiples(of, of), allowed)
    return nearest(number, multiples) if multiples else None


def both(left: Numbers | None, right: Numbers | None) -> Numbers | None:
    """The numbers that are allowed by both.

    >>> both((1, 2, 4), Multiples(2)), both(Multiples(4), Multiples(6, 13))
    ((2, 4), Multiples(multiple_of=12, at_least=13))
    """
    if left is None or right is None:
        return right if left is None else left
    if isinstance(left, Multiples) and isinstance(right, Multiples):
        return Multiples(math.lcm(left.multiple_of, right.multiple_of), max(left.at_least, right.at_least))
    listed, other = (right, left) if isinstance(left, Multiples) else (left, right)
    assert not isinstance(listed, Multiples)  # noqa: S101 - of two kinds, one is listed
    return tuple(number for number in listed if number in other)


def examples_of(allowed: Numbers, usual: tuple[int, ...]) -> tuple[int, ...]:
    """Allowed numbers to draw from: the usual ones that are allowed, or the first few.

    >>> examples_of(Multiples(16, 32), (1, 16, 32, 48)), examples_of(Multiples(7), (1, 2))
    ((32, 48, 64), (7, 14, 21))
    """
    if not isinstance(allowed, Multiples):
        return allowed
    first = [allowed.first + n * allowed.multiple_of for n in range(3)]
    return tuple(dict.fromkeys([*(number for number in usual if number in allowed), *first]))
