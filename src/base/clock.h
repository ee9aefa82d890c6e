/* Time is read here and nowhere else, so leases, backoff and cron run on virtual time in tests. */
#pragma once
#include "base/util.h"

int64_t sp_clock_mono_ms(void); /* never steps back; for durations */
int64_t sp_clock_mono_us(void);
int64_t sp_clock_wall_ms(void); /* since 1970, UTC */

/* Tests: from now on both clocks stand still at these values and move by sp_clock_advance. */
void sp_clock_virtual(int64_t wall_ms);
void sp_clock_advance(int64_t ms);
void sp_clock_real(void);
