// The 16 logical lanes: a 64-byte vector that the compiler maps to one AVX-512, two AVX2 or four SSE/NEON registers.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

typedef float two_lanes __attribute__((vector_size(8), aligned(4)));
typedef float four_lanes __attribute__((vector_size(16), aligned(4)));
typedef float eight_lanes __attribute__((vector_size(32), aligned(4)));
typedef float lanes __attribute__((vector_size(64), aligned(4)));
typedef int32_t int_lanes __attribute__((vector_size(64), aligned(4)));

enum { LANES = 16 };

// A plain a * b + c must never become a fused one: only fma() below fuses, on every machine.
#pragma clang fp contract(off)

// All that takes or returns lanes by value is inlined into a function of one instruction set: no call, no convention for it.
#pragma clang diagnostic ignored "-Wpsabi"

#define LOAD(p) (*(const lanes *)(p))
#define STORE(p, v) (*(lanes *)(p) = (v))
#define FMA(a, b, c) __builtin_elementwise_fma((a), (b), (c))
/// A plain broadcast. A sum with zeros would turn -0 into 0.
#define SPLAT(s) __builtin_shufflevector((two_lanes){(s), 0}, (two_lanes){0}, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)

/// The first n < 16 elements at p, the other lanes zero.
INLINE void load_tail(lanes *out, const float *p, size_t n) {
    float buffer[LANES] = {0};
    for (size_t i = 0; i < n; i++) buffer[i] = p[i];
    memcpy(out, buffer, sizeof buffer);
}

INLINE void store_tail(float *p, const lanes *v, size_t n) {
    float buffer[LANES];
    memcpy(buffer, v, sizeof buffer);
    for (size_t i = 0; i < n; i++) p[i] = buffer[i];
}

INLINE lanes splat(float s) { return SPLAT(s); }

/// All 16 elements at p, or the first n of them and zeros. In a loop over whole vectors n is a constant.
INLINE lanes load_some(const float *p, size_t n) {
    if (n >= LANES) return LOAD(p);
    lanes v;
    load_tail(&v, p, n);
    return v;
}

INLINE void store_some(float *p, lanes v, size_t n) {
    if (n >= LANES) STORE(p, v);
    else store_tail(p, &v, n);
}

/// The lanes added pairwise, halves first.
INLINE float sum_lanes(const lanes *v) {
    eight_lanes e = __builtin_shufflevector(*v, *v, 0, 1, 2, 3, 4, 5, 6, 7)
        + __builtin_shufflevector(*v, *v, 8, 9, 10, 11, 12, 13, 14, 15);
    four_lanes f = __builtin_shufflevector(e, e, 0, 1, 2, 3) + __builtin_shufflevector(e, e, 4, 5, 6, 7);
    two_lanes t = __builtin_shufflevector(f, f, 0, 1) + __builtin_shufflevector(f, f, 2, 3);
    return t[0] + t[1];
}

// The same sums of several vectors at once: each step adds the halves of two vectors in the place of one.

#define ADD_HALVES(a, b, ...) (__builtin_shufflevector(a, b, FIRST_##__VA_ARGS__) + __builtin_shufflevector(a, b, SECOND_##__VA_ARGS__))
#define FIRST_EIGHTS 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23
#define SECOND_EIGHTS 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31
#define FIRST_FOURS 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27
#define SECOND_FOURS 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31
#define FIRST_TWOS 0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20, 21, 24, 25, 28, 29
#define SECOND_TWOS 2, 3, 6, 7, 10, 11, 14, 15, 18, 19, 22, 23, 26, 27, 30, 31
#define FIRST_ONES 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define SECOND_ONES 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31

INLINE lanes fours_of_four(const lanes *v) {
    lanes ab = ADD_HALVES(v[0], v[1], EIGHTS), cd = ADD_HALVES(v[2], v[3], EIGHTS);
    return ADD_HALVES(ab, cd, FOURS);
}

INLINE void sum_four_lanes(const lanes *v, float *out) {
    lanes fours = fours_of_four(v);
    eight_lanes twos = __builtin_shufflevector(fours, fours, 0, 1, 4, 5, 8, 9, 12, 13)
        + __builtin_shufflevector(fours, fours, 2, 3, 6, 7, 10, 11, 14, 15);
    *(four_lanes *)out =
        __builtin_shufflevector(twos, twos, 0, 2, 4, 6) + __builtin_shufflevector(twos, twos, 1, 3, 5, 7);
}

INLINE void sum_eight_lanes(const lanes *v, float *out) {
    lanes front = fours_of_four(v), back = fours_of_four(v + 4);
    lanes twos = ADD_HALVES(front, back, TWOS);
    *(eight_lanes *)out = __builtin_shufflevector(twos, twos, 0, 2, 4, 6, 8, 10, 12, 14)
        + __builtin_shufflevector(twos, twos, 1, 3, 5, 7, 9, 11, 13, 15);
}

INLINE void sum_sixteen_lanes(const lanes *v, float *out) {
    lanes fours[4];
    _Pragma("clang loop unroll(full)") for (int i = 0; i < 4; i++) fours[i] = fours_of_four(v + 4 * i);
    lanes front = ADD_HALVES(fours[0], fours[1], TWOS), back = ADD_HALVES(fours[2], fours[3], TWOS);
    STORE(out, ADD_HALVES(front, back, ONES));
}

/// Whether no lane is NaN.
INLINE int32_t has_numbers(lanes v) { return !__builtin_reduce_or(v != v); }

/// The sums of `rows` vectors, 1, 4 or 8 of them (a constant).
INLINE void sum_rows(const int rows, const lanes *v, float *out) {
    if (rows == 8) sum_eight_lanes(v, out);
    else if (rows == 4) sum_four_lanes(v, out);
    else
        for (int k = 0; k < rows; k++) out[k] = sum_lanes(v + k);
}
