// The passes over one adapter's factors: its map, the gradient of the target loss, and rank-1 steps. Rows are taken in blocks
// of 8, 4 or 1, as many as leave the accumulators in registers; no result depends on it. For 4 and 8 rows in all, a pass has
// loops of its own in a function of its own: beside the loops for any number of rows, the compiler has no registers left for it.
#pragma once
#include "bodies.h"

#pragma clang fp contract(off)

// The same for any number of rows, in the instruction set in use.
int32_t attune_forward_rows(const attune_map *map, const float *x, float *hidden, float *scaled, float *y);
void attune_target_gradient_rows(
    const attune_map *map, const float *x, const float *target, float factor, attune_gradient *gradient);
void attune_step_rows(const attune_map *map, attune_change *change);

/// Columns that one tile of a pass over blocks of rows takes: 16 rows of it stay in the first cache.
enum { TILE = 512 };

/// Runs `call` with ROWS = 8, 4 or 1, a constant in each, over all rows k.
#define FOR_BLOCKS_OF_ROWS(block, rows, call)                                             \
    for (size_t k = 0; k < (rows);) {                                                     \
        if ((block) == 8 && k + 8 <= (rows)) { enum { ROWS = 8 }; call; k += ROWS; }      \
        else if (k + 4 <= (rows)) { enum { ROWS = 4 }; call; k += ROWS; }                 \
        else { enum { ROWS = 1 }; call; k += ROWS; }                                      \
    }
#define UNROLLED _Pragma("clang loop unroll(full)")
/// The compiler's own unrolling of loops over columns takes more registers for addresses than there are.
#define NOT_UNROLLED _Pragma("clang loop unroll(disable)")

/// Runs `call` for each vector of columns j ..< j + COUNT in begin ..< end, COUNT a constant for all but the last.
#define FOR_COLUMNS(begin, end, ...)                                                     \
    {                                                                                     \
        size_t j = (begin);                                                               \
        NOT_UNROLLED for (; j + LANES <= (end); j += LANES) { enum { COUNT = LANES }; __VA_ARGS__; }          \
        if (j < (end)) { const size_t COUNT = (end) - j; __VA_ARGS__; }                          \
    }

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

/// What is wanted of a map's output: constants, so that each combination has a loop without branches.
enum { WANTS_OUTPUT = 1, WANTS_RESIDUAL = 2 };

/// Ends columns j ..< j + COUNT of a map, whose value `v` is: adds the bias; stores the output at `y`, and NaN in `check` for
/// what is not finite, else 0; adds the squared differences from `target` to `squares`. A macro, so that both sums are local
/// variables, which stay in registers.
#define END_MAP(v, wants, has_bias, bias, y, target, check, squares)             \
    {                                                                            \
        lanes end = (v);                                                         \
        if (has_bias) end += load_some((bias) + j, COUNT);                       \
        if ((wants) & WANTS_OUTPUT) {                                            \
            check += end - end;                                                  \
            store_some((y) + j, end, COUNT);                                     \
        }                                                                        \
        if ((wants) & WANTS_RESIDUAL) {                                          \
            lanes residual = end - load_some((target) + j, COUNT);               \
            squares = FMA(residual, residual, squares);                          \
        }                                                                        \
    }

/// Up to 8 rows: the whole map in one pass, its output in registers.
INLINE void map_whole(
    const int rows, const int wants, const int has_bias, const attune_map *map, const float *c, const float *x, float *y,
    const float *target, lanes *check, lanes *squares) {
    const size_t n = map->n;
    const float *m = map->up, *bias = map->bias;
    lanes cs[8], checks = {0}, sum = {0};
    splat_rows(rows, c, cs);
    size_t from = 0;
    NOT_UNROLLED for (; from + 4 * LANES <= n; from += 4 * LANES) {
        lanes v[4];
        UNROLLED for (int i = 0; i < 4; i++) v[i] = LOAD(x + from + (size_t)i * LANES);
        UNROLLED for (int k = 0; k < rows; k++)
            UNROLLED for (int i = 0; i < 4; i++) v[i] = FMA(cs[k], LOAD(m + (size_t)k * n + from + (size_t)i * LANES), v[i]);
        UNROLLED for (int i = 0; i < 4; i++) {
            const size_t j = from + (size_t)i * LANES;
            enum { COUNT = LANES };
            END_MAP(v[i], wants, has_bias, bias, y, target, checks, sum)
        }
    }
    FOR_COLUMNS(
        from, n,
        END_MAP(
            mapped(rows, m, n, cs, load_some(x + j, COUNT), j, COUNT), wants, has_bias, bias, y, target, checks, sum))
    *check = checks;
    *squares = sum;
}

/// x + Σₖ c[k]·up[k] + bias, rows in rising order. `room` is scratch where the output goes nowhere.
INLINE void map_up(
    const size_t block, const int wants, const attune_map *map, const float *c, const float *x, float *room, float *y,
    const float *target, lanes *check, lanes *squares) {
    const int rows = map->rank == 4 ? 4 : map->rank == 8 && block == 8 ? 8 : 0;
    if (rows == 4 && map->bias) return map_whole(4, wants, 1, map, c, x, y, target, check, squares);
    if (rows == 4) return map_whole(4, wants, 0, map, c, x, y, target, check, squares);
    if (rows == 8 && map->bias) return map_whole(8, wants, 1, map, c, x, y, target, check, squares);
    if (rows == 8) return map_whole(8, wants, 0, map, c, x, y, target, check, squares);
    const size_t n = map->n;
    for (size_t begin = 0; begin < n; begin += TILE) {
        size_t stop = begin + TILE < n ? begin + TILE : n;
        FOR_BLOCKS_OF_ROWS(
            block, map->rank, map_block(ROWS, map->up + k * n, n, c + k, k == 0 ? x : room, room, begin, stop))
    }
    const float *bias = map->bias;
    lanes checks = {0}, sum = {0};
    FOR_COLUMNS(0, n, END_MAP(load_some(room + j, COUNT), wants, bias, bias, y, target, checks, sum))
    *check = checks;
    *squares = sum;
}

INLINE void map_up_body(const size_t block, const attune_map *map, const float *c, const float *x, float *y) {
    lanes check = {0}, squares = {0};
    map_up(block, WANTS_OUTPUT, map, c, x, y, y, NULL, &check, &squares);
}

/// scaled = scale · (hidden = A x), for `rows` rows, a constant: by way of memory that nobody else sees.
INLINE void map_down_whole(const int rows, const attune_map *map, const float *x, float *hidden, float *scaled) {
    float h[8], c[8];
    dot_block(rows, map->down, map->n, x, h, NULL);
    UNROLLED for (int k = 0; k < rows; k++) c[k] = map->scale * h[k];
    memcpy(hidden, h, rows * sizeof *h);
    memcpy(scaled, c, rows * sizeof *c);
}

INLINE void map_down(const size_t block, const attune_map *map, const float *x, float *hidden, float *scaled) {
    if (map->rank == 4) return map_down_whole(4, map, x, hidden, scaled);
    if (map->rank == 8 && block == 8) return map_down_whole(8, map, x, hidden, scaled);
    row_dots_body(block, map->down, map->rank, map->n, x, hidden);
    for (size_t k = 0; k < map->rank; k++) scaled[k] = map->scale * hidden[k];
}

/// The same for any number of rows.
INLINE int32_t forward_rows_body(
    const size_t block, const attune_map *map, const float *x, float *hidden, float *scaled, float *y) {
    lanes check = {0}, squares = {0};
    row_dots_body(block, map->down, map->rank, map->n, x, hidden);
    for (size_t k = 0; k < map->rank; k++) scaled[k] = map->scale * hidden[k];
    map_up(block, WANTS_OUTPUT, map, scaled, x, y, y, NULL, &check, &squares);
    return has_numbers(check);
}

INLINE int32_t forward_whole(
    const int rows, const attune_map *map, const float *x, float *hidden, float *scaled, float *y) {
    lanes check = {0}, squares = {0};
    map_down_whole(rows, map, x, hidden, scaled);
    if (map->bias) map_whole(rows, WANTS_OUTPUT, 1, map, scaled, x, y, NULL, &check, &squares);
    else map_whole(rows, WANTS_OUTPUT, 0, map, scaled, x, y, NULL, &check, &squares);
    return has_numbers(check);
}

INLINE int32_t forward_body(
    const size_t block, const attune_map *map, const float *x, float *hidden, float *scaled, float *y) {
    if (map->rank == 4) return forward_whole(4, map, x, hidden, scaled, y);
    if (map->rank == 8 && block == 8) return forward_whole(8, map, x, hidden, scaled, y);
    return attune_forward_rows(map, x, hidden, scaled, y);
}

// ---------------------------------------------------------------- the target loss

/// The squared norm of 4 or 8 numbers, in the order of any other dot.
INLINE float row_squared_norm(const int rows, const float *c) {
    float e[LANES] = {0};
    memcpy(e, c, rows * sizeof *c);
    lanes v;
    memcpy(&v, e, sizeof v);
    v *= v;
    return sum_lanes(&v);
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
    const lanes scale = splat(factor);
    const float *up = map->up, *bias = map->bias;
    float *output = g->output, *error = g->error;
    const size_t n = map->n;
    FOR_COLUMNS(0, n, {
        lanes b[8], y = load_some(x + j, COUNT);
        UNROLLED for (int k = 0; k < rows; k++) {
            b[k] = load_some(up + (size_t)k * n + j, COUNT);
            y = FMA(c[k], b[k], y);
        }
        if (bias) y += load_some(bias + j, COUNT);
        if (output) store_some(output + j, y, COUNT);
        lanes residual = y - load_some(target + j, COUNT), e = scale * residual;
        squares = FMA(residual, residual, squares);
        store_some(error + j, e, COUNT);
        UNROLLED for (int k = 0; k < rows; k++) products[k] = FMA(b[k], e, products[k]);
    })
    sum_rows(rows, products, back);
    UNROLLED for (int k = 0; k < rows; k++) back[k] = map->scale * back[k];
    memcpy(g->back, back, rows * sizeof *back);
    g->squared_residual = sum_lanes(&squares);
    g->squared_scaled = row_squared_norm(rows, scaled);
    g->squared_back = row_squared_norm(rows, back);
}

/// The same for any number of rows.
INLINE void target_gradient_rows_body(
    const size_t block, const attune_map *map, const float *x, const float *target, float factor, attune_gradient *g) {
    const size_t n = map->n, rank = map->rank;
    g->squared_input = row_dots_and_norm(block, map->down, rank, n, x, g->hidden);
    for (size_t k = 0; k < rank; k++) g->scaled[k] = map->scale * g->hidden[k];
    // The output is formed where the error will be.
    float *y = g->output ? g->output : g->error;
    map_up_body(block, map, g->scaled, x, y);
    lanes squares = {0};
    float *error = g->error;
    const lanes scale = splat(factor);
    FOR_COLUMNS(0, n, {
        lanes residual = load_some(y + j, COUNT) - load_some(target + j, COUNT);
        squares = FMA(residual, residual, squares);
        store_some(error + j, scale * residual, COUNT);
    })
    g->squared_residual = sum_lanes(&squares);
    row_dots_body(block, map->up, rank, n, g->error, g->back);
    for (size_t k = 0; k < rank; k++) g->back[k] = map->scale * g->back[k];
    dot_block(1, g->scaled, rank, g->scaled, &g->squared_scaled, NULL);
    dot_block(1, g->back, rank, g->back, &g->squared_back, NULL);
}

INLINE void target_gradient_body(
    const size_t block, const attune_map *map, const float *x, const float *target, float factor, attune_gradient *g) {
    if (map->rank == 4) return target_whole(4, map, x, target, factor, g);
    if (map->rank == 8 && block == 8) return target_whole(8, map, x, target, factor, g);
    attune_target_gradient_rows(map, x, target, factor, g);
}

// ---------------------------------------------------------------- rank-1 steps

/// Columns j ..< j + count of m[k] = keep·(m[k] + c[k]·x); returns y + Σₖ next[k]·m[k] with the new rows.
INLINE lanes step_columns(
    const int rows, float *m, size_t n, const lanes *c, float keep, const float *x, const lanes *next, lanes y, size_t j,
    size_t count) {
    lanes xv = load_some(x + j, count);
    UNROLLED for (int k = 0; k < rows; k++) {
        float *p = m + (size_t)k * n + j;
        lanes v = FMA(c[k], xv, load_some(p, count));
        if (keep != 1) v *= splat(keep);
        store_some(p, v, count);
        if (next) y = FMA(next[k], v, y);
    }
    return y;
}

/// One block of rows of m[k] = keep·(m[k] + c[k]·x) in columns begin ..< end, and where `after` is given, after = from +
/// Σₖ next[k]·m[k] with the new rows.
INLINE void step_block(
    const int rows, float *m, size_t n, const float *c, float keep, const float *x, const float *next, const float *from,
    float *after, size_t begin, size_t end) {
    lanes cs[8], ns[8];
    splat_rows(rows, c, cs);
    if (after) splat_rows(rows, next, ns);
    FOR_COLUMNS(begin, end, {
        lanes y = {0};
        if (after) y = load_some(from + j, COUNT);
        y = step_columns(rows, m, n, cs, keep, x, after ? ns : NULL, y, j, COUNT);
        if (after) store_some(after + j, y, COUNT);
    })
}

INLINE void rank_one_body(const size_t block, float *m, size_t rows, size_t n, const float *c, const float *x) {
    FOR_BLOCKS_OF_ROWS(block, rows, step_block(ROWS, m + k * n, n, c + k, 1, x, NULL, NULL, NULL, 0, n))
}

/// Ends columns j ..< j + COUNT of a step, y being what the new rows of B give for x: the bias, and what is wanted of the output.
#define END_STEP(y, bias, change, keep, looks_ahead, squares)                                                     \
    {                                                                                                             \
        lanes end = (y);                                                                                          \
        if (bias) {                                                                                               \
            lanes b = FMA(splat((change).bias_rate), load_some((change).error + j, COUNT),                        \
                          load_some((bias) + j, COUNT));                                                          \
            if ((keep) != 1) b *= splat(keep);                                                                    \
            store_some((bias) + j, b, COUNT);                                                                     \
            end += b;                                                                                             \
        }                                                                                                         \
        if (looks_ahead) {                                                                                        \
            store_some((change).after + j, end, COUNT);                                                           \
            if ((change).target) {                                                                                \
                lanes residual = end - load_some((change).target + j, COUNT);                                     \
                squares = FMA(residual, residual, squares);                                                       \
            }                                                                                                     \
        }                                                                                                         \
    }

/// Up to 8 rows of B, the bias and the output after the step in one pass.
INLINE lanes step_whole(
    const int rows, const attune_map *map, const attune_change *changing, float keep, const int32_t looks_ahead) {
    // Copies: no store can seem to change them.
    const attune_change change = *changing;
    const size_t n = map->n;
    float *up = map->up, *bias = map->bias;
    lanes cs[8], ns[8], squares = {0};
    splat_rows(rows, change.up, cs);
    if (looks_ahead) splat_rows(rows, change.next, ns);
    FOR_COLUMNS(0, n, {
        lanes y = {0};
        if (looks_ahead) y = load_some(change.x + j, COUNT);
        y = step_columns(rows, up, n, cs, keep, change.error, looks_ahead ? ns : NULL, y, j, COUNT);
        END_STEP(y, bias, change, keep, looks_ahead, squares)
    })
    return squares;
}

INLINE lanes step_up(
    const size_t block, const attune_map *map, const attune_change *changing, float keep, const int32_t looks_ahead) {
    const attune_change change = *changing;
    const size_t n = map->n, rank = map->rank;
    float *after = looks_ahead ? change.after : NULL, *bias = map->bias;
    lanes squares = {0};
    for (size_t begin = 0; begin < n; begin += TILE) {
        size_t end = begin + TILE < n ? begin + TILE : n;
        FOR_BLOCKS_OF_ROWS(
            block, rank,
            step_block(
                ROWS, map->up + k * n, n, change.up + k, keep, change.error, looks_ahead ? change.next + k : NULL,
                k == 0 ? change.x : after, after, begin, end))
    }
    if (!bias && !looks_ahead) return squares;
    FOR_COLUMNS(0, n, {
        lanes y = {0};
        if (looks_ahead) y = load_some(after + j, COUNT);
        END_STEP(y, bias, change, keep, looks_ahead, squares)
    })
    return squares;
}

/// `up`: what steps B, for constants `keep` and `looks_ahead` where they can be.
#define STEP(up)                                                                       \
    change->keep == 1 && change->after ? up(1, 1)                                      \
        : change->keep == 1            ? up(1, 0)                                      \
        : change->after                ? up(change->keep, 1)                           \
                                       : up(change->keep, 0)

INLINE void step_rows_body(const size_t block, const attune_map *map, attune_change *change) {
    rank_one_body(block, map->down, map->rank, map->n, change->down, change->x);
    #define UP(keep, looks_ahead) step_up(block, map, change, keep, looks_ahead)
    lanes squares = STEP(UP);
    #undef UP
    change->squared_residual = sum_lanes(&squares);
}

INLINE void step_whole_body(const int rows, const attune_map *map, attune_change *change) {
    step_block(rows, map->down, map->n, change->down, 1, change->x, NULL, NULL, NULL, 0, map->n);
    #define UP(keep, looks_ahead) step_whole(rows, map, change, keep, looks_ahead)
    lanes squares = STEP(UP);
    #undef UP
    change->squared_residual = sum_lanes(&squares);
}

INLINE void step_body(const size_t block, const attune_map *map, attune_change *change) {
    if (map->rank == 4) return step_whole_body(4, map, change);
    if (map->rank == 8 && block == 8) return step_whole_body(8, map, change);
    attune_step_rows(map, change);
}
