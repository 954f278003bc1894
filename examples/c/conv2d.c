/* A direct conv2d of float32 in C, for `refconv verify` to call: see refconv.h.
 *
 *     gcc -O2 -shared -fPIC -I refconv/verification/candidate -o libconv2d.so examples/c/conv2d.c
 *     refconv verify ./libconv2d.so:conv2d_f32 --abi c
 *
 * With -DBUG=1 it takes the dilation of the height for the width (tenstorrent/tt-metal#19542), with -DBUG=2 it leaves
 * the last column of an odd width out (ARM-software/CMSIS_5#1168), with -DBUG=3 it writes one column too many.
 */
#include "refconv.h"

#ifndef BUG
#define BUG 0
#endif

static float output_element(const refconv_conv2d *g, const float *image, const float *filter, int64_t p, int64_t q)
{
    const int64_t channels = g->c_in / g->groups;
    const int64_t dilation_w = BUG == 1 ? g->dilation_h : g->dilation_w;
    float sum = 0;
    for (int64_t c = 0; c < channels; c++)
        for (int64_t r = 0; r < g->r; r++) {
            const int64_t y = p * g->stride_h - g->pad_top + r * g->dilation_h;
            if (y < 0 || y >= g->h)
                continue;
            for (int64_t s = 0; s < g->s; s++) {
                const int64_t x = q * g->stride_w - g->pad_left + s * dilation_w;
                if (x >= 0 && x < g->w)
                    sum += image[(c * g->h + y) * g->w + x] * filter[(c * g->r + r) * g->s + s];
            }
        }
    return sum;
}

int conv2d_f32(const refconv_conv2d *g, const float *input, const float *weight, const float *bias, float *output)
{
    const int64_t channels = g->c_in / g->groups, filters = g->c_out / g->groups;
    const int64_t columns = BUG == 2 ? g->out_w / 2 * 2 : BUG == 3 ? g->out_w + 1 : g->out_w;
    for (int64_t n = 0; n < g->n; n++)
        for (int64_t k = 0; k < g->c_out; k++) {
            const float *image = input + (n * g->c_in + k / filters * channels) * g->h * g->w;
            const float *filter = weight + k * channels * g->r * g->s;
            for (int64_t p = 0; p < g->out_h; p++)
                for (int64_t q = 0; q < columns; q++)
                    output[((n * g->c_out + k) * g->out_h + p) * g->out_w + q] =
                        output_element(g, image, filter, p, q) + (bias ? bias[k] : 0);
        }
    return REFCONV_DONE;
}
