/* Micro-kernels for Arm Cortex-M0: plain C in blocks that its eight registers hold. */
#ifndef QMC_CORTEX_M0_H
#define QMC_CORTEX_M0_H

#define QMC_DOT_CHANNELS 2
#define QMC_LANES 4
#include "c99.h"

#endif
