#include "agent/remote.h"

#include "agent/channel.h"
#include "net/websocket.h"

struct sp_remote {
    sp_remote_wish wish;
    sp_remote_events ev;
    void *ctx;
    sp_ws *ws; /* once it is there */
    sp_channel_in channels;
};

static void free_remote(sp_remote *r) {
    free(r);
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
    r->ev.gone(r->ctx);
    free_remote(r);
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

/* --- either --- */

static void client_left(void *ctx) {
    sp_remote *r = ctx;
    r->ev.gone(r->ctx);
    free_remote(r);
}

bool sp_remote_accept(uv_loop_t *loop, sp_http_req *q, sp_http_res *res, const sp_remote_wish *wish,
                      const sp_remote_events *ev, void *ctx, sp_remote **ret, sp_err *err) {
    (void)loop;
    sp_str offer = sp_http_upgrade_offer(q);
    sp_remote *r = sp_zalloc(1, sizeof *r);
    *r = (sp_remote){.wish = *wish, .ev = *ev, .ctx = ctx};
    bool ok = sp_str_ieq(offer, SP_STR("websocket"))
                  ? accept_ws(r, q, res, err)
                  : sp_fail(err, SP_BAD_REQUEST, "Upgrade request required (websocket)");
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
    if (r->ws) sp_ws_send(r->ws, (sp_str){&channel, 1}, bytes);
}

size_t sp_remote_pending(const sp_remote *r) {
    return r->ws ? sp_ws_pending(r->ws) : 0;
}

void sp_remote_pause(sp_remote *r, bool paused) {
    if (r->ws) sp_ws_pause(r->ws, paused);
}

void sp_remote_finish(sp_remote *r, sp_str status) {
    sp_remote_send(r, SP_REMOTE_ERROR, status);
    if (r->ws) sp_ws_close(r->ws, SP_WS_NORMAL, "");
    free_remote(r);
}
