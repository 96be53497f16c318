/* Blocks of outputs where weights lie in rows: all inputs of a channel one after another. Included by a
   header that defines QMC_TARGET before, and qmc_dots and qmc_window after it. */
#ifndef QMC_BLOCK_ROWS_H
#define QMC_BLOCK_ROWS_H

#include "vector.h"

#ifndef QMC_LANES /* channels of a vector; a block has up to four vectors */
#define QMC_LANES 4
#endif
#define QMC_MOST_CHANNELS (4 * QMC_LANES)
#ifndef QMC_DOT_CHANNELS /* that qmc_dots sums at a time, as registers allow */
#define QMC_DOT_CHANNELS 4
#endif

/* sums[i * QMC_MOST_CHANNELS + j] += products of pixel i, count bytes, with channel j; mr pixels,
   QMC_DOT_CHANNELS channels. */
QMC_INLINE void qmc_dots(const int mr, const uint8_t *restrict a, const ptrdiff_t step,
                         const int8_t *restrict w, const ptrdiff_t row, const int count,
                         int32_t *restrict sums);

/* Sums of one pixel over a depthwise window: as many channels as a block has. Products of 8-bit
   factors fit 16 bits. */
QMC_INLINE void qmc_window(const int channels, const int height, const int width,
                           const int dilation, const int checked, const uint8_t *const *row,
                           const ptrdiff_t first, const int left, const int columns,
                           const uint8_t *pad, const ptrdiff_t step, const int8_t *weights,
                           const int32_t *start, int32_t *restrict sums);

/* X(0) ... X(24): taps of a depthwise window up to 5x5; what lies beyond is dead code. */
#define QMC_TAPS(X)                                                                             \
    X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15) X(16) \
    X(17) X(18) X(19) X(20) X(21) X(22) X(23) X(24)
#define QMC_MOST_TAPS 25

/* sums[c] += products of count inputs, at most QMC_MOST_COLUMNS, with channel c: for runs so short
   that sums across vectors would cost more than their products. */
#define QMC_MOST_COLUMNS 32
QMC_INLINE void qmc_columns(const int channels, const int count, const uint8_t *restrict in,
                            const int8_t *restrict weights, int32_t *restrict sums)
{
#define QMC_INPUT(t) const int x##t = in[count > t ? t : 0];
    QMC_TAPS(QMC_INPUT)
    QMC_INPUT(25) QMC_INPUT(26) QMC_INPUT(27) QMC_INPUT(28) QMC_INPUT(29) QMC_INPUT(30)
    QMC_INPUT(31)
#undef QMC_INPUT
    for (int c = 0; c < channels; c++) {
        int32_t sum = sums[c];
#define QMC_PRODUCT(t)                                         \
    if (count > t) {                                           \
        sum += (int16_t)(x##t * weights[channels * t + c]);    \
    }
        QMC_TAPS(QMC_PRODUCT)
        QMC_PRODUCT(25) QMC_PRODUCT(26) QMC_PRODUCT(27) QMC_PRODUCT(28) QMC_PRODUCT(29)
        QMC_PRODUCT(30) QMC_PRODUCT(31)
#undef QMC_PRODUCT
        sums[c] = sum;
    }
}

/* Where tap t of a window of width columns lies. */
QMC_INLINE const uint8_t *qmc_tap(const int t, const int width, const int dilation,
                                  const int checked, const uint8_t *const *row, const int left,
                                  const int columns, const uint8_t *pad, const ptrdiff_t step)
{
    const int column = left + t % width * dilation;
    const int is_outside = checked && (column < 0 || column >= columns);
    return is_outside ? pad : row[t / width] + column * step;
}

/* channels sums as bytes. */
QMC_INLINE void qmc_finish(uint8_t *restrict out, const int32_t *restrict sums,
                           const struct qmc_requant requant, const int channels, const int count,
                           const int form, const int low, const int high)
{
    uint8_t bytes[32];
    for (int c = 0; c < channels; c++) {
        const int32_t y = qmc_scale_high(sums[c] * (1 << (form >> 20)), requant.factor[c], requant.shift[c],
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
    if (form & QMC_BY_INPUT) {
        for (int i = 0; i < mr; i++) {
            qmc_columns(channels, length, in + i * step, weights, sums + QMC_MOST_CHANNELS * i);
        }
    }
    for (int r = 0; r < rows && !(form & QMC_BY_INPUT); r++) {
        for (int s = 0; s < taps; s++) {
            QMC_ROLLED
            for (int c = 0; c < channels; c += QMC_DOT_CHANNELS) {
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
                       form, low, high);
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
                qmc_finish(out + i * out_step, sums, requant, channels, count, form, low, high);       \
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
