// Counts the allocations of a program that links this, between begin and end.
#pragma once
#include <stdint.h>

/// Begins to count allocations, of all threads. Returns 1 where they can be counted, 0 elsewhere: under a sanitizer, which has
/// an allocator of its own, and where the C library is not glibc.
int32_t attune_allocations_begin(void);

/// Ends counting; the allocations since the beginning.
int64_t attune_allocations_end(void);
