// The forward pass and plain gradient descent. For one sample, with e = x + scale * B (A x) - t and c = 2 / d:
//
//   dL/dB = c * scale * e h'     with h = A x     norm: c * scale * |e| |h|
//   dL/dA = c * scale * g x'     with g = B' e    norm: c * scale * |g| |x|
//
// Both gradients have rank one, so no step forms them and their norms cost nothing.
#include "kernels.h"
#include "passes.h"
#if defined(__x86_64__)

INLINE void forward(
    const int r, const int wide, size_t d, const float *A, const float *B, const float *x, float *y, float scale) {
    coefficients h = project(r, wide, d, A, x);
    h = scaled(r, &h, scale);
    add_projected(r, wide, d, B, &h, x, y);
}

INLINE float descend(
    const int r, const int wide, size_t d, float *A, float *B, const float *x, const float *t, float scale, float rate,
    float *e) {
    const float c = 2.0f / (float)d * scale;
    const coefficients h = project(r, wide, d, A, x), scaled_h = scaled(r, &h, scale);
    const float xx = squared_length(d, x), ee = residual(r, wide, d, B, &scaled_h, x, t, e);

    const coefficients step_b = scaled(r, &h, -rate * c * clip_factor(c * c * ee * squared_norm(r, &h)));
    const coefficients g = project_and_update(r, wide, d, B, &step_b, e);
    const coefficients step_a = scaled(r, &g, -rate * c * clip_factor(c * c * squared_norm(r, &g) * xx));
    update(r, wide, d, A, &step_a, x);
    return ee / (float)d;
}

// ---------------------------------------------------------------- d = 64: everything unrolled, vectors in registers

enum { SHORT = 64, SHORT_VECTORS = SHORT / LANES };

INLINE lanes short_dot(const float *row, const lanes *v) {
    return multiply_add(load(row + 16), v[1], load(row) * v[0])
        + multiply_add(load(row + 48), v[3], load(row + 32) * v[2]);
}

/// Lane k of every quad: the dot of the k-th of four rows with v.
INLINE lanes four_short_dots(const float *rows, const lanes *v) {
    return add_quads(fold_into_quads(
        short_dot(rows, v), short_dot(rows + SHORT, v), short_dot(rows + 2 * SHORT, v),
        short_dot(rows + 3 * SHORT, v)));
}

INLINE float short_squared_length(const lanes *v) {
    return sum_of_lanes(multiply_add(v[1], v[1], v[0] * v[0]) + multiply_add(v[3], v[3], v[2] * v[2]));
}

/// v += B' h, in two chains.
INLINE void short_add_projected(const int r, const float *B, const coefficients *h, lanes *v) {
    lanes odd[SHORT_VECTORS];
    UNROLL for (int k = 0; k < r; k += 2) {
        const lanes h0 = coefficient(h, k), h1 = coefficient(h, k + 1);
        UNROLL for (int j = 0; j < SHORT_VECTORS; j++) {
            v[j] = multiply_add(load(B + k * SHORT + 16 * j), h0, v[j]);
        }
        UNROLL for (int j = 0; j < SHORT_VECTORS; j++) {
            const lanes b = load(B + (k + 1) * SHORT + 16 * j);
            odd[j] = k ? multiply_add(b, h1, odd[j]) : b * h1;
        }
    }
    UNROLL for (int j = 0; j < SHORT_VECTORS; j++) v[j] += odd[j];
}

/// Four rows += u v'
INLINE void four_short_updates(float *rows, lanes u, const lanes *v) {
    UNROLL for (int k = 0; k < 4; k++) {
        UNROLL for (int j = 0; j < SHORT_VECTORS; j++) {
            float *p = rows + k * SHORT + 16 * j;
            lanes step = spread(u, k) * v[j];
            store(p, load(p) + step);
        }
    }
}

/// So short a step is one chain of waits: A's last store to the next step's first load, two sums across lanes, four
/// products. Factors go into x, away from that chain, and e never takes the way through memory.
INLINE float descend_short(
    const int r, float *A, float *B, const float *x, const float *t, float scale, float rate) {
    const float c = 2.0f / SHORT;
    lanes xs[SHORT_VECTORS], scaled_x[SHORT_VECTORS], e[SHORT_VECTORS];
    UNROLL for (int j = 0; j < SHORT_VECTORS; j++) {
        xs[j] = load(x + 16 * j);
        scaled_x[j] = xs[j] * scale;
        e[j] = xs[j] - load(t + 16 * j);
    }
    coefficients scaled_h, g;
    UNROLL for (int k = 0; k < r; k += 4) scaled_h.quads[k / 4] = four_short_dots(A + k * SHORT, scaled_x);
    short_add_projected(r, B, &scaled_h, e);

    // scaled_h holds the scale that the gradient is multiplied by.
    const float ee = short_squared_length(e);
    const coefficients step_b =
        scaled(r, &scaled_h, -rate * c * clip_factor(c * c * ee * squared_norm(r, &scaled_h)));
    UNROLL for (int k = 0; k < r; k += 4) {
        g.quads[k / 4] = four_short_dots(B + k * SHORT, e);
        four_short_updates(B + k * SHORT, step_b.quads[k / 4], e);
    }
    const float norm = c * c * scale * scale * squared_norm(r, &g) * short_squared_length(xs);
    const float factor = -rate * c * scale * clip_factor(norm);
    UNROLL for (int j = 0; j < SHORT_VECTORS; j++) scaled_x[j] = xs[j] * factor;
    UNROLL for (int k = 0; k < r; k += 4) four_short_updates(A + k * SHORT, g.quads[k / 4], scaled_x);
    return ee / SHORT;
}

// ---------------------------------------------------------------- one copy for each shape

#define FORWARD(RANK, WIDE, NAME) \
    KERNEL static void NAME( \
        size_t d, const float *A, const float *B, const float *x, float *y, float scale) { \
        forward(RANK, WIDE, d, A, B, x, y, scale); \
    }
FOR_EACH_SHAPE(FORWARD, forward)

#define DESCEND(RANK, WIDE, NAME) \
    KERNEL static float NAME( \
        size_t d, float *A, float *B, const float *x, const float *t, float scale, float rate, float *e) { \
        if (!WIDE && d == SHORT) return descend_short(RANK, A, B, x, t, scale, rate); \
        return descend(RANK, WIDE, d, A, B, x, t, scale, rate, e); \
    }
FOR_EACH_SHAPE(DESCEND, descend)

void limit_forward(
    size_t d, size_t r, const float *A, const float *B, const float *x, float *y, float scale) {
    DISPATCH(forward, d, r, outgrows_cache(2 * r * d), d, A, B, x, y, scale);
}

float limit_sgd(
    size_t d, size_t r, float *A, float *B, const float *x, const float *t, float scale, float rate, float *scratch) {
    DISPATCH(descend, d, r, outgrows_cache(2 * r * d), d, A, B, x, t, scale, rate, scratch);
}
#endif
