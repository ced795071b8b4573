// The preconditioner of rank-1 gradients for the usual ranks: both Gram matrices, for ranks 4 and 8 in registers where there are
// enough, and their systems eliminated in step with each other, so that the chain of divisions of one hides behind the other's.
#pragma once
#include "gradients.h"

#pragma clang fp contract(off)

/// Eight double lanes.
typedef double doubles __attribute__((vector_size(64)));

INLINE doubles splat_double(double s) { return (doubles){s, s, s, s, s, s, s, s}; }

typedef int64_t long_lanes __attribute__((vector_size(64)));

/// The larger of two numbers, lane by lane; where that cannot be told, b.
INLINE doubles larger(doubles a, doubles b) {
    const long_lanes takes_a = a > b;
    return (doubles)((takes_a & (long_lanes)a) | (~takes_a & (long_lanes)b));
}

/// v with 0 in lane k, if there is one.
INLINE doubles without(doubles v, int64_t k) {
    const long_lanes keeps = (long_lanes){0, 1, 2, 3, 4, 5, 6, 7} != k;
    return (doubles)(keeps & (long_lanes)v);
}

// ---------------------------------------------------------------- elimination

/// Eight equations, or two systems of four, column by column, and what becomes of them.
typedef struct {
    doubles column[8];
    doubles right;
    /// One over each pivot.
    doubles reciprocals;
} equations;

/// Column j of two tiles, one above the other: row j of each, as the tiles it is used with are symmetric or mirrored.
INLINE doubles column_of(lanes a, lanes b, const int j) {
    eight_lanes v;
    if (j == 0) v = __builtin_shufflevector(a, b, 0, 1, 2, 3, 16, 17, 18, 19);
    else if (j == 1) v = __builtin_shufflevector(a, b, 4, 5, 6, 7, 20, 21, 22, 23);
    else if (j == 2) v = __builtin_shufflevector(a, b, 8, 9, 10, 11, 24, 25, 26, 27);
    else v = __builtin_shufflevector(a, b, 12, 13, 14, 15, 28, 29, 30, 31);
    return __builtin_convertvector(v, doubles);
}

INLINE void start(const int size, float damping, eight_lanes right, equations *e) {
    UNROLLED for (int j = 0; j < size; j++) {
        doubles diagonal = {0};
        UNROLLED for (int i = j; i < 8; i += size) diagonal[i] = damping;
        e->column[j] += diagonal;
    }
    e->right = __builtin_convertvector(right, doubles);
    e->reciprocals = (doubles){0};
}

/// M·Mᵀ + damping for M [8, n].
INLINE void load_eight(const size_t block, const float *m, size_t n, float damping, const float *right, equations *e) {
    if (block == 8) {
        lanes first, last, cross = cross_tile(m, m + 4 * n, n);
        own_tiles(2, m, m + 4 * n, n, &first, &last);
        UNROLLED for (int j = 0; j < 4; j++) {
            e->column[j] = column_of(first, cross, j);
            e->column[4 + j] = column_of(mirrored(cross), last, j);
        }
    } else {
        float gram[64];
        gram_body(block, m, 8, n, gram);
        UNROLLED for (int j = 0; j < 8; j++)
            e->column[j] = __builtin_convertvector(*(const eight_lanes *)(gram + 8 * j), doubles);
    }
    start(8, damping, *(const eight_lanes *)right, e);
}

/// The same for two matrices [4, n], whose systems lie one above the other.
INLINE void load_fours(
    const size_t block, const float *m, const float *other, size_t n, float damping, const float *right,
    const float *other_right, equations *e) {
    lanes first, second;
    if (block == 8) {
        own_tiles(2, m, other, n, &first, &second);
    } else {
        gram_body(block, m, 4, n, (float *)&first);
        gram_body(block, other, 4, n, (float *)&second);
    }
    UNROLLED for (int j = 0; j < 4; j++) e->column[j] = column_of(first, second, j);
    const four_lanes rights[2] = {*(const four_lanes *)right, *(const four_lanes *)other_right};
    start(4, damping, __builtin_shufflevector(rights[0], rights[1], 0, 1, 2, 3, 4, 5, 6, 7), e);
}

/// Number k of each system in all its lanes.
INLINE doubles spread(const int size, doubles v, const int k) {
    const double a = v[k], b = v[8 - size + k];
    return (doubles){a, a, a, a, b, b, b, b};
}

/// Gauss and Jordan's step k: removes unknown k from every other equation. The damping keeps all pivots positive; where
/// rounding does not, the pivot is the damping. Entries of columns before k are never read again, and stay as they are.
INLINE void eliminate(const int size, const int k, float damping, equations *e) {
    const doubles column = e->column[k];
    const doubles reciprocal = 1 / larger(splat_double(damping), spread(size, column, k));
    doubles others = column;
    UNROLLED for (int i = k; i < 8; i += size) {
        e->reciprocals[i] = reciprocal[i];
        others[i] = 0;
    }
    // These products don't wait for the division.
    UNROLLED for (int j = k + 1; j < size; j++)
        e->column[j] = FMA(-(others * spread(size, e->column[j], k)), reciprocal, e->column[j]);
    e->right = FMA(-(others * spread(size, e->right, k)), reciprocal, e->right);
}

INLINE eight_lanes solution(const equations *e) { return __builtin_convertvector(e->right * e->reciprocals, eight_lanes); }

INLINE double squared_norm_of_four(four_lanes v) {
    typedef double four_doubles __attribute__((vector_size(32)));
    four_doubles d = __builtin_convertvector(v, four_doubles);
    d *= d;
    return (d[0] + d[1]) + (d[2] + d[3]);
}

#define LOW_HALF(v) __builtin_shufflevector(v, v, 0, 1, 2, 3)
#define HIGH_HALF(v) __builtin_shufflevector(v, v, 4, 5, 6, 7)

INLINE void precondition_eight(const size_t block, const attune_map *map, attune_preconditioned *p) {
    const float damping = p->damping;
    equations loaded[2];
    NOT_UNROLLED for (int i = 0; i < 2; i++)
        load_eight(block, i ? map->down : map->up, map->n, damping, i ? p->up : p->down, &loaded[i]);
    equations of_up = loaded[0], of_down = loaded[1];
    UNROLLED for (int k = 0; k < 8; k++) {
        eliminate(8, k, damping, &of_up);
        eliminate(8, k, damping, &of_down);
    }
    const eight_lanes down = solution(&of_up), up = solution(&of_down);
    *(eight_lanes *)p->down = down;
    *(eight_lanes *)p->up = up;
    p->squared_down = squared_norm_of_four(LOW_HALF(down)) + squared_norm_of_four(HIGH_HALF(down));
    p->squared_up = squared_norm_of_four(LOW_HALF(up)) + squared_norm_of_four(HIGH_HALF(up));
}

INLINE void precondition_four(const size_t block, const attune_map *map, attune_preconditioned *p) {
    const float damping = p->damping;
    equations both;
    load_fours(block, map->up, map->down, map->n, damping, p->down, p->up, &both);
    UNROLLED for (int k = 0; k < 4; k++) eliminate(4, k, damping, &both);
    const eight_lanes solved = solution(&both);
    const four_lanes down = LOW_HALF(solved), up = HIGH_HALF(solved);
    *(four_lanes *)p->down = down;
    *(four_lanes *)p->up = up;
    p->squared_down = squared_norm_of_four(down);
    p->squared_up = squared_norm_of_four(up);
}

// ---------------------------------------------------------------- rank 16, in memory

/// Sixteen equations, as `equations`.
typedef struct {
    doubles column[16][2];
    doubles right[2];
    doubles reciprocals[2];
} more_equations;

/// M·Mᵀ + damping for M [16, n].
INLINE void load_sixteen(
    const size_t block, const float *m, size_t n, float damping, const float *right, more_equations *e) {
    float gram[256];
    gram_body(block, m, 16, n, gram);
    NOT_UNROLLED for (size_t j = 0; j < 16; j++) {
        UNROLLED for (int i = 0; i < 2; i++)
            e->column[j][i] = __builtin_convertvector(*(const eight_lanes *)(gram + 16 * j + 8 * i), doubles);
        e->column[j][j / 8][j % 8] += damping;
    }
    UNROLLED for (int i = 0; i < 2; i++)
        e->right[i] = __builtin_convertvector(*(const eight_lanes *)(right + 8 * i), doubles);
}

/// Step k, as `eliminate`.
INLINE void eliminate_more(const size_t k, float damping, more_equations *e) {
    const double found = e->column[k][k / 8][k % 8];
    const double reciprocal = 1 / (damping > found ? damping : found);
    e->reciprocals[k / 8][k % 8] = reciprocal;
    const doubles negative = splat_double(-reciprocal);
    doubles others[2];
    UNROLLED for (int i = 0; i < 2; i++) others[i] = without(e->column[k][i], (int64_t)k - 8 * i);
    NOT_UNROLLED for (size_t j = k + 1; j < 16; j++) {
        const doubles entry = splat_double(e->column[j][k / 8][k % 8]);
        UNROLLED for (int i = 0; i < 2; i++) e->column[j][i] = FMA(others[i] * entry, negative, e->column[j][i]);
    }
    const doubles entry = splat_double(e->right[k / 8][k % 8]);
    UNROLLED for (int i = 0; i < 2; i++) e->right[i] = FMA(others[i] * entry, negative, e->right[i]);
}

/// Stores the solution; returns the sum of its squares.
INLINE double store_more(const more_equations *e, float *out) {
    double squared = 0;
    UNROLLED for (int i = 0; i < 2; i++) {
        const eight_lanes x = __builtin_convertvector(e->right[i] * e->reciprocals[i], eight_lanes);
        *(eight_lanes *)(out + 8 * i) = x;
        squared += squared_norm_of_four(LOW_HALF(x)) + squared_norm_of_four(HIGH_HALF(x));
    }
    return squared;
}

INLINE void precondition_sixteen(const size_t block, const attune_map *map, attune_preconditioned *p) {
    more_equations e[2];
    NOT_UNROLLED for (int i = 0; i < 2; i++)
        load_sixteen(block, i ? map->down : map->up, map->n, p->damping, i ? p->up : p->down, &e[i]);
    NOT_UNROLLED for (size_t k = 0; k < 16; k++) UNROLLED for (int i = 0; i < 2; i++) eliminate_more(k, p->damping, &e[i]);
    p->squared_down = store_more(&e[0], p->down);
    p->squared_up = store_more(&e[1], p->up);
}

INLINE int32_t precondition_body(const size_t block, const attune_map *map, attune_preconditioned *p) {
    if (map->rank == 8) precondition_eight(block, map, p);
    else if (map->rank == 4) precondition_four(block, map, p);
    else if (map->rank == 16) precondition_sixteen(block, map, p);
    else return 0;
    return 1;
}
