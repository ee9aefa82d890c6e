/* Time is read here and nowhere else, so leases, backoff and cron run on virtual time in tests. */
#pragma once
#include "base/util.h"

int64_t sp_clock_mono_ms(void); /* never steps back; for durations */
int64_t sp_clock_mono_us(void);
int64_t sp_clock_wall_ms(void); /* since 1970, UTC */

/* Milliseconds of a duration that somebody wrote in seconds: never negative, at most a century, so
 * that it can be added to a time. */
static inline int64_t sp_ms_from_s(int64_t seconds) {
    const int64_t century_s = (int64_t)100 * 366 * 86400;
    return 1000 * (seconds < 0 ? 0 : SP_MIN(seconds, century_s));
}

/* Tests: from now on both clocks stand still at these values and move by sp_clock_advance. */
void sp_clock_virtual(int64_t wall_ms);
void sp_clock_advance(int64_t ms);
void sp_clock_real(void);
