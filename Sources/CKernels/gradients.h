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

/// out[k][l] = a[k]·b[l] for 4 rows of each, [4, 4] in a matrix of `stride` columns.
INLINE void gram_block(const float *a, const float *b, size_t n, float *out, size_t stride) {
    lanes sum[4][4];
    UNROLLED for (int k = 0; k < 4; k++) UNROLLED for (int l = 0; l < 4; l++) sum[k][l] = (lanes){0};
    FOR_COLUMNS(0, n, {
        lanes bs[4];
        UNROLLED for (int l = 0; l < 4; l++) bs[l] = load_some(b + (size_t)l * n + j, COUNT);
        UNROLLED for (int k = 0; k < 4; k++) {
            lanes av = load_some(a + (size_t)k * n + j, COUNT);
            UNROLLED for (int l = 0; l < 4; l++) sum[k][l] = FMA(av, bs[l], sum[k][l]);
        }
    })
    UNROLLED for (int k = 0; k < 4; k++) sum_rows(4, sum[k], out + k * stride);
}

/// The same of 4 rows with themselves: the lower half, of which the upper one is the mirror image.
INLINE void gram_own_block(const float *a, size_t n, float *out, size_t stride) {
    lanes sum[12];
    UNROLLED for (int i = 0; i < 12; i++) sum[i] = (lanes){0};
    FOR_COLUMNS(0, n, {
        lanes v[4];
        UNROLLED for (int k = 0; k < 4; k++) v[k] = load_some(a + (size_t)k * n + j, COUNT);
        int i = 0;
        UNROLLED for (int k = 0; k < 4; k++)
            UNROLLED for (int l = 0; l <= k; l++, i++) sum[i] = FMA(v[k], v[l], sum[i]);
    })
    float e[12];
    sum_rows(4, sum, e);
    sum_rows(4, sum + 4, e + 4);
    sum_rows(4, sum + 8, e + 8);
    int i = 0;
    for (int k = 0; k < 4; k++)
        for (int l = 0; l <= k; l++, i++) out[k * stride + l] = out[l * stride + k] = e[i];
}

INLINE void gram_body(const size_t block, const float *m, size_t rows, size_t n, float *out) {
    // Sixteen sums at once where there are registers for them.
    size_t whole = block == 8 ? rows / 4 * 4 : 0;
    for (size_t k = 0; k < whole; k += 4) {
        for (size_t l = 0; l < k; l += 4) gram_block(m + k * n, m + l * n, n, out + k * rows + l, rows);
        gram_own_block(m + k * n, n, out + k * rows + k, rows);
    }
    for (size_t k = whole; k < rows; k++) row_dots_body(block, m, k + 1, n, m + k * n, out + k * rows);
    for (size_t k = 0; k < rows; k++)
        for (size_t l = k + 1; l < rows; l++) out[k * rows + l] = out[l * rows + k];
}
