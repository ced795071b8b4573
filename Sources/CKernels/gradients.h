// Dense gradients of batches, and the Gram matrices that precondition them.
#pragma once
#include "map.h"

#pragma clang fp contract(off)

INLINE float add_row_norms(const int rows, const float *m, size_t n, float total) {
    lanes sum[8];
    float norms[8];
    UNROLLED for (int k = 0; k < rows; k++) sum[k] = (lanes){0};
    FOR_COLUMNS(0, n, {
        UNROLLED for (int k = 0; k < rows; k++) {
            const lanes v = load_some(m + (size_t)k * n + j, COUNT);
            sum[k] = FMA(v, v, sum[k]);
        }
    })
    sum_rows(rows, sum, norms);
    for (int k = 0; k < rows; k++) total += norms[k];
    return total;
}

INLINE float matrix_squared_norm_body(const size_t block, const float *m, size_t rows, size_t n) {
    float total = 0;
    FOR_BLOCKS_OF_ROWS(block, rows, total = add_row_norms(ROWS, m + k * n, n, total))
    return total;
}

/// `width` vectors of columns from j of rows of Σₛ u[s]·v[s], which share the coefficients' loads; only a single one may be of
/// fewer than 16 `columns`. Adds their squares, row by row, to `squares`.
INLINE void outer_tile(
    const int rows, const int width, const float *u, size_t stride, const float *const *v, size_t count, int32_t adds,
    float *m, size_t n, size_t j, size_t columns, lanes *squares) {
    lanes sum[8][4];
    UNROLLED for (int k = 0; k < rows; k++) {
        UNROLLED for (int w = 0; w < width; w++) {
            sum[k][w] = (lanes){0};
            if (adds) sum[k][w] = load_some(m + (size_t)k * n + j + w * LANES, columns);
        }
    }
    NOT_UNROLLED for (size_t s = 0; s < count; s++) {
        lanes vs[4];
        UNROLLED for (int w = 0; w < width; w++) vs[w] = load_some(v[s] + j + w * LANES, columns);
        UNROLLED for (int k = 0; k < rows; k++) {
            const lanes c = splat(u[s * stride + k]);
            UNROLLED for (int w = 0; w < width; w++) sum[k][w] = FMA(c, vs[w], sum[k][w]);
        }
    }
    UNROLLED for (int k = 0; k < rows; k++) {
        UNROLLED for (int w = 0; w < width; w++) {
            store_some(m + (size_t)k * n + j + w * LANES, sum[k][w], columns);
            squares[k] = FMA(sum[k][w], sum[k][w], squares[k]);
        }
    }
}

/// One block of rows; returns `total` and the squares of its rows.
INLINE float outer_block(
    const int rows, const int width, const float *u, size_t stride, const float *const *v, size_t count, int32_t adds,
    float *m, size_t n, float total) {
    lanes squares[8];
    float norms[8];
    UNROLLED for (int k = 0; k < rows; k++) squares[k] = (lanes){0};
    size_t from = 0;
    for (; from + width * LANES <= n; from += width * LANES)
        outer_tile(rows, width, u, stride, v, count, adds, m, n, from, LANES, squares);
    FOR_COLUMNS(from, n, outer_tile(rows, 1, u, stride, v, count, adds, m, n, j, COUNT, squares))
    sum_rows(rows, squares, norms);
    for (int k = 0; k < rows; k++) total += norms[k];
    return total;
}

INLINE float outer_sum_body(
    const size_t block, const float *u, const float *const *v, size_t count, size_t rows, size_t n, int32_t adds,
    float *m) {
    float total = 0;
    FOR_BLOCKS_OF_ROWS(
        block, rows, total = outer_block(ROWS, ROWS == 8 ? 3 : 2, u + k, rows, v, count, adds, m + k * n, n, total))
    return total;
}

INLINE void exchange_body(const size_t block, float *theta, float *g, size_t n, float c) {
    const lanes cs = splat(c);
    FOR_COLUMNS(0, n, {
        const lanes before = load_some(theta + j, COUNT);
        store_some(theta + j, FMA(cs, load_some(g + j, COUNT), before), COUNT);
        store_some(g + j, before, COUNT);
    })
}

// ---------------------------------------------------------------- Gram matrices

#define FIRST_ONES 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define SECOND_ONES 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31

/// The sums of 16 vectors, each added up as by sum_lanes.
INLINE lanes sums_of_sixteen(const lanes *v) {
    lanes low = ADD_HALVES(fours_of_four(v), fours_of_four(v + 4), TWOS);
    lanes high = ADD_HALVES(fours_of_four(v + 8), fours_of_four(v + 12), TWOS);
    return ADD_HALVES(low, high, ONES);
}

/// The sums of four vectors, in the first four lanes; the others hold no matter what.
INLINE lanes sums_of_four(const lanes *v) {
    lanes fours = fours_of_four(v);
    lanes twos = ADD_HALVES(fours, fours, TWOS);
    return ADD_HALVES(twos, twos, ONES);
}

// Tiles [4, 4] of four rows with four, in one vector, row after row: for 16 sums at once there have to be registers.

/// Adds one vector of columns to the ten dots, on and below the diagonal, of four rows with themselves: those at `a`, and with
/// two quads also those at `b`.
INLINE void add_own_dots(const int quads, const float *a, const float *b, size_t stride, lanes *sum) {
    UNROLLED for (int side = 0; side < quads; side++) {
        const float *rows = side ? b : a;
        lanes v[4];
        int i = side * 10;
        UNROLLED for (int k = 0; k < 4; k++) v[k] = LOAD(rows + (size_t)k * stride);
        UNROLLED for (int k = 0; k < 4; k++)
            UNROLLED for (int l = 0; l <= k; l++, i++) sum[i] = FMA(v[k], v[l], sum[i]);
    }
}

/// Adds one vector of columns to the sixteen dots of four rows at `a` with four at `b`.
INLINE void add_cross_dots(const float *a, const float *b, size_t stride, lanes *sum) {
    lanes bs[4];
    UNROLLED for (int l = 0; l < 4; l++) bs[l] = LOAD(b + (size_t)l * stride);
    UNROLLED for (int k = 0; k < 4; k++) {
        const lanes v = LOAD(a + (size_t)k * stride);
        UNROLLED for (int l = 0; l < 4; l++) sum[4 * k + l] = FMA(v, bs[l], sum[4 * k + l]);
    }
}

/// The last n < 16 columns of four rows, and zeros.
INLINE void copy_tails(const float *rows, size_t stride, size_t n, float (*tails)[LANES]) {
    NOT_UNROLLED for (size_t k = 0; k < 4; k++)
        NOT_UNROLLED for (size_t j = 0; j < LANES; j++) tails[k][j] = j < n ? rows[k * stride + j] : 0;
}

/// The tile of four rows at `a` with themselves, and with two quads that of four rows at `b`.
INLINE void own_tiles(const int quads, const float *a, const float *b, size_t n, lanes *tile_a, lanes *tile_b) {
    lanes sum[20];
    UNROLLED for (int i = 0; i < 20; i++) sum[i] = (lanes){0};
    size_t j = 0;
    NOT_UNROLLED for (; j + LANES <= n; j += LANES) add_own_dots(quads, a + j, b + j, n, sum);
    if (j < n) {
        float tails[8][LANES];
        copy_tails(a + j, n, n - j, tails);
        if (quads == 2) copy_tails(b + j, n, n - j, tails + 4);
        add_own_dots(quads, tails[0], tails[4], LANES, sum);
    }
    const lanes first = sums_of_sixteen(sum);
    *tile_a = __builtin_shufflevector(first, first, 0, 1, 3, 6, 1, 2, 4, 7, 3, 4, 5, 8, 6, 7, 8, 9);
    if (quads == 1) return;
    const lanes last = sums_of_four(sum + 16);
    *tile_b = __builtin_shufflevector(first, last, 10, 11, 13, 16, 11, 12, 14, 17, 13, 14, 15, 18, 16, 17, 18, 19);
}

/// The tile of four rows at `a` with four rows at `b`.
INLINE lanes cross_tile(const float *a, const float *b, size_t n) {
    lanes sum[16];
    UNROLLED for (int i = 0; i < 16; i++) sum[i] = (lanes){0};
    size_t j = 0;
    NOT_UNROLLED for (; j + LANES <= n; j += LANES) add_cross_dots(a + j, b + j, n, sum);
    if (j < n) {
        float tails[8][LANES];
        copy_tails(a + j, n, n - j, tails);
        copy_tails(b + j, n, n - j, tails + 4);
        add_cross_dots(tails[0], tails[4], LANES, sum);
    }
    return sums_of_sixteen(sum);
}

INLINE lanes mirrored(lanes tile) {
    return __builtin_shufflevector(tile, tile, 0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
}

INLINE void store_tile(lanes tile, float *out, size_t stride) {
    float e[LANES];
    memcpy(e, &tile, sizeof e);
    UNROLLED for (int k = 0; k < 4; k++) memcpy(out + (size_t)k * stride, e + 4 * k, 4 * sizeof *e);
}

INLINE void gram_body(const size_t block, const float *m, size_t rows, size_t n, float *out) {
    const size_t whole = block == 8 ? rows / 4 * 4 : 0;
    NOT_UNROLLED for (size_t k = 0; k < whole; k += 4) {
        NOT_UNROLLED for (size_t l = 0; l < k; l += 4) {
            const lanes tile = cross_tile(m + k * n, m + l * n, n);
            store_tile(tile, out + k * rows + l, rows);
            store_tile(mirrored(tile), out + l * rows + k, rows);
        }
    }
    NOT_UNROLLED for (size_t k = 0; k < whole;) {
        lanes first, second;
        if (k + 8 <= whole) {
            own_tiles(2, m + k * n, m + (k + 4) * n, n, &first, &second);
            store_tile(second, out + (k + 4) * (rows + 1), rows);
        } else {
            own_tiles(1, m + k * n, m + k * n, n, &first, &second);
        }
        store_tile(first, out + k * (rows + 1), rows);
        k += 8;
    }
    for (size_t k = whole; k < rows; k++) {
        row_dots_body(block, m, k + 1, n, m + k * n, out + k * rows);
        for (size_t l = 0; l < k; l++) out[l * rows + k] = out[k * rows + l];
    }
}
