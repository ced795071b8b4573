// The 16 logical lanes: a 64-byte vector that the compiler maps to one AVX-512, two AVX2 or four SSE/NEON registers.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

typedef float lanes __attribute__((vector_size(64), aligned(4)));
typedef int32_t int_lanes __attribute__((vector_size(64), aligned(4)));

enum { LANES = 16 };

// A plain a * b + c must never become a fused one: only fma() below fuses, on every machine.
#pragma clang fp contract(off)

#define LOAD(p) (*(const lanes *)(p))
#define STORE(p, v) (*(lanes *)(p) = (v))
#define FMA(a, b, c) __builtin_elementwise_fma((a), (b), (c))
#define SPLAT(s) ((lanes){0} + (s))

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

/// The lanes added pairwise, halves first.
INLINE float sum_lanes(const lanes *v) {
    float e[LANES];
    memcpy(e, v, sizeof e);
    for (int width = LANES / 2; width; width >>= 1)
        for (int i = 0; i < width; i++) e[i] += e[i + width];
    return e[0];
}
