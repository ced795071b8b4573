// Gradient descent preconditioned by the inverse Gram matrices. Both gradients stay of rank one: a preconditioner only
// changes the r coefficients, c = (G + K)^-1 g.
//
// A system with one right-hand side asks for a factorisation, not for an inverse. But elimination is a chain of r
// divisions, each waiting for the one before, and the right-hand side g = B' e is there only after a pass over B. The
// Gram matrices need nothing but A and B: so both are inverted early, in step with each other and while the pass for
// e runs, and once a right-hand side is known a product is all that is left.
#include "kernels.h"
#include "passes.h"
#include "tiles.h"
#if defined(__x86_64__)

/// The columns over which 16 rows fit the first-level cache.
enum { GRAM_COLUMNS = 512 };

typedef struct { lanes tile[4][4]; } gram_matrix;

/// G = M M', above the diagonal of tiles computed and below it mirrored. With `h`, also h = M x.
INLINE void gram(const int r, size_t d, const float *M, const float *x, gram_matrix *g, coefficients *h) {
    UNROLL for (int a = 0; a < r / 4; a++) {
        if (h) h->quads[a] = (lanes){0};
        UNROLL for (int b = a; b < r / 4; b++) g->tile[a][b] = (lanes){0};
    }
    ROLLED for (size_t j = 0; j < d; j += GRAM_COLUMNS) {
        const size_t n = d - j < GRAM_COLUMNS ? d - j : GRAM_COLUMNS;
        UNROLL for (int a = 0; a < r / 4; a++) {
            const float *rows = M + 4 * (size_t)a * d + j;
            g->tile[a][a] += symmetric_tile(n, rows, d, x + j, h ? &h->quads[a] : 0);
            UNROLL for (int b = a + 1; b < r / 4; b++)
                g->tile[a][b] += dot_tile(n, rows, d, M + 4 * (size_t)b * d + j, d);
        }
    }
    UNROLL for (int a = 0; a < r / 4; a++) {
        UNROLL for (int b = a + 1; b < r / 4; b++) g->tile[b][a] = transposed_tile(g->tile[a][b]);
    }
}

// ---------------------------------------------------------------- inversion

/// A symmetric matrix [r, r], dense, 16 / r columns in each vector. Inverted, each row still has to be divided by its
/// pivot, whose negative reciprocal is lane i % r of `reciprocals`.
typedef struct { lanes columns[16], reciprocals; } inverse;

INLINE lanes permuted(lanes v, indices from) {
    return (lanes)_mm512_permutexvar_ps((__m512i)from, (__m512)v);
}
INLINE lanes where(unsigned mask, lanes yes, lanes no) {
    return (lanes)_mm512_mask_mov_ps((__m512)no, (__mmask16)mask, (__m512)yes);
}
/// Lane i: the place of i within its column, times `within`, plus the start of its column, times `start`.
INLINE indices places(const int r, const int within, const int start) {
    indices p;
    UNROLL for (int i = 0; i < LANES; i++) p[i] = i % r * within + i / r * r * start;
    return p;
}
/// The lanes of place k in every column.
INLINE unsigned lanes_of_row(const int r, const int k) {
    unsigned mask = 0;
    UNROLL for (int i = 0; i < LANES; i += r) mask |= 1u << i;
    return mask << k;
}

/// Quads i and i + 1 of `a` and `b`, in turn; i is 0 or 2.
INLINE lanes two_quads(lanes a, lanes b, const int i) {
    if (i == 0) return __builtin_shufflevector(a, b, 0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
    return __builtin_shufflevector(a, b, 8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31);
}

/// G + damping, column after column (or row after row: it is symmetric).
INLINE void load_damped(const int r, const gram_matrix *g, float damping, inverse *m) {
    if (r == 4) m->columns[0] = g->tile[0][0];
    if (r == 8) {
        UNROLL for (int i = 0; i < 4; i++)
            m->columns[i] = two_quads(g->tile[i / 2][0], g->tile[i / 2][1], i % 2 * 2);
    }
    if (r == 16) {
        UNROLL for (int i = 0; i < 16; i += 2) {
            const lanes *tiles = g->tile[i / 4];
            lanes low = two_quads(tiles[0], tiles[1], i % 4), high = two_quads(tiles[2], tiles[3], i % 4);
            m->columns[i] =
                __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23);
            m->columns[i + 1] =
                __builtin_shufflevector(low, high, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
        }
    }
    UNROLL for (int i = 0; i < r * r / LANES; i++) {
        unsigned diagonal = 0;
        UNROLL for (int j = 0; j < LANES; j++) {
            if ((i * LANES + j) / r == (i * LANES + j) % r) diagonal |= 1u << j;
        }
        m->columns[i] = where(diagonal, m->columns[i] + damping, m->columns[i]);
    }
    m->reciprocals = (lanes){0};
}

/// Gauss and Jordan's step k, in place: column k is eliminated from every other row, and what the unit matrix turns
/// into takes its place. No row is exchanged, which a positive definite matrix allows.
INLINE void eliminate(const int r, const int k, inverse *m) {
    const int per_vector = LANES / r, start = k % per_vector * r;
    const unsigned row = lanes_of_row(r, k), column = ((1u << r) - 1) << start;
    const lanes pivots = m->columns[k / per_vector];
    lanes reciprocal = -1.0f / permuted(pivots, places(r, 0, 0) + (start + k));
    lanes factors = permuted(pivots, places(r, 1, 0) + start) * reciprocal;
    lanes others = where(row, (lanes){0}, factors);
    m->reciprocals = where(row, reciprocal, m->reciprocals);
    UNROLL for (int i = 0; i < r * r / LANES; i++)
        m->columns[i] = multiply_add(others, permuted(m->columns[i], places(r, 0, 1) + k), m->columns[i]);
    lanes unit = where(row, splat(1), factors);
    m->columns[k / per_vector] = where(column, unit, m->columns[k / per_vector]);
}

/// Both at once: two chains of divisions take no longer than one.
INLINE void invert_both(
    const int r, const gram_matrix *g1, const gram_matrix *g2, float damping, inverse *m1, inverse *m2) {
    load_damped(r, g1, damping, m1);
    load_damped(r, g2, damping, m2);
    if (r == 16) {
        // Unrolled, it would outgrow the instruction cache.
        ROLLED for (int k = 0; k < 16; k++) {
            eliminate(r, k, m1);
            eliminate(r, k, m2);
        }
    } else {
        UNROLL for (int k = 0; k < r; k++) {
            eliminate(r, k, m1);
            eliminate(r, k, m2);
        }
    }
}

/// -(G + K)^-1 c: negative, as the reciprocals are.
INLINE coefficients negative_product(const int r, const inverse *m, const coefficients *c) {
    lanes v = c->quads[0];
    if (r >= 8)
        v = __builtin_shufflevector(v, c->quads[1], 0, 1, 2, 3, 16, 17, 18, 19, 0, 1, 2, 3, 16, 17, 18, 19);
    if (r == 16) {
        lanes high = __builtin_shufflevector(
            c->quads[2], c->quads[3], 0, 1, 2, 3, 16, 17, 18, 19, 0, 1, 2, 3, 16, 17, 18, 19);
        v = __builtin_shufflevector(v, high, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23);
    }
    lanes sum[2] = {{0}, {0}};
    UNROLL for (int i = 0; i < r * r / LANES; i++) {
        indices column;
        UNROLL for (int j = 0; j < LANES; j++) column[j] = (i * LANES + j) / r;
        sum[i & 1] = multiply_add(m->columns[i], permuted(v, column), sum[i & 1]);
    }
    lanes product = sum[0] + sum[1];
    if (r == 4) product = add_quads(product);
    if (r == 8) product += __builtin_shufflevector(
        product, product, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
    product *= m->reciprocals;
    coefficients result;
    UNROLL for (int i = 0; i < r / 4; i++) {
        indices quad = places(4, 1, 0) + 4 * i;
        result.quads[i] = r == 4 ? product : permuted(product, quad);
    }
    return result;
}

// ---------------------------------------------------------------- the step

INLINE float descend_riemannian(
    const int r, const int wide, size_t d, float *A, float *B, const float *x, const float *t, float scale, float rate,
    float damping, float *e) {
    const float c = 2.0f / (float)d * scale;
    gram_matrix g_a, g_b;
    inverse inverse_a, inverse_b;
    coefficients h;
    gram(r, d, A, x, &g_a, &h);
    gram(r, d, B, x, &g_b, 0);
    invert_both(r, &g_a, &g_b, damping, &inverse_a, &inverse_b);

    const coefficients scaled_h = scaled(r, &h, scale);
    const float xx = squared_length(d, x), ee = residual(r, wide, d, B, &scaled_h, x, t, e);
    coefficients step = negative_product(r, &inverse_a, &h);
    step = scaled(r, &step, rate * c * clip_factor(c * c * ee * squared_norm(r, &h)));
    const coefficients g = project_and_update(r, wide, d, B, &step, e);
    step = negative_product(r, &inverse_b, &g);
    step = scaled(r, &step, rate * c * clip_factor(c * c * squared_norm(r, &g) * xx));
    update(r, wide, d, A, &step, x);
    return ee / (float)d;
}

#define RIEMANNIAN(RANK, WIDE, NAME) \
    KERNEL static float NAME( \
        size_t d, float *A, float *B, const float *x, const float *t, float scale, float rate, float damping, \
        float *e) { \
        return descend_riemannian(RANK, WIDE, d, A, B, x, t, scale, rate, damping, e); \
    }
FOR_EACH_SHAPE(RIEMANNIAN, riemannian)

float limit_riemannian(
    size_t d, size_t r, float *A, float *B, const float *x, const float *t, float scale, float rate, float damping,
    float *scratch) {
    DISPATCH(riemannian, d, r, outgrows_cache(2 * r * d), d, A, B, x, t, scale, rate, damping, scratch);
}
#endif
