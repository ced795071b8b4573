// Sixteen dots at once: four rows with four others share their loads, so that the multiplications are what takes time.
#pragma once
#include "lanes.h"
#if defined(__x86_64__)

/// Lane 4 i + k: dot of the i-th row at `left` with the k-th row at `right`. `n` columns; consecutive rows lie
/// `left_stride` and `right_stride` floats apart.
INLINE lanes dot_tile(size_t n, const float *left, size_t left_stride, const float *right, size_t right_stride) {
    lanes sum[4][4];
    UNROLL for (int i = 0; i < 4; i++) {
        UNROLL for (int k = 0; k < 4; k++) sum[i][k] = (lanes){0};
    }
    ROLLED for (size_t j = 0; j < n; j += 16) {
        lanes b[4];
        UNROLL for (int k = 0; k < 4; k++) b[k] = load(right + (size_t)k * right_stride + j);
        UNROLL for (int i = 0; i < 4; i++) {
            lanes a = load(left + (size_t)i * left_stride + j);
            UNROLL for (int k = 0; k < 4; k++) sum[i][k] = multiply_add(a, b[k], sum[i][k]);
        }
    }
    lanes folded[4];
    UNROLL for (int i = 0; i < 4; i++) folded[i] = fold_into_quads(sum[i][0], sum[i][1], sum[i][2], sum[i][3]);
    return gather_quads(folded[0], folded[1], folded[2], folded[3]);
}

/// Four rows with themselves: the ten dots on and above the diagonal, laid out as the whole symmetric tile. With x,
/// adds the rows' dots with it to `*projected`, a vector of coefficients.
INLINE lanes symmetric_tile(size_t n, const float *rows, size_t stride, const float *x, lanes *projected) {
    lanes sum[4][4], with_x[4];
    UNROLL for (int i = 0; i < 4; i++) {
        with_x[i] = (lanes){0};
        UNROLL for (int k = i; k < 4; k++) sum[i][k] = (lanes){0};
    }
    ROLLED for (size_t j = 0; j < n; j += 16) {
        lanes row[4];
        UNROLL for (int k = 0; k < 4; k++) row[k] = load(rows + (size_t)k * stride + j);
        if (projected) {
            lanes xj = load(x + j);
            UNROLL for (int k = 0; k < 4; k++) with_x[k] = multiply_add(row[k], xj, with_x[k]);
        }
        UNROLL for (int i = 0; i < 4; i++) {
            UNROLL for (int k = i; k < 4; k++) sum[i][k] = multiply_add(row[i], row[k], sum[i][k]);
        }
    }
    if (projected) *projected += add_quads(fold_into_quads(with_x[0], with_x[1], with_x[2], with_x[3]));
    return gather_quads(
        fold_into_quads(sum[0][0], sum[0][1], sum[0][2], sum[0][3]),
        fold_into_quads(sum[0][1], sum[1][1], sum[1][2], sum[1][3]),
        fold_into_quads(sum[0][2], sum[1][2], sum[2][2], sum[2][3]),
        fold_into_quads(sum[0][3], sum[1][3], sum[2][3], sum[3][3]));
}

INLINE lanes transposed_tile(lanes tile) {
    return __builtin_shufflevector(tile, tile, 0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
}
#endif
