#ifndef ATTUNE_SHORT_WAIT_H
#define ATTUNE_SHORT_WAIT_H

/// Lets others run for about so many nanoseconds. Linux may stretch a sleep by 50 microseconds, to end it together with
/// others'; this asks for its thread not to be stretched.
void attune_short_wait(long nanoseconds);

#endif
