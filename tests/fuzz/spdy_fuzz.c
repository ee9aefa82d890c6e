/* SPDY frames. First byte: how the input is split, and which event frees the session or ends its
 * stream. Whatever comes: streams are opened before they get data, get none after their end, and
 * each is gone exactly once. */
#include "net/spdy.h"

typedef struct run {
    sp_spdy *s;
    unsigned open, events, free_at, end_every;
    bool freed;
} run;

static void tick(run *r, sp_spdy_stream *st) {
    r->events++;
    if (r->free_at && r->events == r->free_at) {
        r->freed = true;
        sp_spdy_free(r->s);
    } else if (r->end_every && r->events % r->end_every == 0) {
        sp_spdy_end(r->s, st);
    }
}

static void on_send(void *ctx, sp_str head, sp_str bytes) {
    (void)ctx;
    sp_assert(head.n == 8 && bytes.n < 1 << 24);
}
static bool on_open(void *ctx, sp_spdy_stream *st, const sp_header *h, size_t n) {
    run *r = ctx;
    r->open++;
    st->user = r;
    (void)sp_headers_get(h, n, "streamtype");
    if (n && h[0].value.n > 20) return false;
    if (r->free_at && ++r->events == r->free_at) {
        r->freed = true;
        sp_spdy_free(r->s);
    }
    return true;
}
static void on_data(void *ctx, sp_spdy_stream *st, sp_str bytes) {
    sp_assert(st->user == ctx && !st->in_over && bytes.n);
    tick(ctx, st);
}
static void on_end(void *ctx, sp_spdy_stream *st) {
    sp_assert(st->user == ctx);
    tick(ctx, st);
}
static void on_gone(void *ctx, sp_spdy_stream *st) {
    run *r = ctx;
    sp_assert(st->user == r && r->open > 0);
    st->user = NULL;
    r->open--;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const sp_spdy_events ev = {on_send, on_open, on_data, on_end, on_gone};
    if (size < 2) return 0;
    run r = {.free_at = data[0] & 3, .end_every = data[0] >> 2 & 3};
    size_t step = 1 + data[1] % 63u;
    sp_err err = {0};
    r.s = sp_spdy_new(&ev, &r);
    for (size_t at = 2; at < size && !r.freed; at += step)
        if (!sp_spdy_feed(r.s, (sp_str){(const char *)data + at, SP_MIN(step, size - at)}, &err))
            break;
    if (!r.freed) sp_spdy_free(r.s);
    sp_assert(r.open == 0);
    return 0;
}
