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

/// One vector of columns of ROWS rows of Σₛ u[s]·v[s].
INLINE void outer_columns(
    const int rows, const float *u, size_t stride, const float *const *v, size_t count, int32_t adds, float *m, size_t n,
    size_t j, size_t width) {
    lanes sum[8];
    UNROLLED for (int k = 0; k < rows; k++) {
        sum[k] = (lanes){0};
        if (adds) sum[k] = load_some(m + (size_t)k * n + j, width);
    }
    for (size_t s = 0; s < count; s++) {
        const lanes vs = load_some(v[s] + j, width);
        UNROLLED for (int k = 0; k < rows; k++) sum[k] = FMA(splat(u[s * stride + k]), vs, sum[k]);
    }
    UNROLLED for (int k = 0; k < rows; k++) store_some(m + (size_t)k * n + j, sum[k], width);
}

/// Two vectors of columns at once: the coefficients' loads serve both.
INLINE void outer_columns_twice(
    const int rows, const float *u, size_t stride, const float *const *v, size_t count, int32_t adds, float *m, size_t n,
    size_t j) {
    lanes a[8], b[8];
    UNROLLED for (int k = 0; k < rows; k++) {
        a[k] = b[k] = (lanes){0};
        if (adds) {
            a[k] = LOAD(m + (size_t)k * n + j);
            b[k] = LOAD(m + (size_t)k * n + j + LANES);
        }
    }
    for (size_t s = 0; s < count; s++) {
        const lanes va = LOAD(v[s] + j), vb = LOAD(v[s] + j + LANES);
        UNROLLED for (int k = 0; k < rows; k++) {
            const lanes c = splat(u[s * stride + k]);
            a[k] = FMA(c, va, a[k]);
            b[k] = FMA(c, vb, b[k]);
        }
    }
    UNROLLED for (int k = 0; k < rows; k++) {
        STORE(m + (size_t)k * n + j, a[k]);
        STORE(m + (size_t)k * n + j + LANES, b[k]);
    }
}

INLINE void outer_block(
    const int rows, const float *u, size_t stride, const float *const *v, size_t count, int32_t adds, float *m,
    size_t n) {
    size_t from = 0;
    for (; from + 2 * LANES <= n; from += 2 * LANES) outer_columns_twice(rows, u, stride, v, count, adds, m, n, from);
    FOR_COLUMNS(from, n, outer_columns(rows, u, stride, v, count, adds, m, n, j, COUNT))
}

INLINE void outer_sum_body(
    const size_t block, const float *u, const float *const *v, size_t count, size_t rows, size_t n, int32_t adds,
    float *m) {
    FOR_BLOCKS_OF_ROWS(block, rows, outer_block(ROWS, u + k, rows, v, count, adds, m + k * n, n))
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
