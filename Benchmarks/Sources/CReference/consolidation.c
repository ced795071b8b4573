// Gradient descent with elastic weight consolidation.
//
// The clip needs the norm of g = u v' + penalty * F * p, which is not of rank one. It splits:
//
//   |g|^2 = |u v'|^2 + 2 penalty * <u v', F * p> + penalty^2 |F * p|^2
//
// and |F * p|^2 falls out of the passes that read p anyway. While |u v'| + penalty * |F * p| is at most the clip, so
// is |g|, and the term in the middle is not needed at all; else one more pass computes it.
#include "kernels.h"
#include "passes.h"
#if defined(__x86_64__)

/// One row's dot with x, and in `squares` its |F * p|^2.
INLINE lanes row_dot_and_squares(size_t d, const float *row, const float *importance, const float *x, lanes *squares) {
    lanes sum[2] = {{0}, {0}}, part[2] = {squares[0], squares[1]};
    ROLLED for (size_t j = 0; j < d; j += 32) {
        UNROLL for (int w = 0; w < 2; w++) {
            lanes p = load(row + j + 16 * w), product = p * load(importance + j + 16 * w);
            sum[w] = multiply_add(p, load(x + j + 16 * w), sum[w]);
            part[w] = multiply_add(product, product, part[w]);
        }
    }
    squares[0] = part[0];
    squares[1] = part[1];
    return sum[0] + sum[1];
}

/// h = A x; in `squares` |F * A|^2.
INLINE coefficients project_and_square(
    const int r, size_t d, const float *A, const float *importance, const float *x, float *squares) {
    coefficients h;
    lanes part[2] = {{0}, {0}};
    UNROLL for (int k0 = 0; k0 < r; k0 += 4) {
        lanes sum[4];
        UNROLL for (int k = 0; k < 4; k++) {
            const size_t row = (size_t)(k0 + k) * d;
            sum[k] = row_dot_and_squares(d, A + row, importance + row, x, part);
        }
        h.quads[k0 / 4] = add_quads(fold_into_quads(sum[0], sum[1], sum[2], sum[3]));
    }
    *squares = sum_of_lanes(part[0] + part[1]);
    return h;
}

/// e = x + B' h - t, whose squared length it returns; in `squares` |F * B|^2.
INLINE float residual_and_square(
    const int r, const int wide, size_t d, const float *B, const float *importance, const coefficients *h,
    const float *x, const float *t, float *e, float *squares) {
    lanes part[2] = {{0}, {0}}, ee = {0};
    if (wide) ROLLED for (size_t j = 0; j < d; j += 16) store(e + j, load(x + j) - load(t + j));
    const int group = wide ? 1 : r < 8 ? r : 8;
    UNROLL for (int k0 = 0; k0 < r; k0 += group) {
        lanes hk[8];
        UNROLL for (int k = 0; k < group; k++) hk[k] = coefficient(h, k0 + k);
        ROLLED for (size_t j = 0; j < d; j += 32) {
            UNROLL for (size_t i = j; i < j + 32; i += 16) {
                lanes v = wide || k0 ? load(e + i) : load(x + i) - load(t + i), odd = {0};
                UNROLL for (int k = 0; k < group; k++) {
                    const size_t at = (size_t)(k0 + k) * d + i;
                    lanes p = load(B + at), product = p * load(importance + at);
                    part[wide ? (i - j) / 16 : k & 1] =
                        multiply_add(product, product, part[wide ? (i - j) / 16 : k & 1]);
                    if (k & 1) odd = multiply_add(p, hk[k], odd);
                    else v = multiply_add(p, hk[k], v);
                }
                v += odd;
                store(e + i, v);
                if (k0 + group == r) ee = multiply_add(v, v, ee);
            }
        }
    }
    *squares = sum_of_lanes(part[0] + part[1]);
    return sum_of_lanes(ee);
}

/// How far one matrix moves, and why.
typedef struct { float rate, penalty; } motion;

/// The step of one row with data gradient u v'. Returns the row's dot with v before the step, which only B's caller
/// uses.
INLINE lanes consolidate_row(size_t d, float *row, float *importance, lanes u, const float *v, motion m) {
    // In units of the penalty: g / penalty = F * p + (u / penalty) v' saves a product.
    const lanes data = u * (1.0f / m.penalty), step = splat(-m.rate * m.penalty), keep = splat(0.9f);
    const lanes add = splat(0.1f * m.penalty * m.penalty);
    lanes sum[2] = {{0}, {0}};
    ROLLED for (size_t j = 0; j < d; j += 32) {
        UNROLL for (int w = 0; w < 2; w++) {
            const size_t i = j + 16 * (size_t)w;
            lanes p = load(row + i), f = load(importance + i), vi = load(v + i);
            lanes g = multiply_add(data, vi, p * f);
            sum[w] = multiply_add(p, vi, sum[w]);
            store(row + i, multiply_add(step, g, p));
            store(importance + i, multiply_add(add * g, g, keep * f));
        }
    }
    return sum[0] + sum[1];
}

/// The rate once |g| is known not to pass, or clipped. `data` is |u v'|^2 and `squares` is |F * p|^2. Rarely called.
KERNEL __attribute__((noinline, cold)) static float clipped_rate(
    const int r, size_t d, const float *M, const float *importance, const coefficients *u, const float *v, float data,
    float squares, motion m) {
    float numbers[16];
    ROLLED for (int k = 0; k < r; k++) numbers[k] = u->quads[k / 4][k % 4];
    lanes cross = {0};
    ROLLED for (int k = 0; k < r; k++) {
        ROLLED for (size_t j = 0; j < d; j += 16) {
            const size_t i = (size_t)k * d + j;
            cross = multiply_add(load(M + i) * load(importance + i), load(v + j) * numbers[k], cross);
        }
    }
    return m.rate * clip_factor(data + 2 * m.penalty * sum_of_lanes(cross) + m.penalty * m.penalty * squares);
}

INLINE float consolidate(
    const int r, const int wide, size_t d, float *A, float *B, float *importance, const float *x, const float *t,
    float scale, float rate, float penalty, float *e) {
    const float c = 2.0f / (float)d * scale;
    float *importance_b = importance + (size_t)r * d;
    float squares_a, squares_b;
    const coefficients h = project_and_square(r, d, A, importance, x, &squares_a), scaled_h = scaled(r, &h, scale);
    const float xx = squared_length(d, x);
    const float ee = residual_and_square(r, wide, d, B, importance_b, &scaled_h, x, t, e, &squares_b);

    const coefficients data_b = scaled(r, &h, c);
    float data = squared_norm(r, &data_b) * ee;
    motion m = {rate, penalty};
    #define MAY_EXCEED_CLIP(squares) \
        __builtin_expect( \
            __builtin_elementwise_sqrt(data) + penalty * __builtin_elementwise_sqrt(squares) > CLIP_NORM, 0)
    if (MAY_EXCEED_CLIP(squares_b)) m.rate = clipped_rate(r, d, B, importance_b, &data_b, e, data, squares_b, m);
    coefficients g;
    UNROLL for (int k0 = r - 4; k0 >= 0; k0 -= 4) {
        lanes sum[4];
        UNROLL for (int k = 3; k >= 0; k--) {
            const size_t row = (size_t)(k0 + k) * d;
            sum[k] = consolidate_row(d, B + row, importance_b + row, coefficient(&data_b, k0 + k), e, m);
        }
        g.quads[k0 / 4] = add_quads(fold_into_quads(sum[0], sum[1], sum[2], sum[3]));
    }

    const coefficients data_a = scaled(r, &g, c);
    data = squared_norm(r, &data_a) * xx;
    m.rate = rate;
    if (MAY_EXCEED_CLIP(squares_a)) m.rate = clipped_rate(r, d, A, importance, &data_a, x, data, squares_a, m);
    UNROLL for (int k = r - 1; k >= 0; k--) {
        const size_t row = (size_t)k * d;
        (void)consolidate_row(d, A + row, importance + row, coefficient(&data_a, k), x, m);
    }
    return ee / (float)d;
}

#define CONSOLIDATE(RANK, WIDE, NAME) \
    KERNEL static float NAME( \
        size_t d, float *A, float *B, float *importance, const float *x, const float *t, float scale, float rate, \
        float penalty, float *e) { \
        return consolidate(RANK, WIDE, d, A, B, importance, x, t, scale, rate, penalty, e); \
    }
FOR_EACH_SHAPE(CONSOLIDATE, consolidate)

float limit_ewc(
    size_t d, size_t r, float *A, float *B, float *importance, const float *x, const float *t, float scale, float rate,
    float penalty, float *scratch) {
    DISPATCH(
        consolidate, d, r, outgrows_cache(4 * r * d), d, A, B, importance, x, t, scale, rate, penalty, scratch);
}
#endif
