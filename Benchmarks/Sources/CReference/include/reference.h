// What Attune's kernels are measured against: the same work written by hand in C for one core with AVX-512, twice.
//
// The fused reference is each step as directly as its formulas are written. The limit is the least time that was found:
// it estimates inverse square roots, writes B while products with it are formed, takes four samples at a time, and uses
// an upper bound in place of a norm wherever that is enough.
//
// Neither is deterministic across machines, checks anything or allocates: they tell how fast a step can be, and are no
// part of Attune.
//
// Shapes, everywhere:
//
//   A [r, d]   row-major
//   B [r, d]   row-major; the up-projection, stored transposed
//   x, t, y [d]
//
// r is 4, 8 or 16 and d a multiple of 64; anything else traps. Pointers need no alignment beyond a float's; 64 bytes is
// fastest. Buffers do not overlap.
#pragma once
#include <stddef.h>

#pragma clang assume_nonnull begin

/// The learning steps all minimise L = mean((y - t)^2) for the y of `forward`, and return L as it was before the step.
/// The gradients of A and B are each clipped to norm 1.
typedef struct reference_kernels {
    /// y = x + scale * B (A x).
    void (*forward)(size_t d, size_t r, const float *A, const float *B, const float *x, float *y, float scale);

    /// One step of gradient descent: A -= rate * clipped dL/dA, and so for B.
    float (*sgd)(
        size_t d, size_t r, float *A, float *B, const float *x, const float *t, float scale, float rate,
        float *scratch);

    /// One step of Adam, for each parameter p with moments m and v and clipped gradient g:
    ///
    ///   m = 0.9 m + 0.1 g     v = 0.999 v + 0.001 g^2     p -= rate * m / (sqrt(v) + 1e-8)
    ///
    /// `rate` includes the correction of both moments' bias. `moments` is [4, r, d]: m and v of A, then m and v of B.
    float (*adam)(
        size_t d, size_t r, float *A, float *B, float *moments, const float *x, const float *t, float scale,
        float rate, float *scratch);

    /// Gradient descent with online elastic weight consolidation, for each parameter p with importance F:
    ///
    ///   g = dL/dp + penalty * F * p     p -= rate * clipped g     F = 0.9 F + 0.1 g^2, g as it was before clipping
    ///
    /// `importance` is [2, r, d], of A and then of B. `penalty` is at least 1e-6.
    float (*ewc)(
        size_t d, size_t r, float *A, float *B, float *importance, const float *x, const float *t, float scale,
        float rate, float penalty, float *scratch);

    /// One step of gradient descent preconditioned on the factors, with K the damping times the unit matrix [r, r]:
    ///
    ///   A -= rate * (B B' + K)^-1 clipped dL/dA     B -= rate * (A A' + K)^-1 clipped dL/dB
    ///
    /// both in terms of A and B before the step.
    float (*riemannian)(
        size_t d, size_t r, float *A, float *B, const float *x, const float *t, float scale, float rate, float damping,
        float *scratch);

    /// One step of gradient descent by the mean gradient of a mini-batch, which is clipped once for each matrix.
    /// X and T are [samples, d]; `samples` is a multiple of 4.
    float (*batch)(
        size_t d, size_t r, size_t samples, float *A, float *B, const float *X, const float *T, float scale,
        float rate, float *scratch);
} reference_kernels;

/// The fused reference, or null where this processor does not run it: it takes x86-64 with AVX-512 (level x86-64-v4).
const reference_kernels *_Nullable reference_fused(void);

/// The limit, or null where this processor does not run it.
const reference_kernels *_Nullable reference_limit(void);

/// The number of floats of scratch that is enough for any kernel of this shape with up to `samples` samples. `samples`
/// is 1 for all but `batch`.
size_t reference_scratch_size(size_t d, size_t r, size_t samples);

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

#pragma clang assume_nonnull end
