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

/// Columns j ..< j + count of one Adam step with the gradient g; returns the new parameters.
INLINE lanes adam_columns(
    float *theta, float *m, float *v, lanes g, const attune_adam *adam, size_t j, size_t count) {
    lanes first = flushed_lanes(FMA(splat(adam->beta1), load_some(m + j, count), (1.0f - adam->beta1) * g));
    lanes second = flushed_lanes(FMA(splat(adam->beta2), load_some(v + j, count), (1.0f - adam->beta2) * (g * g)));
    store_some(m + j, first, count);
    store_some(v + j, second, count);
    lanes root = FMA(__builtin_elementwise_sqrt(second), splat(adam->inverse_root_correction), splat(adam->epsilon));
    lanes stepped = FMA(load_some(theta + j, count), splat(adam->keep), -(adam->step * first / root));
    store_some(theta + j, stepped, count);
    return stepped;
}

/// `scalars` is copied, so that no store can seem to change it.
INLINE void adam_step_body(
    const size_t block, float *theta, float *m, float *v, const float *g, size_t n, const attune_adam *scalars) {
    const attune_adam adam = *scalars;
    FOR_COLUMNS(0, n, adam_columns(theta, m, v, load_some(g + j, COUNT), &adam, j, COUNT))
}

/// Columns j ..< j + count of what the new row k of a factor gives.
INLINE void follow_columns(
    const attune_follow *follow, size_t k, lanes theta, lanes x, lanes *dot, size_t j, size_t count) {
    if (follow->dots) *dot = FMA(theta, x, *dot);
    if (!follow->after) return;
    lanes y = load_some((k == 0 ? follow->from : follow->after) + j, count);
    store_some(follow->after + j, FMA(splat(follow->next[k]), theta, y), count);
}

INLINE void adam_rank_one_body(
    const size_t block, float *theta, float *m, float *v, size_t rows, size_t n, const float *c, const float *x,
    const attune_adam *scalars, const attune_follow *following) {
    const attune_adam adam = *scalars;
    const attune_follow follow = *following;
    for (size_t k = 0; k < rows; k++) {
        const size_t row = k * n;
        const lanes ck = splat(c[k]);
        lanes dot = {0};
        FOR_COLUMNS(0, n, {
            const lanes xv = load_some(x + j, COUNT);
            lanes stepped = adam_columns(theta + row, m + row, v + row, ck * xv, &adam, j, COUNT);
            follow_columns(&follow, k, stepped, xv, &dot, j, COUNT);
        })
        if (follow.dots) follow.dots[k] = sum_lanes(&dot);
    }
}

INLINE lanes anchored(lanes theta, lanes anchor, lanes fisher, float strength) {
    lanes pull = strength * fisher;
    return FMA(pull / (1.0f + pull), anchor - theta, theta);
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

/// Columns j ..< j + count of one protected step; returns the new parameters.
INLINE lanes protected_columns(
    float *theta, const float *anchor, const float *fisher, float *next, lanes c, lanes g, lanes x, float strength,
    float decay, size_t j, size_t count) {
    lanes gradient = g * x, stepped = FMA(c, x, load_some(theta + j, count));
    stepped = anchored(stepped, load_some(anchor + j, count), load_some(fisher + j, count), strength);
    store_some(theta + j, stepped, count);
    store_some(next + j, FMA(splat(decay), load_some(next + j, count), (1.0f - decay) * (gradient * gradient)), count);
    return stepped;
}

/// How many floats ahead of their use the rows are asked for.
enum { AHEAD = 256 };

/// `follows`, a constant: whether anything is wanted of the new rows.
INLINE void protected_rows(
    const int follows, const attune_protected *state, size_t rows, size_t n, const float *c, const float *g,
    const float *x, float strength, float decay, const attune_follow *following) {
    const attune_follow follow = *following;
    for (size_t k = 0; k < rows; k++) {
        float *theta = state->theta + k * n, *next = state->next + k * n;
        const float *anchor = state->anchor + k * n, *fisher = state->fisher + k * n;
        const lanes ck = splat(c[k]), gk = splat(g[k]);
        lanes dot = {0};
        FOR_COLUMNS(0, n, {
            const lanes xv = load_some(x + j, COUNT);
            // Four matrices of a row each are more than the first cache holds, and than the processor fetches ahead by itself.
            __builtin_prefetch(anchor + j + AHEAD);
            __builtin_prefetch(fisher + j + AHEAD);
            __builtin_prefetch(next + j + AHEAD);
            lanes stepped =
                protected_columns(theta, anchor, fisher, next, ck, gk, xv, strength, decay, j, COUNT);
            if (follows) follow_columns(&follow, k, stepped, xv, &dot, j, COUNT);
        })
        if (follows && follow.dots) follow.dots[k] = sum_lanes(&dot);
    }
}

INLINE void protected_rank_one_body(
    const size_t block, const attune_protected *state, size_t rows, size_t n, const float *c, const float *g,
    const float *x, float strength, float decay, const attune_follow *follow) {
    if (follow->dots || follow->after) protected_rows(1, state, rows, n, c, g, x, strength, decay, follow);
    else protected_rows(0, state, rows, n, c, g, x, strength, decay, follow);
}
