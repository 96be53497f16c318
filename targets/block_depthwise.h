/* Depthwise blocks for vectors of VECTOR_BYTES bytes; included once for each width by a header that
   defines VECTOR_BYTES, NAME(x) and the operations. Sizes are constants where it is called.

   Four rows of a column become vectors of quads, so that a dot product sums four taps of a channel.
   Vector q holds channels 16*lane + 4*q ... + 3 of every 128-bit lane. */

/* X(g, j) for the columns under a block in row group g, X(i, ...) for its pixels; what lies beyond
   is dead code. */
#define QMC_COLUMNS(X, g)                                                                     \
    X(g, 0) X(g, 1) X(g, 2) X(g, 3) X(g, 4) X(g, 5) X(g, 6) X(g, 7) X(g, 8) X(g, 9) X(g, 10) \
    X(g, 11) X(g, 12) X(g, 13) X(g, 14) X(g, 15)
#define QMC_PIXELS(X, ...) X(0, __VA_ARGS__) X(1, __VA_ARGS__) X(2, __VA_ARGS__) X(3, __VA_ARGS__)

/* px pixels of one output row, VECTOR_BYTES channels, of which count are stored.

   row[r] is row r of the window at column 0 of the image, first the first channel, left the column
   of the first tap. If
   checked is set, columns outside 0 ... columns - 1 are read from pad. */
QMC_INLINE void NAME(qmc_depthwise)(const int px, const int height, const int width,
                                    const int stride, const int dilation, const int checked,
                                    const uint8_t *const *row, const ptrdiff_t first,
                                    const int left, const int columns,
                                    const uint8_t *pad, const ptrdiff_t step,
                                    const int8_t *weights, struct qmc_requant requant,
                                    uint8_t *out, const ptrdiff_t out_step, int32_t *raw,
                                    const int count, const int form, const int low, const int high)
{
    const int lanes = VECTOR_BYTES / 4, bytes = form & QMC_WIDE ? 2 * VECTOR_BYTES : VECTOR_BYTES;
    const NAME(qmc_vector) zero = NAME(qmc_zero)();
    NAME(qmc_vector) a, b, c, d, q0, q1, q2, q3;
    NAME(qmc_inputs) x;
    QMC_FORGET(requant.start);
    q0 = NAME(qmc_load)(requant.start);
    q1 = NAME(qmc_load)(requant.start + lanes);
    q2 = NAME(qmc_load)(requant.start + 2 * lanes);
    q3 = NAME(qmc_load)(requant.start + 3 * lanes);
#define QMC_PIXEL(i, unused) \
    NAME(qmc_vector) s##i##0 = q0, s##i##1 = q1, s##i##2 = q2, s##i##3 = q3;
    QMC_PIXELS(QMC_PIXEL, 0)
#undef QMC_PIXEL
#define QMC_AT(g, j, r)                                                                        \
    (height <= 4 * g + r                                                                       \
         ? zero                                                                                \
         : NAME(qmc_load)(checked && (left + j < 0 || left + j >= columns)                     \
                              ? pad + first                                                    \
                              : row[4 * g + r] + (ptrdiff_t)(left + j) * step + first))
#define QMC_PIXEL(i, g, j, q)                                                              \
    if (px > i && j >= i * stride && (j - i * stride) % dilation == 0 &&                   \
        (j - i * stride) / dilation < width) {                                             \
        const int8_t *w =                                                                  \
            weights + ((g * width + (j - i * stride) / dilation) * 4 + q) * bytes;         \
        s##i##q = NAME(qmc_dot)(s##i##q, x, NAME(qmc_load_weights)(w, form), form);        \
    }
#define QMC_QUAD(g, j, q, operation, rows01, rows23)                      \
    x = NAME(qmc_inputs_of)(NAME(operation)(rows01, rows23), form);       \
    QMC_PIXELS(QMC_PIXEL, g, j, q)
#define QMC_COLUMN(g, j)                                                            \
    if (height > 4 * g && j < (px - 1) * stride + (width - 1) * dilation + 1) {     \
        a = QMC_AT(g, j, 0);                                                        \
        b = QMC_AT(g, j, 1);                                                        \
        c = QMC_AT(g, j, 2);                                                        \
        d = QMC_AT(g, j, 3);                                                        \
        QMC_QUAD(g, j, 0, qmc_low16, NAME(qmc_low8)(a, b), NAME(qmc_low8)(c, d))    \
        QMC_QUAD(g, j, 1, qmc_high16, NAME(qmc_low8)(a, b), NAME(qmc_low8)(c, d))   \
        QMC_QUAD(g, j, 2, qmc_low16, NAME(qmc_high8)(a, b), NAME(qmc_high8)(c, d))  \
        QMC_QUAD(g, j, 3, qmc_high16, NAME(qmc_high8)(a, b), NAME(qmc_high8)(c, d)) \
    }
    QMC_COLUMNS(QMC_COLUMN, 0)
    QMC_COLUMNS(QMC_COLUMN, 1)
#undef QMC_COLUMN
#undef QMC_QUAD
#undef QMC_PIXEL
#undef QMC_AT
#define QMC_SCALED(i, q)                                                                        \
    NAME(qmc_scaled)(s##i##q, NAME(qmc_load_floats)(requant.scale + q * lanes),                 \
                     NAME(qmc_load_floats)(requant.offset + q * lanes), form)
#define QMC_PIXEL(i, unused)                                                                    \
    if (px > i && form & QMC_RAW) {                                                            \
        NAME(qmc_save)(raw + VECTOR_BYTES * i, s##i##0);                                        \
        NAME(qmc_save)(raw + VECTOR_BYTES * i + lanes, s##i##1);                                \
        NAME(qmc_save)(raw + VECTOR_BYTES * i + 2 * lanes, s##i##2);                            \
        NAME(qmc_save)(raw + VECTOR_BYTES * i + 3 * lanes, s##i##3);                            \
    } else if (px > i) {                                                                        \
        a = NAME(qmc_words)(QMC_SCALED(i, 0), QMC_SCALED(i, 1));                                \
        b = NAME(qmc_words)(QMC_SCALED(i, 2), QMC_SCALED(i, 3));                                \
        a = NAME(qmc_quads)(NAME(qmc_bytes)(a, b));                                             \
        NAME(qmc_store)(out + i * out_step, NAME(qmc_clip)(a, low, high), count);               \
    }
    QMC_PIXELS(QMC_PIXEL, 0)
#undef QMC_PIXEL
#undef QMC_SCALED
}
#undef QMC_COLUMNS
#undef QMC_PIXELS
