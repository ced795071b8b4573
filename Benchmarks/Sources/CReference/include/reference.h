// The limit that Attune's kernels are measured against: the same work written by hand for one core with AVX-512.
//
// Nothing here is deterministic across machines: sums are ordered for speed, and small tricks (an estimate of the
// inverse square root, an upper bound in place of a norm) are used wherever the result keeps a float's precision. So
// these kernels tell how fast a step can be, and are no part of Attune.
//
// Shapes, everywhere:
//
//   A [r, d]   row-major
//   B [r, d]   row-major; the up-projection, stored transposed
//   x, t, y [d]
//
// r is 4, 8 or 16 and d a multiple of 64; anything else traps. Pointers need no alignment beyond a float's; 64 bytes is
// fastest. Buffers do not overlap. Nothing allocates, except that the memory streams map their arrays.
//
// Call the kernels only where reference_is_available() is not 0. Built for another processor they return NaN.
#pragma once
#include <stddef.h>

/// 1 where this processor runs the kernels: x86-64 with AVX-512 (level x86-64-v4). The two measurements of the
/// machine at the end of this file work everywhere.
int reference_is_available(void);

/// The number of floats of scratch that is enough for any kernel of this shape with up to `samples` samples. `samples`
/// is 1 for all but reference_batch.
size_t reference_scratch_size(size_t d, size_t r, size_t samples);

/// y = x + scale * B (A x).
void reference_forward(
    size_t d, size_t r, const float *_Nonnull A, const float *_Nonnull B, const float *_Nonnull x, float *_Nonnull y,
    float scale);

// The learning steps below all minimise L = mean((y - t)^2) for the y of reference_forward, and return L as it was
// before the step. The gradients of A and B are each clipped to norm 1.

/// One step of gradient descent: A -= rate * clipped dL/dA, and so for B.
float reference_sgd(
    size_t d, size_t r, float *_Nonnull A, float *_Nonnull B, const float *_Nonnull x, const float *_Nonnull t,
    float scale, float rate, float *_Nonnull scratch);

/// Gradient descent with online elastic weight consolidation, for each parameter p with importance F:
///
///   g = dL/dp + penalty * F * p     p -= rate * clipped g     F = 0.9 F + 0.1 g^2, g as it was before clipping
///
/// `importance` is [2, r, d], of A and then of B. `penalty` is at least 1e-6.
float reference_ewc(
    size_t d, size_t r, float *_Nonnull A, float *_Nonnull B, float *_Nonnull importance, const float *_Nonnull x,
    const float *_Nonnull t, float scale, float rate, float penalty, float *_Nonnull scratch);

/// One step of Adam, for each parameter p with moments m and v and clipped gradient g:
///
///   m = 0.9 m + 0.1 g     v = 0.999 v + 0.001 g^2     p -= rate * m / (sqrt(v) + 1e-8)
///
/// `rate` includes the correction of both moments' bias. `moments` is [4, r, d]: m and v of A, then m and v of B.
float reference_adam(
    size_t d, size_t r, float *_Nonnull A, float *_Nonnull B, float *_Nonnull moments, const float *_Nonnull x,
    const float *_Nonnull t, float scale, float rate, float *_Nonnull scratch);

/// One step of gradient descent preconditioned on the factors, with K the damping times the unit matrix [r, r]:
///
///   A -= rate * (B B' + K)^-1 clipped dL/dA     B -= rate * (A A' + K)^-1 clipped dL/dB
///
/// both in terms of A and B before the step.
float reference_riemannian(
    size_t d, size_t r, float *_Nonnull A, float *_Nonnull B, const float *_Nonnull x, const float *_Nonnull t,
    float scale, float rate, float damping, float *_Nonnull scratch);

/// One step of gradient descent by the mean gradient of a mini-batch, which is clipped once for each matrix.
/// X and T are [samples, d]; `samples` is a multiple of 4.
float reference_batch(
    size_t d, size_t r, size_t samples, float *_Nonnull A, float *_Nonnull B, const float *_Nonnull X,
    const float *_Nonnull T, float scale, float rate, float *_Nonnull scratch);

/// What one core moves between itself and memory, in GB/s (10^9 bytes), over arrays of 256 MiB on huge pages where the
/// system grants them.
typedef struct reference_streams {
    /// a = b + 3 c; counts 12 bytes an element, though the machine also fetches a before it is overwritten.
    double triad;
    /// a = 0.999 a + 1e-6 in place; counts 8 bytes an element.
    double update;
    /// The sum of a; counts 4 bytes an element.
    double read;
} reference_streams;

/// The best of `passes` passes. Zeros when the arrays, 768 MiB together, cannot be had.
reference_streams reference_memory_streams(size_t passes);

/// The most that one core computes with the widest registers it has, in 10^9 floating-point operations a second; a
/// fused multiply-add counts as two.
double reference_peak_gigaflops(void);
