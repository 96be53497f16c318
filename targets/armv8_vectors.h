/* Operations on vectors of 16 bytes for 64-bit Arm: what block_matrix.h and the others build on, but
   for the dot products, which the header that includes this one defines. */
#ifndef QMC_ARMV8_VECTORS_H
#define QMC_ARMV8_VECTORS_H

#include <arm_neon.h>

#define QMC_TARGET
#define QMC_IN_REGISTER(vector) "+w"(vector)
#include "vector.h"

typedef int32x4_t qmc_vector_16;
typedef float32x4_t qmc_floats_16;
/* Signed: 128 less than the inputs are; the sums' start makes it good. */
typedef int8x16_t qmc_inputs_16, qmc_weights_16;

/* One type under its other names. */
#define QMC_U8(v) vreinterpretq_u8_s32(v)
#define QMC_U16(v) vreinterpretq_u16_s32(v)
#define QMC_S16(v) vreinterpretq_s16_s32(v)

QMC_INLINE qmc_vector_16 qmc_zero_16(void)
{
    return vdupq_n_s32(0);
}

QMC_INLINE qmc_vector_16 qmc_load_16(const void *place)
{
    return vreinterpretq_s32_u8(vld1q_u8((const uint8_t *)place));
}

QMC_INLINE qmc_floats_16 qmc_load_floats_16(const float *place)
{
    return vld1q_f32(place);
}

QMC_INLINE void qmc_save_16(void *place, qmc_vector_16 v)
{
    vst1q_u8((uint8_t *)place, QMC_U8(v));
}

QMC_INLINE qmc_vector_16 qmc_low8_16(qmc_vector_16 a, qmc_vector_16 b)
{
    return vreinterpretq_s32_u8(vzip1q_u8(QMC_U8(a), QMC_U8(b)));
}

QMC_INLINE qmc_vector_16 qmc_high8_16(qmc_vector_16 a, qmc_vector_16 b)
{
    return vreinterpretq_s32_u8(vzip2q_u8(QMC_U8(a), QMC_U8(b)));
}

QMC_INLINE qmc_vector_16 qmc_low16_16(qmc_vector_16 a, qmc_vector_16 b)
{
    return vreinterpretq_s32_u16(vzip1q_u16(QMC_U16(a), QMC_U16(b)));
}

QMC_INLINE qmc_vector_16 qmc_high16_16(qmc_vector_16 a, qmc_vector_16 b)
{
    return vreinterpretq_s32_u16(vzip2q_u16(QMC_U16(a), QMC_U16(b)));
}

QMC_INLINE qmc_inputs_16 qmc_inputs_of_16(qmc_vector_16 x, const int form)
{
    (void)form;
    return vreinterpretq_s8_u8(veorq_u8(QMC_U8(x), vdupq_n_u8(128)));
}

QMC_INLINE qmc_inputs_16 qmc_four_16(const uint8_t *place, const int form)
{
    int32_t four;
    memcpy(&four, place, 4);
    return qmc_inputs_of_16(vdupq_n_s32(four), form);
}

QMC_INLINE qmc_weights_16 qmc_load_weights_16(const int8_t *place, const int form)
{
    (void)form;
    return vld1q_s8(place);
}

QMC_INLINE qmc_vector_16 qmc_scaled_16(qmc_vector_16 sum, qmc_floats_16 scale, qmc_floats_16 offset,
                                       const int form)
{
    const float32x4_t x = form & QMC_CONVERT ? vcvtq_f32_s32(sum) : vreinterpretq_f32_s32(sum);
    int32x4_t y = vreinterpretq_s32_f32(vfmaq_f32(offset, x, scale));
    if (form & QMC_SATURATE) {
        y = vmaxq_s32(y, vdupq_n_s32(QMC_MAGIC));
        y = vminq_s32(y, vdupq_n_s32(QMC_MAGIC + 255));
    }
    return y;
}

QMC_INLINE qmc_vector_16 qmc_words_16(qmc_vector_16 even, qmc_vector_16 odd)
{
    return vreinterpretq_s32_u16(vtrn1q_u16(QMC_U16(even), QMC_U16(odd)));
}

QMC_INLINE qmc_vector_16 qmc_bytes_16(qmc_vector_16 a, qmc_vector_16 b)
{
    return vreinterpretq_s32_u8(vqmovun_high_s16(vqmovun_s16(QMC_S16(a)), QMC_S16(b)));
}

QMC_INLINE qmc_vector_16 qmc_clip_16(qmc_vector_16 bytes, const int low, const int high)
{
    if (low > 0) {
        bytes = vreinterpretq_s32_u8(vmaxq_u8(QMC_U8(bytes), vdupq_n_u8((uint8_t)low)));
    }
    if (high < 255) {
        bytes = vreinterpretq_s32_u8(vminq_u8(QMC_U8(bytes), vdupq_n_u8((uint8_t)high)));
    }
    return bytes;
}

/* The first count bytes. */
QMC_INLINE void qmc_store_16(uint8_t *out, qmc_vector_16 v, const int count)
{
    if (count >= 16) {
        vst1q_u8(out, QMC_U8(v));
        return;
    }
    if (count & 8) {
        vst1_u8(out, vget_low_u8(QMC_U8(v)));
        v = vextq_s32(v, v, 2);
        out += 8;
    }
    if (count & 4) {
        const int32_t four = vgetq_lane_s32(v, 0);
        memcpy(out, &four, 4);
        v = vextq_s32(v, v, 1);
        out += 4;
    }
    if (count & 3) {
        const uint32_t four = (uint32_t)vgetq_lane_s32(v, 0);
        for (int i = 0; i < (count & 3); i++) {
            out[i] = (uint8_t)(four >> 8 * i);
        }
    }
}

/* Bytes of one vector of words, or of one vector of scaled sums, at the front. */
QMC_INLINE qmc_vector_16 qmc_front_of_words(qmc_vector_16 words)
{
    return qmc_bytes_16(words, words);
}

QMC_INLINE qmc_vector_16 qmc_front_of_sums(qmc_vector_16 y)
{
    const int16x4_t words = vqmovn_s32(vsubq_s32(y, vdupq_n_s32(QMC_MAGIC)));
    return qmc_front_of_words(vreinterpretq_s32_s16(vcombine_s16(words, words)));
}

/* Byte 4*q + e from word 2*e + q%2 of pack q/2. */
QMC_INLINE qmc_vector_16 qmc_quads_16(qmc_vector_16 bytes)
{
    static const uint8_t places[16] = {0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15};
    return vreinterpretq_s32_u8(vqtbl1q_u8(QMC_U8(bytes), vld1q_u8(places)));
}

/* Four outputs of an addition, see struct qmc_sum. */
QMC_INLINE int32x4_t qmc_add_four(uint16x4_t a, uint16x4_t b, struct qmc_sum sum)
{
    const int16x4_t x = vreinterpret_s16_u16(a), y = vreinterpret_s16_u16(b);
    int32x4_t high = vmlal_n_s16(vdupq_n_s32(sum.high_offset), x, (int16_t)(sum.high & 0xffff));
    int32x4_t low = vmlal_n_s16(vdupq_n_s32(sum.low_offset), x, (int16_t)(sum.low & 0xffff));
    high = vmlal_n_s16(high, y, (int16_t)(sum.high >> 16));
    low = vmlal_n_s16(low, y, (int16_t)(sum.low >> 16));
    return vshlq_s32(vsraq_n_s32(high, low, 9), vdupq_n_s32(-sum.shift));
}

QMC_INLINE qmc_vector_16 qmc_add_16(qmc_vector_16 a, qmc_vector_16 b, struct qmc_sum sum)
{
    const uint16x8_t a0 = vmovl_u8(vget_low_u8(QMC_U8(a))), a1 = vmovl_high_u8(QMC_U8(a));
    const uint16x8_t b0 = vmovl_u8(vget_low_u8(QMC_U8(b))), b1 = vmovl_high_u8(QMC_U8(b));
    const int16x4_t y0 = vqmovn_s32(qmc_add_four(vget_low_u16(a0), vget_low_u16(b0), sum));
    const int16x4_t y1 = vqmovn_s32(qmc_add_four(vget_high_u16(a0), vget_high_u16(b0), sum));
    const int16x4_t y2 = vqmovn_s32(qmc_add_four(vget_low_u16(a1), vget_low_u16(b1), sum));
    const int16x4_t y3 = vqmovn_s32(qmc_add_four(vget_high_u16(a1), vget_high_u16(b1), sum));
    return qmc_bytes_16(vreinterpretq_s32_s16(vcombine_s16(y0, y1)),
                        vreinterpretq_s32_s16(vcombine_s16(y2, y3)));
}

#endif
