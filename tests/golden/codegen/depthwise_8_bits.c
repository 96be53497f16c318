#ifdef QMC_COUNT
#include "net_l000_dw_count.h"
#endif

/* conv dw
   in   1x6x5x7, 8 bits, scale 0.0989821, zero point 143
   out  1x6x5x7, 8 bits, scale 0.0454969, zero point 65, clamped to 1..254
   weights 6x1x1x3x1 (G K C R S), 8 bits; 630 multiply-accumulates
   window 3x1, strides 1x1, dilations 1x1, pads 1 0 1 0 (top left bottom right)
   loops, outermost first; those in space are one step of the array:
     natural (keeps I O W): P 5, Q 7, R 3, G 6 in space x
*/
void net_l000_dw(const uint8_t *input, uint8_t *restrict output, int32_t *restrict scratch)
{
    int32_t *const restrict acc = scratch;
    uint8_t *const restrict x = (uint8_t *)(scratch + 6);
    const int8_t *const w = net_l000_dw_weights;
    const int32_t *const multiplier = net_l000_dw_multiplier;
    const int32_t *const start = net_l000_dw_start;
    const int32_t *const offset = net_l000_dw_offset;
    const uint8_t *const shift = net_l000_dw_shift;
    for (int h = 0; h < 7; h++) {
        int row_at = h - 1;
        if (row_at < 0 || row_at >= 5) {
            memset(x + h*42, 143, 42);
            continue;
        }
        for (int v = 0; v < 7; v++) {
            int column_at = v;
            uint8_t *to = x + h*42 + v*6;
            const uint8_t *from = input + (row_at*7 + column_at)*6;
            memcpy(to, from, 6);
        }
    }
    for (int p0 = 0; p0 < 5; p0++) { /* natural */
        for (int q0 = 0; q0 < 7; q0++) {
            memset(acc, 0, 6 * sizeof(int32_t));
            for (int r0 = 0; r0 < 3; r0++) {
                STEP(3, p0, q0, r0);
                int32_t *restrict acc_step = acc;
                const int8_t *restrict w_step = w + r0*6;
                const uint8_t *restrict x_step = x + p0*42 + q0*6 + r0*42;
                for (int g0 = 0; g0 < 6; g0++) {
                    acc_step[g0] += w_step[g0] * x_step[g0];
                }
            }
            for (int g0 = 0; g0 < 6; g0++) {
                int channel = g0;
                uint8_t *row = output + (p0*7 + q0)*6;
                int32_t total = acc[g0] + start[channel];
                int64_t code = qmc_half_up(total, multiplier[channel], shift[channel]) + offset[channel];
                qmc_put(row, channel, qmc_clamp(code, 1, 254), 8);
            }
        }
    }
    DONE();
}
