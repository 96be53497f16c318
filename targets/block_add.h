/* Additions for vectors of VECTOR_BYTES bytes; see block_matrix.h. */

/* count outputs; nothing beyond them is read or written. */
QMC_INLINE void qmc_add(uint8_t *out, const uint8_t *a, const uint8_t *b, const long count,
                        struct qmc_sum sum, const int low, const int high)
{
    QMC_ROLLED
    for (long m = 0; m < (count + VECTOR_BYTES - 1) / VECTOR_BYTES; m++) {
        /* The last vector overlaps the one before. */
        const long i = (m + 1) * VECTOR_BYTES <= count ? m * VECTOR_BYTES : count - VECTOR_BYTES;
        if (count >= VECTOR_BYTES) {
            NAME(qmc_vector) x = NAME(qmc_load)(a + i), y = NAME(qmc_load)(b + i);
            x = NAME(qmc_clip)(NAME(qmc_add)(x, y, sum), low, high);
            NAME(qmc_store)(out + i, x, VECTOR_BYTES);
        } else {
            qmc_add_few(out, a, b, count, sum, low, high);
        }
    }
}
