/* Micro-kernels for 64-bit Arm with dot products of bytes (FEAT_DotProd). */
#ifndef QMC_ARMV8_DOTPROD_H
#define QMC_ARMV8_DOTPROD_H

#include "armv8_vectors.h"

QMC_INLINE qmc_vector_16 qmc_dot_16(qmc_vector_16 sum, qmc_inputs_16 x, qmc_weights_16 w,
                                    const int form)
{
    (void)form;
    return vdotq_s32(sum, x, w);
}

#define VECTOR_BYTES 16
#define NAME(x) x##_16
#include "block_matrix.h"
#include "block_add.h"
#include "block_depthwise.h"
#undef VECTOR_BYTES
#undef NAME

#endif
