"""Checksums of an output: by linearity, one output of a convolution with a random combination of the filters.

Huang and Abraham, "Algorithm-based fault tolerance for matrix operations", IEEE Trans. Computers C-33 (1984). Images
are looked at one after the other, so that memory is needed for one image only. Knows references and error models; not
what is judged besides checksums.
"""

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from refconv.core import formats
from refconv.core.formats import parts
from refconv.judge.bounds import ErrorModel
from refconv.judge.bounds.rounding import OUTWARDS, smallest_normal
from refconv.judge.error_statistics import LARGEST_UNITS, SUM
from refconv.judge.reference import Reference
from refconv.ops import convolution


class Faults(NamedTuple):
    """What the checksums of all images say."""

    problem: str  # the wrong checksums of the first image that has some, in words
    size: float  # a single error as large as this makes a checksum wrong (median over images)
    likely: float  # a single error as large as this makes a checksum suspicious (median over images)
    unjudged: int  # number of checksums that could not be judged
    suspicious: int  # number of checksums that are further off than independent roundings could make them


class _Image(NamedTuple):
    """What the checksums of one image say; `size`, `likely` and `suspicious` as `Faults` has them."""

    wrong: np.ndarray  # for each checksum, whether it is wrong
    judged: np.ndarray  # for each checksum, whether it could be judged
    size: float
    likely: float
    suspicious: int


class Checksums:
    """The checksums of a call: what they must be, and how far an output's may lie from it."""

    def __init__(self, case: Reference, model: ErrorModel | None, random: np.random.Generator) -> None:
        self.case, self.model = case, model
        g = case.geometry
        usable = _all_finite(case.weight) & (True if case.bias is None else _all_finite(case.bias))
        # The factors all differ, so that channels that have changed places do not cancel. They lie between 1 and 2, for
        # integers between C_out and 2 C_out.
        factors = g.out_channels + random.permutation(g.out_channels)
        self.factors = random.choice([-1, 1], g.out_channels) * factors * usable
        if model:
            self.factors = self.factors / g.out_channels
        self.wide = _wide(case.weight.dtype)
        weight = case.weight.astype(self.wide)
        weight[~usable] = 0
        bias = np.zeros(g.out_channels, self.wide) if case.bias is None else case.bias.astype(self.wide)
        bias[~usable] = 0
        factors = self.factors.astype(self.wide)
        # One filter over all input channels: the combined filters of the groups side by side.
        filters = factors.reshape(-1, *(1 for _ in weight.shape[1:])) * weight
        filters = filters.reshape(g.groups, -1, *weight.shape[1:]).sum(axis=1)
        self.filter, self.bias = filters.reshape(1, -1, *g.kernel), (factors * bias).sum(keepdims=True)
        self.largest = [_largest(operand, g.groups) for operand in (weight, bias)] if model else []

    def faults(self, actual: np.ndarray) -> Faults:
        """Compare with the checksums of an output, image by image."""
        g = self.case.geometry
        images = actual.reshape(g.batch, g.out_channels, *g.output_size)
        problems: list[str] = []
        judge = self._closely if self.model else self._exactly
        by_image = [judge(n, image) for n, image in enumerate(images)]
        for n, checksums in enumerate(by_image):
            place = np.argwhere(checksums.wrong)
            if len(place):
                image = [n] if actual.ndim == self.case.axes + 2 else []
                at = ", ".join(map(str, [*image, ":", *map(int, place[0][: self.case.axes])]))
                problems.append(f"{len(place)} checksums are wrong, the first that of output[{at}]")
        return Faults(
            problem=problems[0] if problems else "",
            size=float(np.median([checksums.size for checksums in by_image])),
            likely=float(np.median([checksums.likely for checksums in by_image])),
            unjudged=sum(checksums.judged.size - int(checksums.judged.sum()) for checksums in by_image),
            suspicious=sum(checksums.suspicious for checksums in by_image),
        )

    def _exactly(self, n: int, image: np.ndarray) -> _Image:
        """Integers: equal modulo 2**64."""
        x = self._image(n).astype(np.int64)
        expected = self._call(x, self.filter, self.bias, overflow="wrap")
        checksums = np.zeros(expected.shape, np.int64)
        for factor, channel in zip(self.factors, image, strict=True):
            checksums += factor * channel.astype(np.int64)
        return _Image(checksums != expected, np.ones(expected.shape, bool), 1.0, np.inf, 0)

    def _closely(self, n: int, image: np.ndarray) -> _Image:
        """Floats: within the sum of the bounds; and finite where nothing but finite numbers comes in."""
        g = self.case.geometry
        x = self._image(n)
        finite = np.isfinite(x)
        x = np.where(finite, x, 0).astype(self.wide)
        expected = parts(self._call(x, self.filter, self.bias))
        bound, absolute = self._bound(x)
        checksums = np.zeros(expected.shape)
        all_finite = np.ones(expected.shape, bool)
        with np.errstate(all="ignore"):
            for factor, channel in zip(self.factors, image, strict=True):
                if factor:
                    values = parts(channel).astype(np.float64)
                    all_finite &= np.isfinite(values)
                    checksums += factor * values
        # Rounded in float64: the sum of the filters, the oracle's checksum, the output's checksum.
        bound += 2 * (g.out_channels + g.groups * g.terms + 5) * 2.0**-53 * (absolute + bound)
        judged = np.isfinite(bound)
        if not finite.all():
            reached = self._call((~finite).astype(float), np.ones(self.filter.shape)) > 0
            judged &= ~(np.repeat(reached, 2, axis=-1) if self.wide.kind == "c" else reached)
        with np.errstate(invalid="ignore"):
            close = all_finite & (np.abs(checksums - expected) <= bound)
        likely = np.minimum(bound, self._likely(absolute) + 2 * g.out_channels // g.groups * self._lost(x))
        with np.errstate(invalid="ignore"):
            suspicious = int(np.count_nonzero(judged & close & (np.abs(checksums - expected) > likely)))
        size, least = (float(np.median(2 * limit[judged])) if judged.any() else np.inf for limit in (bound, likely))
        if self.wide.kind == "c":
            close, judged = (flags.reshape(len(flags), -1, 2).all(axis=-1) for flags in (close, judged))
        return _Image(judged & ~close, judged, size, least, suspicious)

    def _likely(self, absolute: np.ndarray) -> np.ndarray:
        """What a checksum may be off if its roundings are mean-independent; infinite where nothing is known of them."""
        model, g = self._claim(), self.case.geometry
        out = model.output.coarsest(formats.part(self.case.unwritten.dtype))
        n = g.terms * (2 if self.wide.kind == "c" else 1) + 1
        if not (
            self.case.random and model.statistical and n * formats.unit_roundoff(model.accumulator) <= LARGEST_UNITS
        ):
            return np.full(absolute.shape, np.inf)
        relative = math.sqrt(n) * model.unit + formats.unit_roundoff(out)  # error of one output, in units of S
        root = math.sqrt(g.out_channels // g.groups)
        likely: np.ndarray = SUM * (relative + 2.0**-52 * n * g.groups) * absolute / root
        return likely

    def _bound(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Bounds and S, summed over the output channels: at most as many times those of a group's largest weights."""
        model, case, g = self._claim(), self.case, self.case.geometry
        n_filters = g.out_channels // g.groups
        weight, bias = self.largest
        largest = type(case)(
            op=case.op, input=_absolute(x), weight=weight, bias=bias, stride=g.stride, padding=g.padding,
            dilation=g.dilation, groups=g.groups, padding_mode=g.padding_mode,
        )  # fmt: skip
        sums = replace(largest.sums, value=largest.sums.absolute)
        out = formats.part(case.unwritten.dtype)
        absolute = sums.absolute[0].sum(axis=0)
        with np.errstate(all="ignore"):
            elements = model.bound(sums, out)[0]
            # What may rightly be infinite, or NaN in a format without infinity, has no checksum.
            elements = np.where(sums.absolute[0] + elements < formats.largest(out), elements, np.inf)
            bound = elements.sum(axis=0) + formats.unit_roundoff(out) * absolute
            bound = OUTWARDS**2 * 2 * n_filters * (bound + self._lost(x) + formats.underflow_unit(out))
        return bound, 2 * n_filters * absolute

    def _lost(self, x: np.ndarray) -> float:
        """What operands below a format's normal numbers may add to a bound: the largest weights do not show them."""
        model = self._claim()
        dtype = formats.part(self.case.input.dtype)
        least = model.algorithm.least(dtype)
        if model.flush_to_zero:
            least = max(least, smallest_normal(model.accumulator), smallest_normal(dtype))
        if not least:
            return 0.0
        sizes = [float(np.abs(parts(operand)).max(initial=0)) for operand in (x, self.largest[0])]
        g = self.case.geometry
        return 4 * g.groups * (2 * g.terms + 1) * least * (1 + sum(sizes))

    def _claim(self) -> ErrorModel:
        if self.model is None:
            raise TypeError("integers have no error model")
        return self.model

    def _image(self, n: int) -> np.ndarray:
        g = self.case.geometry
        return self.case.input.reshape(g.batch, g.in_channels, *g.size)[n : n + 1]

    def _call(self, x: np.ndarray, w: np.ndarray, bias: np.ndarray | None = None, **options: str) -> np.ndarray:
        """The sums over one filter that spans all input channels."""
        g = replace(self.case.geometry, batch=1, out_channels=1, groups=1)
        sums: np.ndarray = convolution.convolve(g, x, w, bias, **options)[0, 0]
        return sums


def _wide(dtype: np.dtype) -> np.dtype:
    if dtype in formats.INTEGERS:
        return np.dtype("int64")
    return np.dtype("complex128" if dtype in formats.COMPLEX else "float64")


def _all_finite(operand: np.ndarray) -> np.ndarray:
    """For each filter of a weight, or number of a bias, whether it is finite throughout."""
    if operand.dtype in formats.INTEGERS:
        return np.ones(len(operand), bool)
    finite: np.ndarray = np.isfinite(operand).reshape(len(operand), -1).all(axis=1)
    return finite


def _absolute(array: np.ndarray) -> np.ndarray:
    """Magnitudes, of complex numbers part by part."""
    magnitudes: np.ndarray = np.abs(parts(array)).view(array.dtype)
    return magnitudes


def _largest(array: np.ndarray, groups: int) -> np.ndarray:
    """The largest magnitudes among the filters of each group, of complex numbers part by part; never integers.

    For sums of integers no bound is needed, but those of the largest weights need not be sums of the weights.
    """
    grouped = parts(_absolute(array)[..., None]).reshape(groups, -1, *array.shape[1:], array.dtype.itemsize // 8)
    largest: np.ndarray = np.nextafter(grouped.max(axis=1, initial=0), np.inf).view(array.dtype)[..., 0]
    return largest
