/* Micro-kernels for x86-64 with AVX2: the operations that block_matrix.h builds on. */
#ifndef QMC_X86_AVX2_H
#define QMC_X86_AVX2_H

#include <immintrin.h>

#define QMC_TARGET __attribute__((target("avx2,fma")))
#define QMC_HAS_NIBBLES
#include "vector.h"

/* Operations on vectors of BYTES bytes, BITS bits.

   Two products of a byte may leave 16 bits, where VPMADDUBSW saturates. Unless their widths exclude
   that (QMC_SHORT), even and odd bytes are widened and multiplied apart. */
#define QMC_OPERATIONS(VECTOR, FLOATS, BYTES, PREFIX, BITS)                                        \
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
    typedef struct {                                                                               \
        VECTOR even, odd;                                                                          \
    } qmc_inputs_##BYTES;                                                                          \
    typedef qmc_inputs_##BYTES qmc_weights_##BYTES;                                                \
    QMC_INLINE qmc_inputs_##BYTES qmc_inputs_of_##BYTES(VECTOR x, const int form)                  \
    {                                                                                              \
        qmc_inputs_##BYTES inputs = {x, x};                                                        \
        if (!(form & QMC_SHORT)) {                                                                 \
            inputs.even = PREFIX##_and_si##BITS(x, PREFIX##_set1_epi16(255));                      \
            inputs.odd = PREFIX##_srli_epi16(x, 8);                                                \
        }                                                                                          \
        return inputs;                                                                             \
    }                                                                                              \
    QMC_INLINE qmc_inputs_##BYTES qmc_four_##BYTES(const uint8_t *place, const int form)           \
    {                                                                                              \
        int32_t four, odd;                                                                         \
        memcpy(&four, place, 4);                                                                   \
        if (form & QMC_SPREAD) {                                                                   \
            qmc_inputs_##BYTES inputs;                                                             \
            memcpy(&odd, place + 4, 4);                                                            \
            inputs.even = PREFIX##_set1_epi32(four);                                               \
            inputs.odd = PREFIX##_set1_epi32(odd);                                                 \
            return inputs;                                                                         \
        }                                                                                          \
        return qmc_inputs_of_##BYTES(PREFIX##_set1_epi32(four), form);                             \
    }                                                                                              \
    QMC_INLINE qmc_weights_##BYTES qmc_load_weights_##BYTES(const int8_t *place, const int form)   \
    {                                                                                              \
        qmc_weights_##BYTES weights;                                                               \
        weights.even = weights.odd = qmc_load_##BYTES(place);                                      \
        if (form & QMC_WIDE) {                                                                     \
            weights.odd = qmc_load_##BYTES(place + BYTES);                                         \
        } else if (!(form & QMC_SHORT)) {                                                          \
            weights.even = PREFIX##_srai_epi16(PREFIX##_slli_epi16(weights.odd, 8), 8);            \
            weights.odd = PREFIX##_srai_epi16(weights.odd, 8);                                     \
        }                                                                                          \
        return weights;                                                                            \
    }                                                                                              \
    QMC_INLINE VECTOR qmc_dot_##BYTES(VECTOR sum, qmc_inputs_##BYTES x, qmc_weights_##BYTES w,     \
                                      const int form)                                              \
    {                                                                                              \
        VECTOR product;                                                                            \
        if (form & QMC_SHORT) {                                                                    \
            product = PREFIX##_maddubs_epi16(x.even, w.even);                                      \
            return PREFIX##_add_epi32(sum, PREFIX##_madd_epi16(product, PREFIX##_set1_epi16(1)));  \
        }                                                                                          \
        product = PREFIX##_madd_epi16(x.odd, w.odd);                                               \
        sum = PREFIX##_add_epi32(sum, PREFIX##_madd_epi16(x.even, w.even));                        \
        return PREFIX##_add_epi32(sum, product);                                                   \
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
        return PREFIX##_blend_epi16(even, PREFIX##_slli_epi32(odd, 16), 0xAA);                     \
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

QMC_OPERATIONS(__m256i, __m256, 32, _mm256, 256)
QMC_OPERATIONS(__m128i, __m128, 16, _mm, 128)
#undef QMC_OPERATIONS

/* count bytes, a multiple of 4, to 16-bit numbers: of every four the even ones, then the odd ones. */
QMC_INLINE void qmc_widen_inputs(uint8_t *restrict out, const uint8_t *restrict in, const int count)
{
    const __m256i mask = _mm256_set1_epi16(255);
    int i = 0;
    QMC_ROLLED
    for (; i + 32 <= count; i += 32) {
        const __m256i x = qmc_load_32(in + i);
        const __m256i even = _mm256_and_si256(x, mask), odd = _mm256_srli_epi16(x, 8);
        const __m256i a = _mm256_unpacklo_epi32(even, odd), b = _mm256_unpackhi_epi32(even, odd);
        qmc_save_32(out + 2 * i, _mm256_permute2x128_si256(a, b, 0x20));
        qmc_save_32(out + 2 * i + 32, _mm256_permute2x128_si256(a, b, 0x31));
    }
    for (; i < count; i += 4) {
        const uint16_t wide[4] = {in[i], in[i + 2], in[i + 1], in[i + 3]};
        memcpy(out + 2 * i, wide, 8);
    }
}

/* Part of the codes of a plane of 4, 2 or 1 bits as numbers. */
QMC_INLINE __m256i qmc_numbers(__m256i codes, const int bits, const int part)
{
    const __m128i four = _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1);
    const __m128i two = _mm_set1_epi32((int)0xFFFE0100), one = _mm_set1_epi16((short)0xFF00);
    const __m256i values = _mm256_broadcastsi128_si256(bits == 4 ? four : bits == 2 ? two : one);
    const __m256i mask = _mm256_set1_epi8((char)((1 << bits) - 1));
    codes = _mm256_and_si256(_mm256_srli_epi16(codes, bits * part), mask);
    return _mm256_shuffle_epi8(values, codes);
}

QMC_INLINE __m256i qmc_nibbles_32(__m256i codes, const int part)
{
    return qmc_numbers(codes, 4, part);
}

/* Products with all parts of the codes of a plane are summed in 16 bits: less than 2^14 at any width
   of 4 bits or fewer. */
#define QMC_CODE_SUMS 1
QMC_INLINE __m256i qmc_open_parts_32(__m256i sum)
{
    (void)sum;
    return _mm256_setzero_si256();
}

QMC_INLINE __m256i qmc_add_part_32(__m256i sum, qmc_inputs_32 x, __m256i codes, const int bits,
                                   const int part)
{
    const __m256i products = _mm256_maddubs_epi16(x.even, qmc_numbers(codes, bits, part));
    return part > 0 ? _mm256_add_epi16(sum, products) : products;
}

QMC_INLINE __m256i qmc_close_parts_32(__m256i sum, __m256i products)
{
    return _mm256_add_epi32(sum, _mm256_madd_epi16(products, _mm256_set1_epi16(1)));
}

QMC_INLINE __m256i qmc_sum_of_32(__m256i start, __m256i a, __m256i b, const int bits)
{
    (void)bits;
    (void)b;
    return _mm256_add_epi32(start, a);
}

/* Bytes to 16-bit numbers: even and odd bytes of vectors of width bytes, as QMC_WIDE wants them. */
QMC_INLINE void qmc_widen(int8_t *restrict out, const int8_t *restrict in, const int count,
                          const int width)
{
    QMC_ROLLED
    for (int i = 0; i < count; i += width) {
        if (width == 32) {
            qmc_weights_32 w = qmc_load_weights_32(in + i, 0);
            qmc_save_32(out + 2 * i, w.even);
            qmc_save_32(out + 2 * i + 32, w.odd);
        } else {
            qmc_weights_16 w = qmc_load_weights_16(in + i, 0);
            qmc_save_16(out + 2 * i, w.even);
            qmc_save_16(out + 2 * i + 16, w.odd);
        }
    }
}

/* The first count bytes. */
QMC_INLINE void qmc_store_16(uint8_t *out, __m128i v, const int count)
{
    if (count >= 16) {
        _mm_storeu_si128((__m128i *)out, v);
        return;
    }
    if (count & 8) {
        _mm_storel_epi64((__m128i *)out, v);
        v = _mm_srli_si128(v, 8);
        out += 8;
    }
    if (count & 4) {
        const int32_t four = _mm_cvtsi128_si32(v);
        memcpy(out, &four, 4);
        v = _mm_srli_si128(v, 4);
        out += 4;
    }
    for (int i = 0; i < (count & 3); i++) {
        out[i] = (uint8_t)_mm_cvtsi128_si32(v);
        v = _mm_srli_si128(v, 1);
    }
}

QMC_INLINE void qmc_store_32(uint8_t *out, __m256i v, const int count)
{
    if (count >= 32) {
        _mm256_storeu_si256((__m256i *)out, v);
        return;
    }
    qmc_store_16(out, _mm256_castsi256_si128(v), count);
    if (count > 16) {
        qmc_store_16(out + 16, _mm256_extracti128_si256(v, 1), count - 16);
    }
}

/* Bytes of one vector of words, or of one vector of scaled sums, at the front. */
QMC_INLINE __m256i qmc_front_of_words(__m256i words)
{
    return _mm256_permute4x64_epi64(_mm256_packus_epi16(words, words), 0xD8);
}

QMC_INLINE __m256i qmc_front_of_sums(__m256i y)
{
    y = _mm256_sub_epi32(y, _mm256_set1_epi32(QMC_MAGIC));
    y = _mm256_packs_epi32(y, y);
    y = _mm256_packus_epi16(y, y);
    return _mm256_permutevar8x32_epi32(y, _mm256_setr_epi32(0, 4, 0, 4, 0, 4, 0, 4));
}

/* Within 128 bits, byte 4*q + e from word 2*e + q%2 of pack q/2. */
#define QMC_QUADS _mm_setr_epi8(0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15)
QMC_INLINE __m256i qmc_quads_32(__m256i bytes)
{
    return _mm256_shuffle_epi8(bytes, _mm256_broadcastsi128_si256(QMC_QUADS));
}

QMC_INLINE __m128i qmc_quads_16(__m128i bytes)
{
    return _mm_shuffle_epi8(bytes, QMC_QUADS);
}

/* Sums of products of pairs of words. */
QMC_INLINE __m256i qmc_pairs(__m256i words, int32_t factors)
{
    return _mm256_madd_epi16(words, _mm256_set1_epi32(factors));
}

QMC_INLINE __m256i qmc_add_quads(__m256i words, struct qmc_sum sum)
{
    __m256i high = _mm256_add_epi32(qmc_pairs(words, sum.high), _mm256_set1_epi32(sum.high_offset));
    __m256i low = _mm256_add_epi32(qmc_pairs(words, sum.low), _mm256_set1_epi32(sum.low_offset));
    return _mm256_srai_epi32(_mm256_add_epi32(high, _mm256_srli_epi32(low, 9)), sum.shift);
}

/* 32 outputs of an addition, see struct qmc_sum. */
QMC_INLINE __m256i qmc_add_32(__m256i a, __m256i b, struct qmc_sum sum)
{
    const __m256i zero = _mm256_setzero_si256();
    __m256i a0 = _mm256_unpacklo_epi8(a, zero), a1 = _mm256_unpackhi_epi8(a, zero);
    __m256i b0 = _mm256_unpacklo_epi8(b, zero), b1 = _mm256_unpackhi_epi8(b, zero);
    __m256i y0 = qmc_add_quads(_mm256_unpacklo_epi16(a0, b0), sum);
    __m256i y1 = qmc_add_quads(_mm256_unpackhi_epi16(a0, b0), sum);
    __m256i y2 = qmc_add_quads(_mm256_unpacklo_epi16(a1, b1), sum);
    __m256i y3 = qmc_add_quads(_mm256_unpackhi_epi16(a1, b1), sum);
    return _mm256_packus_epi16(_mm256_packs_epi32(y0, y1), _mm256_packs_epi32(y2, y3));
}

#define VECTOR_BYTES 32 /* the widest */
#define NAME(x) x##_32
#include "block_matrix.h"
#include "block_codes.h"
#include "block_add.h"
#include "block_depthwise.h"
#undef VECTOR_BYTES
#undef NAME
#define VECTOR_BYTES 16
#define NAME(x) x##_16
#include "block_depthwise.h"
#undef VECTOR_BYTES
#undef NAME

#endif
