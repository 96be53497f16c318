/* Micro-kernels for x86-64 with AVX-512 VNNI: the operations that block_matrix.h builds on. */
#ifndef QMC_X86_AVX512VNNI_H
#define QMC_X86_AVX512VNNI_H

#include <immintrin.h>

#ifndef QMC_TARGET /* else a header that builds on this one has said more */
#define QMC_TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,fma")))
#endif
#define QMC_HAS_NIBBLES
#include "vector.h"

/* Operations on vectors of BYTES bytes, BITS bits. */
#define QMC_OPERATIONS(VECTOR, FLOATS, BYTES, PREFIX, BITS, LANES, MASK)                           \
    typedef VECTOR qmc_vector_##BYTES;                                                             \
    typedef FLOATS qmc_floats_##BYTES;                                                             \
    QMC_INLINE VECTOR qmc_zero_##BYTES(void)                                                       \
    {                                                                                              \
        return PREFIX##_setzero_si##BITS();                                                        \
    }                                                                                              \
    QMC_INLINE VECTOR qmc_load_##BYTES(const void *place)                                          \
    {                                                                                              \
        return PREFIX##_loadu_si##BITS((const VECTOR *)place);                                     \
    }                                                                                              \
    QMC_INLINE FLOATS qmc_load_floats_##BYTES(const float *place)                                  \
    {                                                                                              \
        return PREFIX##_loadu_ps(place);                                                           \
    }                                                                                              \
    QMC_INLINE void qmc_save_##BYTES(void *place, VECTOR v)                                        \
    {                                                                                              \
        PREFIX##_storeu_si##BITS((VECTOR *)place, v);                                              \
    }                                                                                              \
    QMC_INLINE VECTOR qmc_low8_##BYTES(VECTOR a, VECTOR b)                                         \
    {                                                                                              \
        return PREFIX##_unpacklo_epi8(a, b);                                                       \
    }                                                                                              \
    QMC_INLINE VECTOR qmc_high8_##BYTES(VECTOR a, VECTOR b)                                        \
    {                                                                                              \
        return PREFIX##_unpackhi_epi8(a, b);                                                       \
    }                                                                                              \
    QMC_INLINE VECTOR qmc_low16_##BYTES(VECTOR a, VECTOR b)                                        \
    {                                                                                              \
        return PREFIX##_unpacklo_epi16(a, b);                                                      \
    }                                                                                              \
    QMC_INLINE VECTOR qmc_high16_##BYTES(VECTOR a, VECTOR b)                                       \
    {                                                                                              \
        return PREFIX##_unpackhi_epi16(a, b);                                                      \
    }                                                                                              \
    typedef VECTOR qmc_inputs_##BYTES, qmc_weights_##BYTES;                                        \
    QMC_INLINE VECTOR qmc_inputs_of_##BYTES(VECTOR x, const int form)                              \
    {                                                                                              \
        (void)form;                                                                                \
        return x;                                                                                  \
    }                                                                                              \
    QMC_INLINE VECTOR qmc_four_##BYTES(const uint8_t *place, const int form)                       \
    {                                                                                              \
        int32_t four;                                                                              \
        (void)form;                                                                                \
        memcpy(&four, place, 4);                                                                   \
        return PREFIX##_set1_epi32(four);                                                          \
    }                                                                                              \
    QMC_INLINE VECTOR qmc_load_weights_##BYTES(const int8_t *place, const int form)                \
    {                                                                                              \
        (void)form;                                                                                \
        return qmc_load_##BYTES(place);                                                            \
    }                                                                                              \
    QMC_INLINE VECTOR qmc_dot_##BYTES(VECTOR sum, VECTOR x, VECTOR w, const int form)              \
    {                                                                                              \
        (void)form;                                                                                \
        return PREFIX##_dpbusd_epi32(sum, x, w);                                                   \
    }                                                                                              \
    QMC_INLINE VECTOR qmc_scaled_##BYTES(VECTOR sum, FLOATS scale, FLOATS offset, const int form)  \
    {                                                                                              \
        FLOATS x = form & QMC_CONVERT ? PREFIX##_cvtepi32_ps(sum)                                  \
                                      : PREFIX##_castsi##BITS##_ps(sum);                           \
        VECTOR y = PREFIX##_castps_si##BITS(PREFIX##_fmadd_ps(x, scale, offset));                  \
        if (form & QMC_SATURATE) {                                                                 \
            y = PREFIX##_max_epi32(y, PREFIX##_set1_epi32(QMC_MAGIC));                             \
            y = PREFIX##_min_epi32(y, PREFIX##_set1_epi32(QMC_MAGIC + 255));                       \
        }                                                                                          \
        return y;                                                                                  \
    }                                                                                              \
    QMC_INLINE VECTOR qmc_words_##BYTES(VECTOR even, VECTOR odd)                                   \
    {                                                                                              \
        return PREFIX##_mask_blend_epi16((MASK)0xAAAAAAAA, even, PREFIX##_slli_epi32(odd, 16));    \
    }                                                                                              \
    QMC_INLINE VECTOR qmc_bytes_##BYTES(VECTOR a, VECTOR b)                                        \
    {                                                                                              \
        return PREFIX##_packus_epi16(a, b);                                                        \
    }                                                                                              \
    QMC_INLINE VECTOR qmc_clip_##BYTES(VECTOR bytes, const int low, const int high)                \
    {                                                                                              \
        if (low > 0) {                                                                             \
            bytes = PREFIX##_max_epu8(bytes, PREFIX##_set1_epi8((char)low));                       \
        }                                                                                          \
        if (high < 255) {                                                                          \
            bytes = PREFIX##_min_epu8(bytes, PREFIX##_set1_epi8((char)high));                      \
        }                                                                                          \
        return bytes;                                                                              \
    }

QMC_OPERATIONS(__m512i, __m512, 64, _mm512, 512, 16, __mmask32)
QMC_OPERATIONS(__m256i, __m256, 32, _mm256, 256, 8, __mmask16)
QMC_OPERATIONS(__m128i, __m128, 16, _mm, 128, 4, __mmask8)
#undef QMC_OPERATIONS

/* Part of the codes of a plane of 4 bits as numbers. */
QMC_INLINE __m512i qmc_nibbles_64(__m512i codes, const int part)
{
    const __m128i values = _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1);
    codes = _mm512_and_si512(_mm512_srli_epi16(codes, 4 * part), _mm512_set1_epi8(15));
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(values), codes);
}

/* Products with a part of the codes of a plane, taken for weights times 2^(8 - bits): their sign is
   the byte's. Odd parts have a sum of their own: no product waits for the one before. */
#define QMC_CODE_SUMS 2
QMC_INLINE __m512i qmc_open_parts_64(__m512i sum)
{
    return sum;
}

QMC_INLINE __m512i qmc_add_part_64(__m512i sum, __m512i x, __m512i codes, const int bits,
                                   const int part)
{
    const __m512i mask = _mm512_set1_epi8((char)(256 - (1 << (8 - bits))));
    codes = _mm512_and_si512(_mm512_slli_epi16(codes, 8 - bits * (part + 1)), mask);
    return _mm512_dpbusd_epi32(sum, x, codes);
}

QMC_INLINE __m512i qmc_close_parts_64(__m512i sum, __m512i products)
{
    (void)sum;
    return products;
}

/* Sums of products of such weights, by their scale, and the start. */
QMC_INLINE __m512i qmc_sum_of_64(__m512i start, __m512i a, __m512i b, const int bits)
{
    return _mm512_add_epi32(start, _mm512_srai_epi32(_mm512_add_epi32(a, b), 8 - bits));
}

/* The first count bytes. */
QMC_INLINE void qmc_store_16(uint8_t *out, __m128i v, const int count)
{
    if (count >= 16) {
        _mm_storeu_si128((__m128i *)out, v);
    } else if (count == 8) {
        _mm_storel_epi64((__m128i *)out, v);
    } else if (count > 0) {
        _mm_mask_storeu_epi8(out, (__mmask16)((1u << count) - 1u), v);
    }
}

QMC_INLINE void qmc_store_32(uint8_t *out, __m256i v, const int count)
{
    if (count >= 32) {
        _mm256_storeu_si256((__m256i *)out, v);
    } else {
        qmc_store_16(out, _mm256_castsi256_si128(v), count);
        if (count > 16) {
            qmc_store_16(out + 16, _mm256_extracti128_si256(v, 1), count - 16);
        }
    }
}

QMC_INLINE void qmc_store_64(uint8_t *out, __m512i v, const int count)
{
    if (count >= 64) {
        _mm512_storeu_si512(out, v);
    } else {
        qmc_store_32(out, _mm512_castsi512_si256(v), count);
        if (count > 32) {
            qmc_store_32(out + 32, _mm512_extracti64x4_epi64(v, 1), count - 32);
        }
    }
}

/* Bytes of one vector of words, or of one vector of scaled sums, at the front. */
QMC_INLINE __m512i qmc_front_of_words(__m512i words)
{
    const __m512i order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
    return _mm512_permutexvar_epi64(order, _mm512_packus_epi16(words, words));
}

QMC_INLINE __m512i qmc_front_of_sums(__m512i y)
{
    y = _mm512_sub_epi32(y, _mm512_set1_epi32(QMC_MAGIC));
    y = _mm512_max_epi32(y, _mm512_setzero_si512());
    return _mm512_castsi128_si512(_mm512_cvtusepi32_epi8(y));
}

/* Within 128 bits, byte 4*q + e from word 2*e + q%2 of pack q/2. */
#define QMC_QUADS _mm_setr_epi8(0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15)
QMC_INLINE __m512i qmc_quads_64(__m512i bytes)
{
    return _mm512_shuffle_epi8(bytes, _mm512_broadcast_i32x4(QMC_QUADS));
}

QMC_INLINE __m256i qmc_quads_32(__m256i bytes)
{
    return _mm256_shuffle_epi8(bytes, _mm256_broadcastsi128_si256(QMC_QUADS));
}

QMC_INLINE __m128i qmc_quads_16(__m128i bytes)
{
    return _mm_shuffle_epi8(bytes, QMC_QUADS);
}

/* Sums of products of pairs of words. */
QMC_INLINE __m512i qmc_pairs(__m512i words, int32_t factors)
{
    return _mm512_madd_epi16(words, _mm512_set1_epi32(factors));
}

QMC_INLINE __m512i qmc_add_quads(__m512i words, struct qmc_sum sum)
{
    __m512i high = _mm512_add_epi32(qmc_pairs(words, sum.high), _mm512_set1_epi32(sum.high_offset));
    __m512i low = _mm512_add_epi32(qmc_pairs(words, sum.low), _mm512_set1_epi32(sum.low_offset));
    return _mm512_srai_epi32(_mm512_add_epi32(high, _mm512_srli_epi32(low, 9)), sum.shift);
}

/* 64 outputs of an addition, see struct qmc_sum. */
QMC_INLINE __m512i qmc_add_64(__m512i a, __m512i b, struct qmc_sum sum)
{
    const __m512i zero = _mm512_setzero_si512();
    __m512i a0 = _mm512_unpacklo_epi8(a, zero), a1 = _mm512_unpackhi_epi8(a, zero);
    __m512i b0 = _mm512_unpacklo_epi8(b, zero), b1 = _mm512_unpackhi_epi8(b, zero);
    __m512i y0 = qmc_add_quads(_mm512_unpacklo_epi16(a0, b0), sum);
    __m512i y1 = qmc_add_quads(_mm512_unpackhi_epi16(a0, b0), sum);
    __m512i y2 = qmc_add_quads(_mm512_unpacklo_epi16(a1, b1), sum);
    __m512i y3 = qmc_add_quads(_mm512_unpackhi_epi16(a1, b1), sum);
    return _mm512_packus_epi16(_mm512_packs_epi32(y0, y1), _mm512_packs_epi32(y2, y3));
}

#define VECTOR_BYTES 64 /* the widest */
#define NAME(x) x##_64
#include "block_matrix.h"
#include "block_codes.h"
#include "block_add.h"
#include "block_depthwise.h"
#undef VECTOR_BYTES
#undef NAME
#define VECTOR_BYTES 32
#define NAME(x) x##_32
#include "block_depthwise.h"
#undef VECTOR_BYTES
#undef NAME
#define VECTOR_BYTES 16
#define NAME(x) x##_16
#include "block_depthwise.h"
#undef VECTOR_BYTES
#undef NAME

#endif
