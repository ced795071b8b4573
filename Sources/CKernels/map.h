// The passes over one adapter's factors: its map, the gradient of the target loss, and rank-1 steps. Rows are taken in blocks
// of 8, 4 or 1, as many as leave the accumulators in registers; no result depends on it.
#pragma once
#include "bodies.h"

#pragma clang fp contract(off)

/// Columns that one tile of a pass over blocks of rows takes: 16 rows of it stay in the first cache.
enum { TILE = 512 };

/// Runs `call` with ROWS = 8, 4 or 1, a constant in each, over all rows k.
#define FOR_BLOCKS_OF_ROWS(block, rows, call)                                             \
    for (size_t k = 0; k < (rows);) {                                                     \
        if ((block) == 8 && k + 8 <= (rows)) { enum { ROWS = 8 }; call; k += ROWS; }      \
        else if (k + 4 <= (rows)) { enum { ROWS = 4 }; call; k += ROWS; }                 \
        else { enum { ROWS = 1 }; call; k += ROWS; }                                      \
    }
/// Runs `call` for each vector of columns j ..< j + COUNT in begin ..< end, COUNT a constant for all but the last.
#define FOR_COLUMNS(begin, end, ...)                                                     \
    {                                                                                     \
        size_t j = (begin);                                                               \
        for (; j + LANES <= (end); j += LANES) { enum { COUNT = LANES }; __VA_ARGS__; }          \
        if (j < (end)) { const size_t COUNT = (end) - j; __VA_ARGS__; }                          \
    }
#define UNROLLED _Pragma("clang loop unroll(full)")

// ---------------------------------------------------------------- y = x + Σ c·row + bias

/// Columns j ..< j + count of from + Σₖ c[k]·m[k].
INLINE lanes mapped(const int rows, const float *m, size_t n, const lanes *c, lanes from, size_t j, size_t count) {
    UNROLLED for (int k = 0; k < rows; k++) from = FMA(c[k], load_some(m + (size_t)k * n + j, count), from);
    return from;
}

INLINE void splat_rows(const int rows, const float *c, lanes *out) {
    UNROLLED for (int k = 0; k < rows; k++) out[k] = splat(c[k]);
}

/// y = from + Σ c·row over one block of rows, in columns begin ..< end.
INLINE void map_block(
    const int rows, const float *m, size_t n, const float *c, const float *from, float *y, size_t begin, size_t end) {
    lanes cs[8];
    splat_rows(rows, c, cs);
    FOR_COLUMNS(begin, end, store_some(y + j, mapped(rows, m, n, cs, load_some(from + j, COUNT), j, COUNT), COUNT))
}

/// Ends columns j ..< j + count of a map: adds the bias, and NaN to `check` for what is not finite, else 0.
INLINE void end_map(lanes v, const float *bias, float *y, lanes *check, size_t j, size_t count) {
    if (bias) v += load_some(bias + j, count);
    *check += v - v;
    store_some(y + j, v, count);
}

/// Up to 8 rows: the whole map in one pass, y in registers.
INLINE int32_t map_whole(
    const int rows, const float *m, size_t n, const float *c, const float *bias, const float *x, float *y) {
    lanes cs[8], check = {0};
    splat_rows(rows, c, cs);
    FOR_COLUMNS(
        0, n, end_map(mapped(rows, m, n, cs, load_some(x + j, COUNT), j, COUNT), bias, y, &check, j, COUNT))
    return has_numbers(check);
}

/// y = x + Σₖ c[k]·up[k] + bias, rows in rising order; says whether it is finite.
INLINE int32_t map_up(const size_t block, const attune_map *map, const float *c, const float *x, float *y) {
    const size_t n = map->n;
    for (size_t begin = 0; begin < n; begin += TILE) {
        size_t end = begin + TILE < n ? begin + TILE : n;
        FOR_BLOCKS_OF_ROWS(
            block, map->rank, map_block(ROWS, map->up + k * n, n, c + k, k == 0 ? x : y, y, begin, end))
    }
    lanes check = {0};
    FOR_COLUMNS(0, n, end_map(load_some(y + j, COUNT), map->bias, y, &check, j, COUNT))
    return has_numbers(check);
}

INLINE void map_up_body(const size_t block, const attune_map *map, const float *c, const float *x, float *y) {
    if (map->rank == 4) map_whole(4, map->up, map->n, c, map->bias, x, y);
    else if (map->rank == 8 && block == 8) map_whole(8, map->up, map->n, c, map->bias, x, y);
    else map_up(block, map, c, x, y);
}

/// The same in one piece for up to 8 rows, a constant.
INLINE int32_t forward_whole(
    const int rows, const attune_map *map, const float *x, float *hidden, float *scaled, float *y) {
    float h[8], c[8];
    dot_block(rows, map->down, map->n, x, h, NULL);
    UNROLLED for (int k = 0; k < rows; k++) c[k] = map->scale * h[k];
    memcpy(hidden, h, rows * sizeof *h);
    memcpy(scaled, c, rows * sizeof *c);
    return map_whole(rows, map->up, map->n, c, map->bias, x, y);
}

INLINE int32_t forward_body(
    const size_t block, const attune_map *map, const float *x, float *hidden, float *scaled, float *y) {
    if (map->rank == 4) return forward_whole(4, map, x, hidden, scaled, y);
    if (map->rank == 8 && block == 8) return forward_whole(8, map, x, hidden, scaled, y);
    row_dots_body(block, map->down, map->rank, map->n, x, hidden);
    for (size_t k = 0; k < map->rank; k++) scaled[k] = map->scale * hidden[k];
    return map_up(block, map, scaled, x, y);
}

// ---------------------------------------------------------------- the target loss

/// Columns j ..< j + count of the residual's square, summed up in `squares`, and of the error.
INLINE lanes target_error(
    lanes y, const float *target, lanes factor, float *error, lanes *squares, size_t j, size_t count) {
    lanes residual = y - load_some(target + j, count);
    *squares = FMA(residual, residual, *squares);
    lanes e = factor * residual;
    store_some(error + j, e, count);
    return e;
}

/// The squared norm of 4 or 8 numbers, in the order of any other dot.
INLINE float row_squared_norm(const int rows, const float *c) {
    float e[LANES] = {0};
    memcpy(e, c, rows * sizeof *c);
    lanes v;
    memcpy(&v, e, sizeof v);
    v *= v;
    return sum_lanes(&v);
}

INLINE void target_columns(
    const int rows, const attune_map *map, const float *x, const float *target, lanes factor, const attune_gradient *g,
    const lanes *c, lanes *products, lanes *squares, size_t j, size_t count) {
    lanes b[8], y = load_some(x + j, count);
    UNROLLED for (int k = 0; k < rows; k++) {
        b[k] = load_some(map->up + (size_t)k * map->n + j, count);
        y = FMA(c[k], b[k], y);
    }
    if (map->bias) y += load_some(map->bias + j, count);
    if (g->output) store_some(g->output + j, y, count);
    lanes e = target_error(y, target, factor, g->error, squares, j, count);
    UNROLLED for (int k = 0; k < rows; k++) products[k] = FMA(b[k], e, products[k]);
}

/// The same in two passes for up to 8 rows, a constant: one over A, and one over B that forms the output, the error and B's
/// products with it.
INLINE void target_whole(
    const int rows, const attune_map *map, const float *x, const float *target, float factor, attune_gradient *g) {
    float h[8], scaled[8], back[8];
    lanes c[8], products[8], squares = {0};
    dot_block(rows, map->down, map->n, x, h, &g->squared_input);
    UNROLLED for (int k = 0; k < rows; k++) scaled[k] = map->scale * h[k];
    memcpy(g->hidden, h, rows * sizeof *h);
    memcpy(g->scaled, scaled, rows * sizeof *scaled);
    splat_rows(rows, scaled, c);
    UNROLLED for (int k = 0; k < rows; k++) products[k] = (lanes){0};
    FOR_COLUMNS(
        0, map->n, target_columns(rows, map, x, target, splat(factor), g, c, products, &squares, j, COUNT))
    sum_rows(rows, products, back);
    UNROLLED for (int k = 0; k < rows; k++) back[k] = map->scale * back[k];
    memcpy(g->back, back, rows * sizeof *back);
    g->squared_residual = sum_lanes(&squares);
    g->squared_scaled = row_squared_norm(rows, scaled);
    g->squared_back = row_squared_norm(rows, back);
}

INLINE void target_gradient_body(
    const size_t block, const attune_map *map, const float *x, const float *target, float factor, attune_gradient *g) {
    if (map->rank == 4) return target_whole(4, map, x, target, factor, g);
    if (map->rank == 8 && block == 8) return target_whole(8, map, x, target, factor, g);
    const size_t n = map->n, rank = map->rank;
    g->squared_input = row_dots_and_norm(block, map->down, rank, n, x, g->hidden);
    for (size_t k = 0; k < rank; k++) g->scaled[k] = map->scale * g->hidden[k];
    // The output is formed where the error will be.
    float *y = g->output ? g->output : g->error;
    map_up(block, map, g->scaled, x, y);
    lanes squares = {0};
    FOR_COLUMNS(
        0, n, target_error(load_some(y + j, COUNT), target, splat(factor), g->error, &squares, j, COUNT))
    g->squared_residual = sum_lanes(&squares);
    row_dots_body(block, map->up, rank, n, g->error, g->back);
    for (size_t k = 0; k < rank; k++) g->back[k] = map->scale * g->back[k];
    dot_block(1, g->scaled, rank, g->scaled, &g->squared_scaled, NULL);
    dot_block(1, g->back, rank, g->back, &g->squared_back, NULL);
}

// ---------------------------------------------------------------- rank-1 steps

INLINE void step_columns(
    const int rows, float *m, size_t n, const lanes *c, float keep, const float *x, const lanes *next,
    const float *from, float *after, size_t j, size_t count) {
    lanes xv = load_some(x + j, count), y = {0};
    if (after) y = load_some(from + j, count);
    UNROLLED for (int k = 0; k < rows; k++) {
        float *p = m + (size_t)k * n + j;
        lanes v = FMA(c[k], xv, load_some(p, count));
        if (keep != 1) v *= splat(keep);
        store_some(p, v, count);
        if (after) y = FMA(next[k], v, y);
    }
    if (after) store_some(after + j, y, count);
}

/// One block of rows of m[k] = keep·(m[k] + c[k]·x) in columns begin ..< end, and where `after` is given, after = from +
/// Σₖ next[k]·m[k] with the new rows.
INLINE void step_block(
    const int rows, float *m, size_t n, const float *c, float keep, const float *x, const float *next, const float *from,
    float *after, size_t begin, size_t end) {
    lanes cs[8], ns[8];
    splat_rows(rows, c, cs);
    if (after) splat_rows(rows, next, ns);
    FOR_COLUMNS(begin, end, step_columns(rows, m, n, cs, keep, x, ns, from, after, j, COUNT))
}

INLINE void rank_one_body(const size_t block, float *m, size_t rows, size_t n, const float *c, const float *x) {
    FOR_BLOCKS_OF_ROWS(block, rows, step_block(ROWS, m + k * n, n, c + k, 1, x, NULL, NULL, NULL, 0, n))
}

INLINE void step_bias(float *bias, const attune_change *change, lanes rate, size_t j, size_t count) {
    lanes b = FMA(rate, load_some(change->error + j, count), load_some(bias + j, count));
    if (change->keep != 1) b *= splat(change->keep);
    store_some(bias + j, b, count);
    if (change->after) store_some(change->after + j, load_some(change->after + j, count) + b, count);
}

INLINE void step_body(const size_t block, const attune_map *map, const attune_change *change) {
    const size_t n = map->n, rank = map->rank;
    const float *c = change->up, *next = change->next, *e = change->error;
    float *after = change->after;
    rank_one_body(block, map->down, rank, n, change->down, change->x);
    for (size_t begin = 0; begin < n; begin += TILE) {
        size_t end = begin + TILE < n ? begin + TILE : n;
        if (!after && change->keep == 1) {
            FOR_BLOCKS_OF_ROWS(
                block, rank, step_block(ROWS, map->up + k * n, n, c + k, 1, e, NULL, NULL, NULL, begin, end))
        } else if (!after) {
            FOR_BLOCKS_OF_ROWS(
                block, rank, step_block(ROWS, map->up + k * n, n, c + k, change->keep, e, NULL, NULL, NULL, begin, end))
        } else if (change->keep == 1) {
            FOR_BLOCKS_OF_ROWS(
                block, rank,
                step_block(
                    ROWS, map->up + k * n, n, c + k, 1, e, next + k, k == 0 ? change->x : after, after, begin, end))
        } else {
            FOR_BLOCKS_OF_ROWS(
                block, rank,
                step_block(
                    ROWS, map->up + k * n, n, c + k, change->keep, e, next + k, k == 0 ? change->x : after, after, begin,
                    end))
        }
    }
    if (!map->bias) return;
    const lanes rate = splat(change->bias_rate);
    FOR_COLUMNS(0, n, step_bias(map->bias, change, rate, j, COUNT))
}

// ---------------------------------------------------------------- batches of targets

INLINE void target_batch_body(
    const size_t block, const attune_map *map, const attune_batch *batch, float *hidden, float *scaled, float *back) {
    const size_t n = map->n, rank = map->rank;
    for (size_t s = 0; s < batch->count; s++) {
        attune_gradient g = {
            .hidden = hidden, .scaled = scaled, .back = back, .error = batch->errors + s * n, .output = NULL};
        target_gradient_body(block, map, batch->xs[s], batch->targets[s], batch->factor, &g);
        for (size_t k = 0; k < rank; k++) {
            batch->scaled[s * rank + k] = batch->weights[s] * scaled[k];
            batch->back[s * rank + k] = batch->weights[s] * back[k];
        }
        batch->residuals[s] = g.squared_residual;
    }
}

INLINE void target_losses_body(
    const size_t block, const attune_map *map, const attune_batch *batch, float *hidden, float *output) {
    for (size_t s = 0; s < batch->count; s++) {
        forward_body(block, map, batch->xs[s], hidden, hidden, output);
        batch->residuals[s] = squared_distance_body(block, output, batch->targets[s], map->n);
    }
}
