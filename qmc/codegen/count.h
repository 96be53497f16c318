/* Counts the accesses of every memory while a kernel runs its mapping (-DQMC_COUNT).

   The kernel reports the state of its loops in time wherever the tile of some memory may change.
   For each pair of memories that pass an operand on, this file keeps the box of elements that one
   instance of the inner memory holds, and counts what each move adds to it and takes away. All
   instances move together, each at a constant distance, so one box stands for all of them;
   receivers whose boxes coincide are served by one read (multicast) or sum into one update.
   A box that moves along one axis keeps what it already holds (sliding window). */
#ifndef QMC_COUNT_H
#define QMC_COUNT_H

#include <stdint.h>

#define QMC_DIMS 8 /* N G K C P Q R S */
#define QMC_AXES 5

struct qmc_loop {
    int dim, extent, step, level, axis; /* axis: 0 in time, 1 or 2 in space */
};

struct qmc_link {
    char operand;       /* 'W', 'I' or 'O' */
    int parent, child;  /* memories by number, outermost 0; the MACs come last */
    int depth;          /* loops in time outside the child's tile */
    int tile[QMC_DIMS]; /* extents of the child's tile */
};

struct qmc_tally {
    int held, is_last, slide;
    uint64_t reads, fills, updates; /* elements, one instance */
    uint64_t partial_updates;       /* of the updates: partial sums */
};

struct qmc_nest {
    int layer, macs; /* number of the layer; number of the MACs as a level */
    const char *const *names;
    int stride[2], dilation[2];
    int temporal_count, spatial_count, link_count;
    const struct qmc_loop *temporal, *spatial;
    const struct qmc_link *links;
    struct qmc_tally *tallies;
};

/* The first `depth` loops in time stand at `index`. */
void qmc_count_step(const struct qmc_nest *nest, int depth, const int *index);

/* The layer is finished: write back, print, forget. */
void qmc_count_done(const struct qmc_nest *nest);

#endif
