// The kernels' bodies, written once and inlined into each instruction set's copy (dispatch.c).
#pragma once
#include "lanes.h"

#pragma clang fp contract(off)

/// Row dots of a block of rows at once: they share the loads of x, and their independent sums hide the latency of FMA. Where
/// asked for, the sum of x squared comes with them.
INLINE void dot_block(const int rows, const float *m, size_t n, const float *x, float *out, float *squared) {
    lanes sum[8], squares = {0};
    _Pragma("clang loop unroll(full)") for (int k = 0; k < rows; k++) sum[k] = (lanes){0};
    size_t j = 0;
    _Pragma("clang loop unroll(disable)") for (; j + LANES <= n; j += LANES) {
        lanes xv = LOAD(x + j);
        _Pragma("clang loop unroll(full)") for (int k = 0; k < rows; k++)
            sum[k] = FMA(LOAD(m + (size_t)k * n + j), xv, sum[k]);
        if (squared) squares = FMA(xv, xv, squares);
    }
    if (j < n) {
        lanes xv = load_some(x + j, n - j);
        _Pragma("clang loop unroll(full)") for (int k = 0; k < rows; k++)
            sum[k] = FMA(load_some(m + (size_t)k * n + j, n - j), xv, sum[k]);
        if (squared) squares = FMA(xv, xv, squares);
    }
    sum_rows(rows, sum, out);
    if (squared) *squared = sum_lanes(&squares);
}

INLINE void row_dots_body(const size_t block, const float *m, size_t rows, size_t n, const float *x, float *out) {
    size_t k = 0;
    if (block == 8) for (; k + 8 <= rows; k += 8) dot_block(8, m + k * n, n, x, out + k, NULL);
    for (; k + 4 <= rows; k += 4) dot_block(4, m + k * n, n, x, out + k, NULL);
    for (; k < rows; k++) dot_block(1, m + k * n, n, x, out + k, NULL);
}

/// The same, and the sum of x squared.
INLINE float row_dots_and_norm(
    const size_t block, const float *m, size_t rows, size_t n, const float *x, float *out) {
    float squared;
    size_t k;
    if (block == 8 && rows >= 8) dot_block(k = 8, m, n, x, out, &squared);
    else if (rows >= 4) dot_block(k = 4, m, n, x, out, &squared);
    else dot_block(k = 1, m, n, x, out, &squared);
    row_dots_body(block, m + k * n, rows - k, n, x, out + k);
    return squared;
}

/// Column blocks outside, rows inside: y stays in registers, and each y[j] sees the rows in rising order.
INLINE void add_rows_body(const size_t block, const float *m, size_t rows, size_t n, const float *c, float *y) {
    size_t j = 0;
    for (; j + 4 * LANES <= n; j += 4 * LANES) {
        lanes y0 = LOAD(y + j), y1 = LOAD(y + j + 16), y2 = LOAD(y + j + 32), y3 = LOAD(y + j + 48);
        const float *p = m + j;
        for (size_t k = 0; k < rows; k++, p += n) {
            lanes ck = SPLAT(c[k]);
            y0 = FMA(ck, LOAD(p), y0);
            y1 = FMA(ck, LOAD(p + 16), y1);
            y2 = FMA(ck, LOAD(p + 32), y2);
            y3 = FMA(ck, LOAD(p + 48), y3);
        }
        STORE(y + j, y0);
        STORE(y + j + 16, y1);
        STORE(y + j + 32, y2);
        STORE(y + j + 48, y3);
    }
    for (; j + LANES <= n; j += LANES) {
        lanes yv = LOAD(y + j);
        for (size_t k = 0; k < rows; k++) yv = FMA(SPLAT(c[k]), LOAD(m + k * n + j), yv);
        STORE(y + j, yv);
    }
    if (j < n) {
        lanes yv, mv;
        load_tail(&yv, y + j, n - j);
        for (size_t k = 0; k < rows; k++) {
            load_tail(&mv, m + k * n + j, n - j);
            yv = FMA(SPLAT(c[k]), mv, yv);
        }
        store_tail(y + j, &yv, n - j);
    }
}

/// exp of a number in [-87, 0]: 2^k * p(r) with r in [-ln2/2, ln2/2] (Cody and Waite's two-part reduction), p the Taylor
/// polynomial of degree 7, whose remainder is below 2e-9 there. Rounding to k adds and subtracts 1.5 * 2^23.
INLINE void exp_lanes(lanes *v) {
    const float magic = 12582912.0f;
    lanes x = *v;
    lanes k = (x * 1.44269504f + magic) - magic;
    lanes r = FMA(k, SPLAT(-0.693359375f), x);
    r = FMA(k, SPLAT(2.12194440e-4f), r);
    lanes p = SPLAT(1.0f / 5040);
    p = FMA(p, r, SPLAT(1.0f / 720));
    p = FMA(p, r, SPLAT(1.0f / 120));
    p = FMA(p, r, SPLAT(1.0f / 24));
    p = FMA(p, r, SPLAT(1.0f / 6));
    p = FMA(p, r, SPLAT(0.5f));
    p = FMA(p, r, SPLAT(1.0f));
    p = FMA(p, r, SPLAT(1.0f));
    int_lanes exponent = __builtin_convertvector(k, int_lanes);
    int_lanes bits;
    memcpy(&bits, &p, sizeof bits);
    bits += exponent << 23;
    memcpy(v, &bits, sizeof bits);
}

INLINE float exp_sum_body(const size_t block, float *v, size_t n, float shift, float inverse_temperature) {
    lanes sum = {0};
    const lanes floor = SPLAT(-87.0f);
    for (size_t j = 0; j < n; j += LANES) {
        size_t left = n - j;
        lanes x;
        if (left >= LANES) x = LOAD(v + j);
        else {
            // Lanes past the end are pushed below the floor, so that they count as zero.
            float buffer[LANES];
            for (size_t i = 0; i < LANES; i++) buffer[i] = i < left ? v[j + i] : -__builtin_inff();
            memcpy(&x, buffer, sizeof buffer);
        }
        x = (x - shift) * inverse_temperature;
        int_lanes keep = x >= floor;
        lanes e = __builtin_elementwise_max(x, floor);
        exp_lanes(&e);
        int_lanes bits;
        memcpy(&bits, &e, sizeof bits);
        bits &= keep;
        memcpy(&e, &bits, sizeof e);
        sum += e;
        if (left >= LANES) STORE(v + j, e);
        else store_tail(v + j, &e, left);
    }
    return sum_lanes(&sum);
}

/// Four sums hide the latency of FMA; they are added pairwise before the lanes are.
INLINE float squared_distance_body(const size_t block, const float *a, const float *b, size_t n) {
    lanes sum[4] = {{0}, {0}, {0}, {0}};
    size_t j = 0;
    for (; j + 4 * LANES <= n; j += 4 * LANES) {
        _Pragma("clang loop unroll(full)") for (int i = 0; i < 4; i++) {
            lanes v = LOAD(a + j + i * LANES) - LOAD(b + j + i * LANES);
            sum[i] = FMA(v, v, sum[i]);
        }
    }
    for (; j < n; j += LANES) {
        lanes v = load_some(a + j, n - j) - load_some(b + j, n - j);
        sum[0] = FMA(v, v, sum[0]);
    }
    sum[0] = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    return sum_lanes(&sum[0]);
}

/// The largest magnitude, by comparing bits: their order is that of the numbers, and NaN and infinity come last.
INLINE float largest_magnitude_body(const size_t block, const float *v, size_t n) {
    uint32_t most = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, v + i, sizeof bits);
        bits &= 0x7fffffffu;
        most = bits > most ? bits : most;
    }
    float result;
    memcpy(&result, &most, sizeof result);
    return result;
}

INLINE float max_body(const size_t block, const float *v, size_t n) {
    float best = v[0];
    size_t j = 0;
    if (n >= LANES) {
        lanes m = LOAD(v);
        for (j = LANES; j + LANES <= n; j += LANES) m = __builtin_elementwise_max(m, LOAD(v + j));
        float e[LANES];
        memcpy(e, &m, sizeof e);
        for (int i = 0; i < LANES; i++) best = e[i] > best ? e[i] : best;
    }
    for (; j < n; j++) best = v[j] > best ? v[j] : best;
    return best;
}

/// v - v is 0 unless v is NaN or infinite; four sums hide the latency of the additions.
INLINE int32_t all_finite_body(const size_t block, const float *v, size_t n) {
    lanes c0 = {0}, c1 = {0}, c2 = {0}, c3 = {0};
    size_t j = 0;
    for (; j + 4 * LANES <= n; j += 4 * LANES) {
        c0 += LOAD(v + j) - LOAD(v + j);
        c1 += LOAD(v + j + 16) - LOAD(v + j + 16);
        c2 += LOAD(v + j + 32) - LOAD(v + j + 32);
        c3 += LOAD(v + j + 48) - LOAD(v + j + 48);
    }
    for (; j < n; j += LANES) {
        lanes tail = load_some(v + j, n - j);
        c0 += tail - tail;
    }
    return has_numbers((c0 + c1) + (c2 + c3));
}

INLINE void add_squared_outer_body(const size_t block, float *total, size_t rows, size_t n, const float *c, const float *x, float weight) {
    for (size_t k = 0; k < rows; k++) {
        float *p = total + k * n;
        const float ck = c[k];
        for (size_t j = 0; j < n; j++) {
            float g = ck * x[j];
            p[j] += weight * (g * g);
        }
    }
}

INLINE void blend_body(const size_t block, float *y, const float *x, size_t n, float a, float b) {
    for (size_t i = 0; i < n; i++) y[i] = a * y[i] + b * x[i];
}

INLINE void clamp_body(const size_t block, float *v, size_t n, float limit) {
    for (size_t i = 0; i < n; i++) {
        float x = v[i] > limit ? limit : v[i];
        v[i] = x < -limit ? -limit : x;
    }
}

// ---------------------------------------------------------------- projection

/// Four vectors of places, in registers; the products with +1 and -1 are exact.
INLINE void fold_signs_body(const size_t block, const float *x, const float *signs, size_t n, float *out) {
    lanes s0 = LOAD(out), s1 = LOAD(out + 16), s2 = LOAD(out + 32), s3 = LOAD(out + 48);
    size_t i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES) {
        s0 += LOAD(x + i) * LOAD(signs + i);
        s1 += LOAD(x + i + 16) * LOAD(signs + i + 16);
        s2 += LOAD(x + i + 32) * LOAD(signs + i + 32);
        s3 += LOAD(x + i + 48) * LOAD(signs + i + 48);
    }
    STORE(out, s0);
    STORE(out + 16, s1);
    STORE(out + 32, s2);
    STORE(out + 48, s3);
    for (; i < n; i++) out[i % (4 * LANES)] += x[i] * signs[i];
}
