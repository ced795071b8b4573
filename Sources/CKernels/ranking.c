#include "ckernels.h"

// A plain loop: clang vectorises it for the baseline target too, and the matrix product in front of it costs far more.
void attune_count_above(
    const float *scores, const float *offsets, size_t n, float threshold, uint32_t *greater, uint32_t *equal)
{
    uint32_t above = 0, ties = 0;
    for (size_t i = 0; i < n; i++) {
        float score = scores[i] + offsets[i];
        above += !(score <= threshold);
        ties += score == threshold;
    }
    *greater = above;
    *equal = ties;
}
