// glibc lets a program bring its own malloc (its manual, "Replacing malloc"). Ours counts and hands on to glibc's. Only
// while somebody counts: at other times it is one load and one branch.
#include "callocations.h"
#include <stdatomic.h>
#include <stddef.h>

#if defined(__GLIBC__) || __has_include(<gnu/libc-version.h>)
#define IS_GLIBC 1
#endif
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#undef IS_GLIBC
#endif

#if IS_GLIBC
#include <errno.h>

static _Atomic(int32_t) is_counting;
static _Atomic(int64_t) count;

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

static inline void note(void) {
    if (atomic_load_explicit(&is_counting, memory_order_relaxed))
        atomic_fetch_add_explicit(&count, 1, memory_order_relaxed);
}

void *malloc(size_t size) {
    note();
    return __libc_malloc(size);
}
void *calloc(size_t items, size_t size) {
    note();
    return __libc_calloc(items, size);
}
void *realloc(void *old, size_t size) {
    note();
    return __libc_realloc(old, size);
}
void *memalign(size_t alignment, size_t size) {
    note();
    return __libc_memalign(alignment, size);
}
void *aligned_alloc(size_t alignment, size_t size) {
    note();
    return __libc_memalign(alignment, size);
}
int posix_memalign(void **out, size_t alignment, size_t size) {
    if (alignment % sizeof(void *) != 0 || alignment == 0 || (alignment & (alignment - 1)) != 0) return EINVAL;
    note();
    void *memory = __libc_memalign(alignment, size);
    if (!memory) return ENOMEM;
    *out = memory;
    return 0;
}

int32_t attune_allocations_begin(void) {
    atomic_store(&count, 0);
    atomic_store(&is_counting, 1);
    return 1;
}
int64_t attune_allocations_end(void) {
    atomic_store(&is_counting, 0);
    return atomic_load(&count);
}

#else

int32_t attune_allocations_begin(void) { return 0; }
int64_t attune_allocations_end(void) { return 0; }

#endif
