// The passes over A, B and the vectors of length d that learning steps are made of.
//
// Two forms of each. In blocks, groups of rows advance together, column by column: the vector of length d is loaded
// once for a group. By rows, one row after another: on Zen 5 the second-level cache delivers a line every 1.3 cycles
// to one sequential stream, but only every 2 cycles to eight or sixteen of them at once. So blocks win while A and B
// fit the first level, and rows as soon as they do not; `wide`, a constant wherever it is an argument, chooses rows.
#pragma once
#include "lanes.h"
#if defined(__x86_64__)

/// Whether so many floats, gone through in turn again and again, mostly miss a first-level cache of 48 KiB.
static inline int outgrows_cache(size_t floats) { return floats > 14 * 1024; }

#define CLIP_NORM 1.0f

/// What a gradient of this squared norm is multiplied by. A branch, and not a select: it is predicted, so that while
/// nothing is clipped no step waits for its norms.
INLINE float clip_factor(float squared_norm) {
    if (__builtin_expect(squared_norm > CLIP_NORM * CLIP_NORM, 0))
        return CLIP_NORM / __builtin_elementwise_sqrt(squared_norm);
    return 1;
}

INLINE lanes row_dot(size_t d, const float *row, const float *x) {
    lanes sum[4] = {{0}, {0}, {0}, {0}};
    ROLLED for (size_t j = 0; j < d; j += 64) {
        UNROLL for (int w = 0; w < 4; w++) sum[w] = multiply_add(load(row + j + 16 * w), load(x + j + 16 * w), sum[w]);
    }
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

INLINE float squared_length(size_t d, const float *x) { return sum_of_lanes(row_dot(d, x, x)); }

/// h = M x
INLINE coefficients project(const int r, const int wide, size_t d, const float *M, const float *x) {
    lanes sum[16];
    if (wide) {
        UNROLL for (int k = 0; k < r; k++) sum[k] = row_dot(d, M + (size_t)k * d, x);
    } else {
        // At least eight sums at once, to hide the latency of each.
        const int vectors = r < 8 ? 2 : 1;
        lanes part[16][2];
        UNROLL for (int k = 0; k < r; k++) part[k][0] = part[k][1] = (lanes){0};
        ROLLED for (size_t j = 0; j < d; j += 16 * (size_t)vectors) {
            UNROLL for (int w = 0; w < vectors; w++) {
                lanes xj = load(x + j + 16 * w);
                UNROLL for (int k = 0; k < r; k++)
                    part[k][w] = multiply_add(load(M + (size_t)k * d + j + 16 * w), xj, part[k][w]);
            }
        }
        UNROLL for (int k = 0; k < r; k++) sum[k] = vectors == 1 ? part[k][0] : part[k][0] + part[k][1];
    }
    coefficients h;
    UNROLL for (int k = 0; k < r; k += 4)
        h.quads[k / 4] = add_quads(fold_into_quads(sum[k], sum[k + 1], sum[k + 2], sum[k + 3]));
    return h;
}

/// y = x + B' h by rows: y is read and written once for each row.
INLINE void add_rows(const int r, size_t d, const float *B, const coefficients *h, const float *x, float *y) {
    UNROLL for (int k = 0; k < r; k++) {
        const float *row = B + (size_t)k * d, *from = k ? y : x;
        const lanes hk = coefficient(h, k);
        ROLLED for (size_t j = 0; j < d; j += 64) {
            UNROLL for (int w = 0; w < 64; w += 16) {
                lanes product = hk * load(row + j + w);
                store(y + j + w, load(from + j + w) + product);
            }
        }
    }
}

/// One vector of columns of B' h, in two chains.
INLINE lanes column_sum(const int r, size_t d, const float *B, const lanes *h, lanes start) {
    lanes even = start, odd = h[1] * load(B + d);
    UNROLL for (int k = 0; k < r; k += 2) {
        even = multiply_add(load(B + (size_t)k * d), h[k], even);
        if (k) odd = multiply_add(load(B + (size_t)(k + 1) * d), h[k + 1], odd);
    }
    return even + odd;
}

/// y = x + B' h
INLINE void add_projected(
    const int r, const int wide, size_t d, const float *B, const coefficients *h, const float *x, float *y) {
    if (wide) {
        add_rows(r, d, B, h, x, y);
    } else {
        lanes spread_h[16];
        UNROLL for (int k = 0; k < r; k++) spread_h[k] = coefficient(h, k);
        ROLLED for (size_t j = 0; j < d; j += 16) store(y + j, column_sum(r, d, B + j, spread_h, load(x + j)));
    }
}

/// e = x + B' h - t; returns its squared length.
INLINE float residual(
    const int r, const int wide, size_t d, const float *B, const coefficients *h, const float *x, const float *t,
    float *e) {
    if (wide) {
        ROLLED for (size_t j = 0; j < d; j += 16) store(e + j, load(x + j) - load(t + j));
        add_rows(r, d, B, h, e, e);
        return squared_length(d, e);
    }
    lanes spread_h[16], sum[2] = {{0}, {0}};
    UNROLL for (int k = 0; k < r; k++) spread_h[k] = coefficient(h, k);
    ROLLED for (size_t j = 0; j < d; j += 32) {
        UNROLL for (int w = 0; w < 2; w++) {
            const size_t i = j + 16 * (size_t)w;
            lanes v = column_sum(r, d, B + i, spread_h, load(x + i) - load(t + i));
            store(e + i, v);
            sum[w] = multiply_add(v, v, sum[w]);
        }
    }
    return sum_of_lanes(sum[0] + sum[1]);
}

/// g = M v and then M += u v', in one pass: the multiplications of the first hide behind the stores of the second.
INLINE coefficients project_and_update(
    const int r, const int wide, size_t d, float *M, const coefficients *u, const float *v) {
    coefficients g;
    UNROLL for (int k0 = 0; k0 < r; k0 += 4) {
        float *rows = M + (size_t)k0 * d;
        lanes uk[4], sum[4];
        UNROLL for (int k = 0; k < 4; k++) {
            uk[k] = coefficient(u, k0 + k);
            sum[k] = (lanes){0};
        }
        if (wide) {
            UNROLL for (int k = 0; k < 4; k++) {
                float *row = rows + (size_t)k * d;
                lanes part[4] = {{0}, {0}, {0}, {0}};
                ROLLED for (size_t j = 0; j < d; j += 64) {
                    UNROLL for (int w = 0; w < 4; w++) {
                        lanes m = load(row + j + 16 * w), vj = load(v + j + 16 * w);
                        lanes product = m * vj, step = uk[k] * vj;
                        part[w] += product;
                        store(row + j + 16 * w, m + step);
                    }
                }
                sum[k] = (part[0] + part[1]) + (part[2] + part[3]);
            }
        } else {
            ROLLED for (size_t j = 0; j < d; j += 16) {
                lanes vj = load(v + j);
                UNROLL for (int k = 0; k < 4; k++) {
                    float *p = rows + (size_t)k * d + j;
                    lanes m = load(p), step = uk[k] * vj;
                    sum[k] = multiply_add(m, vj, sum[k]);
                    store(p, m + step);
                }
            }
        }
        g.quads[k0 / 4] = add_quads(fold_into_quads(sum[0], sum[1], sum[2], sum[3]));
    }
    return g;
}

/// M += u v'
INLINE void update(const int r, const int wide, size_t d, float *M, const coefficients *u, const float *v) {
    const int rows = wide ? 1 : 4;
    UNROLL for (int k0 = 0; k0 < r; k0 += rows) {
        lanes uk[4];
        UNROLL for (int k = 0; k < rows; k++) uk[k] = coefficient(u, k0 + k);
        ROLLED for (size_t j = 0; j < d; j += 64) {
            UNROLL for (size_t i = j; i < j + 64; i += 16) {
                lanes vi = load(v + i);
                UNROLL for (int k = 0; k < rows; k++) {
                    float *p = M + (size_t)(k0 + k) * d + i;
                    lanes step = uk[k] * vi;
                    store(p, load(p) + step);
                }
            }
        }
    }
}

// ---------------------------------------------------------------- one copy of a kernel for each shape

/// Stamps X(rank, wide, name of the copy) for every shape that has its own copy.
#define FOR_EACH_SHAPE(X, name) \
    X(4, 0, name##_4) X(8, 0, name##_8) X(16, 0, name##_16) \
    X(4, 1, name##_4_wide) X(8, 1, name##_8_wide) X(16, 1, name##_16_wide)

/// Returns what the shape's copy does.
#define DISPATCH(name, d, r, wide, ...) \
    do { \
        if ((d) == 0 || (d) % 64) __builtin_trap(); \
        switch (r) { \
            case 4: return (wide) ? name##_4_wide(__VA_ARGS__) : name##_4(__VA_ARGS__); \
            case 8: return (wide) ? name##_8_wide(__VA_ARGS__) : name##_8(__VA_ARGS__); \
            case 16: return (wide) ? name##_16_wide(__VA_ARGS__) : name##_16(__VA_ARGS__); \
            default: __builtin_trap(); \
        } \
    } while (0)
#endif
