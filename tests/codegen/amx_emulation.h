/* The tile instructions that targets/x86_amx.h uses, in plain C, for processors without AMX. Given to
   the compiler by -include, so that kernels are compiled as they are. What follows is Intel 64 and
   IA-32 Architectures Software Developer's Manual, volume 2: LDTILECFG, TILERELEASE, TILELOADD,
   TILESTORED, TILEZERO and TDPBUSD; whatever they fault at ends the program. */
#ifndef AMX_EMULATION_H
#define AMX_EMULATION_H

#include <immintrin.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define AMX_TILES 8
#define AMX_ROWS 16
#define AMX_ROW_BYTES 64

static struct {
    int is_open;
    int rows[AMX_TILES], row_bytes[AMX_TILES];
    uint8_t data[AMX_TILES][AMX_ROWS][AMX_ROW_BYTES];
} amx;

static inline void amx_require(int condition)
{
    if (!condition) {
        abort();
    }
}

/* A tile whose shape LDTILECFG has set. */
static inline void amx_check(int tile)
{
    amx_require(amx.is_open && tile >= 0 && tile < AMX_TILES);
    amx_require(amx.rows[tile] > 0 && amx.row_bytes[tile] > 0);
}

static inline void amx_loadconfig(const void *place)
{
    const uint8_t *config = place;
    memset(&amx, 0, sizeof amx);
    amx_require(config[0] <= 1); /* palettes */
    amx.is_open = config[0] == 1;
    for (int i = 2; i < 16; i++) {
        amx_require(config[i] == 0); /* reserved */
    }
    for (int tile = 0; tile < 16; tile++) {
        uint16_t row_bytes;
        const int rows = config[48 + tile];
        memcpy(&row_bytes, config + 16 + 2 * tile, 2);
        amx_require(rows <= AMX_ROWS && row_bytes <= AMX_ROW_BYTES);
        amx_require((rows == 0) == (row_bytes == 0) && (tile < AMX_TILES || rows == 0));
        if (tile < AMX_TILES) {
            amx.rows[tile] = rows;
            amx.row_bytes[tile] = row_bytes;
        }
    }
}

static inline void amx_release(void)
{
    memset(&amx, 0, sizeof amx);
}

static inline void amx_zero(int tile)
{
    amx_check(tile);
    memset(amx.data[tile], 0, sizeof amx.data[tile]);
}

static inline void amx_load(int tile, const void *place, ptrdiff_t step)
{
    amx_zero(tile);
    for (int r = 0; r < amx.rows[tile]; r++) {
        memcpy(amx.data[tile][r], (const char *)place + r * step, (size_t)amx.row_bytes[tile]);
    }
}

static inline void amx_store(int tile, void *place, ptrdiff_t step)
{
    amx_check(tile);
    for (int r = 0; r < amx.rows[tile]; r++) {
        memcpy((char *)place + r * step, amx.data[tile][r], (size_t)amx.row_bytes[tile]);
    }
}

/* sums[m][n] += unsigned a[m][4k ... 4k + 3] * signed b[k][4n ... 4n + 3], modulo 2^32. */
static inline void amx_dpbusd(int sums, int a, int b)
{
    amx_check(sums);
    amx_check(a);
    amx_check(b);
    amx_require(sums != a && sums != b && a != b);
    amx_require(amx.rows[sums] == amx.rows[a] && amx.row_bytes[sums] == amx.row_bytes[b]);
    amx_require(amx.row_bytes[a] == 4 * amx.rows[b]);
    amx_require(amx.row_bytes[sums] % 4 == 0);
    for (int m = 0; m < amx.rows[sums]; m++) {
        for (int n = 0; n < amx.row_bytes[sums]; n += 4) {
            uint32_t sum;
            memcpy(&sum, amx.data[sums][m] + n, 4);
            for (int k = 0; k < amx.row_bytes[a]; k++) {
                const int8_t factor = (int8_t)amx.data[b][k / 4][n + k % 4];
                sum += (uint32_t)(amx.data[a][m][k] * factor);
            }
            memcpy(amx.data[sums][m] + n, &sum, 4);
        }
    }
}

#undef _tile_loadd
#undef _tile_stored
#undef _tile_zero
#undef _tile_dpbusd
#define _tile_loadconfig amx_loadconfig
#define _tile_release amx_release
#define _tile_zero amx_zero
#define _tile_loadd amx_load
#define _tile_stored amx_store
#define _tile_dpbusd amx_dpbusd

#endif
