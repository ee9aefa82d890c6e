/* Small helpers on a libuv loop: work put off to the end of the turn, timers and signals as
 * one-liners, name lookup. Everything here belongs to the loop's thread. */
#pragma once
#include "base/err.h"
#include "base/list.h"
#include "base/str.h"

#include <uv.h>

/* --- the end of the turn ---
 * A turn is one round of the loop. Tasks put off run once all events of the turn are handled and
 * before the loop sleeps again, so that ten small writes become one. */
typedef struct sp_turn sp_turn; /* one per loop, reference counted */
sp_turn *sp_turn_ref(uv_loop_t *loop);
sp_turn *sp_turn_unref(sp_turn *t); /* takes NULL, returns NULL; waiting tasks still run */

typedef struct sp_task {
    sp_list link; /* sp_task_init before the first use */
    void (*fn)(struct sp_task *task);
} sp_task;
static inline void sp_task_init(sp_task *t, void (*fn)(sp_task *)) {
    sp_list_init(&t->link);
    t->fn = fn;
}
/* The memory is the caller's and stays valid until fn runs or the task is cancelled; fn may free
 * it. Nothing happens when it is already waiting. */
void sp_task_defer(sp_turn *t, sp_task *task);
static inline void sp_task_cancel(sp_task *task) {
    sp_list_remove(&task->link);
}

/* --- timers --- */
typedef struct sp_timer sp_timer;
typedef void sp_timer_fn(void *ctx);
/* Once: the timer is gone when fn is called (set your pointer to NULL there). */
sp_timer *sp_timer_start(uv_loop_t *loop, uint64_t ms, sp_timer_fn *fn, void *ctx);
/* Every ms, first after ms, until stopped. */
sp_timer *sp_timer_every(uv_loop_t *loop, uint64_t ms, sp_timer_fn *fn, void *ctx);
sp_timer *sp_timer_stop(sp_timer *t); /* takes NULL, returns NULL; fn is not called any more */

/* --- signals (they do not keep the loop running) --- */
typedef struct sp_signal sp_signal;
sp_signal *sp_signal_watch(uv_loop_t *loop, int signum, void (*fn)(void *ctx, int signum),
                           void *ctx);
sp_signal *sp_signal_stop(sp_signal *s); /* takes NULL, returns NULL */

/* --- names --- */
typedef struct sp_resolve sp_resolve;
/* Exactly once, never before sp_resolve_start returned; the sp_resolve is gone by then. addrs is
 * lent; n > 0 unless err is set. */
typedef void sp_resolve_done(void *ctx, const struct sockaddr_storage *addrs, size_t n,
                             const sp_err *err);
/* IPv4 and IPv6 addresses for a name or an address in text, port filled in. host is copied. */
sp_resolve *sp_resolve_start(uv_loop_t *loop, const char *host, uint16_t port,
                             sp_resolve_done *done, void *ctx);
sp_resolve *sp_resolve_cancel(sp_resolve *r); /* takes NULL, returns NULL; done is not called */

/* "127.0.0.1:80", "[::1]:80"; "" when it is neither IPv4 nor IPv6. */
void sp_addr_print(const struct sockaddr *sa, char *ret, size_t size);
