/* Micro-kernels in plain C: loops of constant sizes over neighbouring bytes, which compilers turn
   into whatever dot products the processor has. Weights lie in rows: all inputs of a channel one
   after another. */
#ifndef QMC_C99_H
#define QMC_C99_H

#define QMC_TARGET
#include "vector.h"

#define QMC_LANES 4            /* channels of a vector */
#define QMC_MOST_CHANNELS 16   /* of a block: four vectors */

/* sums[i * 16 + j] += products of pixel i, count bytes, with channel j; mr pixels, four channels. */
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
    for (int k = 0; k < count; k++) {
        const int8_t w0 = w[k], w1 = w[k + row], w2 = w[k + 2 * row], w3 = w[k + 3 * row];
#define QMC_PIXEL(i)              \
    if (mr > i) {                 \
        s##i##0 += a##i[k] * w0;  \
        s##i##1 += a##i[k] * w1;  \
        s##i##2 += a##i[k] * w2;  \
        s##i##3 += a##i[k] * w3;  \
    }
        QMC_PIXELS(QMC_PIXEL)
#undef QMC_PIXEL
    }
#define QMC_PIXEL(i)                                 \
    if (mr > i) {                                    \
        sums[QMC_MOST_CHANNELS * i] += s##i##0;      \
        sums[QMC_MOST_CHANNELS * i + 1] += s##i##1;  \
        sums[QMC_MOST_CHANNELS * i + 2] += s##i##2;  \
        sums[QMC_MOST_CHANNELS * i + 3] += s##i##3;  \
    }
    QMC_PIXELS(QMC_PIXEL)
#undef QMC_PIXEL
#undef QMC_PIXELS
}

/* channels sums as bytes. */
QMC_INLINE void qmc_finish(uint8_t *restrict out, const int32_t *restrict sums,
                           const struct qmc_requant requant, const int channels, const int count,
                           const int low, const int high)
{
    uint8_t bytes[32];
    for (int c = 0; c < channels; c++) {
        const int32_t y = qmc_scale_high(sums[c], requant.factor[c], requant.shift[c],
                                         requant.bias[c]);
        bytes[c] = (uint8_t)(y < low ? low : y > high ? high : y);
    }
    memcpy(out, bytes, (size_t)count);
}

/* mr pixels x nr vectors of output channels. A pixel's products are rows x taps runs of 4 * quads
   bytes. With QMC_RAW the sums go to raw instead of bytes to out. */
QMC_INLINE void qmc_matrix(const int mr, const int nr, const int rows, const ptrdiff_t row_step,
                           const int taps, const ptrdiff_t tap_step, const int quads,
                           const uint8_t *in, ptrdiff_t step, const int8_t *weights,
                           struct qmc_requant requant, uint8_t *out, const ptrdiff_t out_step,
                           int32_t *raw, const int count, const int form, const int low,
                           const int high)
{
    const int length = 4 * quads, row = rows * taps * length, channels = nr * QMC_LANES;
    int32_t sums[4 * QMC_MOST_CHANNELS];
    for (int i = 0; i < mr; i++) {
        for (int c = 0; c < channels; c++) {
            sums[QMC_MOST_CHANNELS * i + c] = requant.start[c];
        }
    }
    for (int r = 0; r < rows; r++) {
        for (int s = 0; s < taps; s++) {
            QMC_ROLLED
            for (int c = 0; c < channels; c += QMC_LANES) {
                qmc_dots(mr, in + r * row_step + s * tap_step, step,
                         weights + c * row + (r * taps + s) * length, row, length, sums + c);
            }
        }
    }
    for (int i = 0; i < mr; i++) {
        if (form & QMC_RAW) {
            memcpy(raw + channels * i, sums + QMC_MOST_CHANNELS * i, 4 * (size_t)channels);
        } else {
            qmc_finish(out + i * out_step, sums + QMC_MOST_CHANNELS * i, requant, channels, count,
                       low, high);
        }
    }
}

/* X(0) ... X(24): taps of a depthwise window up to 5x5; what lies beyond is dead code. */
#define QMC_TAPS(X)                                                                             \
    X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15) X(16) \
    X(17) X(18) X(19) X(20) X(21) X(22) X(23) X(24)
#define QMC_MOST_TAPS 25

/* Where tap t of a window of width columns lies. */
QMC_INLINE const uint8_t *qmc_tap(const int t, const int width, const int dilation,
                                  const int checked, const uint8_t *const *row, const int left,
                                  const int columns, const uint8_t *pad, const ptrdiff_t step)
{
    const int column = left + t % width * dilation;
    const int is_outside = checked && (column < 0 || column >= columns);
    return is_outside ? pad : row[t / width] + column * step;
}

/* Sums of one pixel over a depthwise window: as many channels as a block has. Products of 8-bit
   factors fit 16 bits. */
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

/* px pixels of one output row and a block of channels, of which count are stored.

   row[r] is row r of the window at column 0 of the image, first the first channel, left the column
   of the first tap. If checked is set, columns outside 0 ... columns - 1 are read from pad. */
#define QMC_DEPTHWISE(channels)                                                                  \
    QMC_INLINE void qmc_depthwise_##channels(                                                    \
        const int px, const int height, const int width, const int stride, const int dilation,   \
        const int checked, const uint8_t *const *row, const ptrdiff_t first, const int left,     \
        const int columns, const uint8_t *pad, const ptrdiff_t step, const int8_t *weights,      \
        struct qmc_requant requant, uint8_t *out, const ptrdiff_t out_step, int32_t *raw,        \
        const int count, const int form, const int low, const int high)                          \
    {                                                                                            \
        for (int i = 0; i < px; i++) {                                                           \
            int32_t sums[channels];                                                              \
            qmc_window(channels, height, width, dilation, checked, row, first, left + i * stride, \
                       columns, pad, step, weights, requant.start, sums);                        \
            if (form & QMC_RAW) {                                                                \
                memcpy(raw + channels * i, sums, sizeof sums);                                   \
            } else {                                                                             \
                qmc_finish(out + i * out_step, sums, requant, channels, count, low, high);       \
            }                                                                                    \
        }                                                                                        \
    }
QMC_DEPTHWISE(32)
QMC_DEPTHWISE(16)

QMC_INLINE void qmc_add(uint8_t *out, const uint8_t *a, const uint8_t *b, const long count,
                        struct qmc_sum sum, const int low, const int high)
{
    qmc_add_few(out, a, b, count, sum, low, high);
}

#endif
