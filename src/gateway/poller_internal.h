/* What poller.c and batch.c share. */
#pragma once
#include "base/vec.h"
#include "gateway/batch.h"
#include "gateway/poller.h"

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
    sp_batch *batch; /* NULL: each send by itself */
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
    void (*on_unsent)(void *ctx, sp_io *io, sp_str rest, int error);
    void *on_unsent_ctx;
};
