#ifdef QMC_COUNT
#include "net_l000_conv1_count.h"
#endif

/* conv conv1
   in   1x4x7x9, 8 bits, scale 0.0917771, zero point 188
   out  1x8x3x9, 6 bits, scale 0.0820549, zero point 40, clamped to 1..62
   weights 1x8x4x3x5 (G K C R S), 4 bits; 12960 multiply-accumulates
   window 3x5, strides 2x1, dilations 1x1, pads 0 2 1 2 (top left bottom right)
   loops, outermost first; those in space are one step of the array:
     memory (keeps I O W): K 2, C 2
     buffer (keeps I O): P 3, K 4 in space x, C 2 in space y
     register (keeps W): R 3, S 5, Q 9
*/
void net_l000_conv1(const uint8_t *input, uint8_t *restrict output, int32_t *restrict scratch)
{
    int32_t *const restrict acc = scratch;
    int8_t *const restrict w = (int8_t *)(scratch + 108);
    uint8_t *const restrict x = (uint8_t *)(scratch + 228);
    const int32_t *const multiplier = net_l000_conv1_multiplier;
    const int32_t *const start = net_l000_conv1_start;
    const int32_t *const offset = net_l000_conv1_offset;
    const uint8_t *const shift = net_l000_conv1_shift;
    memset(output, 0, 162);
    for (int h = 0; h < 7; h++) {
        int row_at = h;
        if (row_at < 0 || row_at >= 7) {
            memset(x + h*52, 188, 52);
            continue;
        }
        for (int v = 0; v < 13; v++) {
            int column_at = v - 2;
            uint8_t *to = x + h*52 + v*4;
            if (column_at < 0 || column_at >= 9) {
                memset(to, 188, 4);
                continue;
            }
            const uint8_t *from = input + (row_at*9 + column_at)*4;
            memcpy(to, from, 4);
        }
    }
    qmc_unpack_signed(w, net_l000_conv1_weights, 480, 4);
    for (int k1 = 0; k1 < 2; k1++) { /* memory */
        memset(acc, 0, 108 * sizeof(int32_t));
        for (int c1 = 0; c1 < 2; c1++) {
            STEP(2, k1, c1);
            for (int p0 = 0; p0 < 3; p0++) { /* buffer */
                STEP(3, k1, c1, p0);
                for (int r0 = 0; r0 < 3; r0++) { /* register */
                    for (int s0 = 0; s0 < 5; s0++) {
                        for (int q0 = 0; q0 < 9; q0++) {
                            STEP(6, k1, c1, p0, r0, s0, q0);
                            int32_t *restrict acc_step = acc + p0*36 + q0*4;
                            const int8_t *restrict w_step = w + k1*240 + c1*120 + r0*40 + s0*8;
                            const uint8_t *restrict x_step = x + c1*2 + p0*104 + r0*52 + s0*4 + q0*4;
                            for (int k0 = 0; k0 < 4; k0++) {
                                int32_t sum = acc_step[k0];
                                for (int c0 = 0; c0 < 2; c0++) {
                                    sum += w_step[k0 + c0*4] * x_step[c0];
                                }
                                acc_step[k0] = sum;
                            }
                        }
                    }
                }
            }
        }
        for (int q0 = 0; q0 < 27; q0++) {
            for (int k0 = 0; k0 < 4; k0++) {
                int channel = k1*4 + k0;
                uint8_t *row = output + (q0)*6;
                int32_t total = acc[q0*4 + k0] + start[channel];
                int64_t code = qmc_half_up(total, multiplier[channel], shift[channel]) + offset[channel];
                qmc_put(row, channel, qmc_clamp(code, 1, 62), 6);
            }
        }
    }
    DONE();
}
