/* Keys waiting to be worked on: each at most once, in the order they came, or at a time. A key that
 * is being worked on and is added again is handed out again when that work is done. Pure: time is
 * passed in or read through base/clock; nothing happens by itself. */
#pragma once
#include "base/str.h"

/* base · 2^failures up to max, each time a random quarter more or less. */
int64_t sp_backoff_ms(int failures, int64_t base_ms, int64_t max_ms);

typedef struct sp_workqueue sp_workqueue;

sp_workqueue *sp_workqueue_new(int64_t retry_base_ms, int64_t retry_max_ms);
sp_workqueue *sp_workqueue_free(sp_workqueue *q); /* takes NULL, returns NULL */

void sp_workqueue_add(sp_workqueue *q, sp_str key);
/* The earlier of two times counts. now_ms is sp_clock_mono_ms. */
void sp_workqueue_add_at(sp_workqueue *q, sp_str key, int64_t at_ms);
/* Takes the next key that is due; lent until sp_workqueue_done. */
bool sp_workqueue_next(sp_workqueue *q, int64_t now_ms, sp_str *ret_key);
/* The key may be handed out again; at once if it was added meanwhile. */
void sp_workqueue_done(sp_workqueue *q, sp_str key);
/* Instead of success: adds the key again after its backoff, which is returned. */
int64_t sp_workqueue_retry(sp_workqueue *q, sp_str key, int64_t now_ms);
void sp_workqueue_forget(sp_workqueue *q, sp_str key); /* success: the next failure is the first */

/* When something will be due: now_ms or earlier = now, INT64_MAX = nothing waits. */
int64_t sp_workqueue_next_at(const sp_workqueue *q);
size_t sp_workqueue_depth(const sp_workqueue *q);   /* ready to be taken */
size_t sp_workqueue_delayed(const sp_workqueue *q); /* waiting for their time */
