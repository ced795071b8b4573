#include "ckernels.h"

// A plain loop: clang vectorises it for the baseline target too, and every sum has a place of its own in each block.
void attune_fold_signs(const float *x, const float *signs, size_t n, float *out)
{
    size_t i = 0;
    for (; i + 64 <= n; i += 64) {
        for (size_t k = 0; k < 64; k++) out[k] += x[i + k] * signs[i + k];
    }
    for (; i < n; i++) out[i & 63] += x[i] * signs[i];
}
