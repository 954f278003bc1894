"""int8 kernels as their authors write them, one for each rule of requantization: NumPy alone, nothing of refconv's."""

import numpy as np


def exact_sums(x, x_zero, w, w_zero, bias, options):
    """The sums in int64, tap by tap."""
    stride, padding, dilation, groups = options
    n, _, h, width = x.shape
    k, cg, r, s = w.shape
    if padding in {"same", "valid"}:
        totals = [d * (t - 1) if padding == "same" else 0 for d, t in zip(dilation, (r, s), strict=True)]
        padding = [(total // 2, total - total // 2) for total in totals]
    sides = [p if isinstance(p, tuple) else (p, p) for p in padding]
    padded = np.pad(x.astype(np.int64) - int(x_zero), ((0, 0), (0, 0), *sides))
    weight = w.astype(np.int64) - np.reshape(w_zero, (-1, 1, 1, 1)).astype(np.int64)
    (sh, sw), (dh, dw) = stride, dilation
    p, q = ((size + sum(side) - d * (t - 1) - 1) // step + 1 for size, side, d, t, step in
            zip((h, width), sides, dilation, (r, s), stride, strict=True))  # fmt: skip
    sums = np.zeros((n, groups, k // groups, p * q), np.int64)
    grouped = weight.reshape(groups, k // groups, cg, r, s)
    for i in range(r):
        for j in range(s):
            rows, columns = slice(i * dh, i * dh + sh * (p - 1) + 1, sh), slice(j * dw, j * dw + sw * (q - 1) + 1, sw)
            seen = padded[:, :, rows, columns].reshape(n, groups, cg, p * q)
            # Exact in float64: products of 24 bits, and fewer than 2**29 of them.
            sums += (grouped[None, ..., i, j].astype(float) @ seen.astype(float)).astype(np.int64)
    sums = sums.reshape(n, k, p, q)
    return sums if bias is None else sums + bias.astype(np.int64)[:, None, None]


def multiplier_and_shift(real):
    """TFLite's QuantizeMultiplier, for scales that are neither tiny nor huge."""
    significand, exponent = np.frexp(real)
    fixed = np.floor(significand * 2.0**31 + 0.5).astype(np.int64)
    whole = fixed == 2**31
    return np.where(whole, fixed // 2, fixed), exponent.astype(np.int64) + whole


def in_float(sums, single, _):
    return np.rint(sums.astype(np.float32) * single)


def in_float_away(sums, single, _):
    scaled = (sums.astype(np.float32) * single).astype(np.float64)
    return np.trunc(scaled + np.copysign(0.5, scaled))


def in_fixed(sums, _, real):
    multiplier, exponent = multiplier_and_shift(real)
    shift = 31 - exponent
    return (sums * multiplier + (np.int64(1) << (shift - 1))) >> shift


def in_fixed_double(sums, _, real):
    multiplier, exponent = multiplier_and_shift(real)
    product = np.clip(sums << np.maximum(exponent, 0), -(2**31), 2**31 - 1) * multiplier
    nudged = product + np.where(product >= 0, 2**30, 1 - 2**30)
    high = np.sign(nudged) * (np.abs(nudged) // 2**31)  # as C divides
    right = np.maximum(-exponent, 0)
    mask = (np.int64(1) << right) - 1
    return (high >> right) + ((high & mask) > (mask >> 1) + (high < 0))


def in_fixed_double_up(sums, _, real):
    multiplier, exponent = multiplier_and_shift(real)
    product = np.clip(sums << np.maximum(exponent, 0), -(2**31), 2**31 - 1) * multiplier
    high, step = (product + 2**30) >> 31, np.int64(1) << np.maximum(-exponent, 0)
    return (2 * high + step) // (2 * step)


def in_fixed_16(sums, _, real):
    multiplier, exponent = multiplier_and_shift(real)
    short = np.where(multiplier < 0x7FFF0000, (multiplier + (1 << 15)) >> 16, 0x7FFF)
    shift = 15 - exponent
    return (sums * short + (np.int64(1) << (shift - 1))) >> shift


STEPS = {
    "float": in_float,
    "float-away": in_float_away,
    "fixed": in_fixed,
    "fixed-double": in_fixed_double,
    "fixed-double-up": in_fixed_double_up,
    "fixed-16": in_fixed_16,
}


def kernel(rule):
    """A candidate that requantizes by a rule."""

    def conv2d_quantized(*arguments):
        x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, bias, *options = arguments
        batched = x.ndim == 4
        sums = exact_sums(x if batched else x[None], x_zero, w, w_zero, bias, options)
        x_scale, w_scale, y_scale = (np.float32(scale) for scale in (x_scale, w_scale, y_scale))
        single = np.reshape(x_scale * w_scale / y_scale, (-1, 1, 1))
        real = np.reshape(np.float64(x_scale) * np.float64(w_scale) / np.float64(y_scale), (-1, 1, 1))
        values = STEPS[rule](sums, single, real) + int(y_zero)
        info = np.iinfo(y_zero.dtype)
        result = np.clip(values, info.min, info.max).astype(y_zero.dtype)
        return result if batched else result[0]

    return conv2d_quantized
