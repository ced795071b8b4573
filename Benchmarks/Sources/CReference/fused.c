// The fused reference: each step as directly as its formulas are written, in few passes over AVX-512 vectors. A pass
// goes column by column over all rows; samples are taken one by one; square roots and divisions are the processor's;
// A and B are written once the gradient's norms are known. What more can be had is in the limit.
#include "kernels.h"
#include "passes.h"
#if defined(__x86_64__)

/// out[k] = the sum of the k-th vector.
INLINE void sum_each(const int r, const lanes *v, float *out) {
    UNROLL for (int k = 0; k < r; k += 4) {
        const lanes four = add_quads(fold_into_quads(v[k], v[k + 1], v[k + 2], v[k + 3]));
        *(quad *)(out + k) = __builtin_shufflevector(four, four, 0, 1, 2, 3);
    }
}

INLINE float squares_of(const int r, const float *c) {
    float sum = 0;
    UNROLL for (int k = 0; k < r; k++) sum += c[k] * c[k];
    return sum;
}

INLINE void splat_each(const int r, const float *c, float factor, lanes *out) {
    UNROLL for (int k = 0; k < r; k++) out[k] = splat(c[k] * factor);
}

/// h = A x
INLINE void products(const int r, size_t d, const float *A, const float *x, float *h) {
    const int vectors = r <= 8 ? 2 : 1;
    lanes sum[2][16];
    UNROLL for (int k = 0; k < r; k++) sum[0][k] = sum[1][k] = (lanes){0};
    ROLLED for (size_t j = 0; j < d; j += 16 * (size_t)vectors) {
        UNROLL for (int w = 0; w < vectors; w++) {
            const lanes xj = load(x + j + 16 * w);
            UNROLL for (int k = 0; k < r; k++)
                sum[w][k] = multiply_add(load(A + (size_t)k * d + j + 16 * w), xj, sum[w][k]);
        }
    }
    if (vectors == 2) UNROLL for (int k = 0; k < r; k++) sum[0][k] += sum[1][k];
    sum_each(r, sum[0], h);
}

INLINE void forward(
    const int r, size_t d, const float *A, const float *B, const float *x, float *y, float scale) {
    float h[16];
    lanes hk[16];
    products(r, d, A, x, h);
    splat_each(r, h, scale, hk);
    ROLLED for (size_t j = 0; j < d; j += 16) store(y + j, column_sum(r, d, B + j, hk, load(x + j)));
}

/// e = x + scale * B' h - t and g = B e in one pass; returns the squared length of e.
INLINE float residual_and_products(
    const int r, size_t d, const float *B, const float *h, const float *x, const float *t, float scale, float *e,
    float *g) {
    lanes hk[16], sum[16], squares = {0};
    splat_each(r, h, scale, hk);
    UNROLL for (int k = 0; k < r; k++) sum[k] = (lanes){0};
    ROLLED for (size_t j = 0; j < d; j += 16) {
        lanes b[16], even = load(x + j) - load(t + j), odd = {0};
        UNROLL for (int k = 0; k < r; k += 2) {
            b[k] = load(B + (size_t)k * d + j);
            b[k + 1] = load(B + (size_t)(k + 1) * d + j);
            even = multiply_add(b[k], hk[k], even);
            odd = multiply_add(b[k + 1], hk[k + 1], odd);
        }
        const lanes v = even + odd;
        store(e + j, v);
        squares = multiply_add(v, v, squares);
        UNROLL for (int k = 0; k < r; k++) sum[k] = multiply_add(b[k], v, sum[k]);
    }
    sum_each(r, sum, g);
    return sum_of_lanes(squares);
}

/// The gradient of one sample, as the factors of its two matrices of rank one: u_a x' and u_b e'.
typedef struct { float u_a[16], u_b[16], squared_norm_a, squared_norm_b, loss; } gradient;

INLINE gradient gradient_of(
    const int r, size_t d, const float *A, const float *B, const float *x, const float *t, float scale, float *e) {
    const float c = 2.0f / (float)d * scale;
    gradient of;
    products(r, d, A, x, of.u_b);
    const float xx = squared_length(d, x);
    const float ee = residual_and_products(r, d, B, of.u_b, x, t, scale, e, of.u_a);
    UNROLL for (int k = 0; k < r; k++) {
        of.u_a[k] *= c;
        of.u_b[k] *= c;
    }
    of.squared_norm_a = squares_of(r, of.u_a) * xx;
    of.squared_norm_b = squares_of(r, of.u_b) * ee;
    of.loss = ee / (float)d;
    return of;
}

/// M += factor * u v', column by column over all rows.
INLINE void add_outer(const int r, size_t d, float *M, const float *u, float factor, const float *v) {
    lanes uk[16];
    splat_each(r, u, factor, uk);
    ROLLED for (size_t j = 0; j < d; j += 16) {
        const lanes vj = load(v + j);
        UNROLL for (int k = 0; k < r; k++) {
            float *p = M + (size_t)k * d + j;
            store(p, multiply_add(uk[k], vj, load(p)));
        }
    }
}

INLINE float sgd(
    const int r, size_t d, float *A, float *B, const float *x, const float *t, float scale, float rate, float *e) {
    const gradient g = gradient_of(r, d, A, B, x, t, scale, e);
    add_outer(r, d, A, g.u_a, -rate * clip_factor(g.squared_norm_a), x);
    add_outer(r, d, B, g.u_b, -rate * clip_factor(g.squared_norm_b), e);
    return g.loss;
}

// ---------------------------------------------------------------- Adam

INLINE void adam_matrix(
    const int r, size_t d, float *M, float *moments, const float *u, float factor, const float *v, float rate) {
    UNROLL for (int k = 0; k < r; k++) {
        float *row = M + (size_t)k * d, *first = moments + (size_t)k * d, *second = first + (size_t)r * d;
        const lanes uk = splat(u[k] * factor);
        ROLLED for (size_t j = 0; j < d; j += 16) {
            const lanes g = uk * load(v + j);
            const lanes m = multiply_add(splat(0.9f), load(first + j), 0.1f * g);
            const lanes w = multiply_add(splat(0.999f), load(second + j), 0.001f * (g * g));
            store(first + j, m);
            store(second + j, w);
            const lanes step = m / (__builtin_elementwise_sqrt(w) + 1e-8f);
            store(row + j, multiply_add(splat(-rate), step, load(row + j)));
        }
    }
}

INLINE float adam(
    const int r, size_t d, float *A, float *B, float *moments, const float *x, const float *t, float scale, float rate,
    float *e) {
    const gradient g = gradient_of(r, d, A, B, x, t, scale, e);
    adam_matrix(r, d, A, moments, g.u_a, clip_factor(g.squared_norm_a), x, rate);
    adam_matrix(r, d, B, moments + 2 * (size_t)r * d, g.u_b, clip_factor(g.squared_norm_b), e, rate);
    return g.loss;
}

// ---------------------------------------------------------------- elastic weight consolidation

/// u v' + penalty * F * p at one place.
INLINE lanes penalised(lanes u, lanes v, lanes penalty, lanes importance, lanes p) {
    return multiply_add(penalty * importance, p, u * v);
}

INLINE void ewc_matrix(
    const int r, size_t d, float *M, float *importance, const float *u, const float *v, float rate,
    float penalty) {
    const lanes lambda = splat(penalty);
    lanes squares[2] = {{0}, {0}};
    UNROLL for (int k = 0; k < r; k++) {
        const float *row = M + (size_t)k * d, *f = importance + (size_t)k * d;
        const lanes uk = splat(u[k]);
        ROLLED for (size_t j = 0; j < d; j += 32) {
            UNROLL for (int w = 0; w < 2; w++) {
                const size_t i = j + 16 * (size_t)w;
                const lanes g = penalised(uk, load(v + i), lambda, load(f + i), load(row + i));
                squares[w] = multiply_add(g, g, squares[w]);
            }
        }
    }
    const lanes step = splat(-rate * clip_factor(sum_of_lanes(squares[0] + squares[1])));
    UNROLL for (int k = 0; k < r; k++) {
        float *row = M + (size_t)k * d, *f = importance + (size_t)k * d;
        const lanes uk = splat(u[k]);
        ROLLED for (size_t j = 0; j < d; j += 16) {
            const lanes p = load(row + j), g = penalised(uk, load(v + j), lambda, load(f + j), p);
            store(row + j, multiply_add(step, g, p));
            store(f + j, multiply_add(splat(0.9f), load(f + j), 0.1f * (g * g)));
        }
    }
}

INLINE float ewc(
    const int r, size_t d, float *A, float *B, float *importance, const float *x, const float *t, float scale,
    float rate, float penalty, float *e) {
    const gradient g = gradient_of(r, d, A, B, x, t, scale, e);
    ewc_matrix(r, d, A, importance, g.u_a, x, rate, penalty);
    ewc_matrix(r, d, B, importance + (size_t)r * d, g.u_b, e, rate, penalty);
    return g.loss;
}

// ---------------------------------------------------------------- preconditioned

/// G = M M' + damping, [r, r], four rows by four.
INLINE void damped_gram(const int r, size_t d, const float *M, float damping, float *G) {
    ROLLED for (int i = 0; i < r; i += 4) {
        ROLLED for (int k = 0; k <= i; k += 4) {
            lanes sum[4][4];
            UNROLL for (int a = 0; a < 4; a++) {
                UNROLL for (int b = 0; b < 4; b++) sum[a][b] = (lanes){0};
            }
            ROLLED for (size_t j = 0; j < d; j += 16) {
                lanes right[4];
                UNROLL for (int b = 0; b < 4; b++) right[b] = load(M + (size_t)(k + b) * d + j);
                UNROLL for (int a = 0; a < 4; a++) {
                    const lanes left = load(M + (size_t)(i + a) * d + j);
                    UNROLL for (int b = 0; b < 4; b++) sum[a][b] = multiply_add(left, right[b], sum[a][b]);
                }
            }
            UNROLL for (int a = 0; a < 4; a++) {
                const lanes four = add_quads(fold_into_quads(sum[a][0], sum[a][1], sum[a][2], sum[a][3]));
                UNROLL for (int b = 0; b < 4; b++) G[(i + a) * r + k + b] = four[b];
            }
        }
    }
    ROLLED for (int k = 0; k < r; k++) G[k * r + k] += damping;
}

/// z = G^-1 z by Cholesky's factorisation of the lower triangle, which G is overwritten with.
INLINE void solve(const int r, float *G, float *z) {
    float reciprocal[16];
    UNROLL for (int k = 0; k < r; k++) {
        reciprocal[k] = 1 / __builtin_elementwise_sqrt(G[k * r + k]);
        z[k] *= reciprocal[k];
        UNROLL for (int i = k + 1; i < r; i++) {
            G[i * r + k] *= reciprocal[k];
            z[i] -= G[i * r + k] * z[k];
        }
        UNROLL for (int i = k + 1; i < r; i++) {
            UNROLL for (int j = k + 1; j <= i; j++) G[i * r + j] -= G[i * r + k] * G[j * r + k];
        }
    }
    UNROLL for (int k = r - 1; k >= 0; k--) {
        z[k] *= reciprocal[k];
        UNROLL for (int i = 0; i < k; i++) z[i] -= G[k * r + i] * z[k];
    }
}

INLINE float riemannian(
    const int r, size_t d, float *A, float *B, const float *x, const float *t, float scale, float rate, float damping,
    float *e) {
    float gram_a[256], gram_b[256];
    gradient g = gradient_of(r, d, A, B, x, t, scale, e);
    damped_gram(r, d, A, damping, gram_a);
    damped_gram(r, d, B, damping, gram_b);
    solve(r, gram_b, g.u_a);
    solve(r, gram_a, g.u_b);
    add_outer(r, d, A, g.u_a, -rate * clip_factor(g.squared_norm_a), x);
    add_outer(r, d, B, g.u_b, -rate * clip_factor(g.squared_norm_b), e);
    return g.loss;
}

// ---------------------------------------------------------------- mini-batch

/// G [r, d] = U' V, with U [samples, r] and V [samples, d]; returns the squares of its elements.
INLINE float sum_of_outers(const int r, size_t d, size_t samples, const float *U, const float *V, float *G) {
    lanes squares = {0};
    ROLLED for (size_t j = 0; j < d; j += 16) {
        lanes sum[16];
        UNROLL for (int k = 0; k < r; k++) sum[k] = (lanes){0};
        ROLLED for (size_t q = 0; q < samples; q++) {
            const lanes v = load(V + q * d + j);
            UNROLL for (int k = 0; k < r; k++) sum[k] = multiply_add(splat(U[q * (size_t)r + (size_t)k]), v, sum[k]);
        }
        UNROLL for (int k = 0; k < r; k++) {
            store(G + (size_t)k * d + j, sum[k]);
            squares = multiply_add(sum[k], sum[k], squares);
        }
    }
    return sum_of_lanes(squares);
}

INLINE void add_scaled_matrix(size_t n, float *M, const float *G, float factor) {
    ROLLED for (size_t i = 0; i < n; i += 16) store(M + i, multiply_add(splat(factor), load(G + i), load(M + i)));
}

INLINE float batch(
    const int r, size_t d, size_t samples, float *A, float *B, const float *X, const float *T, float scale, float rate,
    float *scratch) {
    const size_t parameters = (size_t)r * d;
    float *gradient_a = scratch, *gradient_b = gradient_a + parameters, *E = gradient_b + parameters;
    float *H = E + samples * d, *G = H + samples * (size_t)r, loss = 0;
    ROLLED for (size_t q = 0; q < samples; q++) {
        float *h = H + q * (size_t)r, *g = G + q * (size_t)r;
        products(r, d, A, X + q * d, h);
        loss += residual_and_products(r, d, B, h, X + q * d, T + q * d, scale, E + q * d, g);
    }
    const float c = 2.0f / (float)d / (float)samples * scale;
    const float squares_a = sum_of_outers(r, d, samples, G, X, gradient_a);
    const float squares_b = sum_of_outers(r, d, samples, H, E, gradient_b);
    add_scaled_matrix(parameters, A, gradient_a, -rate * c * clip_factor(c * c * squares_a));
    add_scaled_matrix(parameters, B, gradient_b, -rate * c * clip_factor(c * c * squares_b));
    return loss / (float)d / (float)samples;
}

// ---------------------------------------------------------------- one copy for each rank

#define DEFINE(R) \
    KERNEL static void forward_##R( \
        size_t d, const float *A, const float *B, const float *x, float *y, float scale) { \
        forward(R, d, A, B, x, y, scale); \
    } \
    KERNEL static float sgd_##R( \
        size_t d, float *A, float *B, const float *x, const float *t, float scale, float rate, float *e) { \
        return sgd(R, d, A, B, x, t, scale, rate, e); \
    } \
    KERNEL static float adam_##R( \
        size_t d, float *A, float *B, float *moments, const float *x, const float *t, float scale, float rate, \
        float *e) { \
        return adam(R, d, A, B, moments, x, t, scale, rate, e); \
    } \
    KERNEL static float ewc_##R( \
        size_t d, float *A, float *B, float *importance, const float *x, const float *t, float scale, float rate, \
        float penalty, float *e) { \
        return ewc(R, d, A, B, importance, x, t, scale, rate, penalty, e); \
    } \
    KERNEL static float riemannian_##R( \
        size_t d, float *A, float *B, const float *x, const float *t, float scale, float rate, float damping, \
        float *e) { \
        return riemannian(R, d, A, B, x, t, scale, rate, damping, e); \
    } \
    KERNEL static float batch_##R( \
        size_t d, size_t samples, float *A, float *B, const float *X, const float *T, float scale, float rate, \
        float *scratch) { \
        return batch(R, d, samples, A, B, X, T, scale, rate, scratch); \
    }
DEFINE(4)
DEFINE(8)
DEFINE(16)

#define BY_RANK(name, d, r, ...) \
    do { \
        if ((d) == 0 || (d) % 64) __builtin_trap(); \
        switch (r) { \
            case 4: return name##_4(__VA_ARGS__); \
            case 8: return name##_8(__VA_ARGS__); \
            case 16: return name##_16(__VA_ARGS__); \
            default: __builtin_trap(); \
        } \
    } while (0)

void fused_forward(size_t d, size_t r, const float *A, const float *B, const float *x, float *y, float scale) {
    BY_RANK(forward, d, r, d, A, B, x, y, scale);
}
float fused_sgd(
    size_t d, size_t r, float *A, float *B, const float *x, const float *t, float scale, float rate, float *scratch) {
    BY_RANK(sgd, d, r, d, A, B, x, t, scale, rate, scratch);
}
float fused_adam(
    size_t d, size_t r, float *A, float *B, float *moments, const float *x, const float *t, float scale, float rate,
    float *scratch) {
    BY_RANK(adam, d, r, d, A, B, moments, x, t, scale, rate, scratch);
}
float fused_ewc(
    size_t d, size_t r, float *A, float *B, float *importance, const float *x, const float *t, float scale, float rate,
    float penalty, float *scratch) {
    BY_RANK(ewc, d, r, d, A, B, importance, x, t, scale, rate, penalty, scratch);
}
float fused_riemannian(
    size_t d, size_t r, float *A, float *B, const float *x, const float *t, float scale, float rate, float damping,
    float *scratch) {
    BY_RANK(riemannian, d, r, d, A, B, x, t, scale, rate, damping, scratch);
}
float fused_batch(
    size_t d, size_t r, size_t samples, float *A, float *B, const float *X, const float *T, float scale, float rate,
    float *scratch) {
    BY_RANK(batch, d, r, d, samples, A, B, X, T, scale, rate, scratch);
}
#endif
