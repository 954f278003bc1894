"""Admissible: what a kernel may add to the values of an epilogue's steps, by the format that it computes them in.

Knows steps, intervals and formats; not how sums are computed.

The errors of functions, in units in the last place of the format that a kernel computes in. A library's exp, tanh and
erf may be wrong by `LIBRARY`: the CUDA math API lists at most 2 ULP for expf, tanhf and erff ("Mathematical Functions
Appendix"), the GNU C library's manual at most 2, SLEEF, which torch is built with, 1.0 (`Sleef_expf8_u10`, ...), and
Intel's oneMKL less than 4 in its low accuracy, which NumPy's AVX-512 kernels have from it. To that comes what the usual
formula adds, each operation half a unit:

* sigmoid, 1 / (1 + exp(-x)): an addition and a division. Where exp(-x) overflows, 0 comes out.
* silu, x sigmoid(x): one multiplication more.
* gelu, x / 2 (1 + erf(x / sqrt(2))): of negative numbers 1 + erf cancels, so that the error is one of x, not of the
  value: |x| / 2 times those of erf, of its argument (0.5 at most) and of the addition, and a multiplication.
* gelu_tanh: the same, and more of the argument, which takes six operations.
* hardswish, x relu6(x + 3) / 6 or x min(max(x / 6 + 1/2, 0), 1): four operations, of x likewise; 0 below -3.
"""

from dataclasses import dataclass

import numpy as np

from refconv.core import formats
from refconv.judge.bounds.rounding import OUTWARDS, smallest_normal
from refconv.judge.epilogue.enclosures import FACTOR, Interval, image
from refconv.ops.epilogue import Step

LIBRARY = 4  # ULP, of exp, tanh and erf
OF_VALUE = {"tanh": LIBRARY, "sigmoid": LIBRARY + 1, "silu": LIBRARY + 2}  # ULP of the value
OF_ARGUMENT = {"gelu": LIBRARY, "gelu_tanh": LIBRARY + 1, "hardswish": 2}  # ULP of the argument
OVERFLOWING = ("sigmoid", "silu")  # by way of exp(-x)
DEAD = -3 * (1 + 2.0**-6)  # below it hardswish is 0 in any format


@dataclass(frozen=True)
class Arithmetic:
    """How a kernel computes steps.

    Parameters
    ----------
    accumulator : dtype
        The format that it computes them in.
    stored : tuple of dtype
        Formats that it may round the value of a step to after that.
    flush : bool
        Whether subnormal numbers may become zero.
    """

    accumulator: np.dtype
    stored: tuple[np.dtype, ...] = ()
    flush: bool = False

    def step(self, step: Step, x: Interval, operands: tuple[np.ndarray, ...]) -> Interval:
        """All that may come of a step over intervals of its argument.

        >>> half = Interval(np.array([0.5]), np.array([0.5]))
        >>> arithmetic = Arithmetic(np.dtype("float32"))
        >>> [end.item() for end in arithmetic.step(Step("residual"), half, (np.array([2.0**-26]),))]
        [0.5, 0.5000000149011612]
        """
        if step.operands or step.name == FACTOR:  # rounded or not: with its shift it may be a fused multiply-add
            return self._kept(self._flushed(image(step, x, operands)))
        values = [image(variant, x) for variant in self._variants(step)]
        y = Interval(np.minimum.reduce([v.low for v in values]), np.maximum.reduce([v.high for v in values]))
        if step.name in OF_VALUE or step.name in OF_ARGUMENT or step.custom is not None:
            y = y.widened(self._own(step, x, y))
        if step.name == "hardswish":  # by way of 6 x, which may overflow
            y = Interval(y.low, np.where(x.high > formats.largest(self.accumulator) / 7, np.inf, y.high))
        return y if not step.numbers and step.name in ("relu", "relu6") else self._kept(y)

    def _own(self, step: Step, x: Interval, y: Interval) -> np.ndarray:
        """The largest error that the function itself may have."""
        ulp = 2 * formats.unit_roundoff(self.accumulator)
        least = smallest_normal(self.accumulator) if self.flush else formats.underflow_unit(self.accumulator)
        if step.name in OF_ARGUMENT:
            error = OF_ARGUMENT[step.name] * ulp * x.magnitude
            error = np.where(x.high < DEAD, 0.0, error + least) if step.name == "hardswish" else error + least
        else:
            allowed = step.custom.error if step.custom is not None else OF_VALUE[step.name]
            error = allowed * ulp * y.magnitude + least
        if step.name in OVERFLOWING:
            lost = 1 / formats.largest(self.accumulator) * (x.magnitude if step.name == "silu" else 1.0)
            error = error + np.where(x.low < -np.log(formats.largest(self.accumulator)) * (1 - 2.0**-20), lost, 0.0)
        own: np.ndarray = np.where(np.isfinite(error), OUTWARDS * error, 0.0)
        return own

    def _variants(self, step: Step) -> list[Step]:
        """The step with its numbers as they are, and rounded to each format."""
        variants = [step]
        for dtype in (self.accumulator, *self.stored) if step.numbers else ():
            rounded = formats.rounded(np.array(variants[-1].numbers), dtype).astype(np.float64).tolist()
            variants.append(Step(step.name, tuple(rounded)))
        return variants

    def _kept(self, x: Interval) -> Interval:
        """The values, and these rounded to each format one after the other."""
        for dtype in (self.accumulator, *self.stored):
            x = self.rounded(x, dtype, whole=True)
        return x

    def rounded(self, x: Interval, dtype: np.dtype, *, whole: bool = False) -> Interval:
        """The values rounded to nearest; and as they are, for the whole of what may be."""
        low, high = (formats.rounded(end, dtype).astype(np.float64) for end in x)
        if whole:
            low, high = np.minimum(low, x.low), np.maximum(high, x.high)
        if self.flush:
            tiny = smallest_normal(dtype)
            low, high = np.where((low > 0) & (low < tiny), 0, low), np.where((high < 0) & (high > -tiny), 0, high)
        return Interval(low, high)

    def _flushed(self, x: Interval) -> Interval:
        """The values, of operands that may have been flushed to zero."""
        return x.widened(smallest_normal(self.accumulator)) if self.flush else x
