/* Events (core/v1) tell what happened lately; without an end they would be most of the store. An
 * event is removed an hour after it last happened. The timer runs only while there are events. */
#include "apiserver/expiry.h"

#include "apiserver/server.h"
#include "base/clock.h"
#include "data/time.h"

#define EVENTS "/registry/core/events/"

enum { KEEP_MS = 3600 * 1000, EVERY_MS = 5 * 60 * 1000, MAX_PER_SWEEP = 2000 };

struct sp_event_expiry {
    sp_apiserver *s;
    uv_timer_t timer;
    sp_store_watch *watch; /* starts the timer with the first event */
    size_t running;        /* deletions on their way */
    bool closed;
};

/* When it last happened; 0 if the event does not say. */
static int64_t last_seen_ms(const sp_json *event) {
    static const char *const fields[] = {"lastTimestamp", "eventTime", "firstTimestamp"};
    int64_t at, newest = 0;
    for (size_t i = 0; i < SP_COUNT(fields); i++)
        if (sp_time_parse(sp_json_str(sp_json_get(event, fields[i])), &at))
            newest = SP_MAX(newest, at);
    const sp_json *series = sp_json_dig(event, "series", "lastObservedTime", NULL);
    if (sp_time_parse(sp_json_str(series), &at)) newest = SP_MAX(newest, at);
    const sp_json *made = sp_json_dig(event, "metadata", "creationTimestamp", NULL);
    return newest || !sp_time_parse(sp_json_str(made), &at) ? newest : at;
}

bool sp_event_expired(const sp_json *event, int64_t now_wall_ms) {
    return last_seen_ms(event) < now_wall_ms - KEEP_MS;
}

static void free_if_over(struct sp_event_expiry *x) {
    if (x->closed && !x->running) free(x);
}

static void deleted(sp_op *op) {
    struct sp_event_expiry *x = op->ctx;
    sp_op_cleanup(op);
    sp_arena_free(op->arena);
    x->running--;
    free_if_over(x);
}

static void remove_event(struct sp_event_expiry *x, sp_served *served, sp_str rest) {
    sp_arena *a = sp_arena_new();
    sp_op *op = SP_NEW(a, sp_op);
    ptrdiff_t slash = sp_str_chr(rest, '/');
    *op = (sp_op){.s = x->s,
                  .served = sp_served_ref(served),
                  .arena = a,
                  .ns = sp_arena_str(a, sp_str_sub(rest, 0, (size_t)SP_MAX(slash, 0))),
                  .name = sp_arena_str(a, sp_str_from(rest, (size_t)(slash + 1))),
                  .user = SP_STR("system:apiserver"),
                  .done = deleted,
                  .ctx = x};
    x->running++;
    sp_op_delete(op, &(sp_delete_options){.grace_seconds = -1});
}

typedef struct sweep {
    struct sp_event_expiry *x;
    sp_served *served;
    sp_arena *scratch;
    int64_t now_ms;
} sweep;

static bool visit(void *ctx, sp_str key, sp_store_value *v) {
    sweep *w = ctx;
    sp_json *event;
    sp_arena_reset(w->scratch);
    if (sp_json_parse(w->scratch, sp_blob_str(v->bytes), &event, NULL) &&
        sp_event_expired(event, w->now_ms))
        remove_event(w->x, w->served, sp_str_from(key, strlen(EVENTS)));
    return w->x->running < MAX_PER_SWEEP;
}

static void on_timer(uv_timer_t *t) {
    struct sp_event_expiry *x = t->data;
    sp_auto_ptr(sp_arena) scratch = sp_arena_new();
    sweep w = {.x = x,
               .served =
                   sp_registry_served(x->s->registry, SP_STR(""), SP_STR("v1"), SP_STR("events")),
               .scratch = scratch,
               .now_ms = sp_clock_wall_ms()};
    if (w.served && sp_store_count(x->s->store, SP_STR(EVENTS)))
        (void)!sp_store_range(x->s->store, SP_STR(EVENTS), SP_STR(""), 0, visit, &w, NULL);
    else
        uv_timer_stop(t);
}

static void on_event(void *ctx, sp_store_event *e) {
    struct sp_event_expiry *x = ctx;
    if (e->type == SP_STORE_CREATED && !uv_is_active((uv_handle_t *)&x->timer))
        uv_timer_start(&x->timer, on_timer, EVERY_MS, EVERY_MS);
}

void sp_event_expiry_start(sp_apiserver *s) {
    struct sp_event_expiry *x = sp_zalloc(1, sizeof *x);
    x->s = s;
    s->expiry = x;
    uv_timer_init(s->loop, &x->timer);
    x->timer.data = x;
    if (sp_store_count(s->store, SP_STR(EVENTS)))
        uv_timer_start(&x->timer, on_timer, EVERY_MS, EVERY_MS);
    if (!sp_store_watch_start(s->store, SP_STR(EVENTS), sp_store_revision(s->store), on_event, x,
                              &x->watch, NULL))
        x->watch = NULL;
}

static void timer_closed(uv_handle_t *h) {
    struct sp_event_expiry *x = h->data;
    x->closed = true;
    free_if_over(x);
}

void sp_event_expiry_stop(sp_apiserver *s) {
    struct sp_event_expiry *x = s->expiry;
    if (!x) return;
    if (x->watch) sp_store_watch_stop(x->watch);
    s->expiry = NULL;
    uv_close((uv_handle_t *)&x->timer, timer_closed);
}
