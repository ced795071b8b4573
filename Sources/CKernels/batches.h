// Batches of targets. Where there are 32 registers, four samples are taken at once: sixteen sums of four rows, or of four
// vectors of columns, share their loads, so that the multiplications are what takes time. No result depends on it.
#pragma once
#include "gradients.h"

#pragma clang fp contract(off)

/// The samples taken at once, and those whose vectors the first cache holds from one product to the next.
enum { FOUR = 4, GROUP = 8 };

/// out[s·stride + k] = m[k]·v[s] for four vectors and 1 or 4 rows, a constant.
INLINE void dots_tile(const int rows, const float *m, size_t n, const float *const *v, float *out, size_t stride) {
    const float *const v0 = v[0], *const v1 = v[1], *const v2 = v[2], *const v3 = v[3];
    lanes sum[FOUR * 4];
    UNROLLED for (int i = 0; i < FOUR * rows; i++) sum[i] = (lanes){0};
    FOR_COLUMNS(0, n, {
        lanes vs[FOUR];
        vs[0] = load_some(v0 + j, COUNT);
        vs[1] = load_some(v1 + j, COUNT);
        vs[2] = load_some(v2 + j, COUNT);
        vs[3] = load_some(v3 + j, COUNT);
        UNROLLED for (int k = 0; k < rows; k++) {
            const lanes row = load_some(m + (size_t)k * n + j, COUNT);
            UNROLLED for (int s = 0; s < FOUR; s++) sum[s * rows + k] = FMA(row, vs[s], sum[s * rows + k]);
        }
    })
    float e[FOUR * 4];
    if (rows == 4) sum_sixteen_lanes(sum, e);
    else sum_four_lanes(sum, e);
    UNROLLED for (int s = 0; s < FOUR; s++) memcpy(out + (size_t)s * stride, e + s * rows, rows * sizeof *e);
}

/// out[s·rows + k] = m[k]·v[s] for four vectors.
INLINE void dots_of_four(const float *m, size_t rows, size_t n, const float *const *v, float *out) {
    FOR_BLOCKS_OF_ROWS(4, rows, dots_tile(ROWS, m + k * n, n, v, out + k, rows))
}

/// What one pass over four samples works with.
typedef struct {
    const float *xs[FOUR];
    const float *targets[FOUR];
    /// [FOUR, rank].
    const float *coefficients;
    /// [FOUR, n], or none.
    float *errors;
    float factor;
} four_samples;

/// `width` vectors of columns from j of the outputs less the targets, the last one of `count` columns: adds their squares to
/// those of each sample, and stores the errors.
INLINE void residuals_tile(
    const int width, const int wants_errors, const attune_map *map, const four_samples *four, size_t j, size_t count,
    lanes *squares) {
    const size_t n = map->n, rank = map->rank;
    const float *const up = map->up + j, *const bias = map->bias, *const c = four->coefficients;
    lanes y[FOUR][4];
    UNROLLED for (int s = 0; s < FOUR; s++)
        UNROLLED for (int w = 0; w < width; w++) y[s][w] = load_some(four->xs[s] + j + w * LANES, count);
    NOT_UNROLLED for (size_t k = 0; k < rank; k++) {
        lanes b[4];
        UNROLLED for (int w = 0; w < width; w++) b[w] = load_some(up + k * n + w * LANES, count);
        UNROLLED for (int s = 0; s < FOUR; s++) {
            const lanes cs = splat(c[s * rank + k]);
            UNROLLED for (int w = 0; w < width; w++) y[s][w] = FMA(cs, b[w], y[s][w]);
        }
    }
    if (bias) {
        UNROLLED for (int w = 0; w < width; w++) {
            const lanes b = load_some(bias + j + w * LANES, count);
            UNROLLED for (int s = 0; s < FOUR; s++) y[s][w] += b;
        }
    }
    const lanes factor = splat(four->factor);
    UNROLLED for (int s = 0; s < FOUR; s++) {
        UNROLLED for (int w = 0; w < width; w++) {
            const lanes residual = y[s][w] - load_some(four->targets[s] + j + w * LANES, count);
            squares[s] = FMA(residual, residual, squares[s]);
            if (wants_errors) store_some(four->errors + s * n + j + w * LANES, factor * residual, count);
        }
    }
}

/// The residuals of four samples from `first` on, whose scaled are there; `errors`, [FOUR, n], where they are wanted.
INLINE void residuals_of_four(const attune_map *map, const attune_batch *batch, const size_t first, float *errors) {
    const size_t n = map->n;
    four_samples four = {
        .coefficients = batch->scaled + first * map->rank, .errors = errors, .factor = batch->factor};
    UNROLLED for (int s = 0; s < FOUR; s++) {
        four.xs[s] = batch->xs[first + s];
        four.targets[s] = batch->targets[first + s];
    }
    lanes squares[FOUR] = {{0}, {0}, {0}, {0}};
    size_t from = 0;
    NOT_UNROLLED for (; from + 4 * LANES <= n; from += 4 * LANES)
        residuals_tile(4, errors != NULL, map, &four, from, LANES, squares);
    FOR_COLUMNS(from, n, residuals_tile(1, errors != NULL, map, &four, j, COUNT, squares))
    sum_four_lanes(squares, batch->residuals + first);
}

/// A multiple of FOUR samples from `begin` on, and their gradients where those are wanted, a constant. One product after
/// another for all of them: a sample's own products wait for each other's sums.
INLINE void fours_of_targets(
    const int wants_gradients, const attune_map *map, const attune_batch *batch, size_t begin, size_t end) {
    const size_t n = map->n, rank = map->rank;
    float *const scaled = batch->scaled, *const back = batch->back, *const errors = batch->errors;
    NOT_UNROLLED for (size_t s = begin; s < end; s += FOUR)
        dots_of_four(map->down, rank, n, batch->xs + s, scaled + s * rank);
    for (size_t i = begin * rank; i < end * rank; i++) scaled[i] = map->scale * scaled[i];
    NOT_UNROLLED for (size_t s = begin; s < end; s += FOUR)
        residuals_of_four(map, batch, s, wants_gradients ? errors + s * n : NULL);
    if (!wants_gradients) return;
    NOT_UNROLLED for (size_t s = begin; s < end; s += FOUR) {
        const float *const e = errors + s * n, *const es[FOUR] = {e, e + n, e + 2 * n, e + 3 * n};
        dots_of_four(map->up, rank, n, es, back + s * rank);
    }
    for (size_t s = begin; s < end; s++) {
        const float weight = batch->weights[s];
        for (size_t k = s * rank; k < (s + 1) * rank; k++) {
            scaled[k] = weight * scaled[k];
            back[k] = weight * (map->scale * back[k]);
        }
    }
}

/// Runs `fours_of_targets` for all samples but the last few, and returns how many those are.
INLINE size_t groups_of_targets(const int wants_gradients, const attune_map *map, const attune_batch *batch) {
    const size_t whole = batch->count / FOUR * FOUR;
    NOT_UNROLLED for (size_t s = 0; s < whole; s += GROUP)
        fours_of_targets(wants_gradients, map, batch, s, s + GROUP < whole ? s + GROUP : whole);
    return whole;
}

/// One sample and its gradient; hidden, scaled and back, [rank], are scratch.
INLINE void one_target(
    const size_t block, const attune_map *map, const attune_batch *batch, size_t s, float *error, float *hidden,
    float *scaled, float *back) {
    const size_t rank = map->rank;
    attune_gradient g = {.hidden = hidden, .scaled = scaled, .back = back, .error = error, .output = NULL};
    target_gradient_body(block, map, batch->xs[s], batch->targets[s], batch->factor, &g);
    for (size_t k = 0; k < rank; k++) {
        batch->scaled[s * rank + k] = batch->weights[s] * scaled[k];
        batch->back[s * rank + k] = batch->weights[s] * back[k];
    }
    batch->residuals[s] = g.squared_residual;
}

INLINE void target_batch_body(
    const size_t block, const attune_map *map, attune_batch *batch, float *hidden, float *scaled, float *back) {
    const size_t n = map->n, rank = map->rank, count = batch->count;
    float *const errors = batch->errors;
    const size_t whole = block == 8 ? groups_of_targets(1, map, batch) : 0;
    for (size_t s = whole; s < count; s++) one_target(block, map, batch, s, errors + s * n, hidden, scaled, back);
    const float *rows[ATTUNE_BATCH_LIMIT];
    for (size_t i = 0; i < count; i++) rows[i] = errors + i * n;
    batch->squared_down = outer_sum_body(block, batch->back, batch->xs, count, rank, n, 0, batch->down);
    batch->squared_up = outer_sum_body(block, batch->scaled, rows, count, rank, n, 0, batch->up);
    if (batch->bias) batch->squared_bias = outer_sum_body(block, batch->weights, rows, count, 1, n, 0, batch->bias);
}

INLINE void target_losses_body(
    const size_t block, const attune_map *map, const attune_batch *batch, float *hidden, float *output) {
    const size_t whole = block == 8 ? groups_of_targets(0, map, batch) : 0;
    for (size_t s = whole; s < batch->count; s++) {
        lanes check = {0}, squares = {0};
        map_down(block, map, batch->xs[s], hidden, hidden);
        map_up(
            block, WANTS_RESIDUAL, map, hidden, batch->xs[s], output, NULL, batch->targets[s], &check, &squares);
        batch->residuals[s] = sum_lanes(&squares);
    }
}
