/* What the poller's two engines share: poller.c (epoll, and everything common) and ring.c. */
#pragma once
#include "base/vec.h"
#include "gateway/poller.h"
#include "gateway/ring.h"

#include <sys/epoll.h>

enum { SP_POLLER_BATCH = 256 };

/* Events name a descriptor and the number it was added under, not a place in memory: a closed
 * descriptor can still report something, in this batch or, while a child that was just forked holds
 * a copy, later. */
typedef struct sp_place {
    sp_io *io; /* NULL: closed */
    uint32_t number;
} sp_place;

struct sp_poller {
    int epfd;
    sp_engine engine;
    sp_ring *ring; /* NULL: epoll */
    uv_poll_t poll;
    uv_timer_t timer;
    int handles; /* of libuv, not yet closed */
    int64_t now_ms;
    int64_t timer_at_ms; /* when the timer fires; 0 = it is not running */
    sp_wheel wheel;
    uint32_t timeouts_ms[SP_TIMEOUT_CLASSES];
    sp_list again;
    struct epoll_event events[SP_POLLER_BATCH];
    int event_count; /* 0 outside a batch */
    bool outer;      /* sp_poller_run is at work */
    bool freed;
    SP_VEC(sp_place) places; /* by descriptor */
    uint32_t last_number;
    SP_VEC(void *) graves;
    void (*turn_end)(void *ctx);
    void *turn_end_ctx;
    void (*on_send_failed)(sp_io *io);
};
