/* Integer arithmetic and bit packing of the kernels; the contract is docs/arithmetic.md of qmc. */
#ifndef QMC_RUNTIME_H
#define QMC_RUNTIME_H

#include <stdint.h>
#include <string.h>

#ifndef QMC_COUNT /* else count.h has them */
#define STEP(depth, ...) ((void)0)
#define DONE() ((void)0)
#endif

/* The contract needs a floor where a negative number is shifted right. */
typedef char qmc_needs_arithmetic_shift[((int64_t)-3 >> 1) == -2 ? 1 : -1];

static inline int32_t qmc_clamp(int64_t value, int32_t low, int32_t high)
{
    return value < low ? low : value > high ? high : (int32_t)value;
}

/* One rounding, halves up. */
static inline int64_t qmc_half_up(int32_t x, int32_t multiplier, int shift)
{
    return ((int64_t)multiplier * x + ((int64_t)1 << (shift - 1))) >> shift;
}

/* No rounding: floor. */
static inline int64_t qmc_floor_shift(int32_t x, int32_t multiplier, int shift)
{
    return ((int64_t)multiplier * x) >> shift;
}

/* Two roundings, halves away from zero, as TensorFlow Lite's reference kernels. */
static inline int64_t qmc_tflite_double(int32_t x, int32_t multiplier, int shift)
{
    int64_t product = (int64_t)x * multiplier;
    int64_t nudge = product >= 0 ? (int64_t)1 << 30 : 1 - ((int64_t)1 << 30);
    int64_t high = (product + nudge) / ((int64_t)1 << 31);
    int64_t mask = ((int64_t)1 << shift) - 1;
    return (high >> shift) + ((high & mask) > (mask >> 1) + (high < 0));
}

/* y = (multiplier * x + offset) >> shift, the half already in offset. */
static inline int64_t qmc_rescale(int64_t x, int64_t multiplier, int64_t offset, int shift)
{
    return (multiplier * x + offset) >> shift;
}

/* Elements of 1 to 8 bits, the first in the low bits; never reads past the last one's byte. */
static inline void qmc_unpack(uint8_t *restrict out, const uint8_t *restrict in, int count,
                              int bits)
{
    if (bits == 8) {
        memcpy(out, in, (size_t)count);
    } else if (bits == 4) {
        for (int i = 0; i < count / 2; i++) {
            out[2 * i] = in[i] & 15;
            out[2 * i + 1] = in[i] >> 4;
        }
        if (count % 2) {
            out[count - 1] = in[count / 2] & 15;
        }
    } else {
        uint32_t mask = (1u << bits) - 1u, buffer = 0;
        int held = 0;
        for (int i = 0; i < count; i++) {
            if (held < bits) {
                buffer |= (uint32_t)*in++ << held;
                held += 8;
            }
            out[i] = (uint8_t)(buffer & mask);
            buffer >>= bits;
            held -= bits;
        }
    }
}

/* The same for two's complement. */
static inline void qmc_unpack_signed(int8_t *restrict out, const uint8_t *restrict in, int count,
                                     int bits)
{
    const int sign = 1 << (bits - 1);
    if (bits == 4) {
        for (int i = 0; i < count / 2; i++) {
            out[2 * i] = (int8_t)(((in[i] & 15) ^ sign) - sign);
            out[2 * i + 1] = (int8_t)(((in[i] >> 4) ^ sign) - sign);
        }
        if (count % 2) {
            out[count - 1] = (int8_t)(((in[count / 2] & 15) ^ sign) - sign);
        }
    } else {
        uint32_t mask = (1u << bits) - 1u, buffer = 0;
        int held = 0;
        for (int i = 0; i < count; i++) {
            if (held < bits) {
                buffer |= (uint32_t)*in++ << held;
                held += 8;
            }
            out[i] = (int8_t)(((int)(buffer & mask) ^ sign) - sign);
            buffer >>= bits;
            held -= bits;
        }
    }
}

/* The same for codes that stand for numbers[code]. */
static inline void qmc_unpack_numbers(int8_t *restrict out, const uint8_t *restrict in, int count,
                                      int bits, const int8_t *restrict numbers)
{
    qmc_unpack((uint8_t *)out, in, count, bits);
    for (int i = 0; i < count; i++) {
        out[i] = numbers[(uint8_t)out[i]];
    }
}

static inline int qmc_get(const uint8_t *row, int index, int bits)
{
    if (bits == 8) {
        return row[index];
    } else {
        int first = index * bits, last = first + bits - 1;
        uint32_t pair = row[first >> 3];
        if (last >> 3 != first >> 3) {
            pair |= (uint32_t)row[last >> 3] << 8;
        }
        return (int)((pair >> (first & 7)) & ((1u << bits) - 1u));
    }
}

/* Store into a row; a row of fewer than 8 bits an element must hold zeros before. */
static inline void qmc_put(uint8_t *row, int index, int32_t value, int bits)
{
    if (bits == 8) {
        row[index] = (uint8_t)value;
    } else if (bits == 16) {
        row[2 * index] = (uint8_t)(value & 255);
        row[2 * index + 1] = (uint8_t)(value >> 8);
    } else {
        int first = index * bits, last = first + bits - 1;
        uint32_t pair = (uint32_t)value << (first & 7);
        row[first >> 3] = (uint8_t)(row[first >> 3] | (pair & 255u));
        if (last >> 3 != first >> 3) {
            row[last >> 3] = (uint8_t)(row[last >> 3] | (pair >> 8));
        }
    }
}

#endif
