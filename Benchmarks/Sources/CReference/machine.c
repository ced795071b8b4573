// What the machine itself can do: how fast memory streams, how fast it multiplies.
#include "reference.h"
#include <sys/mman.h>
#include <time.h>

/// Stamps X(suffix, attributes, bytes of a vector) for every instruction set. Only the best is ever called.
#if defined(__x86_64__)
#define FOR_EACH_SET(X) \
    X(avx512, __attribute__((target("arch=x86-64-v4"), min_vector_width(512))), 64) \
    X(avx2, __attribute__((target("arch=x86-64-v3"))), 32) \
    X(portable, , 16)
#else
#define FOR_EACH_SET(X) X(portable, , 16)
#endif

// Elsewhere nothing may fuse behind our back; here a fused operation is what is measured.
#pragma clang fp contract(fast)

enum { CHAINS = 12, PEAK_STEPS = 20000 };
static const size_t STREAM_FLOATS = (size_t)256 << 18;  // 256 MiB

/// Read at run time, so that the compiler cannot compute ahead. Every chain tends to twice the second.
static volatile float factor = 0.5f, addend = 1.0f;

/// The number of floats that `peak` multiplies and adds for each of its steps.
#define PEAK_FLOATS(BYTES) ((double)CHAINS * (BYTES) / sizeof(float))

#define DEFINE_MEASURED_LOOPS(SUFFIX, ATTRIBUTES, BYTES) \
    typedef float block_##SUFFIX __attribute__((vector_size(BYTES), aligned(4))); \
    static float sum_##SUFFIX(const block_##SUFFIX *v) { \
        float sum = 0; \
        for (size_t i = 0; i < sizeof *v / sizeof(float); i++) sum += (*v)[i]; \
        return sum; \
    } \
    /* Twelve chains of fused multiply-adds hide the latency of each other. */ \
    ATTRIBUTES static float peak_##SUFFIX(size_t steps) { \
        block_##SUFFIX chain[CHAINS], a = (block_##SUFFIX){0} + factor, b = (block_##SUFFIX){0} + addend; \
        for (int k = 0; k < CHAINS; k++) chain[k] = b * (float)k; \
        for (size_t i = 0; i < steps; i++) { \
            _Pragma("clang loop unroll(full)") for (int k = 0; k < CHAINS; k++) chain[k] = chain[k] * a + b; \
        } \
        for (int k = 1; k < CHAINS; k++) chain[0] += chain[k]; \
        return sum_##SUFFIX(&chain[0]); \
    } \
    ATTRIBUTES static void triad_##SUFFIX(float *a, const float *b, const float *c, size_t n) { \
        for (size_t i = 0; i < n; i += (BYTES) / sizeof(float)) \
            *(block_##SUFFIX *)(a + i) = *(const block_##SUFFIX *)(b + i) + 3.0f * *(const block_##SUFFIX *)(c + i); \
    } \
    ATTRIBUTES static void update_##SUFFIX(float *a, size_t n) { \
        for (size_t i = 0; i < n; i += (BYTES) / sizeof(float)) \
            *(block_##SUFFIX *)(a + i) = 0.999f * *(block_##SUFFIX *)(a + i) + 1e-6f; \
    } \
    ATTRIBUTES static float read_##SUFFIX(const float *a, size_t n) { \
        block_##SUFFIX sum[4] = {{0}, {0}, {0}, {0}}; \
        for (size_t i = 0; i < n; i += 4 * (BYTES) / sizeof(float)) { \
            _Pragma("clang loop unroll(full)") for (size_t k = 0; k < 4; k++) \
                sum[k] += *(const block_##SUFFIX *)(a + i + k * (BYTES) / sizeof(float)); \
        } \
        sum[0] += sum[1] + (sum[2] + sum[3]); \
        return sum_##SUFFIX(&sum[0]); \
    }
FOR_EACH_SET(DEFINE_MEASURED_LOOPS)

typedef struct {
    float (*peak)(size_t steps);
    double peak_floats;
    void (*triad)(float *a, const float *b, const float *c, size_t n);
    void (*update)(float *a, size_t n);
    float (*read)(const float *a, size_t n);
} measured_loops;

#define LOOPS(SUFFIX, ATTRIBUTES, BYTES) \
    static const measured_loops loops_##SUFFIX = { \
        peak_##SUFFIX, PEAK_FLOATS(BYTES), triad_##SUFFIX, update_##SUFFIX, read_##SUFFIX};
FOR_EACH_SET(LOOPS)

static const measured_loops *best_loops(void) {
#if defined(__x86_64__)
    if (reference_fused()) return &loops_avx512;
    if (__builtin_cpu_supports("x86-64-v3")) return &loops_avx2;
#endif
    return &loops_portable;
}

// ---------------------------------------------------------------- measuring

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/// Where sums go, so that the compiler cannot leave them out.
static volatile float sink;

#define KEEP_BEST(BEST, WORK) \
    do { \
        const double start = seconds(); \
        WORK; \
        const double taken = seconds() - start; \
        if (taken < (BEST)) (BEST) = taken; \
    } while (0)

double reference_peak_gigaflops(void) {
    const measured_loops *loops = best_loops();
    double best = 1e9;
    for (int pass = 0; pass < 100; pass++) KEEP_BEST(best, sink = loops->peak(PEAK_STEPS));
    return 2 * loops->peak_floats * PEAK_STEPS / best / 1e9;
}

reference_streams reference_memory_streams(size_t passes) {
    const size_t bytes = STREAM_FLOATS * sizeof(float);
    reference_streams result = {0, 0, 0};
    void *memory = mmap(0, 3 * bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return result;
#if defined(MADV_HUGEPAGE)
    (void)madvise(memory, 3 * bytes, MADV_HUGEPAGE);
#endif
    float *a = memory, *b = a + STREAM_FLOATS, *c = b + STREAM_FLOATS;
    for (size_t i = 0; i < STREAM_FLOATS; i++) {
        a[i] = 1;
        b[i] = 2;
        c[i] = 3;
    }
    const measured_loops *loops = best_loops();
    double triad = 1e9, update = 1e9, read = 1e9;
    for (size_t pass = 0; pass < passes; pass++) {
        KEEP_BEST(triad, loops->triad(a, b, c, STREAM_FLOATS));
        KEEP_BEST(update, loops->update(a, STREAM_FLOATS));
        KEEP_BEST(read, sink = loops->read(b, STREAM_FLOATS));
    }
    munmap(memory, 3 * bytes);
    const double floats = (double)STREAM_FLOATS / 1e9;
    result.triad = 12 * floats / triad;
    result.update = 8 * floats / update;
    result.read = 4 * floats / read;
    return result;
}
