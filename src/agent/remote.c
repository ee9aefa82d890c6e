#include "agent/remote.h"

#include "agent/channel.h"
#include "net/spdy.h"
#include "net/websocket.h"

enum { STREAMS_MS = 30000 };

static const char *const types[] = {"stdin", "stdout", "stderr", "error", "resize"};

struct sp_remote {
    sp_remote_wish wish;
    sp_remote_events ev;
    void *ctx;
    sp_ws *ws; /* once it is there */
    sp_channel_in channels;
    sp_conn *io; /* or these */
    sp_spdy *spdy;
    sp_spdy_stream *streams[SP_REMOTE_STREAMS];
    unsigned missing; /* bits of streams that have not come yet */
};

static void free_remote(sp_remote *r) {
    sp_spdy_free(r->spdy);
    if (r->io) sp_conn_free(r->io);
    free(r);
}

static void lose(sp_remote *r) {
    r->ev.gone(r->ctx);
    free_remote(r);
}

/* --- WebSocket --- */

static void ws_data(void *ctx, unsigned channel, sp_str bytes) {
    sp_remote *r = ctx;
    bool wanted = (channel == SP_REMOTE_STDIN && r->wish.in) || channel == SP_REMOTE_RESIZE;
    if (wanted) r->ev.data(r->ctx, (sp_remote_stream)channel, bytes);
}

static void ws_end(void *ctx, unsigned channel) {
    sp_remote *r = ctx;
    if (channel == SP_REMOTE_STDIN) r->ev.end(r->ctx, SP_REMOTE_STDIN);
}

static void ws_piece(void *ctx, sp_str bytes, bool text, bool first, bool last) {
    static const sp_channel_sink sink = {ws_data, ws_end};
    sp_remote *r = ctx;
    (void)text, (void)last; /* some clients send text */
    sp_channel_feed(&r->channels, bytes, first, &sink, r);
}

static void ws_drain(void *ctx) {
    sp_remote *r = ctx;
    r->ev.drain(r->ctx);
}

static void ws_closed(void *ctx, unsigned code) {
    sp_remote *r = ctx;
    (void)code;
    r->ws = NULL;
    lose(r);
}

static void ws_taken(void *ctx, sp_conn *io, sp_str early) {
    static const sp_ws_events events = {ws_piece, ws_drain, ws_closed};
    sp_remote *r = ctx;
    sp_ws_start(io, true, (sp_str){0}, &events, r, &r->ws);
    if (r->ev.ready(r->ctx) && early.n) sp_ws_feed(r->ws, early);
}

static bool accept_ws(sp_remote *r, sp_http_req *q, sp_http_res *res, sp_err *err) {
    static const char *const ours[] = {"v5.channel.k8s.io", "v4.channel.k8s.io", NULL};
    char accept[SP_WS_ACCEPT_SIZE];
    sp_str key;
    if (!sp_ws_check(q->headers, q->header_count, &key, err)) return false;
    const char *protocol = sp_ws_choose(q->headers, q->header_count, ours);
    if (!protocol)
        return sp_fail(err, SP_BAD_REQUEST,
                       "Sec-WebSocket-Protocol must offer v5.channel.k8s.io or v4.channel.k8s.io");
    r->channels.v5 = protocol == ours[0];
    sp_ws_accept(key, accept);
    const sp_header h[] = {{SP_STR("upgrade"), SP_STR("websocket")},
                           {SP_STR("sec-websocket-accept"), sp_str_z(accept)},
                           {SP_STR("sec-websocket-protocol"), sp_str_z(protocol)}};
    sp_http_switch(res, h, SP_COUNT(h), ws_taken, r);
    return true;
}

/* --- SPDY --- */

static void spdy_send(void *ctx, sp_str head, sp_str bytes) {
    sp_remote *r = ctx;
    sp_outq_add(sp_conn_out(r->io), head);
    sp_outq_add(sp_conn_out(r->io), bytes);
    sp_conn_wake(r->io);
}

static bool spdy_open(void *ctx, sp_spdy_stream *st, const sp_header *h, size_t n) {
    sp_remote *r = ctx;
    sp_str type = sp_headers_get(h, n, "streamtype");
    for (unsigned i = 0; i < SP_COUNT(types); i++) {
        if (!sp_str_eqz(type, types[i])) continue;
        if (!(r->missing & 1u << i)) return false;
        r->missing &= ~(1u << i);
        r->streams[i] = st;
        if (r->missing) return true;
        sp_conn_deadline(r->io, 0);
        r->ev.ready(r->ctx);
        return true;
    }
    return false;
}

static sp_remote_stream which(const sp_remote *r, const sp_spdy_stream *st) {
    unsigned i = 0;
    while (i < SP_REMOTE_STREAMS && r->streams[i] != st) i++;
    return (sp_remote_stream)i;
}

static void spdy_data(void *ctx, sp_spdy_stream *st, sp_str bytes) {
    sp_remote *r = ctx;
    sp_remote_stream s = which(r, st);
    if (s == SP_REMOTE_STDIN || s == SP_REMOTE_RESIZE) r->ev.data(r->ctx, s, bytes);
}

static void spdy_end(void *ctx, sp_spdy_stream *st) {
    sp_remote *r = ctx;
    if (which(r, st) == SP_REMOTE_STDIN) r->ev.end(r->ctx, SP_REMOTE_STDIN);
}

static void spdy_gone(void *ctx, sp_spdy_stream *st) {
    sp_remote *r = ctx;
    sp_remote_stream s = which(r, st);
    if (s < SP_REMOTE_STREAMS) r->streams[s] = NULL;
}

static void io_data(void *ctx, char *p, size_t n) {
    sp_remote *r = ctx;
    sp_err err = {0};
    if (!sp_spdy_feed(r->spdy, (sp_str){p, n}, &err)) lose(r);
}

static void io_fill(void *ctx) {
    sp_remote *r = ctx;
    if (!r->missing) r->ev.drain(r->ctx);
}

static void io_timeout(void *ctx) {
    lose(ctx); /* the streams did not come */
}

static void io_closed(void *ctx, const sp_err *err) {
    (void)err;
    lose(ctx);
}

static void spdy_taken(void *ctx, sp_conn *io, sp_str early) {
    static const sp_conn_events io_events = {NULL, io_data, io_fill, io_timeout, io_closed};
    static const sp_spdy_events events = {spdy_send, spdy_open, spdy_data, spdy_end, spdy_gone};
    sp_remote *r = ctx;
    r->io = io;
    r->spdy = sp_spdy_new(&events, r);
    sp_conn_adopt(io, &io_events, r);
    sp_conn_deadline(io, STREAMS_MS);
    if (early.n) io_data(r, (char *)(uintptr_t)early.p, early.n);
}

static bool accept_spdy(sp_remote *r, sp_http_req *q, sp_http_res *res, sp_err *err) {
    static const char version[] = "x-stream-protocol-version", ours[] = "v4.channel.k8s.io";
    bool offered = false;
    for (size_t i = 0; i < q->header_count; i++) {
        if (!sp_str_eqz(q->headers[i].name, version)) continue;
        for (sp_str part, rest = q->headers[i].value; sp_str_cut(&rest, ',', &part);)
            offered |= sp_str_eqz(sp_str_trim(part), ours);
    }
    if (!offered)
        return sp_fail(err, SP_BAD_REQUEST, "X-Stream-Protocol-Version must offer %s", ours);
    bool wanted[] = {r->wish.in, r->wish.out, r->wish.err, true, r->wish.tty};
    for (unsigned i = 0; i < SP_COUNT(wanted); i++) r->missing |= (unsigned)wanted[i] << i;
    const sp_header h[] = {{SP_STR("upgrade"), SP_STR("SPDY/3.1")},
                           {sp_str_z(version), sp_str_z(ours)}};
    sp_http_switch(res, h, SP_COUNT(h), spdy_taken, r);
    return true;
}

/* --- either --- */

static void client_left(void *ctx) {
    lose(ctx);
}

bool sp_remote_accept(uv_loop_t *loop, sp_http_req *q, sp_http_res *res, const sp_remote_wish *wish,
                      const sp_remote_events *ev, void *ctx, sp_remote **ret, sp_err *err) {
    (void)loop;
    sp_str offer = sp_http_upgrade_offer(q);
    sp_remote *r = sp_zalloc(1, sizeof *r);
    *r = (sp_remote){.wish = *wish, .ev = *ev, .ctx = ctx};
    bool ok;
    if (sp_str_ieq(offer, SP_STR("websocket")))
        ok = accept_ws(r, q, res, err);
    else if (sp_str_ieq(offer, SP_STR("SPDY/3.1")))
        ok = accept_spdy(r, q, res, err);
    else
        ok = sp_fail(err, SP_BAD_REQUEST, "Upgrade request required (websocket or SPDY/3.1)");
    if (!ok) {
        free_remote(r);
        return false;
    }
    sp_http_on_close(res, client_left, r);
    *ret = r;
    return true;
}

void sp_remote_send(sp_remote *r, sp_remote_stream s, sp_str bytes) {
    char channel = (char)s;
    if (r->streams[s]) sp_spdy_write(r->spdy, r->streams[s], bytes);
    if (r->ws) sp_ws_send(r->ws, (sp_str){&channel, 1}, bytes);
}

size_t sp_remote_pending(const sp_remote *r) {
    return r->ws ? sp_ws_pending(r->ws) : r->io ? sp_conn_pending(r->io) : 0;
}

void sp_remote_pause(sp_remote *r, bool paused) {
    if (r->ws) sp_ws_pause(r->ws, paused);
    if (r->io) sp_conn_pause(r->io, paused);
}

void sp_remote_finish(sp_remote *r, sp_str status) {
    sp_remote_send(r, SP_REMOTE_ERROR, status);
    if (r->ws) sp_ws_close(r->ws, SP_WS_NORMAL, "");
    for (unsigned i = 0; i < SP_REMOTE_STREAMS; i++)
        if (r->streams[i]) sp_spdy_end(r->spdy, r->streams[i]);
    if (r->io) sp_conn_finish(sp_steal(r->io));
    free_remote(r);
}
