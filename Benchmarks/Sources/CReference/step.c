// The forward pass and plain gradient descent. For one sample, with e = x + scale * B (A x) - t and c = 2 / d:
//
//   dL/dB = c * scale * e h'     with h = A x     norm: c * scale * |e| |h|
//   dL/dA = c * scale * g x'     with g = B' e    norm: c * scale * |g| |x|
//
// Both gradients have rank one, so no step forms them and their norms cost nothing.
#include "passes.h"
#include "reference.h"
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

/// d = 64, where a step is one chain of waits: e stays in registers, and factors go into x, away from the sums.
INLINE float descend_64(
    const int r, float *A, float *B, const float *x, const float *t, float scale, float rate) {
    enum { d = 64, COLUMNS = d / LANES };
    const float c = 2.0f / d;
    lanes xs[COLUMNS], scaled_x[COLUMNS], e[COLUMNS], odd[COLUMNS];
    UNROLL for (int j = 0; j < COLUMNS; j++) {
        xs[j] = load(x + 16 * j);
        scaled_x[j] = xs[j] * scale;
        e[j] = xs[j] - load(t + 16 * j);
        odd[j] = (lanes){0};
    }
    #define DOT_64(p, v) \
        (multiply_add(load((p) + 16), (v)[1], load(p) * (v)[0]) \
         + multiply_add(load((p) + 48), (v)[3], load((p) + 32) * (v)[2]))
    #define SQUARES_64(v) \
        sum_of_lanes(multiply_add((v)[1], (v)[1], (v)[0] * (v)[0]) + multiply_add((v)[3], (v)[3], (v)[2] * (v)[2]))
    #define DOTS_64(p, v) \
        add_quads(fold_into_quads(DOT_64(p, v), DOT_64((p) + d, v), DOT_64((p) + 2 * d, v), DOT_64((p) + 3 * d, v)))

    coefficients scaled_h, g, step_b;
    UNROLL for (int k = 0; k < r; k += 4) scaled_h.quads[k / 4] = DOTS_64(A + k * d, scaled_x);
    UNROLL for (int k = 0; k < r; k += 2) {
        lanes h0 = coefficient(&scaled_h, k), h1 = coefficient(&scaled_h, k + 1);
        UNROLL for (int j = 0; j < COLUMNS; j++) {
            e[j] = multiply_add(load(B + k * d + 16 * j), h0, e[j]);
            odd[j] = multiply_add(load(B + (k + 1) * d + 16 * j), h1, odd[j]);
        }
    }
    UNROLL for (int j = 0; j < COLUMNS; j++) e[j] += odd[j];

    // The sums that the step of A waits for come first in the program, so the processor starts them first.
    float ee = 0;
    UNROLL for (int k0 = 0; k0 < r; k0 += 4) {
        float *rows = B + k0 * d;
        g.quads[k0 / 4] = DOTS_64(rows, e);
        if (k0 == 0) {
            // scaled_h holds the scale that the gradient is multiplied by.
            ee = SQUARES_64(e);
            step_b = scaled(r, &scaled_h, -rate * c * clip_factor(c * c * ee * squared_norm(r, &scaled_h)));
        }
        UNROLL for (int k = 0; k < 4; k++) {
            UNROLL for (int j = 0; j < COLUMNS; j++) {
                lanes step = coefficient(&step_b, k0 + k) * e[j];
                store(rows + k * d + 16 * j, load(rows + k * d + 16 * j) + step);
            }
        }
    }
    const float norm = c * c * scale * scale * squared_norm(r, &g) * SQUARES_64(xs);
    const float factor = -rate * c * scale * clip_factor(norm);
    UNROLL for (int j = 0; j < COLUMNS; j++) scaled_x[j] = xs[j] * factor;
    UNROLL for (int k = 0; k < r; k++) {
        UNROLL for (int j = 0; j < COLUMNS; j++) {
            lanes step = coefficient(&g, k) * scaled_x[j];
            store(A + k * d + 16 * j, load(A + k * d + 16 * j) + step);
        }
    }
    return ee / d;
}

#define FORWARD(RANK, WIDE, NAME) \
    KERNEL static void NAME( \
        size_t d, const float *A, const float *B, const float *x, float *y, float scale) { \
        forward(RANK, WIDE, d, A, B, x, y, scale); \
    }
FOR_EACH_SHAPE(FORWARD, forward)

#define DESCEND(RANK, WIDE, NAME) \
    KERNEL static float NAME( \
        size_t d, float *A, float *B, const float *x, const float *t, float scale, float rate, float *e) { \
        if (!WIDE && d == 64) return descend_64(RANK, A, B, x, t, scale, rate); \
        return descend(RANK, WIDE, d, A, B, x, t, scale, rate, e); \
    }
FOR_EACH_SHAPE(DESCEND, descend)

void reference_forward(
    size_t d, size_t r, const float *A, const float *B, const float *x, float *y, float scale) {
    DISPATCH(forward, d, r, outgrows_cache(2 * r * d), d, A, B, x, y, scale);
}

float reference_sgd(
    size_t d, size_t r, float *A, float *B, const float *x, const float *t, float scale, float rate, float *scratch) {
    DISPATCH(descend, d, r, outgrows_cache(2 * r * d), d, A, B, x, t, scale, rate, scratch);
}
#endif
