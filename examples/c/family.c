/* The other operators, of float32 and of int8 in and out, as plain loops: what refconv.h means by their geometry.
 *
 *     gcc -O2 -shared -fPIC -I refconv/verification/candidate -o libfamily.so examples/c/family.c -lm
 *     refconv verify ./libfamily.so:conv2d_input_f32 --op conv2d_input --abi c
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "refconv.h"

/* One product of a convolution: which element of the input, the weight and the output it belongs to. */
typedef void product(void *context, int64_t input, int64_t weight, int64_t output);

/* All products of a convolution whose input is (n, c_in, h, w) and whose output is (n, c_out, out_h, out_w). */
static void for_each(const refconv_conv2d *g, product *f, void *context)
{
    const int64_t channels = g->c_in / g->groups, filters = g->c_out / g->groups;
    for (int64_t n = 0; n < g->n; n++)
    for (int64_t k = 0; k < g->c_out; k++)
    for (int64_t c = 0; c < channels; c++)
    for (int64_t p = 0; p < g->out_h; p++)
    for (int64_t q = 0; q < g->out_w; q++)
    for (int64_t r = 0; r < g->r; r++)
    for (int64_t s = 0; s < g->s; s++) {
        const int64_t y = p * g->stride_h - g->pad_top + r * g->dilation_h;
        const int64_t x = q * g->stride_w - g->pad_left + s * g->dilation_w;
        if (y >= 0 && y < g->h && x >= 0 && x < g->w)
            f(context, ((n * g->c_in + k / filters * channels + c) * g->h + y) * g->w + x,
              ((k * channels + c) * g->r + r) * g->s + s, ((n * g->c_out + k) * g->out_h + p) * g->out_w + q);
    }
}

typedef struct {
    const float *left, *right;
    float *out;
} floats;

static void to_input(void *context, int64_t input, int64_t weight, int64_t output)
{
    const floats *f = context;
    f->out[input] += f->left[weight] * f->right[output];
}

static void to_weight(void *context, int64_t input, int64_t weight, int64_t output)
{
    const floats *f = context;
    f->out[weight] += f->left[input] * f->right[output];
}

int conv2d_input_f32(const refconv_conv2d *g, const float *weight, const float *grad_output, float *grad_input)
{
    floats context = {weight, grad_output, grad_input};
    memset(grad_input, 0, sizeof(float) * (size_t)(g->n * g->c_in * g->h * g->w));
    for_each(g, to_input, &context);
    return REFCONV_DONE;
}

int conv2d_weight_f32(const refconv_conv2d *g, const float *input, const float *grad_output, float *grad_weight)
{
    floats context = {input, grad_output, grad_weight};
    memset(grad_weight, 0, sizeof(float) * (size_t)(g->c_out * (g->c_in / g->groups) * g->r * g->s));
    for_each(g, to_weight, &context);
    return REFCONV_DONE;
}

int conv2d_bias_f32(const refconv_conv2d *g, const float *grad_output, float *grad_bias)
{
    const int64_t area = g->out_h * g->out_w;
    for (int64_t k = 0; k < g->c_out; k++) {
        grad_bias[k] = 0;
        for (int64_t n = 0; n < g->n; n++)
            for (int64_t i = 0; i < area; i++)
                grad_bias[k] += grad_output[(n * g->c_out + k) * area + i];
    }
    return REFCONV_DONE;
}

/* The gradient of the convolution from this one's output to its input; its weight is (c_in, c_out / groups, r, s). */
int conv_transpose2d_f32(
    const refconv_conv2d *g, const float *input, const float *weight, const float *bias, float *output)
{
    const int64_t area = g->out_h * g->out_w;
    floats context = {weight, input, output};
    refconv_conv2d forward = *g;
    forward.c_in = g->c_out, forward.h = g->out_h, forward.w = g->out_w;
    forward.c_out = g->c_in, forward.out_h = g->h, forward.out_w = g->w;
    for (int64_t i = 0; i < g->n * g->c_out * area; i++)
        output[i] = bias ? bias[i / area % g->c_out] : 0;
    for_each(&forward, to_input, &context);
    return REFCONV_DONE;
}

typedef struct {
    const int8_t *input, *weight, *input_zero_point, *weight_zero_point;
    int32_t *out;
    int64_t filter; /* elements of one */
} integers;

static void to_output(void *context, int64_t input, int64_t weight, int64_t output)
{
    const integers *i = context;
    i->out[output] += (i->input[input] - i->input_zero_point[0])
                      * (i->weight[weight] - i->weight_zero_point[weight / i->filter]);
}

int conv2d_integer_s8(const refconv_conv2d *g, const int8_t *input, const int8_t *weight,
                      const int8_t *input_zero_point, const int8_t *weight_zero_point, int32_t *output)
{
    const int64_t filter = g->c_in / g->groups * g->r * g->s;
    integers context = {input, weight, input_zero_point, weight_zero_point, output, filter};
    memset(output, 0, sizeof(int32_t) * (size_t)(g->n * g->c_out * g->out_h * g->out_w));
    for_each(g, to_output, &context);
    return REFCONV_DONE;
}

int conv2d_quantized_s8(const refconv_conv2d *g, const int8_t *input, const float *input_scale,
                        const int8_t *input_zero_point, const int8_t *weight, const float *weight_scale,
                        const int8_t *weight_zero_point, const float *output_scale, const int8_t *output_zero_point,
                        const int32_t *bias, int8_t *output)
{
    const int64_t area = g->out_h * g->out_w, size = g->n * g->c_out * area;
    int32_t *sums = malloc(sizeof(int32_t) * (size_t)(size + 1));
    if (!sums)
        return 2;
    conv2d_integer_s8(g, input, weight, input_zero_point, weight_zero_point, sums);
    for (int64_t i = 0; i < size; i++) {
        const int64_t k = i / area % g->c_out;
        const float scale = *input_scale * weight_scale[k] / *output_scale;
        const float scaled = rintf((float)(sums[i] + (bias ? bias[k] : 0)) * scale) + *output_zero_point;
        output[i] = (int8_t)fminf(fmaxf(scaled, INT8_MIN), INT8_MAX);
    }
    free(sums);
    return REFCONV_DONE;
}
