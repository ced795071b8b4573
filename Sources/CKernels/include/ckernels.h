// Kernels whose results enter adapter state. Every one of them gives the same bits on every machine:
//
//   * sums run in 16 logical lanes with explicit fused multiply-add: lane j sums elements j, j + 16, j + 32, ... in that
//     order, and the lanes are then added pairwise (8 + 8, 4 + 4, 2 + 2, 1 + 1);
//   * elementwise work is one correctly rounded operation after another, never contracted behind our back;
//   * a row's result does not depend on how many rows are passed at once.
//
// The instruction set (AVX-512, AVX2 + FMA, or the compiler's portable code) is chosen once at start, or forced with
// attune_kernels_select. Pointers need no alignment beyond a float's. Nothing here allocates.
#pragma once
#include <stddef.h>
#include <stdint.h>

/// The instruction sets that kernels are compiled for, in rising order.
typedef enum attune_kernel_level : int32_t {
    ATTUNE_KERNEL_PORTABLE = 0,
    ATTUNE_KERNEL_AVX2 = 3,
    ATTUNE_KERNEL_AVX512 = 4,
} attune_kernel_level;

/// Selects the given level, or the best one below it that this machine has. Returns what was selected.
/// Kernels that run in other threads meanwhile finish with either set, to the same bits.
attune_kernel_level attune_kernels_select(attune_kernel_level wanted);

/// The level in use.
attune_kernel_level attune_kernels_level(void);

/// Sum of a[i] * b[i].
float attune_dot(const float *_Nonnull a, const float *_Nonnull b, size_t n);

/// out[k] = dot(row k of m, x) for `rows` rows of length n, contiguous.
void attune_row_dots(const float *_Nonnull m, size_t rows, size_t n, const float *_Nonnull x, float *_Nonnull out);

/// y[j] = fma(c[k], m[k][j], y[j]) for k = 0, 1, ... in that order.
void attune_add_rows(
    const float *_Nonnull m, size_t rows, size_t n, const float *_Nonnull c, float *_Nonnull y);

/// m[k][j] = fma(c[k], x[j], m[k][j]): the rank-1 update.
void attune_rank_one(float *_Nonnull m, size_t rows, size_t n, const float *_Nonnull c, const float *_Nonnull x);

/// Sum of a[i] squared.
float attune_squared_norm(const float *_Nonnull a, size_t n);

/// v[i] = exp((v[i] - shift) * inverseTemperature), flushed to zero below exp(-87); returns their sum.
/// Relative error of one value below 2e-7. `shift` is at least every v[i], so that nothing overflows.
float attune_exp_sum(float *_Nonnull v, size_t n, float shift, float inverseTemperature);

/// The largest of v[0 ..< n], n at least 1, nothing NaN.
float attune_max(const float *_Nonnull v, size_t n);

/// 1 when every v[i] is finite, else 0.
int32_t attune_all_finite(const float *_Nonnull v, size_t n);

// Elementwise optimizer arithmetic on n parameters: one correctly rounded operation after another. Moments smaller than
// the least normal float are flushed to zero: denormal state slows every later step.

/// velocity = first ? g : momentum * velocity + (1 - dampening) * g; theta -= rate * (nesterov ? g + momentum * velocity
/// : velocity).
void attune_momentum_step(
    float *_Nonnull theta, float *_Nonnull velocity, const float *_Nonnull g, size_t n, float rate, float momentum,
    float dampening, int32_t nesterov, int32_t first);

/// sum += g * g; theta -= rate * g / (sqrt(sum) + epsilon).
void attune_adagrad_step(
    float *_Nonnull theta, float *_Nonnull sum, const float *_Nonnull g, size_t n, float rate, float epsilon);

/// m = beta1 * m + (1 - beta1) * g; v = beta2 * v + (1 - beta2) * g * g;
/// theta = theta * keep - step * m / (sqrt(v) * inverseRootCorrection + epsilon).
void attune_adam_step(
    float *_Nonnull theta, float *_Nonnull m, float *_Nonnull v, const float *_Nonnull g, size_t n, float beta1,
    float beta2, float epsilon, float step, float inverseRootCorrection, float keep);

/// theta += p / (1 + p) * (anchor - theta), p = strength * fisher: equal to (theta + p * anchor) / (1 + p), with a quarter of
/// its rounding error where p is small.
void attune_anchor_step(
    float *_Nonnull theta, const float *_Nonnull anchor, const float *_Nonnull fisher, size_t n, float strength);

/// total[k][j] += weight * (c[k] * x[j]) squared: the squared entries of one sample's rank-1 gradient.
void attune_add_squared_outer(
    float *_Nonnull total, size_t rows, size_t n, const float *_Nonnull c, const float *_Nonnull x, float weight);

/// y[i] = a * y[i] + b * x[i].
void attune_blend(float *_Nonnull y, const float *_Nonnull x, size_t n, float a, float b);

/// v[i] clamped to [-limit, limit].
void attune_clamp(float *_Nonnull v, size_t n, float limit);

/// out[i mod 64] += x[i] * signs[i] for i in 0 ..< n, in that order; each sign is +1 or -1, so nothing but the sums is rounded.
void attune_fold_signs(
    const float *_Nonnull x, const float *_Nonnull signs, size_t n, float *_Nonnull out);

// Kernels below serve evaluation; their results never enter adapter state.

/// Counts the scores[i] + offsets[i] that are greater than `threshold`, and those that equal it. NaN, on either side, counts
/// as greater. n is below 2^32.
void attune_count_above(
    const float *_Nonnull scores, const float *_Nonnull offsets, size_t n, float threshold, uint32_t *_Nonnull greater,
    uint32_t *_Nonnull equal);
