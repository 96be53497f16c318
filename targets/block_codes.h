/* Weights below 8 bits unpacked by instructions, for vectors of VECTOR_BYTES bytes; included after
   block_matrix.h. */

/* Signed nibbles: those in the low halves of count / 2 bytes, then those in the high halves. */
QMC_INLINE void qmc_unpack_nibbles(int8_t *restrict out, const uint8_t *restrict in,
                                   const int count)
{
    const int half = count / 2, whole = half / VECTOR_BYTES * VECTOR_BYTES;
    QMC_ROLLED
    for (int i = 0; i < whole; i += VECTOR_BYTES) {
        const NAME(qmc_vector) codes = NAME(qmc_load)(in + i);
        NAME(qmc_save)(out + i, NAME(qmc_nibbles)(codes, 0));
        NAME(qmc_save)(out + half + i, NAME(qmc_nibbles)(codes, 1));
    }
    qmc_unpack_part(out + whole, in + whole, half - whole, 0, 15, 0, 8);
    qmc_unpack_part(out + half + whole, in + whole, half - whole, 4, 15, 0, 8);
}

/* Sums of one pixel over weights of 4, 2 or 1 bits that never leave the registers: a single pixel has
   one product for each, and unpacked to memory first it would be read twice.

   nr vectors of output channels; one run of 4 * quads bytes, quads a multiple of 8 / bits. A panel's
   planes (qmc_unpack_planes) put quads k, k + quads * bits / 8, ... into the same bytes. */
QMC_INLINE void qmc_matrix_of_codes(const int bits, const int nr, const int quads,
                                    const uint8_t *in, const uint8_t *codes,
                                    struct qmc_requant requant, uint8_t *out, int32_t *raw,
                                    const int count, const int form, const int low, const int high)
{
    const int lanes = VECTOR_BYTES / 4, steps = quads * bits / 8;
    NAME(qmc_floats) scale[4], offset[4];
    NAME(qmc_vector) s00 = NAME(qmc_zero)(), s01 = s00, s10 = s00, s11 = s00, s20 = s00;
    NAME(qmc_vector) s21 = s00, s30 = s00, s31 = s00;
    QMC_ROLLED
    for (int k = 0; k < steps; k++) {
#define QMC_FOUR(p)                                                                          \
    const NAME(qmc_inputs) x##p =                                                            \
        NAME(qmc_four)(in + 4 * (8 / bits > p ? steps * p : 0) + 4 * k, form);
        QMC_FOUR(0) QMC_FOUR(1) QMC_FOUR(2) QMC_FOUR(3) QMC_FOUR(4) QMC_FOUR(5) QMC_FOUR(6)
        QMC_FOUR(7)
#undef QMC_FOUR
        if (form >> 8) {
            for (int line = 0; line < nr * VECTOR_BYTES; line += 64) {
                __builtin_prefetch(codes + line + ((ptrdiff_t)(form >> 8) << 10), 0, 2);
            }
        }
#define QMC_PART(p)                                                              \
    if (8 / bits > p && p % QMC_CODE_SUMS == 0) {                                \
        t0 = NAME(qmc_add_part)(t0, x##p, c, bits, p);                           \
    } else if (8 / bits > p) {                                                   \
        t1 = NAME(qmc_add_part)(t1, x##p, c, bits, p);                           \
    }
#define QMC_VECTOR(v)                                                            \
    if (nr > v) {                                                                \
        const NAME(qmc_vector) c = NAME(qmc_load)(codes + v * VECTOR_BYTES);     \
        NAME(qmc_vector) t0 = NAME(qmc_open_parts)(s##v##0);                     \
        NAME(qmc_vector) t1 = NAME(qmc_open_parts)(s##v##1);                     \
        QMC_PART(0) QMC_PART(1) QMC_PART(2) QMC_PART(3)                          \
        QMC_PART(4) QMC_PART(5) QMC_PART(6) QMC_PART(7)                          \
        s##v##0 = NAME(qmc_close_parts)(s##v##0, t0);                            \
        __asm__("" : QMC_IN_REGISTER(s##v##0));                                  \
        if (QMC_CODE_SUMS == 2) {                                                \
            s##v##1 = NAME(qmc_close_parts)(s##v##1, t1);                        \
            __asm__("" : QMC_IN_REGISTER(s##v##1));                              \
        }                                                                        \
    }
        QMC_VECTOR(0)
        QMC_VECTOR(1)
        QMC_VECTOR(2)
        QMC_VECTOR(3)
#undef QMC_VECTOR
#undef QMC_PART
        codes += nr * VECTOR_BYTES;
    }
#define QMC_VECTOR(v)                                                                        \
    if (nr > v) {                                                                            \
        s##v##0 = NAME(qmc_sum_of)(NAME(qmc_load)(requant.start + v * lanes), s##v##0,       \
                                   s##v##1, bits);                                           \
        if (form & QMC_RAW) {                                                                \
            NAME(qmc_save)(raw + v * lanes, s##v##0);                                        \
        } else {                                                                             \
            scale[v] = NAME(qmc_load_floats)(requant.scale + v * lanes);                     \
            offset[v] = NAME(qmc_load_floats)(requant.offset + v * lanes);                   \
        }                                                                                    \
    }
    QMC_VECTOR(0)
    QMC_VECTOR(1)
    QMC_VECTOR(2)
    QMC_VECTOR(3)
#undef QMC_VECTOR
    if (!(form & QMC_RAW)) {
        qmc_finish(nr, s00, s10, s20, s30, scale, offset, out, count, form, low, high);
    }
}
