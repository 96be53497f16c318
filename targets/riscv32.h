/* Micro-kernels for RISC-V without vectors: plain C, unrolled. */
#ifndef QMC_RISCV32_H
#define QMC_RISCV32_H

#define QMC_DOT_UNROLL _Pragma("GCC unroll 4")
#define QMC_LANES 4
#include "c99.h"

#endif
