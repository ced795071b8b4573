// A few numbers for each row, the same on every machine without a copy for each instruction set.
#include "ckernels.h"

#pragma clang fp contract(off)

attune_coefficients attune_step_coefficients(
    size_t rank, const float *restrict hidden, float *restrict down, float *restrict up, float *restrict next,
    float down_rate, float up_rate, float scale, float squared_input) {
    attune_coefficients result = {0, 0};
    for (size_t k = 0; k < rank; k++) {
        const float a = down_rate * down[k], c = up_rate * up[k];
        const float value = scale * (hidden[k] + a * squared_input);
        down[k] = a;
        up[k] = c;
        next[k] = value;
        result.squared_next += (double)value * (double)value;
        result.share += hidden[k] * c;
    }
    return result;
}
