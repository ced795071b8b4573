// The two tables. Elsewhere than on x86-64 with AVX-512 there is nothing to measure against.
#include "kernels.h"

#if defined(__x86_64__)
static int runs_here(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("x86-64-v4") != 0;
}

#define TABLE(NAME) \
    const reference_kernels *reference_##NAME(void) { \
        static const reference_kernels table = { \
            NAME##_forward, NAME##_sgd, NAME##_adam, NAME##_ewc, NAME##_riemannian, NAME##_batch}; \
        return runs_here() ? &table : 0; \
    }
TABLE(fused)
TABLE(limit)
#else
const reference_kernels *reference_fused(void) { return 0; }
const reference_kernels *reference_limit(void) { return 0; }
#endif

size_t reference_scratch_size(size_t d, size_t r, size_t samples) {
    // For one sample the residual and squares; for a batch two gradients, two products and the errors, of which the
    // limit holds 128 columns at a time.
    if (samples <= 1) return 2 * d;
    return 2 * r * d + 2 * r * samples + (d < 128 ? 128 : d) * samples;
}
