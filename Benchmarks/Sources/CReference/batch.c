// Gradient descent by the mean gradient of a mini-batch: five products of small matrices, which the multiplications
// bound.
//
//   H = X A'     E = X - T + scale * H B     G = E B'     dL/dB ~ H' E     dL/dA ~ G' X
//
// E is never whole: the three products that it takes part in go block by block over its columns.
#include "kernels.h"
#include "passes.h"
#include "tiles.h"

/// The columns of a block: those of B and of 64 samples of E fit the first-level cache together.
enum { BLOCK = 128 };

#if defined(__x86_64__)

/// P [samples, r] = (add: +=) V M', over n columns.
INLINE void project_batch(
    const int r, const int add, size_t n, size_t samples, const float *M, size_t m_stride, const float *V,
    size_t v_stride, float *P) {
    ROLLED for (size_t k = 0; k < (size_t)r; k += 4) {
        ROLLED for (size_t q = 0; q < samples; q += 4) {
            lanes tile = dot_tile(n, V + q * v_stride, v_stride, M + k * m_stride, m_stride);
            float sums[LANES];
            store(sums, tile);
            UNROLL for (int i = 0; i < 4; i++) {
                quad *p = (quad *)(P + (q + (size_t)i) * (size_t)r + k), s = *(const quad *)(sums + 4 * i);
                *p = add ? *p + s : s;
            }
        }
    }
}

/// 64 columns of E for four samples; adds their squares to `squares`.
INLINE void residual_tile(
    const int r, size_t d, const float *B, const float *H, const float *X, const float *T, float *E, lanes *squares) {
    lanes e[4][4];
    UNROLL for (int q = 0; q < 4; q++) {
        UNROLL for (int w = 0; w < 4; w++) {
            const size_t i = (size_t)q * d + 16 * (size_t)w;
            e[q][w] = load(X + i) - load(T + i);
        }
    }
    ROLLED for (int k = 0; k < r; k++) {
        lanes b[4];
        UNROLL for (int w = 0; w < 4; w++) b[w] = load(B + (size_t)k * d + 16 * (size_t)w);
        UNROLL for (int q = 0; q < 4; q++) {
            lanes h = splat(H[q * r + k]);
            UNROLL for (int w = 0; w < 4; w++) e[q][w] = multiply_add(h, b[w], e[q][w]);
        }
    }
    UNROLL for (int q = 0; q < 4; q++) {
        UNROLL for (int w = 0; w < 4; w++) {
            store(E + q * BLOCK + 16 * w, e[q][w]);
            *squares = multiply_add(e[q][w], e[q][w], *squares);
        }
    }
}

/// Four rows and 64 columns of the gradient P' V; returns their squares.
INLINE lanes gradient_tile(
    const int r, size_t samples, const float *P, const float *V, size_t v_stride, float *gradient, size_t d) {
    lanes sum[4][4];
    UNROLL for (int k = 0; k < 4; k++) {
        UNROLL for (int w = 0; w < 4; w++) sum[k][w] = (lanes){0};
    }
    ROLLED for (size_t q = 0; q < samples; q++) {
        lanes v[4];
        UNROLL for (int w = 0; w < 4; w++) v[w] = load(V + q * v_stride + 16 * (size_t)w);
        UNROLL for (int k = 0; k < 4; k++) {
            lanes p = splat(P[q * (size_t)r + (size_t)k]);
            UNROLL for (int w = 0; w < 4; w++) sum[k][w] = multiply_add(p, v[w], sum[k][w]);
        }
    }
    lanes squares[2] = {{0}, {0}};
    UNROLL for (int k = 0; k < 4; k++) {
        UNROLL for (int w = 0; w < 4; w++) {
            store(gradient + (size_t)k * d + 16 * (size_t)w, sum[k][w]);
            squares[w & 1] = multiply_add(sum[k][w], sum[k][w], squares[w & 1]);
        }
    }
    return squares[0] + squares[1];
}

INLINE void add_scaled(size_t n, float *M, const float *gradient, float factor) {
    ROLLED for (size_t i = 0; i < n; i += 64) {
        UNROLL for (size_t w = i; w < i + 64; w += 16) {
            lanes step = factor * load(gradient + w);
            store(M + w, load(M + w) + step);
        }
    }
}

INLINE float descend_batch(
    const int r, size_t d, size_t samples, float *A, float *B, const float *X, const float *T, float scale, float rate,
    float *scratch) {
    const size_t parameters = (size_t)r * d, projections = (size_t)r * samples;
    float *gradient_a = scratch, *gradient_b = gradient_a + parameters;
    float *H = gradient_b + parameters, *G = H + projections, *E = G + projections;
    lanes squares_a = {0}, squares_b = {0}, squares_e = {0};

    project_batch(r, 0, d, samples, A, d, X, d, H);
    ROLLED for (size_t i = 0; i < projections; i += 16) {
        store(H + i, load(H + i) * scale);
        store(G + i, (lanes){0});
    }
    ROLLED for (size_t j = 0; j < d; j += BLOCK) {
        const size_t n = d - j < BLOCK ? d - j : BLOCK;
        ROLLED for (size_t i = 0; i < n; i += 64) {
            ROLLED for (size_t q = 0; q < samples; q += 4) {
                const size_t at = q * d + j + i;
                residual_tile(r, d, B + j + i, H + q * (size_t)r, X + at, T + at, E + q * BLOCK + i, &squares_e);
            }
        }
        project_batch(r, 1, n, samples, B + j, d, E, BLOCK, G);
        ROLLED for (size_t i = 0; i < n; i += 64) {
            ROLLED for (size_t k = 0; k < (size_t)r; k += 4)
                squares_b += gradient_tile(r, samples, H + k, E + i, BLOCK, gradient_b + k * d + j + i, d);
        }
    }
    ROLLED for (size_t j = 0; j < d; j += 64) {
        ROLLED for (size_t k = 0; k < (size_t)r; k += 4)
            squares_a += gradient_tile(r, samples, G + k, X + j, d, gradient_a + k * d + j, d);
    }

    // H holds the scale already, G does not.
    const float c_b = 2.0f / (float)d / (float)samples, c_a = c_b * scale;
    add_scaled(parameters, B, gradient_b, -rate * c_b * clip_factor(c_b * c_b * sum_of_lanes(squares_b)));
    add_scaled(parameters, A, gradient_a, -rate * c_a * clip_factor(c_a * c_a * sum_of_lanes(squares_a)));
    return sum_of_lanes(squares_e) / (float)d / (float)samples;
}

#define BATCH(RANK) \
    KERNEL static float batch_##RANK( \
        size_t d, size_t samples, float *A, float *B, const float *X, const float *T, float scale, float rate, \
        float *scratch) { \
        return descend_batch(RANK, d, samples, A, B, X, T, scale, rate, scratch); \
    }
BATCH(4)
BATCH(8)
BATCH(16)

float limit_batch(
    size_t d, size_t r, size_t samples, float *A, float *B, const float *X, const float *T, float scale, float rate,
    float *scratch) {
    if (d == 0 || d % 64 || samples == 0 || samples % 4) __builtin_trap();
    switch (r) {
        case 4: return batch_4(d, samples, A, B, X, T, scale, rate, scratch);
        case 8: return batch_8(d, samples, A, B, X, T, scale, rate, scratch);
        case 16: return batch_16(d, samples, A, B, X, T, scale, rate, scratch);
        default: __builtin_trap();
    }
}
#endif
