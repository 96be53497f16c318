/* Micro-kernels for Arm Cortex-M4: pairs of 16-bit products (SMLAD) of bytes widened two by two. */
#ifndef QMC_CORTEX_M4_H
#define QMC_CORTEX_M4_H

#define QMC_TARGET
#define QMC_DOT_CHANNELS 2
#include "block_rows.h"

/* Four bytes as they lie in memory. */
QMC_INLINE uint32_t qmc_word(const void *place)
{
    uint32_t word;
    memcpy(&word, place, 4);
    return word;
}

/* An instruction of two operands, or of three. */
#define QMC_WIDEN(name, instruction)                                   \
    QMC_INLINE uint32_t name(uint32_t x)                               \
    {                                                                  \
        uint32_t result;                                               \
        __asm__(instruction : "=r"(result) : "r"(x));                  \
        return result;                                                 \
    }
#define QMC_MULTIPLY(name, instruction)                                \
    QMC_INLINE int32_t name(uint32_t x, uint32_t w, int32_t sum)       \
    {                                                                  \
        int32_t result;                                                \
        __asm__(instruction " %0, %1, %2, %3" : "=r"(result) : "r"(x), "r"(w), "r"(sum)); \
        return result;                                                 \
    }
QMC_WIDEN(qmc_even, "uxtb16 %0, %1")         /* bytes 0 and 2 of four inputs */
QMC_WIDEN(qmc_odd, "uxtb16 %0, %1, ror #8")  /* bytes 1 and 3 */
QMC_WIDEN(qmc_even_weights, "sxtb16 %0, %1") /* the same of weights */
QMC_WIDEN(qmc_odd_weights, "sxtb16 %0, %1, ror #8")
QMC_MULTIPLY(qmc_both, "smlad")  /* both products */
QMC_MULTIPLY(qmc_low, "smlabb")  /* that of the low halves */
QMC_MULTIPLY(qmc_high, "smlatt") /* that of the high halves */

QMC_INLINE void qmc_dots(const int mr, const uint8_t *restrict a, const ptrdiff_t step,
                         const int8_t *restrict w, const ptrdiff_t row, const int count,
                         int32_t *restrict sums)
{
    int32_t s00 = 0, s01 = 0, s10 = 0, s11 = 0;
    for (int k = 0; k < count; k += 4) {
        const uint32_t x0 = qmc_word(a + k), x1 = mr > 1 ? qmc_word(a + k + step) : 0;
        const uint32_t even0 = qmc_even(x0), odd0 = qmc_odd(x0);
        const uint32_t even1 = qmc_even(x1), odd1 = qmc_odd(x1);
        uint32_t four = qmc_word(w + k);
        uint32_t even = qmc_even_weights(four), odd = qmc_odd_weights(four);
        s00 = qmc_both(even0, even, s00);
        s00 = qmc_both(odd0, odd, s00);
        if (mr > 1) {
            s10 = qmc_both(even1, even, s10);
            s10 = qmc_both(odd1, odd, s10);
        }
        four = qmc_word(w + k + row);
        even = qmc_even_weights(four);
        odd = qmc_odd_weights(four);
        s01 = qmc_both(even0, even, s01);
        s01 = qmc_both(odd0, odd, s01);
        if (mr > 1) {
            s11 = qmc_both(even1, even, s11);
            s11 = qmc_both(odd1, odd, s11);
        }
    }
    sums[0] += s00;
    sums[1] += s01;
    if (mr > 1) {
        sums[QMC_MOST_CHANNELS] += s10;
        sums[QMC_MOST_CHANNELS + 1] += s11;
    }
}

/* Four channels at a time. */
QMC_INLINE void qmc_window(const int channels, const int height, const int width,
                           const int dilation, const int checked, const uint8_t *const *row,
                           const ptrdiff_t first, const int left, const int columns,
                           const uint8_t *pad, const ptrdiff_t step, const int8_t *weights,
                           const int32_t *start, int32_t *restrict sums)
{
    const int taps = height * width;
#define QMC_TAP(t)                \
    const uint8_t *const x##t =   \
        qmc_tap(taps > t ? t : 0, width, dilation, checked, row, left, columns, pad, step) + first;
    QMC_TAPS(QMC_TAP)
#undef QMC_TAP
#define QMC_PRODUCTS(x, t)                                                            \
    {                                                                                 \
        const uint32_t four = qmc_word(x + c), w = qmc_word(weights + channels * (t) + c); \
        const uint32_t even = qmc_even_weights(w), odd = qmc_odd_weights(w);          \
        s0 = qmc_low(qmc_even(four), even, s0);                                       \
        s1 = qmc_low(qmc_odd(four), odd, s1);                                         \
        s2 = qmc_high(qmc_even(four), even, s2);                                      \
        s3 = qmc_high(qmc_odd(four), odd, s3);                                        \
    }
    QMC_ROLLED
    for (int c = 0; c < channels; c += 4) {
        int32_t s0 = start[c], s1 = start[c + 1], s2 = start[c + 2], s3 = start[c + 3];
#define QMC_TAP(t)             \
    if (taps > t) {            \
        QMC_PRODUCTS(x##t, t)  \
    }
        QMC_TAPS(QMC_TAP)
#undef QMC_TAP
        QMC_ROLLED
        for (int t = QMC_MOST_TAPS; t < taps; t++) {
            const uint8_t *const x =
                qmc_tap(t, width, dilation, checked, row, left, columns, pad, step) + first;
            QMC_PRODUCTS(x, t)
        }
        sums[c] = s0;
        sums[c + 1] = s1;
        sums[c + 2] = s2;
        sums[c + 3] = s3;
    }
#undef QMC_PRODUCTS
}

#endif
