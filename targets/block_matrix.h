/* Blocks of a matrix product for vectors of VECTOR_BYTES bytes; included by a header that defines
   VECTOR_BYTES, NAME(x) and the operations. Sizes are constants where the functions are called. */

/* One pixel of nr vectors of sums; the order of channels is that of qmc/codegen/vector/order.py. */
QMC_INLINE void qmc_finish(const int nr, NAME(qmc_vector) s0, NAME(qmc_vector) s1,
                           NAME(qmc_vector) s2, NAME(qmc_vector) s3,
                           const NAME(qmc_floats) *scale, const NAME(qmc_floats) *offset,
                           uint8_t *out, const int count, const int form, const int low,
                           const int high)
{
    const int lanes = VECTOR_BYTES / 4;
    NAME(qmc_vector) y0 = NAME(qmc_scaled)(s0, scale[0], offset[0], form), words, y2, y3;
    if (nr == 1) {
        NAME(qmc_store)(out, NAME(qmc_clip)(qmc_front_of_sums(y0), low, high), count);
        return;
    }
    words = NAME(qmc_words)(y0, NAME(qmc_scaled)(s1, scale[1], offset[1], form));
    if (nr == 4) {
        y2 = NAME(qmc_scaled)(s2, scale[2], offset[2], form);
        y3 = NAME(qmc_scaled)(s3, scale[3], offset[3], form);
        words = NAME(qmc_bytes)(words, NAME(qmc_words)(y2, y3));
    } else {
        words = qmc_front_of_words(words);
    }
    NAME(qmc_store)(out, NAME(qmc_clip)(words, low, high), nr == 3 ? 2 * lanes : count);
    if (nr == 3) {
        y2 = NAME(qmc_scaled)(s2, scale[2], offset[2], form);
        y2 = NAME(qmc_clip)(qmc_front_of_sums(y2), low, high);
        NAME(qmc_store)(out + 2 * lanes, y2, count - 2 * lanes);
    }
}

/* X(0) ... X(11) or X(23), for the pixels of a block; what lies beyond the block is dead code. */
#define QMC_FEW_PIXELS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#ifdef QMC_MORE_PIXELS
#define QMC_MOST_PIXELS 24
#define QMC_PIXELS(X)                                                                \
    QMC_FEW_PIXELS(X) X(12) X(13) X(14) X(15) X(16) X(17) X(18) X(19) X(20) X(21) X(22) X(23)
#else
#define QMC_MOST_PIXELS 12
#define QMC_PIXELS(X) QMC_FEW_PIXELS(X)
#endif

/* mr pixels x nr vectors of output channels. A pixel's products are rows x taps runs of 4 * quads
   bytes. With QMC_RAW the sums go to raw, one vector after another, instead of bytes to out. */
QMC_INLINE void qmc_matrix(const int mr, const int nr, const int rows, const ptrdiff_t row_step,
                           const int taps, const ptrdiff_t tap_step, const int quads,
                           const uint8_t *in, const ptrdiff_t step, const int8_t *weights,
                           struct qmc_requant requant, uint8_t *out, const ptrdiff_t out_step,
                           int32_t *raw, const int count, const int form, const int low,
                           const int high)
{
    const int lanes = VECTOR_BYTES / 4, bytes = form & QMC_WIDE ? 2 * VECTOR_BYTES : VECTOR_BYTES;
    NAME(qmc_floats) scale[4], offset[4];
    NAME(qmc_vector) b0, b1, b2, b3;
    QMC_FORGET(requant.start);
    b0 = NAME(qmc_load)(requant.start);
    b1 = nr > 1 ? NAME(qmc_load)(requant.start + lanes) : b0;
    b2 = nr > 2 ? NAME(qmc_load)(requant.start + 2 * lanes) : b0;
    b3 = nr > 3 ? NAME(qmc_load)(requant.start + 3 * lanes) : b0;
#define QMC_PIXEL(i) NAME(qmc_vector) s##i##0 = b0, s##i##1 = b1, s##i##2 = b2, s##i##3 = b3;
    QMC_PIXELS(QMC_PIXEL)
#undef QMC_PIXEL
    QMC_ROLLED
    for (int r = 0; r < rows; r++) {
        QMC_ROLLED
        for (int s = 0; s < taps; s++) {
            const uint8_t *a = in + r * row_step + s * tap_step;
            QMC_ROLLED
            for (int k = 0; k < quads; k++) {
                const int8_t *w = weights;
                NAME(qmc_weights) w0, w1, w2, w3;
                w0 = NAME(qmc_load_weights)(w, form);
                w1 = nr > 1 ? NAME(qmc_load_weights)(w + bytes, form) : w0;
                w2 = nr > 2 ? NAME(qmc_load_weights)(w + 2 * bytes, form) : w0;
                w3 = nr > 3 ? NAME(qmc_load_weights)(w + 3 * bytes, form) : w0;
                if (form >> 8) {
                    for (int line = 0; line < nr * bytes; line += 64) {
                        __builtin_prefetch(w + line + ((ptrdiff_t)(form >> 8) << 10), 0, 2);
                    }
                }
/* The empty statement keeps a sum in its register; gcc 12 spills it otherwise. */
#define QMC_DOT(sum, x, w)                \
    sum = NAME(qmc_dot)(sum, x, w, form); \
    __asm__("" : QMC_IN_REGISTER(sum));
#define QMC_PIXEL(i)                                                  \
    if (mr > i) {                                                     \
        const NAME(qmc_inputs) x = NAME(qmc_four)(a + i * step, form); \
        QMC_DOT(s##i##0, x, w0)                                       \
        if (nr > 1) {                                                 \
            QMC_DOT(s##i##1, x, w1)                                   \
        }                                                             \
        if (nr > 2) {                                                 \
            QMC_DOT(s##i##2, x, w2)                                   \
        }                                                             \
        if (nr > 3) {                                                 \
            QMC_DOT(s##i##3, x, w3)                                   \
        }                                                             \
    }
                QMC_PIXELS(QMC_PIXEL)
#undef QMC_PIXEL
#undef QMC_DOT
                weights += nr * bytes;
                a += form & QMC_SPREAD ? 8 : 4;
            }
        }
    }
    if (form & QMC_RAW) {
#define QMC_PIXEL(i)                                                      \
    if (mr > i) {                                                         \
        NAME(qmc_save)(raw + nr * lanes * i, s##i##0);                    \
        if (nr > 1) {                                                     \
            NAME(qmc_save)(raw + nr * lanes * i + lanes, s##i##1);        \
        }                                                                 \
        if (nr > 2) {                                                     \
            NAME(qmc_save)(raw + nr * lanes * i + 2 * lanes, s##i##2);    \
        }                                                                 \
        if (nr > 3) {                                                     \
            NAME(qmc_save)(raw + nr * lanes * i + 3 * lanes, s##i##3);    \
        }                                                                 \
    }
        QMC_PIXELS(QMC_PIXEL)
#undef QMC_PIXEL
        return;
    }
    QMC_FORGET(requant.scale);
    QMC_FORGET(requant.offset);
    for (int q = 0; q < nr; q++) {
        scale[q] = NAME(qmc_load_floats)(requant.scale + lanes * q);
        offset[q] = NAME(qmc_load_floats)(requant.offset + lanes * q);
    }
#define QMC_PIXEL(i)                                                                            \
    if (mr > i) {                                                                               \
        qmc_finish(nr, s##i##0, s##i##1, s##i##2, s##i##3, scale, offset, out + i * out_step,   \
                   count, form, low, high);                                                     \
    }
    QMC_PIXELS(QMC_PIXEL)
#undef QMC_PIXEL
}
#undef QMC_PIXELS
#undef QMC_FEW_PIXELS
