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

#ifdef __cplusplus
extern "C" {
#endif

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

/// Asks for memory that is read or written soon.
static inline void attune_prefetch(const void *_Nonnull p) { __builtin_prefetch(p); }

/// Asks for the 16 lines at an address, which need not be anybody's.
static inline void attune_prefetch_kib(uintptr_t address) {
    for (int line = 0; line < 16; line++) __builtin_prefetch((const void *)(address + 64 * (uintptr_t)line));
}

/// Whether this code is compiled for the address sanitizer.
int32_t attune_address_sanitizer(void);

/// Sum of a[i] * b[i].
float attune_dot(const float *_Nonnull a, const float *_Nonnull b, size_t n);

/// out[k] = dot(row k of m, x) for `rows` rows of length n, contiguous.
void attune_row_dots(const float *_Nonnull m, size_t rows, size_t n, const float *_Nonnull x, float *_Nonnull out);

/// y[j] = fma(c[k], m[k][j], y[j]) for k = 0, 1, ... in that order.
void attune_add_rows(
    const float *_Nonnull m, size_t rows, size_t n, const float *_Nonnull c, float *_Nonnull y);

/// m[k][j] = fma(c[k], x[j], m[k][j]): the rank-1 update.
void attune_rank_one(float *_Nonnull m, size_t rows, size_t n, const float *_Nonnull c, const float *_Nonnull x);

// ---- one adapter

/// An adapter's parameters, y = x + scale * up^T (down x) + bias: `down` and `up` [rank, n], row-major, `bias` [n] or none.
typedef struct attune_map {
    float *_Nonnull down;
    float *_Nonnull up;
    float *_Nullable bias;
    size_t rank;
    size_t n;
    float scale;
} attune_map;

/// hidden = down x and scaled = scale * hidden, both [rank] and perhaps the same memory; y [n] = x, then fma(scaled[k],
/// up[k][j], y[j]) for k = 0, 1, ..., then + bias[j]. Returns 1 when every y[j] is finite, which no y[j] is unless x[j] is.
int32_t attune_forward(
    const attune_map *_Nonnull map, const float *_Nonnull x, float *_Nonnull hidden, float *_Nonnull scaled,
    float *_Nonnull y);

/// y [n] = x, then fma(c[k], up[k][j], y[j]) for k = 0, 1, ..., then + bias[j].
void attune_map_up(
    const attune_map *_Nonnull map, const float *_Nonnull c, const float *_Nonnull x, float *_Nonnull y);

/// What one sample's gradient is made of: that of `down` is back x^T, that of `up` scaled error^T, that of `bias` the error.
typedef struct attune_gradient {
    /// down x, [rank].
    float *_Nonnull hidden;
    /// scale * hidden, [rank].
    float *_Nonnull scaled;
    /// scale * (up error), [rank].
    float *_Nonnull back;
    /// The loss's derivative with respect to the output, [n].
    float *_Nonnull error;
    /// The output, [n], where it is wanted.
    float *_Nullable output;
    /// Sum of x[j] squared.
    float squared_input;
    /// Sum of (output[j] - target[j]) squared.
    float squared_residual;
    /// Sums of scaled[k] and of back[k] squared.
    float squared_scaled;
    float squared_back;
} attune_gradient;

/// The gradient of factor / 2 * |output - target|^2, whose error is factor * (output - target); the output as
/// attune_forward's. Whatever is not finite in x or target, or overflows, shows in one of the two sums or in the vectors of
/// [rank].
void attune_target_gradient(
    const attune_map *_Nonnull map, const float *_Nonnull x, const float *_Nonnull target, float factor,
    attune_gradient *_Nonnull gradient);

/// The most samples of a batch.
enum { ATTUNE_BATCH_LIMIT = 64 };

/// Samples with targets, and what comes of them.
typedef struct attune_batch {
    /// At most ATTUNE_BATCH_LIMIT.
    size_t count;
    /// [count] pointers to [n].
    const float *_Nonnull const *_Nonnull xs;
    const float *_Nonnull const *_Nonnull targets;
    /// [count].
    const float *_Nonnull weights;
    float factor;
    /// [count, n]: each sample's error, as attune_target_gradient's.
    float *_Nonnull errors;
    /// [count, rank]: each sample's weight times its scaled, and its back.
    float *_Nonnull scaled;
    float *_Nonnull back;
    /// [count]: each sample's squared residual. What is not finite shows in it.
    float *_Nonnull residuals;
    /// The sums of the samples' gradients, laid out like the map's factors; `bias` where the map has one.
    float *_Nonnull down;
    float *_Nonnull up;
    float *_Nullable bias;
    /// Their squared norms, as attune_matrix_squared_norm's.
    float squared_down;
    float squared_up;
    float squared_bias;
} attune_batch;

/// attune_target_gradient for each sample, and attune_outer_sum of what comes of them; hidden, scaled and back, [rank], are
/// scratch.
void attune_target_batch(
    const attune_map *_Nonnull map, attune_batch *_Nonnull batch, float *_Nonnull hidden, float *_Nonnull scaled,
    float *_Nonnull back);

/// Each sample's squared residual alone; hidden [rank] and output [n] are scratch, and so is the batch's scaled.
void attune_target_losses(
    const attune_map *_Nonnull map, const attune_batch *_Nonnull batch, float *_Nonnull hidden,
    float *_Nonnull output);

/// A step of rank 1.
typedef struct attune_change {
    /// [n].
    const float *_Nonnull x;
    const float *_Nonnull error;
    /// [rank].
    const float *_Nonnull down;
    const float *_Nonnull up;
    float bias_rate;
    /// What up and bias are multiplied by after the step.
    float keep;
    /// Coefficients of the new rows of up, [rank], and where the output that they give for x goes, [n]; or neither.
    const float *_Nullable next;
    float *_Nullable after;
    /// What that output is compared with, [n], where it is wanted; and the sum of squared differences.
    const float *_Nullable target;
    float squared_residual;
} attune_change;

/// down[k] += change.down[k] x; up[k] = keep * (up[k] + change.up[k] error); bias = keep * (bias + bias_rate * error); where
/// asked for, after = x + sum of next[k] * up[k] + bias with the new rows, in attune_forward's order.
void attune_step(const attune_map *_Nonnull map, attune_change *_Nonnull change);

/// What a step's coefficients come to.
typedef struct attune_coefficients {
    /// Sum of hidden[k] * up[k], in rising order.
    float share;
    /// Sum of next[k] squared.
    double squared_next;
} attune_coefficients;

/// down *= down_rate; up *= up_rate; next = scale * (hidden + down * squared_input): scale A x after the step. All [rank].
attune_coefficients attune_step_coefficients(
    size_t rank, const float *_Nonnull hidden, float *_Nonnull down, float *_Nonnull up, float *_Nonnull next,
    float down_rate, float up_rate, float scale, float squared_input);

/// Sum of (a[i] - b[i]) squared.
float attune_squared_distance(const float *_Nonnull a, const float *_Nonnull b, size_t n);

/// The largest absolute value of v[0 ..< n], NaN counting as above infinity; 0 for nothing.
float attune_largest_magnitude(const float *_Nonnull v, size_t n);

/// Sum of a[i] squared.
float attune_squared_norm(const float *_Nonnull a, size_t n);

/// v[i] = exp((v[i] - shift) * inverseTemperature), flushed to zero below exp(-87); returns their sum.
/// Relative error of one value below 2e-7. `shift` is at least every v[i], so that nothing overflows.
float attune_exp_sum(float *_Nonnull v, size_t n, float shift, float inverseTemperature);

/// The largest of v[0 ..< n], n at least 1, nothing NaN.
float attune_max(const float *_Nonnull v, size_t n);

/// 1 when every v[i] is finite, else 0.
int32_t attune_all_finite(const float *_Nonnull v, size_t n);

// Elementwise optimizer arithmetic on n parameters: one correctly rounded operation after another, fused where written so. Moments smaller than
// the least normal float are flushed to zero: denormal state slows every later step.

/// velocity = first ? g : momentum * velocity + (1 - dampening) * g; theta -= rate * (nesterov ? g + momentum * velocity
/// : velocity).
void attune_momentum_step(
    float *_Nonnull theta, float *_Nonnull velocity, const float *_Nonnull g, size_t n, float rate, float momentum,
    float dampening, int32_t nesterov, int32_t first);

/// sum += g * g; theta -= rate * g / (sqrt(sum) + epsilon).
void attune_adagrad_step(
    float *_Nonnull theta, float *_Nonnull sum, const float *_Nonnull g, size_t n, float rate, float epsilon);

/// Adam's scalars.
typedef struct attune_adam {
    float beta1;
    float beta2;
    float epsilon;
    float step;
    float inverse_root_correction;
    float keep;
} attune_adam;

/// m = fma(beta1, m, (1 - beta1) * g); v = fma(beta2, v, (1 - beta2) * (g * g));
/// theta = fma(theta, keep, -(step * m / fma(sqrt(v), inverse_root_correction, epsilon))).
void attune_adam_step(
    float *_Nonnull theta, float *_Nonnull m, float *_Nonnull v, const float *_Nonnull g, size_t n,
    const attune_adam *_Nonnull adam);

/// What is wanted of the new rows of a factor as they are written.
typedef struct attune_follow {
    /// Their dots with x, [rows]; or none.
    float *_Nullable dots;
    /// after = from, then fma(next[k], row k, after) for k = 0, 1, ...; or none. `from` may be `after`.
    const float *_Nullable next;
    const float *_Nullable from;
    float *_Nullable after;
} attune_follow;

/// The same for [rows, n] parameters with the gradient g[k][j] = c[k] * x[j], which is not formed.
void attune_adam_rank_one(
    float *_Nonnull theta, float *_Nonnull m, float *_Nonnull v, size_t rows, size_t n, const float *_Nonnull c,
    const float *_Nonnull x, const attune_adam *_Nonnull adam, const attune_follow *_Nonnull follow);

/// [rows, n] parameters under protection.
typedef struct attune_protected {
    float *_Nonnull theta;
    const float *_Nonnull anchor;
    const float *_Nonnull fisher;
    float *_Nonnull next;
} attune_protected;

/// theta[k] += c[k] * x, then attune_anchor_step; next[k][j] = fma(decay, next[k][j], (1 - decay) * (g[k] * x[j]) squared).
void attune_protected_rank_one(
    const attune_protected *_Nonnull state, size_t rows, size_t n, const float *_Nonnull c, const float *_Nonnull g,
    const float *_Nonnull x, float strength, float decay, const attune_follow *_Nonnull follow);

/// The squared norms of the rows of m, each summed like a dot, added up in rising order.
float attune_matrix_squared_norm(const float *_Nonnull m, size_t rows, size_t n);

/// m[k][j] = sum over s of u[s][k] * v[s][j], with fused multiply-add for s = 0, 1, ... in that order, starting from 0 or,
/// where it `adds`, from m[k][j]. u is [count, rows]; v holds `count` pointers to [n]. Returns attune_matrix_squared_norm's
/// of m.
float attune_outer_sum(
    const float *_Nonnull u, const float *_Nonnull const *_Nonnull v, size_t count, size_t rows, size_t n, int32_t adds,
    float *_Nonnull m);

/// theta[i] = fma(c, g[i], theta[i]), and g[i] what theta[i] was.
void attune_exchange(float *_Nonnull theta, float *_Nonnull g, size_t n, float c);

/// out[k][l] = dot(row k, row l) of m, [rows, rows].
void attune_gram(const float *_Nonnull m, size_t rows, size_t n, float *_Nonnull out);

/// A gradient of rank 1, preconditioned by Gram matrices.
typedef struct attune_preconditioned {
    /// What is added to the diagonals, above 0; no pivot of the elimination is less.
    float damping;
    /// [rank]: x of (up up^T + damping) x = down, and of (down down^T + damping) x = up, with the map's matrices on the left and
    /// what was there before on the right. Solved in double from the float Gram matrices.
    float *_Nonnull down;
    float *_Nonnull up;
    /// Sums of down[k] and of up[k] squared.
    double squared_down;
    double squared_up;
} attune_preconditioned;

/// Returns 1; or 0, having done nothing, where the rank is none of 4, 8 and 16.
int32_t attune_precondition(const attune_map *_Nonnull map, attune_preconditioned *_Nonnull gradient);

/// theta = fma(p / (1 + p), anchor - theta, theta), p = strength * fisher: equal to (theta + p * anchor) / (1 + p), with a quarter of
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

#ifdef __cplusplus
}
#endif
