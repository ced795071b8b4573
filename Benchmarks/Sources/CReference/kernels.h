// The kernels behind the two tables; see reference.h.
#pragma once
#include "reference.h"
#if defined(__x86_64__)

#define DECLARE(NAME) \
    void NAME##_forward( \
        size_t d, size_t r, const float *A, const float *B, const float *x, float *y, float scale); \
    float NAME##_sgd( \
        size_t d, size_t r, float *A, float *B, const float *x, const float *t, float scale, float rate, \
        float *scratch); \
    float NAME##_adam( \
        size_t d, size_t r, float *A, float *B, float *moments, const float *x, const float *t, float scale, \
        float rate, float *scratch); \
    float NAME##_ewc( \
        size_t d, size_t r, float *A, float *B, float *importance, const float *x, const float *t, float scale, \
        float rate, float penalty, float *scratch); \
    float NAME##_riemannian( \
        size_t d, size_t r, float *A, float *B, const float *x, const float *t, float scale, float rate, \
        float damping, float *scratch); \
    float NAME##_batch( \
        size_t d, size_t r, size_t samples, float *A, float *B, const float *X, const float *T, float scale, \
        float rate, float *scratch);
DECLARE(fused)
DECLARE(limit)
#endif
