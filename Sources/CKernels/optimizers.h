// Optimizer arithmetic, elementwise: one correctly rounded operation after another.
#pragma once
#include "map.h"

#pragma clang fp contract(off)

INLINE float flushed(float v) { return __builtin_fabsf(v) < 1.17549435e-38f ? 0.0f : v; }

INLINE void momentum_step_body(
    const size_t block, float *theta, float *velocity, const float *g, size_t n, float rate, float momentum,
    float dampening, int32_t nesterov, int32_t first) {
    const float keep = 1.0f - dampening;
    for (size_t i = 0; i < n; i++) {
        float u = first ? g[i] : flushed(momentum * velocity[i] + keep * g[i]);
        velocity[i] = u;
        theta[i] -= rate * (nesterov ? g[i] + momentum * u : u);
    }
}

INLINE void adagrad_step_body(
    const size_t block, float *theta, float *sum, const float *g, size_t n, float rate, float epsilon) {
    for (size_t i = 0; i < n; i++) {
        sum[i] = flushed(sum[i] + g[i] * g[i]);
        theta[i] -= rate * g[i] / (__builtin_elementwise_sqrt(sum[i]) + epsilon);
    }
}

INLINE lanes flushed_lanes(lanes v) {
    int_lanes keep = __builtin_elementwise_abs(v) >= splat(1.17549435e-38f), bits;
    memcpy(&bits, &v, sizeof bits);
    bits &= keep;
    memcpy(&v, &bits, sizeof v);
    return v;
}

/// Columns j ..< j + count of one Adam step with the gradient g.
INLINE void adam_columns(
    float *theta, float *m, float *v, lanes g, const attune_adam *adam, size_t j, size_t count) {
    lanes first = flushed_lanes(adam->beta1 * load_some(m + j, count) + (1.0f - adam->beta1) * g);
    lanes second = flushed_lanes(adam->beta2 * load_some(v + j, count) + (1.0f - adam->beta2) * (g * g));
    store_some(m + j, first, count);
    store_some(v + j, second, count);
    lanes root = __builtin_elementwise_sqrt(second) * adam->inverse_root_correction + adam->epsilon;
    store_some(theta + j, load_some(theta + j, count) * adam->keep - adam->step * first / root, count);
}

/// `scalars` is copied, so that no store can seem to change it.
INLINE void adam_step_body(
    const size_t block, float *theta, float *m, float *v, const float *g, size_t n, const attune_adam *scalars) {
    const attune_adam adam = *scalars;
    FOR_COLUMNS(0, n, adam_columns(theta, m, v, load_some(g + j, COUNT), &adam, j, COUNT))
}

INLINE void adam_rank_one_body(
    const size_t block, float *theta, float *m, float *v, size_t rows, size_t n, const float *c, const float *x,
    const attune_adam *scalars) {
    const attune_adam adam = *scalars;
    for (size_t k = 0; k < rows; k++) {
        const size_t row = k * n;
        const lanes ck = splat(c[k]);
        FOR_COLUMNS(
            0, n, adam_columns(theta + row, m + row, v + row, ck * load_some(x + j, COUNT), &adam, j, COUNT))
    }
}

INLINE lanes anchored(lanes theta, lanes anchor, lanes fisher, float strength) {
    lanes pull = strength * fisher;
    return theta + pull / (1.0f + pull) * (anchor - theta);
}

INLINE void anchor_step_body(
    const size_t block, float *theta, const float *anchor, const float *fisher, size_t n, float strength) {
    FOR_COLUMNS(
        0, n,
        store_some(
            theta + j,
            anchored(load_some(theta + j, COUNT), load_some(anchor + j, COUNT), load_some(fisher + j, COUNT), strength),
            COUNT))
}

INLINE void protected_columns(
    float *theta, const float *anchor, const float *fisher, float *next, lanes c, lanes g, const float *x, float strength,
    float decay, size_t j, size_t count) {
    lanes xv = load_some(x + j, count), gradient = g * xv;
    lanes stepped = FMA(c, xv, load_some(theta + j, count));
    store_some(
        theta + j, anchored(stepped, load_some(anchor + j, count), load_some(fisher + j, count), strength), count);
    store_some(
        next + j, decay * load_some(next + j, count) + (1.0f - decay) * (gradient * gradient), count);
}

INLINE void protected_rank_one_body(
    const size_t block, const attune_protected *state, size_t rows, size_t n, const float *c, const float *g,
    const float *x, float strength, float decay) {
    for (size_t k = 0; k < rows; k++) {
        float *theta = state->theta + k * n, *next = state->next + k * n;
        const float *anchor = state->anchor + k * n, *fisher = state->fisher + k * n;
        const lanes ck = splat(c[k]), gk = splat(g[k]);
        FOR_COLUMNS(
            0, n, protected_columns(theta, anchor, fisher, next, ck, gk, x, strength, decay, j, COUNT))
    }
}
