#include "short_wait.h"

#include <time.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

void attune_short_wait(long nanoseconds) {
#ifdef __linux__
    static _Thread_local int is_exact;
    if (!is_exact) {
        // Where it is refused, waits are longer.
        prctl(PR_SET_TIMERSLACK, 1L, 0L, 0L, 0L);
        is_exact = 1;
    }
#endif
    struct timespec wait = {0, nanoseconds};
    nanosleep(&wait, 0);
}
