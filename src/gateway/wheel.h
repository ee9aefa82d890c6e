/* Alarms of any duration on a hierarchical timing wheel (Varghese and Lauck, SOSP 1987): starting,
 * starting again and stopping one costs O(1), no memory and no system call, however many there are.
 * Pure: time comes in as an argument. Ticks of 8 ms; an alarm is never early and at most a tick and
 * the caller's own delay late. Not thread-safe. */
#pragma once
#include "base/list.h"

enum { SP_WHEEL_TICK_SHIFT = 3, SP_WHEEL_LEVELS = 4, SP_WHEEL_SLOTS = 64 };

typedef struct sp_alarm {
    sp_list link; /* unlinked while not running */
    int64_t deadline_ms;
    void (*fn)(struct sp_alarm *a);
} sp_alarm;

static inline void sp_alarm_init(sp_alarm *a, void (*fn)(sp_alarm *)) {
    sp_list_init(&a->link);
    a->fn = fn;
}
static inline void sp_alarm_stop(sp_alarm *a) {
    sp_list_remove(&a->link);
}
static inline bool sp_alarm_running(const sp_alarm *a) {
    return !sp_list_empty(&a->link);
}

typedef struct sp_wheel {
    int64_t tick;                    /* all that was due up to here has been called */
    uint64_t maybe[SP_WHEEL_LEVELS]; /* a bit for each slot that may hold alarms */
    sp_list slots[SP_WHEEL_LEVELS][SP_WHEEL_SLOTS];
} sp_wheel;

void sp_wheel_init(sp_wheel *w, int64_t now_ms);
/* A running one is moved. Up to 37 hours ahead; what is farther rings then and is late. */
void sp_wheel_start(sp_wheel *w, sp_alarm *a, int64_t deadline_ms);
/* When sp_wheel_run has something to do again (perhaps only to sort); INT64_MAX when nothing runs.
 */
int64_t sp_wheel_next_ms(sp_wheel *w);
/* Calls what is due. fn may start and stop any alarm. */
void sp_wheel_run(sp_wheel *w, int64_t now_ms);
