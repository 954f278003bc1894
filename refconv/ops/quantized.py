"""Quantised convolutions, as ONNX defines them and onnxruntime computes them: the exact integer one, then a rescaling.

Knows the geometry of `conv2d` and every floor below; nothing of judging, generating or printing.
"""

from typing import Any

import numpy as np

from refconv.arrays import interop
from refconv.core.checks import LARGEST, Padding, Pair, integer
from refconv.core.errors import GeometryError
from refconv.core.formats import INT64
from refconv.engine import integers, targets
from refconv.engine.correlation import Correlation
from refconv.engine.lowering import forward
from refconv.ops.convolution import geometry_of
from refconv.ops.requantization import TWICE, Requantization, Rule, Scales, checked_rule

EIGHT_BITS = (np.dtype("int8"), np.dtype("uint8"))
INT8, INT16, INT32 = np.dtype("int8"), np.dtype("int16"), np.dtype("int32")
WEIGHT_BITS = (4, 8)


def conv2d_integer(
    input: Any,
    weight: Any,
    input_zero_point: Any = 0,
    weight_zero_point: Any = 0,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Any:
    """Convolution of 8-bit integers less their zero points, exactly: ONNX's ConvInteger.

    Parameters
    ----------
    input : array
        (N, C_in, H, W), or (C_in, H, W) for a single image; int8 or uint8. Any kind of array, any strides.
    weight : array
        (C_out, C_in // groups, R, S); int8 or uint8, whichever the input has.
    input_zero_point : int or 0-d array
        The integer that stands for zero in the input; in the range of the input's dtype. Padding counts as it, so it
        adds nothing.
    weight_zero_point : int, 0-d array or array (C_out,)
        Likewise for the weight, for all of it or for each output channel.
    stride, padding, dilation, groups
        As `refconv.conv2d` takes them.

    Returns
    -------
    array
        (N, C_out, P, Q), or without N for a single image; int32, the input's kind of array.

    Raises
    ------
    GeometryError
        A `ValueError`: shapes and sizes that no convolution has, zero points out of range or not one per channel.
    TypeError
        Arrays and zero points of another type.
    OverflowError
        A sum that does not fit into int32. No weight of fewer than 33,026 elements per output channel can cause it.

    Notes
    -----
    onnxruntime 1.32 gives the same integers for all four pairs of dtypes, but refuses one weight zero point per
    channel, and wraps sums that do not fit. On x86-64 processors with AVX2 or AVX-512 but without VNNI it multiplies
    signed weights by VPMADDUBSW, which saturates the sum of two products at 16 bits: there its results are right only
    for weights from -64 to 63, its "reduced range" (see
    https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html).

    References
    ----------
    https://onnx.ai/onnx/operators/onnx__ConvInteger.html

    Examples
    --------
    >>> image = np.array([[[[128, 130], [127, 128]]]], np.uint8)
    >>> conv2d_integer(image, np.full((1, 1, 2, 2), -2, np.int8), input_zero_point=128)
    array([[[[-2]]]], dtype=int32)
    """
    taken = interop.take("input", input=input, weight=weight)
    x, w = taken.arrays
    _check_eight_bits("input", x)
    _check_eight_bits("weight", w)
    x_zero = zero_point_of("input_zero_point", input_zero_point, x.dtype)
    w_zero = zero_points_of("weight_zero_point", weight_zero_point, w)
    correlation, result = _correlation(
        taken, x, x_zero, _less_zero_points(w, w_zero), None, (stride, padding, dilation, groups), INT32
    )
    if correlation is not None:
        integers.correlate(correlation, _target(taken), integers.Fit("raise", result))
    return taken.give_back(result)


def conv2d_quantized(  # noqa: PLR0917 - ONNX's arguments
    input: Any,
    input_scale: Any,
    input_zero_point: Any,
    weight: Any,
    weight_scale: Any,
    weight_zero_point: Any,
    output_scale: Any,
    output_zero_point: Any,
    bias: Any = None,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    *,
    requantize: Rule = "float",
    weight_bits: int = 8,
) -> Any:
    """Convolution of quantised tensors, real = scale * (integer - zero point): ONNX's QLinearConv, bit for bit.

    Or that of a kernel that brings its exact sums to the output's scale by another rule, in integers as a rule.

    Parameters
    ----------
    input : array
        (N, C_in, H, W), or (C_in, H, W) for a single image; int8, uint8 or int16. Any kind of array, any strides.
    input_scale, output_scale : float or 0-d array
        What one step of the integers stands for: positive and finite in float32, to which it is rounded.
    input_zero_point : int or 0-d array
        The integer that stands for zero in the input; in the range of the input's dtype.
    weight : array
        (C_out, C_in // groups, R, S); int8 or uint8, whichever the input has; int8 for int16.
    weight_scale : float, 0-d array or array (C_out,)
        For the whole weight or for each output channel.
    weight_zero_point : int, 0-d array or array (C_out,)
        Likewise.
    output_zero_point : int or 0-d array
        The integer that stands for zero in the result; its dtype, int8 or uint8, is the result's. A plain int has none:
        then the result's dtype is the input's. That of int16 is int16.
    bias : array, optional
        (C_out,), int32 (int64 for int16): in steps of input_scale * weight_scale, with zero point 0.
    stride, padding, dilation, groups
        As `refconv.conv2d` takes them.
    requantize : {"float", "float-away", "fixed", "fixed-double", "fixed-double-up", "fixed-16"} or callable
        The rule by which sums become results, see the notes. A function of the exact sums of an output channel (an
        array of int64, bias included) and the index of the channel, that returns an array of int64 of the same shape:
        the results, zero point included, before they are clamped to what their dtype holds.
    weight_bits : {8, 4}
        4 for int8 weights that hold numbers from -8 to 7 only.

    Returns
    -------
    array
        (N, C_out, P, Q), or without N for a single image; int8, uint8 or int16, the input's kind of array.

    Raises
    ------
    GeometryError
        A `ValueError`: shapes and sizes that no convolution has, zero points out of range, scales that are not positive
        and finite, parameters that are not one per channel, an unknown rule, weights that have more bits.
    TypeError
        Arrays, scales and zero points of another type; a function that returns other than int64.
    OverflowError
        A sum, bias included, that does not fit into int32; of int16, under rules with one rounding, into int64.

    Notes
    -----
    What "float" computes, as onnxruntime's CPU provider does (`QLinearConv::ComputeOutputScale` in qlinearconv.cc and
    `MlasRequantizeOutput` in mlas/lib/quantize.cpp), in float32, each step rounded to nearest, ties to even:

    * scale = input_scale * weight_scale / output_scale, from left to right;
    * the exact int32 sum, bias included, rounded to float32 (sums past 2**24 lose their last bits), times scale;
    * the product clamped to what the result's dtype can hold, less the zero point; rounded to an integer; the zero
      point added. So ties go to the even *difference* from the zero point: with an odd zero point, to odd results.

    ONNX's own reference evaluator (onnx 1.23) adds the zero point before it rounds, so with an odd zero point it rounds
    ties the other way; and it multiplies in float64. Its results can differ by one step.
    The specification has x / y_scale rounded, half to even, before the zero point is added.

    onnxruntime 1.32 takes only uint8 to uint8, with weights of either dtype, and int8 with int8 to int8. It wants equal
    zero points for all channels of a weight, and wraps sums that do not fit into int32. Its trouble with signed weights
    on processors without VNNI is described at `conv2d_integer`.

    The other rules. They add the zero point last, and clamp then.

    * "float-away" is "float" with ties away from zero, as Arm NN's `Quantize` (src/armnn/TypesUtils.cpp) has it.
    * The others first make a multiplier M and an exponent e of each channel's effective scale, input_scale *
      weight_scale / output_scale in float64: M / 2**31 * 2**e, as TFLite's `QuantizeMultiplier`
      (kernels/internal/quantization_util.cc). M is the significand (frexp) rounded to 31 bits, ties away from zero;
      2**31 is halved, and e raised. For e < -31 M is 0; e > 30 becomes 30, with the largest M.
    * "fixed" is (sum * M + 2**(s - 1)) >> s with s = 31 - e, exactly: one rounding, ties up. TFLite's
      `MultiplyByQuantizedMultiplier` (kernels/internal/common.cc) built with TFLITE_SINGLE_ROUNDING, CMSIS-NN with
      CMSIS_NN_USE_SINGLE_ROUNDING, TOSA's RESCALE with scale32 and SINGLE_ROUND.
    * "fixed-double" rounds twice: `SaturatingRoundingDoublingHighMul` of the sum, shifted left by e if that is
      positive, and M; then `RoundingDivideByPOT` by 2**-e, with ties away from zero (gemmlowp, fixedpoint.h; TFLite
      without that option, CMSIS-NN's `arm_nn_requantize`). Sums must fit into int32. "fixed-double-up" has ties of the
      division up, as ruy's kernels for x86 and TFLite's DepthwiseConvOutputRounding::kUpward have them.
    * "fixed-16" is "fixed" with M rounded to 15 bits and s = 15 - e: what TFLite and CMSIS-NN's
      `arm_nn_requantize_s64` do with sums in int64, those of int16 with a bias of int64, and TOSA's RESCALE of int48.

    An activation that a kernel clamps to inside (TFLite's activation_min and activation_max) is a function that clamps.
    No number on the way wraps: what does not fit where an implementation asserts that it does is clamped.

    References
    ----------
    https://onnx.ai/onnx/operators/onnx__QLinearConv.html

    https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html, for the rounding.

    https://github.com/google/gemmlowp/blob/master/fixedpoint/fixedpoint.h

    https://www.mlplatform.org/tosa/tosa_spec.html#_rescale

    B. Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference, 2018,
    section 2.2: https://arxiv.org/abs/1712.05877

    Examples
    --------
    >>> image = np.array([[[[128, 130], [127, 128]]]], np.uint8)
    >>> weight = np.full((1, 1, 1, 1), 5, np.int8)
    >>> conv2d_quantized(image, 0.5, 128, weight, 0.25, 0, 0.25, 3)
    array([[[[3, 8],
             [1, 3]]]], dtype=uint8)
    >>> conv2d_quantized(image, 0.5, 128, weight, 0.25, 0, 0.25, 3, requantize="float-away")
    array([[[[3, 8],
             [0, 3]]]], dtype=uint8)
    """
    taken = interop.take("input", input=input, weight=weight, bias=bias)
    x, w, b = taken.arrays
    rule = checked_rule(requantize)
    check_operands(x, w, b, weight_bits)
    x_zero = zero_point_of("input_zero_point", input_zero_point, x.dtype)
    w_zero = zero_points_of("weight_zero_point", weight_zero_point, w, weight_bits)
    dtype = quantized_dtype(output_zero_point, x.dtype)
    zero = zero_point_of("output_zero_point", output_zero_point, dtype)
    scales = Scales(
        scales_of("input_scale", input_scale, ()),
        scales_of("weight_scale", weight_scale, w.shape[:1]),
        scales_of("output_scale", output_scale, ()),
    )
    correlation, result = _correlation(
        taken, x, x_zero, _less_zero_points(w, w_zero), b, (stride, padding, dilation, groups), dtype
    )
    rescaling = Requantization(rule, scales, zero, (1, len(w)) if correlation is None else correlation.out.shape[1:3])
    if correlation is not None:
        fit = integers.Fit("raise", result)
        accumulator = INT64 if x.dtype == INT16 and rule not in TWICE else INT32
        largest = integers.bound(correlation, most=np.iinfo(accumulator).max)
        for index, piece, sums in integers.sums(correlation, largest, accumulator, _target(taken)):
            fit.check(sums, accumulator, piece.out)
            rescaling.store(sums, index[1:3], piece.out)
    return taken.give_back(result)


def _target(taken: interop.Taken) -> targets.Target:
    """The target that computes where the arrays live."""
    return targets.choose("auto", on_gpu=taken.on_gpu)


def _correlation(
    taken: interop.Taken,
    x: np.ndarray,
    zero_point: int,
    w: np.ndarray,
    bias: np.ndarray | None,
    arguments: tuple[Any, ...],
    dtype: np.dtype,
) -> tuple[Correlation | None, np.ndarray]:
    """The correlation into a new array of `dtype` (None if that is empty), and the array, unbatched where x is.

    `arguments` are stride, padding, dilation and groups. The zero point of x is subtracted while x is packed.
    """
    g = geometry_of(x, w, bias, *(*arguments, "zeros"))
    out = taken.new(g.output_shape, dtype)
    result = out if x.ndim == 4 else out[0]
    if not out.size:
        return None, result
    correlation = forward(g, x if x.ndim == 4 else x[None], w, bias, INT64, out)
    return correlation._replace(zero_point=zero_point), result


def _less_zero_points(w: np.ndarray, zero_points: np.ndarray) -> np.ndarray:
    """Weights less their zero point, or the zero points of their channels: 9 bits, in int16."""
    per_channel = zero_points.reshape(-1, *(1 for _ in w.shape[1:]))
    differences: np.ndarray = np.subtract(w, per_channel, dtype=np.int16)
    return differences


def _check_eight_bits(name: str, array: np.ndarray, beside: str = "") -> None:
    if array.dtype not in EIGHT_BITS:
        raise TypeError(f"{name} has dtype {array.dtype}: must be int8 or uint8{beside}")


def check_operands(x: np.ndarray, w: np.ndarray, bias: np.ndarray | None, weight_bits: int = 8) -> None:
    """Refuse operands of dtypes that do not go together, and weights of more bits than they are said to have."""
    checked_bits(weight_bits)
    wide = x.dtype == INT16
    if not wide:
        _check_eight_bits("input", x, ", or int16 with a weight of int8")
    if (wide or weight_bits == 4) and w.dtype != INT8:
        beside = f"weight_bits={weight_bits}" if weight_bits == 4 else "an input of int16"
        raise TypeError(f"weight has dtype {w.dtype}: must be int8 for {beside}")
    _check_eight_bits("weight", w)
    if bias is not None and bias.dtype != (INT64 if wide else INT32):
        raise TypeError(f"bias has dtype {bias.dtype}: must be {INT64 if wide else INT32} for an input of {x.dtype}")
    low, high = limits_of(w.dtype, weight_bits)
    outside = (w < low) | (w > high) if weight_bits == 4 else np.zeros(0, bool)
    if outside.any():
        first = tuple(map(int, np.argwhere(outside)[0]))
        raise GeometryError(
            f"weight{list(first)}={w[first]}: must be at least {low} and at most {high}, for weight_bits={weight_bits}"
        )


def checked_bits(weight_bits: Any) -> int:
    """How many bits weights have: 4 or 8."""
    bits = integer("weight_bits", weight_bits, -LARGEST)
    if bits not in WEIGHT_BITS:
        raise GeometryError(f"weight_bits={weight_bits}: must be 4 or 8")
    return bits


def limits_of(dtype: np.dtype, bits: int = 8) -> tuple[int, int]:
    """The smallest and the largest integer of a dtype, or of so few bits of int8.

    >>> limits_of(np.dtype("int8"), 4)
    (-8, 7)
    """
    info = np.iinfo(dtype)
    return (-8, 7) if bits == 4 else (int(info.min), int(info.max))


def zero_point_of(name: str, value: Any, dtype: np.dtype) -> int:
    """A zero point as an int that the dtype holds; others are refused."""
    return integer(name, value, *limits_of(dtype))


def zero_points_of(name: str, value: Any, weight: np.ndarray, weight_bits: int = 8) -> np.ndarray:
    """One zero point (0-d), or one for each output channel, of as many bits as the weight."""
    low, high = limits_of(weight.dtype, weight_bits)
    if not getattr(value, "ndim", 0):
        return np.asarray(integer(name, value, low, high))
    zero_points = interop.to_numpy(name, value)
    if zero_points.dtype.kind not in "iu":
        raise TypeError(f"{name} has dtype {zero_points.dtype}: must be integers")
    _check_shape(name, zero_points, weight.shape[:1])
    outside = (zero_points < low) | (zero_points > high)
    if outside.any():
        first = outside.argmax()
        raise GeometryError(f"{name}[{first}]={zero_points[first]}: must be at least {low} and at most {high}")
    return zero_points


def quantized_dtype(output_zero_point: Any, input_dtype: np.dtype) -> np.dtype:
    """The dtype that the zero point carries, if it does; the input's otherwise."""
    carried = getattr(output_zero_point, "dtype", None)
    if carried is None:
        return input_dtype
    allowed = (INT16,) if input_dtype == INT16 else EIGHT_BITS
    for dtype in allowed:
        if str(carried).removeprefix("torch.") == dtype.name:
            return dtype
    names = " or ".join(map(str, allowed))
    raise TypeError(f"output_zero_point has dtype {carried}: must be {names}, the result's, or a plain int")


def scales_of(name: str, value: Any, channels: tuple[int, ...]) -> np.ndarray:
    """One scale (0-d), or one for each of the channels, in float32."""
    if type(value) in (int, float) or isinstance(value, np.generic):
        numbers = np.asarray(value)
        if numbers.dtype.kind not in "iuf":
            raise TypeError(f"{name}={value!r}: must be a real number")
    else:
        numbers = interop.to_numpy(name, value)
        if numbers.dtype.kind != "f":
            raise TypeError(f"{name} has dtype {numbers.dtype}: must be float32 or float64")
    _check_shape(name, numbers, channels)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        scales = numbers.astype(np.float32)
    if not (np.isfinite(scales) & (scales > 0)).all():
        raise GeometryError(f"{name}={value!r}: must be positive and finite in float32")
    return scales


def _check_shape(name: str, array: np.ndarray, channels: tuple[int, ...]) -> None:
    """Refuse an array that holds neither a single number nor one for each of the channels."""
    if array.ndim and array.shape != channels:
        per_channel = f", or {channels} for one per output channel" if channels else ""
        raise GeometryError(f"{name} of shape {array.shape}: must be a single number, without axes{per_channel}")
