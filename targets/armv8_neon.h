/* Micro-kernels for 64-bit Arm without dot products. */
#ifndef QMC_ARMV8_NEON_H
#define QMC_ARMV8_NEON_H

#include "armv8_vectors.h"

/* Sums of four products each. Two products of bytes may leave 16 bits by one, where both are -128 *
   -128; with QMC_SHORT they do not. */
QMC_INLINE qmc_vector_16 qmc_dot_16(qmc_vector_16 sum, qmc_inputs_16 x, qmc_weights_16 w,
                                    const int form)
{
    const int16x8_t low = vmull_s8(vget_low_s8(x), vget_low_s8(w)), high = vmull_high_s8(x, w);
    if (form & QMC_SHORT) {
        return vpadalq_s16(sum, vpaddq_s16(low, high));
    }
    return vaddq_s32(sum, vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high)));
}

#define VECTOR_BYTES 16
#define NAME(x) x##_16
#include "block_matrix.h"
#include "block_add.h"
#include "block_depthwise.h"
#undef VECTOR_BYTES
#undef NAME

#endif
