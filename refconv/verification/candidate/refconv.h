/* The C ABI of refconv: what `refconv verify path/to/lib.so:symbol` calls.
 *
 * A function of any name, for conv2d:
 *
 *     int my_conv2d(const refconv_conv2d *geometry, const float *input, const float *weight, const float *bias,
 *                   float *output);
 *
 * It returns REFCONV_DONE, or REFCONV_UNSUPPORTED for a case that it does not do (such cases are counted, and count as
 * nothing else), or any other number for an error. It may be written in C, C++ (extern "C"), Rust (extern "C",
 * #[repr(C)]) or CUDA: all pointers are to memory of the host. One symbol is for one dtype, or for several if it can
 * tell them apart: it is called with the dtypes that `refconv verify --dtype` names, and isn't told which.
 *
 * Types, and the ends that symbols have by convention, so that one library can have a function for each dtype:
 *
 *   float32 float _f32             float64 double _f64            complex64, complex128 float[2] _c64, double[2] _c128
 *   float16, bfloat16 uint16_t, the bits: _f16, _bf16             float8_e4m3fn, float8_e5m2 uint8_t: _e4m3fn, _e5m2
 *   int8 ... int64 int8_t _i8 ... int64_t _i64                    uint8 ... uint64 uint8_t _u8 ... uint64_t _u64
 *
 * All arrays are in C order, without gaps, aligned as malloc aligns, and (N, C, H, W); a single image has n = 1.
 * The output is not cleared before. Every element of it must be written, and nothing else.
 *
 * The operators (`refconv verify --op`), and the arguments after the geometry, the last of which is the output:
 *
 *   conv2d            input (n, c_in, h, w), weight (c_out, c_in / groups, r, s), bias (c_out) or NULL,
 *                     output (n, c_out, out_h, out_w)
 *   conv_transpose2d  input (n, c_in, h, w), weight (c_in, c_out / groups, r, s), bias (c_out) or NULL,
 *                     output (n, c_out, out_h, out_w)
 *   conv2d_input      weight, grad_output (n, c_out, out_h, out_w), grad_input (n, c_in, h, w)
 *   conv2d_weight     input, grad_output, grad_weight (c_out, c_in / groups, r, s)
 *   conv2d_bias       grad_output, grad_bias (c_out); only n, c_out, out_h and out_w matter
 *   conv_transpose2d_input   weight, grad_output (n, c_out, out_h, out_w), grad_input (n, c_in, h, w)
 *   conv_transpose2d_weight  input, grad_output, grad_weight (c_in, c_out / groups, r, s)
 *   conv2d_integer    input, weight, input_zero_point (1), weight_zero_point (c_out), output of int32
 *   conv2d_quantized  input, input_scale (1), input_zero_point (1), weight, weight_scale (c_out),
 *                     weight_zero_point (c_out), output_scale (1), output_zero_point (1), bias (c_out) of int32 or NULL,
 *                     output; scales are float, and the bias of an int16 input is of int64
 *
 * The rule by which sums become the output (`--requantize`) is the function's own, and the same in each call: it isn't
 * passed. int4 weights (`--weight-bits 4`) come as int8_t, one in each, -8 to 7.
 *
 * With an epilogue (`refconv verify --epilogue scale,residual,relu`) its operands come before the output, in the order of
 * its steps: of a scale two arrays, scale (c_out) and shift (c_out), of a residual one, of the output's shape.
 *
 * The gradients have the geometry of the convolution that they are gradients of.
 *
 * With one spatial axis or three (conv1d, conv3d_input, ...) the same arrays come, with one spatial axis or three, and a
 * refconv_conv in place of the refconv_conv2d.
 */
#ifndef REFCONV_H
#define REFCONV_H

#include <stdint.h>

#define REFCONV_DONE 0
#define REFCONV_UNSUPPORTED 1

typedef struct {
    int64_t n, c_in, h, w;                             /* the input */
    int64_t c_out, r, s;                               /* the weight */
    int64_t stride_h, stride_w;
    int64_t pad_top, pad_bottom, pad_left, pad_right;  /* may differ: return REFCONV_UNSUPPORTED if they must not */
    int64_t dilation_h, dilation_w;
    int64_t groups;
    int64_t out_h, out_w;                              /* the output */
    int64_t output_padding_h, output_padding_w;        /* of transposed convolutions and their gradients; else 0 */
} refconv_conv2d;

typedef struct {
    int64_t axes;                                      /* 1 or 3: so many numbers of each array are used, (d, h, w) */
    int64_t n, c_in, c_out, groups;
    int64_t size[3];                                   /* the input */
    int64_t kernel[3], stride[3], pad_before[3], pad_after[3], dilation[3];
    int64_t out[3];                                    /* the output */
    int64_t output_padding[3];                         /* of transposed convolutions and their gradients; else 0 */
} refconv_conv;

#endif
