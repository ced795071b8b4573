// One copy of every kernel for each instruction set, behind a table of function pointers chosen at start. No ifunc
// (target_clones): it crashes at start under the thread sanitizer.
#include "ckernels.h"
#include "batches.h"
#include "optimizers.h"
#include "preconditioning.h"
#include <stdatomic.h>

#pragma clang fp contract(off)

/// Every kernel: X(name, result, (parameters), (arguments)).
#define KERNELS(X, LEVEL, ATTRIBUTES) \
    X(LEVEL, ATTRIBUTES, row_dots, void, \
        (const float *m, size_t rows, size_t n, const float *x, float *out), \
        (m, rows, n, x, out)) \
    X(LEVEL, ATTRIBUTES, add_rows, void, \
        (const float *m, size_t rows, size_t n, const float *c, float *y), \
        (m, rows, n, c, y)) \
    X(LEVEL, ATTRIBUTES, rank_one, void, \
        (float *m, size_t rows, size_t n, const float *c, const float *x), \
        (m, rows, n, c, x)) \
    X(LEVEL, ATTRIBUTES, forward_rows, int32_t, \
        (const attune_map *map, const float *x, float *hidden, float *scaled, float *y), \
        (map, x, hidden, scaled, y)) \
    X(LEVEL, ATTRIBUTES, target_gradient_rows, void, \
        (const attune_map *map, const float *x, const float *target, float factor, attune_gradient *gradient), \
        (map, x, target, factor, gradient)) \
    X(LEVEL, ATTRIBUTES, step_rows, void, (const attune_map *map, attune_change *change), (map, change)) \
    X(LEVEL, ATTRIBUTES, forward, int32_t, \
        (const attune_map *map, const float *x, float *hidden, float *scaled, float *y), \
        (map, x, hidden, scaled, y)) \
    X(LEVEL, ATTRIBUTES, map_up, void, \
        (const attune_map *map, const float *c, const float *x, float *y), (map, c, x, y)) \
    X(LEVEL, ATTRIBUTES, squared_distance, float, (const float *a, const float *b, size_t n), (a, b, n)) \
    X(LEVEL, ATTRIBUTES, largest_magnitude, float, (const float *v, size_t n), (v, n)) \
    X(LEVEL, ATTRIBUTES, target_gradient, void, \
        (const attune_map *map, const float *x, const float *target, float factor, attune_gradient *gradient), \
        (map, x, target, factor, gradient)) \
    X(LEVEL, ATTRIBUTES, target_batch, void, \
        (const attune_map *map, attune_batch *batch, float *hidden, float *scaled, float *back), \
        (map, batch, hidden, scaled, back)) \
    X(LEVEL, ATTRIBUTES, target_losses, void, \
        (const attune_map *map, const attune_batch *batch, float *hidden, float *output), \
        (map, batch, hidden, output)) \
    X(LEVEL, ATTRIBUTES, step, void, (const attune_map *map, attune_change *change), (map, change)) \
    X(LEVEL, ATTRIBUTES, exp_sum, float, (float *v, size_t n, float shift, float inverse), (v, n, shift, inverse)) \
    X(LEVEL, ATTRIBUTES, max, float, (const float *v, size_t n), (v, n)) \
    X(LEVEL, ATTRIBUTES, all_finite, int32_t, (const float *v, size_t n), (v, n)) \
    X(LEVEL, ATTRIBUTES, momentum_step, void, \
        (float *theta, float *velocity, const float *g, size_t n, float rate, float momentum, float dampening, \
         int32_t nesterov, int32_t first), \
        (theta, velocity, g, n, rate, momentum, dampening, nesterov, first)) \
    X(LEVEL, ATTRIBUTES, adagrad_step, void, \
        (float *theta, float *sum, const float *g, size_t n, float rate, float epsilon), \
        (theta, sum, g, n, rate, epsilon)) \
    X(LEVEL, ATTRIBUTES, adam_step, void, \
        (float *theta, float *m, float *v, const float *g, size_t n, const attune_adam *adam), \
        (theta, m, v, g, n, adam)) \
    X(LEVEL, ATTRIBUTES, adam_rank_one, void, \
        (float *theta, float *m, float *v, size_t rows, size_t n, const float *c, const float *x, \
         const attune_adam *adam, const attune_follow *follow), \
        (theta, m, v, rows, n, c, x, adam, follow)) \
    X(LEVEL, ATTRIBUTES, protected_rank_one, void, \
        (const attune_protected *state, size_t rows, size_t n, const float *c, const float *g, const float *x, \
         float strength, float decay, const attune_follow *follow), \
        (state, rows, n, c, g, x, strength, decay, follow)) \
    X(LEVEL, ATTRIBUTES, matrix_squared_norm, float, (const float *m, size_t rows, size_t n), (m, rows, n)) \
    X(LEVEL, ATTRIBUTES, outer_sum, float, \
        (const float *u, const float *const *v, size_t count, size_t rows, size_t n, int32_t adds, float *m), \
        (u, v, count, rows, n, adds, m)) \
    X(LEVEL, ATTRIBUTES, exchange, void, (float *theta, float *g, size_t n, float c), (theta, g, n, c)) \
    X(LEVEL, ATTRIBUTES, gram, void, (const float *m, size_t rows, size_t n, float *out), (m, rows, n, out)) \
    X(LEVEL, ATTRIBUTES, precondition, int32_t, \
        (const attune_map *map, attune_preconditioned *gradient), (map, gradient)) \
    X(LEVEL, ATTRIBUTES, anchor_step, void, \
        (float *theta, const float *anchor, const float *fisher, size_t n, float strength), \
        (theta, anchor, fisher, n, strength)) \
    X(LEVEL, ATTRIBUTES, add_squared_outer, void, \
        (float *total, size_t rows, size_t n, const float *c, const float *x, float weight), \
        (total, rows, n, c, x, weight)) \
    X(LEVEL, ATTRIBUTES, blend, void, (float *y, const float *x, size_t n, float a, float b), (y, x, n, a, b)) \
    X(LEVEL, ATTRIBUTES, clamp, void, (float *v, size_t n, float limit), (v, n, limit)) \
    X(LEVEL, ATTRIBUTES, fold_signs, void, \
        (const float *x, const float *signs, size_t n, float *out), (x, signs, n, out))

/// The rows that one instruction set's registers take at once.
enum { BLOCK_portable = 4, BLOCK_avx2 = 4, BLOCK_avx512 = 8 };
#define UNPACK(...) __VA_ARGS__

#define FIELD(LEVEL, ATTRIBUTES, NAME, RESULT, PARAMETERS, ARGUMENTS) RESULT(*NAME) PARAMETERS;
// Each starts on a cache line, so that the speed of its loops does not depend on what is linked before it.
#define COPY(LEVEL, ATTRIBUTES, NAME, RESULT, PARAMETERS, ARGUMENTS) \
    ATTRIBUTES __attribute__((aligned(64))) static RESULT NAME##_##LEVEL PARAMETERS { return NAME##_body(BLOCK_##LEVEL, UNPACK ARGUMENTS); }
#define ENTRY(LEVEL, ATTRIBUTES, NAME, RESULT, PARAMETERS, ARGUMENTS) .NAME = NAME##_##LEVEL,
#define CALL(LEVEL, ATTRIBUTES, NAME, RESULT, PARAMETERS, ARGUMENTS) \
    RESULT attune_##NAME PARAMETERS { return selected()->NAME ARGUMENTS; }

typedef struct {
    attune_kernel_level level;
    KERNELS(FIELD, , )
} table;

KERNELS(COPY, portable, )
static const table portable = {.level = ATTUNE_KERNEL_PORTABLE, KERNELS(ENTRY, portable, )};
#if defined(__x86_64__)
#define AVX2 __attribute__((target("arch=x86-64-v3")))
KERNELS(COPY, avx2, AVX2)
static const table avx2 = {.level = ATTUNE_KERNEL_AVX2, KERNELS(ENTRY, avx2, )};
// Without min_vector_width the compiler keeps to 256-bit registers.
#define AVX512 __attribute__((target("arch=x86-64-v4"), min_vector_width(512)))
KERNELS(COPY, avx512, AVX512)
static const table avx512 = {.level = ATTUNE_KERNEL_AVX512, KERNELS(ENTRY, avx512, )};
#endif

// A pointer to a constant table, read and written whole: a test may select while kernels run in other threads, whose
// results are the same bits either way.
static _Atomic(const table *) kernels = &portable;

static inline const table *selected(void) { return atomic_load_explicit(&kernels, memory_order_relaxed); }

attune_kernel_level attune_kernels_select(attune_kernel_level wanted) {
    const table *best = &portable;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (wanted >= ATTUNE_KERNEL_AVX512 && __builtin_cpu_supports("x86-64-v4")) best = &avx512;
    else if (wanted >= ATTUNE_KERNEL_AVX2 && __builtin_cpu_supports("x86-64-v3")) best = &avx2;
#else
    (void)wanted;
#endif
    atomic_store_explicit(&kernels, best, memory_order_relaxed);
    return best->level;
}

__attribute__((constructor)) static void select_best(void) { attune_kernels_select(ATTUNE_KERNEL_AVX512); }

int32_t attune_address_sanitizer(void) {
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
    return 1;
#endif
#endif
    return 0;
}

attune_kernel_level attune_kernels_level(void) { return selected()->level; }

KERNELS(CALL, , )

float attune_dot(const float *a, const float *b, size_t n) {
    float out;
    selected()->row_dots(a, 1, n, b, &out);
    return out;
}
float attune_squared_norm(const float *a, size_t n) { return attune_dot(a, a, n); }
