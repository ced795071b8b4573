// Adam on the rank-one gradient of one sample, which is never formed either: its squares are the squares of u times the
// squares of v.
#include "kernels.h"
#include "passes.h"
#if defined(__x86_64__)

/// The step of one row whose gradient is u v'; `u1` is 0.1 u, `u2` is 0.001 u^2, and `vv` the squares of v. Returns the
/// row's dot with v before the step, which only B's caller uses.
///
/// Square root and division keep one unit busy for 7 cycles when both are left to the processor. So twice the square
/// root is v y (3 - v y^2), with y the processor's estimate of the inverse square root (relative error below 2^-14,
/// and about 2^-27 after this one step of Newton's method); only the division is the processor's.
INLINE lanes adam_row(
    size_t d, float *row, float *m, float *v, lanes u1, lanes u2, const float *gradient, const float *squares,
    float rate) {
    const lanes keep1 = splat(0.9f), keep2 = splat(0.999f), step = splat(-2 * rate), three = splat(3);
    const lanes twice_epsilon = splat(2e-8f), tiny = splat(1e-30f);
    lanes sum[2] = {{0}, {0}};
    ROLLED for (size_t j = 0; j < d; j += 32) {
        UNROLL for (int w = 0; w < 2; w++) {
            const size_t i = j + 16 * (size_t)w;
            lanes p = load(row + i), gi = load(gradient + i);
            lanes m1 = multiply_add(keep1, load(m + i), u1 * gi);
            lanes m2 = multiply_add(keep2, load(v + i), u2 * load(squares + i));
            store(m + i, m1);
            store(v + i, m2);
            lanes y = (lanes)_mm512_rsqrt14_ps((__m512)__builtin_elementwise_max(m2, tiny));
            lanes root = m2 * y;
            lanes twice = multiply_add(root, multiply_add(-root, y, three), twice_epsilon);
            store(row + i, multiply_add(step, m1 / twice, p));
            sum[w] = multiply_add(p, gi, sum[w]);
        }
    }
    return sum[0] + sum[1];
}

INLINE void square(size_t d, const float *x, float *squares) {
    ROLLED for (size_t j = 0; j < d; j += 16) store(squares + j, load(x + j) * load(x + j));
}

INLINE coefficients adam_rows(
    const int r, size_t d, float *M, float *moments, const coefficients *u, const float *v,
    const float *squares, float rate) {
    coefficients g;
    UNROLL for (int k0 = 0; k0 < r; k0 += 4) {
        const lanes u1 = u->quads[k0 / 4] * 0.1f, u2 = u->quads[k0 / 4] * u->quads[k0 / 4] * 0.001f;
        lanes sum[4];
        UNROLL for (int k = 0; k < 4; k++) {
            const size_t row = (size_t)(k0 + k) * d;
            sum[k] = adam_row(
                d, M + row, moments + row, moments + (size_t)r * d + row, spread(u1, k), spread(u2, k), v, squares,
                rate);
        }
        g.quads[k0 / 4] = add_quads(fold_into_quads(sum[0], sum[1], sum[2], sum[3]));
    }
    return g;
}

INLINE float adam(
    const int r, const int wide, size_t d, float *A, float *B, float *moments, const float *x, const float *t,
    float scale, float rate, float *e) {
    const float c = 2.0f / (float)d * scale;
    float *squares = e + d;
    const coefficients h = project(r, wide, d, A, x), scaled_h = scaled(r, &h, scale);
    const float ee = residual(r, wide, d, B, &scaled_h, x, t, e), xx = squared_length(d, x);

    square(d, e, squares);
    const coefficients u = scaled(r, &h, c * clip_factor(c * c * ee * squared_norm(r, &h)));
    const coefficients g = adam_rows(r, d, B, moments + 2 * (size_t)r * d, &u, e, squares, rate);
    square(d, x, squares);
    const coefficients w = scaled(r, &g, c * clip_factor(c * c * squared_norm(r, &g) * xx));
    (void)adam_rows(r, d, A, moments, &w, x, squares, rate);
    return ee / (float)d;
}

#define ADAM(RANK, WIDE, NAME) \
    KERNEL static float NAME( \
        size_t d, float *A, float *B, float *moments, const float *x, const float *t, float scale, float rate, \
        float *e) { \
        return adam(RANK, WIDE, d, A, B, moments, x, t, scale, rate, e); \
    }
FOR_EACH_SHAPE(ADAM, adam)

float limit_adam(
    size_t d, size_t r, float *A, float *B, float *moments, const float *x, const float *t, float scale, float rate,
    float *scratch) {
    DISPATCH(adam, d, r, outgrows_cache(2 * r * d), d, A, B, moments, x, t, scale, rate, scratch);
}
#endif
