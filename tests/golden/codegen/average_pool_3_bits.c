/* average_pool layer0
   in   1x5x4x3, 3 bits, scale 0.0429454, zero point 3
   out  1x5x2x3, 3 bits, scale 0.0682519, zero point 6, clamped to 0..7
   window 2x2, strides 2x1, dilations 1x1, pads 0 0 0 1 (top left bottom right)
*/
void net_l000_layer0(const uint8_t *input0, uint8_t *restrict output, int32_t *restrict scratch)
{
    int32_t *const restrict acc = scratch;
    uint8_t *const restrict pixel = (uint8_t *)(scratch + 5);
    for (int p = 0; p < 2; p++) {
        for (int q = 0; q < 3; q++) {
            uint8_t *row = output + (p*3 + q)*2;
            int count = 0;
            memset(acc, 0, 5 * sizeof(int32_t));
            for (int r = 0; r < 2; r++) {
                for (int s = 0; s < 2; s++) {
                    int h = p*2 + r;
                    int w = q + s;
                    if (h < 0 || h >= 4 || w < 0 || w >= 3) {
                        continue;
                    }
                    qmc_unpack(pixel, input0 + (h*3 + w)*2, 5, 3);
                    count++;
                    for (int c = 0; c < 5; c++) {
                        acc[c] += pixel[c];
                    }
                }
            }
            memset(row, 0, 2);
            int64_t multiplier = 11744051, offset = INT64_C(147639502);
            int shift = 25;
            if (count == 4) {
                multiplier = 11744051;
                offset = INT64_C(295279004);
                shift = 26;
            }
            for (int c = 0; c < 5; c++) {
                qmc_put(row, c, qmc_clamp(qmc_rescale(acc[c], multiplier, offset, shift), 0, 7), 3);
            }
        }
    }
}
