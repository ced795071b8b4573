// Vectors of 16 floats and their sums, for kernels that are compiled for AVX-512 only.
#pragma once
#if defined(__x86_64__)
#include <immintrin.h>
#include <stddef.h>

// Without min_vector_width the compiler keeps to 256-bit registers.
#define KERNEL __attribute__((target("arch=x86-64-v4"), min_vector_width(512)))
#define INLINE KERNEL static inline __attribute__((always_inline))
// Loops over rows and vectors of a block are unrolled, those over columns stay as written: unrolled further, they run
// out of registers for addresses.
#define UNROLL _Pragma("clang loop unroll(full)")
#define ROLLED _Pragma("clang loop unroll(disable)")

// Only multiply_add() fuses. On the core this was tuned on (Zen 5) a fused multiply-add reads its third operand
// through the port that also feeds stores: in passes that store as much as they compute, a product and a separate sum
// are up to 40 % faster, because sums have units of their own.
#pragma clang fp contract(off)

typedef float lanes __attribute__((vector_size(64), aligned(4)));
typedef float quad __attribute__((vector_size(16), aligned(4)));
typedef int indices __attribute__((vector_size(64)));

enum { LANES = 16 };

INLINE lanes load(const float *p) { return *(const lanes *)p; }
INLINE void store(float *p, lanes v) { *(lanes *)p = v; }
/// A plain broadcast: a sum with zeros would be computed, for the sake of -0.
INLINE lanes splat(float s) { return (lanes)_mm512_set1_ps(s); }
/// a * b + c, rounded once.
INLINE lanes multiply_add(lanes a, lanes b, lanes c) { return __builtin_elementwise_fma(a, b, c); }

// ---------------------------------------------------------------- sums
//
// A quad is 4 neighbouring lanes. Shuffles within quads take 2 cycles and those across them 5, so sums across lanes
// first fold four vectors into one within quads, and then add its quads.

/// Lane k of every quad: that quad's part of the sum of the k-th argument.
INLINE lanes fold_into_quads(lanes a, lanes b, lanes c, lanes d) {
    lanes ab = __builtin_shufflevector(a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29)
        + __builtin_shufflevector(a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
    lanes cd = __builtin_shufflevector(c, d, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29)
        + __builtin_shufflevector(c, d, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
    return __builtin_shufflevector(ab, cd, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29)
        + __builtin_shufflevector(ab, cd, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
}

/// The sum of the four quads, in every quad. Three shuffles at once are sooner done than two in turn.
INLINE lanes add_quads(lanes q) {
    lanes by1 = __builtin_shufflevector(q, q, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3);
    lanes by2 = __builtin_shufflevector(q, q, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
    lanes by3 = __builtin_shufflevector(q, q, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11);
    return (q + by1) + (by2 + by3);
}

/// Quad i: the sum of the quads of the i-th argument.
INLINE lanes gather_quads(lanes a, lanes b, lanes c, lanes d) {
    lanes ab = __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23)
        + __builtin_shufflevector(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
    lanes cd = __builtin_shufflevector(c, d, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23)
        + __builtin_shufflevector(c, d, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
    return __builtin_shufflevector(ab, cd, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27)
        + __builtin_shufflevector(ab, cd, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
}

/// Lane i of every quad, throughout that quad.
INLINE lanes spread(lanes q, const int i) {
    switch (i) {
        case 0: return __builtin_shufflevector(q, q, 0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12);
        case 1: return __builtin_shufflevector(q, q, 1, 1, 1, 1, 5, 5, 5, 5, 9, 9, 9, 9, 13, 13, 13, 13);
        case 2: return __builtin_shufflevector(q, q, 2, 2, 2, 2, 6, 6, 6, 6, 10, 10, 10, 10, 14, 14, 14, 14);
        default: return __builtin_shufflevector(q, q, 3, 3, 3, 3, 7, 7, 7, 7, 11, 11, 11, 11, 15, 15, 15, 15);
    }
}

INLINE float sum_of_quad(lanes q) { return (q[0] + q[1]) + (q[2] + q[3]); }
INLINE float sum_of_lanes(lanes v) {
    v += __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
    v += __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11);
    return sum_of_quad(v);
}

// ---------------------------------------------------------------- r numbers, one for each row of A and B

/// Number k is lane k % 4 of every quad of vector k / 4: from there to all lanes is one cheap shuffle, and no number
/// ever takes the way through memory (11 cycles here).
typedef struct { lanes quads[4]; } coefficients;

INLINE lanes coefficient(const coefficients *c, const int k) { return spread(c->quads[k / 4], k % 4); }

INLINE coefficients scaled(const int r, const coefficients *c, float factor) {
    coefficients product;
    UNROLL for (int i = 0; i < r / 4; i++) product.quads[i] = c->quads[i] * factor;
    return product;
}

INLINE float squared_norm(const int r, const coefficients *c) {
    lanes sum = c->quads[0] * c->quads[0];
    UNROLL for (int i = 1; i < r / 4; i++) sum = multiply_add(c->quads[i], c->quads[i], sum);
    return sum_of_quad(sum);
}
#endif
