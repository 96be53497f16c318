/* What the kernels of all vector units share; included by the unit's header, which defines
   QMC_TARGET. Functions are compiled into the kernel that calls them, with constant sizes. */
#ifndef QMC_VECTOR_H
#define QMC_VECTOR_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "runtime.h"

#ifdef __GNUC__
#define QMC_INLINE QMC_TARGET static inline __attribute__((always_inline, unused))
#define QMC_FORGET(pointer) __asm__("" : "+r"(pointer)) /* do not keep what it points to */
/* Without it gcc 12 takes blocks inside the image for never reached, and leaves them scalar. */
#define QMC_LIKELY(condition) __builtin_expect(condition, 1)
#else
#define QMC_LIKELY(condition) (condition)
#define QMC_INLINE QMC_TARGET static inline
#define QMC_FORGET(pointer) ((void)(pointer))
#endif
#ifndef QMC_IN_REGISTER /* else the unit's header says which registers */
#define QMC_IN_REGISTER(vector) "+v"(vector)
#endif
#if !defined(__GNUC__)
#define QMC_ROLLED
#elif defined(__clang__)
#define QMC_ROLLED _Pragma("clang loop unroll(disable)")
#else
#define QMC_ROLLED _Pragma("GCC unroll 1")
#endif

#define QMC_LITTLE_ENDIAN (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__)

/* Bits of 1.5 * 2^23 as a float32. A sum that starts here reads as that number plus the sum. */
#define QMC_MAGIC 0x4B400000

/* How sums become bytes: docs/vector-kernels.md. */
#define QMC_CONVERT 1  /* sums are plain integers: convert them first */
#define QMC_SATURATE 2 /* results may leave 16 bits: clamp them before they are narrowed */
#define QMC_RAW 4      /* no float form is exact: sums are stored as they are */
#define QMC_SHORT 8    /* the sum of any two products fits 16 bits */
#define QMC_LIFT(bits) ((bits) << 20) /* with QMC_HIGH: sums are shifted left first */
#define QMC_BY_INPUT 64 /* weights lie input by input, the block's channels side by side */
#define QMC_HIGH 32    /* sums are scaled by the high half of a 32-bit product and a shift */
#define QMC_SPREAD 128 /* inputs are 16-bit numbers, as qmc_widen_inputs leaves them; with QMC_WIDE */
#define QMC_WIDE 16    /* weights are 16-bit numbers: the even bytes of a vector, then its odd ones */
#define QMC_AHEAD(kib) ((kib) << 8) /* fetch weights so far ahead into the second-level cache */

/* Constants of a block of output channels, in the order of its vectors. */
struct qmc_requant {
    const int32_t *start;
    const float *scale, *offset;
    /* of QMC_HIGH: multiplier << 7, shift - 25, and what is added in the end */
    const int32_t *factor, *bias;
    const uint8_t *shift;
};

QMC_INLINE struct qmc_requant qmc_constants(const int32_t *start, const float *scale,
                                            const float *offset, ptrdiff_t first)
{
    struct qmc_requant constants = {start + first, scale + first, offset + first, 0, 0, 0};
    return constants;
}

QMC_INLINE struct qmc_requant qmc_high_constants(const int32_t *start, const int32_t *factor,
                                                 const uint8_t *shift, const int32_t *bias,
                                                 ptrdiff_t first)
{
    struct qmc_requant constants = {start + first, 0, 0, factor + first, bias + first,
                                    shift + first};
    return constants;
}

/* ((multiplier * x + half) >> (shift + 25)) + bias, shift + 25 less the lift of x: floors nest, so that the high half of the
   product loses nothing. */
QMC_INLINE int32_t qmc_scale_high(const int32_t x, const int32_t factor, const int shift,
                                  const int32_t bias)
{
    const int32_t high = (int32_t)(((int64_t)x * factor) >> 32);
    return ((high + ((int32_t)1 << (shift - 1))) >> shift) + bias;
}

/* (ma*a + mb*b + offset) >> shift with m = 512*high + low: pairs of 16-bit factors, a's in the low
   half; floors nest, so that (high part + (low part >> 9)) >> (shift - 9) is exact. */
struct qmc_sum {
    int32_t high, low, high_offset, low_offset;
    int shift;
};

QMC_INLINE void qmc_add_few(uint8_t *out, const uint8_t *a, const uint8_t *b, const long count,
                            struct qmc_sum sum, const int low, const int high)
{
    for (long i = 0; i < count; i++) {
        int32_t h = (sum.high & 0xffff) * a[i] + (sum.high >> 16) * b[i] + sum.high_offset;
        int32_t l = (sum.low & 0xffff) * a[i] + (sum.low >> 16) * b[i] + sum.low_offset;
        out[i] = (uint8_t)qmc_clamp((h + (l >> 9)) >> sum.shift, low, high);
    }
}

/* One part of a plane: bits from shift on, to bits from done on; flip is the sign bit in the last
   plane, else 0. */
QMC_INLINE void qmc_unpack_part(int8_t *restrict out, const uint8_t *restrict in, const int count,
                                const int shift, const int mask, const int done, const int flip)
{
    for (int i = 0; i < count; i++) {
        const uint8_t code = (uint8_t)(((in[i] >> shift) & mask) << done);
        const uint8_t value = (uint8_t)((code ^ flip) - flip);
        out[i] = (int8_t)(done ? value | (uint8_t)out[i] : value);
    }
}

#ifdef QMC_HAS_NIBBLES
/* The case of 4 bits, where a unit has instructions for it. */
QMC_INLINE void qmc_unpack_nibbles(int8_t *restrict out, const uint8_t *restrict in,
                                   const int count);
#endif

/* Weights of 1 to 7 bits as bytes. The panel's codes lie in planes of 4, 2 and 1 bits, as far as
   bits has them, from the low bits up: element i of a plane of b bits is in byte i mod n and there
   in the bits from b * (i div n), n = count * b / 8. */
QMC_INLINE void qmc_unpack_planes(int8_t *restrict out, const uint8_t *in, const int count,
                                  const int bits)
{
    const int sign = 1 << (bits - 1), n = count / 8;
#ifdef QMC_HAS_NIBBLES
    if (bits == 4) {
        qmc_unpack_nibbles(out, in, count);
        return;
    }
#endif
#define QMC_PART(plane, part)                                                                     \
    if ((bits & plane) && part < 8 / plane) {                                                     \
        qmc_unpack_part(out + part * plane * n, in, plane * n, part * plane, (1 << plane) - 1,    \
                        bits & (8 - 2 * plane), (bits & (plane - 1)) == 0 ? sign : 0);            \
    }
#define QMC_PLANE(plane)                                                                          \
    QMC_PART(plane, 0) QMC_PART(plane, 1) QMC_PART(plane, 2) QMC_PART(plane, 3)                   \
    QMC_PART(plane, 4) QMC_PART(plane, 5) QMC_PART(plane, 6) QMC_PART(plane, 7)                   \
    in += bits & plane ? plane * n : 0;
    QMC_PLANE(4)
    QMC_PLANE(2)
    QMC_PLANE(1)
#undef QMC_PLANE
#undef QMC_PART
}

/* Rows first ... first + rows - 1 of an image with its margins filled in. */
QMC_INLINE void qmc_padded_rows(uint8_t *restrict out, const uint8_t *in, const int first,
                                const int rows, const int height, const size_t row_bytes,
                                const size_t left, const size_t right, const int zero)
{
    for (int h = first; h < first + rows; h++) {
        if (h < 0 || h >= height) {
            memset(out, zero, left + row_bytes + right);
        } else {
            memset(out, zero, left);
            memcpy(out + left, in + (size_t)h * row_bytes, row_bytes);
            memset(out + left + row_bytes, zero, right);
        }
        out += left + row_bytes + right;
    }
}

/* The runs under each of mr pixels, rows x taps of length bytes, one after another. */
QMC_INLINE void qmc_gather(uint8_t *restrict out, const ptrdiff_t out_step, const int mr,
                           const uint8_t *restrict in, const ptrdiff_t step, const int rows,
                           const ptrdiff_t row_step, const int taps, const ptrdiff_t tap_step,
                           const int length)
{
    for (int i = 0; i < mr; i++) {
        for (int r = 0; r < rows; r++) {
            for (int s = 0; s < taps; s++) {
                memcpy(out + i * out_step + (r * taps + s) * length,
                       in + i * step + r * row_step + s * tap_step, (size_t)length);
            }
        }
    }
}

/* Sums of pixels x count channels to codes at the contract's own constants: any rounding, any width
   of the output. A row of fewer than 8 bits an element must hold zeros before. quads is 0 where a
   pixel's sums are in natural order, else the width of the depthwise block that made them. */
QMC_INLINE void qmc_requantize(uint8_t *out, const ptrdiff_t out_step, const int first,
                               const int32_t *sums, const int sums_step, const int pixels,
                               const int count, const int32_t *multiplier, const int32_t *offset,
                               const uint8_t *shift, const int rounding, const int low,
                               const int high, const int bits, const int quads)
{
    for (int i = 0; i < pixels; i++) {
        for (int c = 0; c < count; c++) {
            const int k = first + c;
            const int place = quads ? c / 4 % 4 * (quads / 4) + c / 16 * 4 + c % 4 : c;
            const int32_t x = sums[i * sums_step + place];
            int64_t y = rounding == 0   ? qmc_half_up(x, multiplier[k], shift[k])
                        : rounding == 1 ? qmc_floor_shift(x, multiplier[k], shift[k])
                                        : qmc_tflite_double(x, multiplier[k], shift[k]);
            qmc_put(out + i * out_step, k, qmc_clamp(y + offset[k], low, high), bits);
        }
    }
}

/* The larger of both, byte by byte. */
QMC_INLINE void qmc_larger(uint8_t *restrict out, const uint8_t *restrict in, const int count)
{
    for (int c = 0; c < count; c++) {
        out[c] = in[c] > out[c] ? in[c] : out[c];
    }
}

/* The smaller of a byte and limit. */
QMC_INLINE void qmc_limit(uint8_t *out, const int count, const int limit)
{
    for (int c = 0; c < count; c++) {
        out[c] = out[c] < limit ? out[c] : (uint8_t)limit;
    }
}

/* The codes that a table gives for codes. */
QMC_INLINE void qmc_look_up(uint8_t *restrict out, const uint8_t *restrict in, const int count,
                            const uint8_t *table)
{
    for (int c = 0; c < count; c++) {
        out[c] = table[in[c]];
    }
}

/* Sums of a window to codes of 8 or 16 bits. */
QMC_INLINE void qmc_average(uint8_t *restrict out, const int32_t *restrict sum, const int count,
                            const int64_t multiplier, const int64_t offset, const int shift,
                            const int low, const int high, const int bits)
{
    for (int c = 0; c < count; c++) {
        const int64_t code = qmc_rescale(sum[c], multiplier, offset, shift);
        qmc_put(out, c, qmc_clamp(code, low, high), bits);
    }
}

QMC_INLINE void qmc_accumulate(int32_t *restrict sum, const uint8_t *restrict in, const int count)
{
    for (int c = 0; c < count; c++) {
        sum[c] += in[c];
    }
}

/* Elements of fewer than 8 bits, packed one after another, as bytes. Eight of them are bits bytes:
   halves, quarters and eighths of a word move apart in three steps, where that is little endian. */
QMC_INLINE void qmc_spread(uint8_t *restrict out, const uint8_t *restrict in, const int count,
                           const int bits)
{
    const uint64_t one = (1u << bits) - 1u, two = (1u << 2 * bits) - 1u;
    const uint64_t four = ((uint64_t)1 << 4 * bits) - 1u;
    const uint64_t pairs = one * 0x0001000100010001u, halves = two * 0x0000000100000001u;
    const int done = bits == 4 ? count / 2 * 2 : QMC_LITTLE_ENDIAN ? count / 8 * 8 : 0;
    if (bits == 4) { /* compilers make vectors of this */
        for (int i = 0; i < count / 2; i++) {
            out[2 * i] = in[i] & 15;
            out[2 * i + 1] = in[i] >> 4;
        }
    } else {
        for (int i = 0; i < done / 8; i++) {
            uint64_t word = 0;
            memcpy(&word, in + i * bits, (size_t)bits);
            word = (word & four) | (word >> 4 * bits & four) << 32;
            word = (word & halves) | (word >> 2 * bits & halves) << 16;
            word = (word & pairs) | (word >> bits & pairs) << 8;
            memcpy(out + 8 * i, &word, 8);
        }
    }
    for (int c = done; c < count; c++) {
        out[c] = (uint8_t)qmc_get(in, c, bits);
    }
}

/* Bytes to elements of fewer bits, the other way round. */
QMC_INLINE void qmc_pack(uint8_t *restrict out, const uint8_t *restrict in, const int count,
                         const int bits)
{
    const uint64_t one = (1u << bits) - 1u, two = (1u << 2 * bits) - 1u;
    const uint64_t four = ((uint64_t)1 << 4 * bits) - 1u;
    const uint64_t pairs = one * 0x0001000100010001u, halves = two * 0x0000000100000001u;
    const int done = bits == 4 ? count / 2 * 2 : QMC_LITTLE_ENDIAN ? count / 8 * 8 : 0;
    if (bits == 4) {
        for (int i = 0; i < count / 2; i++) {
            out[i] = (uint8_t)(in[2 * i] | in[2 * i + 1] << 4);
        }
    } else {
        for (int i = 0; i < done / 8; i++) {
            uint64_t word;
            memcpy(&word, in + 8 * i, 8);
            word = (word & pairs) | (word >> 8 & pairs) << bits;
            word = (word & halves) | (word >> 16 & halves) << 2 * bits;
            word = (word & four) | (word >> 32 & four) << 4 * bits;
            memcpy(out + i * bits, &word, (size_t)bits);
        }
    }
    memset(out + done * bits / 8, 0, (size_t)((count * bits + 7) / 8 - done * bits / 8));
    for (int c = done; c < count; c++) {
        qmc_put(out, c, in[c], bits);
    }
}

#endif
