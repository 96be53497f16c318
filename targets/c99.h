/* Micro-kernels in plain C: loops of constant sizes over neighbouring bytes, which compilers turn
   into whatever dot products the processor has. */
#ifndef QMC_C99_H
#define QMC_C99_H

#define QMC_TARGET
#ifndef QMC_LANES
#define QMC_LANES 8
#endif
#include "block_rows.h"

#ifndef QMC_DOT_UNROLL /* else the header of a processor without vectors says how far */
#define QMC_DOT_UNROLL
#endif

QMC_INLINE void qmc_dots(const int mr, const uint8_t *restrict a, const ptrdiff_t step,
                         const int8_t *restrict w, const ptrdiff_t row, const int count,
                         int32_t *restrict sums)
{
#define QMC_PIXELS(X) X(0) X(1) X(2) X(3)
#define QMC_PIXEL(i)                                                          \
    const uint8_t *restrict a##i = a + (mr > i ? i : 0) * step;               \
    int32_t s##i##0 = 0, s##i##1 = 0, s##i##2 = 0, s##i##3 = 0;
    QMC_PIXELS(QMC_PIXEL)
#undef QMC_PIXEL
    QMC_DOT_UNROLL
    for (int k = 0; k < count; k++) {
        const int8_t w0 = w[k], w1 = w[k + row];
        const int8_t w2 = QMC_DOT_CHANNELS > 2 ? w[k + 2 * row] : 0;
        const int8_t w3 = QMC_DOT_CHANNELS > 2 ? w[k + 3 * row] : 0;
#define QMC_PIXEL(i)              \
    if (mr > i) {                 \
        s##i##0 += a##i[k] * w0;  \
        s##i##1 += a##i[k] * w1;  \
        if (QMC_DOT_CHANNELS > 2) {  \
            s##i##2 += a##i[k] * w2; \
            s##i##3 += a##i[k] * w3; \
        }                            \
    }
        QMC_PIXELS(QMC_PIXEL)
#undef QMC_PIXEL
    }
#define QMC_PIXEL(i)                                 \
    if (mr > i) {                                    \
        sums[QMC_MOST_CHANNELS * i] += s##i##0;      \
        sums[QMC_MOST_CHANNELS * i + 1] += s##i##1;  \
        if (QMC_DOT_CHANNELS > 2) {                      \
            sums[QMC_MOST_CHANNELS * i + 2] += s##i##2;  \
            sums[QMC_MOST_CHANNELS * i + 3] += s##i##3;  \
        }                                                \
    }
    QMC_PIXELS(QMC_PIXEL)
#undef QMC_PIXEL
#undef QMC_PIXELS
}

QMC_INLINE void qmc_window(const int channels, const int height, const int width,
                           const int dilation, const int checked, const uint8_t *const *row,
                           const ptrdiff_t first, const int left, const int columns,
                           const uint8_t *pad, const ptrdiff_t step, const int8_t *weights,
                           const int32_t *start, int32_t *restrict sums)
{
    const int taps = height * width;
#define QMC_TAP(t)                                                                             \
    const uint8_t *const restrict x##t =                                                       \
        qmc_tap(taps > t ? t : 0, width, dilation, checked, row, left, columns, pad, step) + first;
    QMC_TAPS(QMC_TAP)
#undef QMC_TAP
    for (int c = 0; c < channels; c++) {
        int32_t sum = start[c];
#define QMC_TAP(t)                                                       \
    if (taps > t) {                                                      \
        sum += (int16_t)(x##t[c] * weights[channels * t + c]);           \
    }
        QMC_TAPS(QMC_TAP)
#undef QMC_TAP
        sums[c] = sum;
    }
    for (int t = QMC_MOST_TAPS; t < taps; t++) {
        const uint8_t *const restrict x =
            qmc_tap(t, width, dilation, checked, row, left, columns, pad, step) + first;
        for (int c = 0; c < channels; c++) {
            sums[c] += (int16_t)(x[c] * weights[channels * t + c]);
        }
    }
}

#endif
