// Elsewhere than on x86-64 there is no limit to measure against.
#include "reference.h"
#if !defined(__x86_64__)
#define ABSENT(NAME, RESULT, ...) \
    RESULT NAME(__VA_ARGS__) { return (RESULT)__builtin_nanf(""); }
typedef const float *in;
typedef float *out;

void reference_forward(size_t d, size_t r, in A, in B, in x, out y, float scale) {
    for (size_t j = 0; j < d; j++) y[j] = __builtin_nanf("");
}
ABSENT(reference_sgd, float, size_t d, size_t r, out A, out B, in x, in t, float scale, float rate, out scratch)
ABSENT(reference_ewc, float, size_t d, size_t r, out A, out B, out importance, in x, in t, float scale, float rate,
    float penalty, out scratch)
ABSENT(reference_adam, float, size_t d, size_t r, out A, out B, out moments, in x, in t, float scale, float rate,
    out scratch)
ABSENT(reference_riemannian, float, size_t d, size_t r, out A, out B, in x, in t, float scale, float rate,
    float damping, out scratch)
ABSENT(reference_batch, float, size_t d, size_t r, size_t samples, out A, out B, in X, in T, float scale, float rate,
    out scratch)
#endif
