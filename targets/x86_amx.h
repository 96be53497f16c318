/* Micro-kernels for x86-64 with AMX-INT8: blocks of many pixels are products of tiles, all else is
   that of AVX-512 VNNI. Panels of weights are tiles as they lie: four inputs of sixteen channels are
   a row of 64 bytes. */
#ifndef QMC_X86_AMX_H
#define QMC_X86_AMX_H

#define QMC_TARGET                                                                                 \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,fma,amx-tile,amx-int8")))
#define qmc_matrix qmc_matrix_of_vectors
#include "x86_avx512vnni.h"
#undef qmc_matrix

#define QMC_TILE_ROWS 16
/* A tile takes about as long for four pixels as for one, and as vectors take for them. */
#define QMC_FEWEST_PIXELS 5

/* What LDTILECFG loads: palette 1, and bytes of a row and number of rows of each tile. */
struct qmc_tiles {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};

/* Groups of four inputs in a tile: a run is cut into as few equal pieces as rows of tiles allow. */
QMC_INLINE int qmc_piece(const int quads)
{
    int piece = quads < QMC_TILE_ROWS ? quads : QMC_TILE_ROWS;
    while (quads % piece != 0) {
        piece--;
    }
    return piece;
}

QMC_INLINE int qmc_fits_tiles(const int mr, const int nr)
{
    return mr >= QMC_FEWEST_PIXELS && mr <= (nr > 2 ? QMC_TILE_ROWS : 2 * QMC_TILE_ROWS);
}

/* Pixels of the upper tiles of a block; the others are in the lower ones. */
QMC_INLINE int qmc_upper_pixels(const int mr)
{
    return mr > QMC_TILE_ROWS ? (mr + 1) / 2 : mr;
}

/* Shape the tiles for blocks of mr pixels: 0 to 3 hold sums, 4 and 5 pixels, 6 and 7 weights. */
QMC_INLINE void qmc_open_matrix(const int mr, const int quads)
{
    static struct qmc_tiles tiles; /* gcc 12 keeps what lies on the stack from LDTILECFG */
    const int piece = qmc_piece(quads), upper = qmc_upper_pixels(mr);
    if (!qmc_fits_tiles(mr, 1)) {
        return;
    }
    tiles.palette = 1;
    for (int tile = 0; tile < 8; tile++) {
        const int is_low = mr > QMC_TILE_ROWS && (tile == 2 || tile == 3 || tile == 5);
        tiles.row_bytes[tile] = (uint16_t)(tile == 4 || tile == 5 ? 4 * piece : 64);
        tiles.rows[tile] = (uint8_t)(tile > 5 ? piece : is_low ? mr - upper : upper);
    }
    __asm__ volatile("" : : : "memory");
    _tile_loadconfig(&tiles);
}

QMC_INLINE void qmc_close_matrix(void)
{
    _tile_release();
}

/* As that of block_matrix.h. Up to 16 pixels: tile n holds the sums of vector n of channels. Up to
   32: tiles 0 and 1 those of the upper pixels, 2 and 3 those of the lower ones. */
QMC_INLINE void qmc_matrix(const int mr, const int nr, const int rows, const ptrdiff_t row_step,
                           const int taps, const ptrdiff_t tap_step, const int quads,
                           const uint8_t *in, const ptrdiff_t step, const int8_t *weights,
                           struct qmc_requant requant, uint8_t *out, const ptrdiff_t out_step,
                           int32_t *raw, const int count, const int form, const int low,
                           const int high)
{
    const int piece = qmc_piece(quads), upper = qmc_upper_pixels(mr), has_lower = mr > upper;
    const ptrdiff_t width = 64 * (ptrdiff_t)nr;
    int32_t block[4 * QMC_TILE_ROWS * 16] __attribute__((aligned(64)));
    int32_t *const sums = form & QMC_RAW ? raw : block;
    __m512 scale[4], offset[4];
    if (!qmc_fits_tiles(mr, nr)) {
        qmc_matrix_of_vectors(mr, nr, rows, row_step, taps, tap_step, quads, in, step, weights,
                              requant, out, out_step, raw, count, form, low, high);
        return;
    }
    __asm__ volatile("" : : : "memory"); /* what was stored is there before tiles are loaded */
    _tile_loadd(0, requant.start, 0);
    if (nr > 1) {
        _tile_loadd(1, requant.start + 16, 0);
    }
    if (nr > 2 || has_lower) {
        _tile_loadd(2, requant.start + (has_lower ? 0 : 32), 0);
    }
    if (nr > 3 || (nr > 1 && has_lower)) {
        _tile_loadd(3, requant.start + (has_lower ? 16 : 48), 0);
    }
    QMC_ROLLED
    for (int r = 0; r < rows; r++) {
        QMC_ROLLED
        for (int s = 0; s < taps; s++) {
            const uint8_t *a = in + r * row_step + s * tap_step;
            QMC_ROLLED
            for (int k = 0; k < quads; k += piece) {
                if (form >> 8) {
                    for (ptrdiff_t line = 0; line < piece * width; line += 64) {
                        __builtin_prefetch(weights + line + ((ptrdiff_t)(form >> 8) << 10), 0, 2);
                    }
                }
                _tile_loadd(4, a, step);
                _tile_loadd(6, weights, width);
                _tile_dpbusd(0, 4, 6);
                if (has_lower) {
                    _tile_loadd(5, a + upper * step, step);
                    _tile_dpbusd(2, 5, 6);
                }
                if (nr > 1) {
                    _tile_loadd(7, weights + 64, width);
                    _tile_dpbusd(1, 4, 7);
                }
                if (nr > 1 && has_lower) {
                    _tile_dpbusd(3, 5, 7);
                }
                if (nr > 2) {
                    _tile_loadd(6, weights + 128, width);
                    _tile_dpbusd(2, 4, 6);
                }
                if (nr > 3) {
                    _tile_loadd(7, weights + 192, width);
                    _tile_dpbusd(3, 4, 7);
                }
                weights += piece * width;
                a += 4 * piece;
            }
        }
    }
    _tile_stored(0, sums, width);
    if (nr > 1) {
        _tile_stored(1, sums + 16, width);
    }
    if (nr > 2 || has_lower) {
        _tile_stored(2, sums + (has_lower ? upper * 16 * nr : 32), width);
    }
    if (nr > 3 || (nr > 1 && has_lower)) {
        _tile_stored(3, sums + (has_lower ? upper * 16 * nr + 16 : 48), width);
    }
    if (form & QMC_RAW) {
        return;
    }
    QMC_FORGET(requant.scale);
    QMC_FORGET(requant.offset);
    for (int q = 0; q < nr; q++) {
        scale[q] = qmc_load_floats_64(requant.scale + 16 * q);
        offset[q] = qmc_load_floats_64(requant.offset + 16 * q);
    }
    QMC_ROLLED
    for (int i = 0; i < mr; i++) {
        const int32_t *pixel = sums + 16 * nr * i;
        const __m512i s0 = qmc_load_64(pixel), s1 = nr > 1 ? qmc_load_64(pixel + 16) : s0;
        const __m512i s2 = nr > 2 ? qmc_load_64(pixel + 32) : s0;
        const __m512i s3 = nr > 3 ? qmc_load_64(pixel + 48) : s0;
        qmc_finish(nr, s0, s1, s2, s3, scale, offset, out + i * out_step, count, form, low, high);
    }
}

#endif
