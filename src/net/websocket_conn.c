/* A WebSocket endpoint on a connection. Pings are answered, but not to a peer that does not read
 * the answers: what waits is bounded by the window. */
#include "base/rng.h"
#include "net/websocket.h"

struct sp_ws {
    sp_conn *io;
    sp_ws_parser parser;
    sp_ws_events ev;
    void *ctx;
    bool *gone; /* set when freed inside a callback */
};

static void release(sp_ws *w) {
    if (w->gone) *w->gone = true;
    free(w);
}

static void add_masked(sp_outq *out, sp_str s, const uint8_t mask[4], size_t *at) {
    char piece[4096];
    while (s.n) {
        size_t n = SP_MIN(s.n, sizeof piece);
        for (size_t i = 0; i < n; i++) piece[i] = (char)(s.p[i] ^ (char)mask[(*at)++ & 3]);
        sp_outq_add(out, (sp_str){piece, n});
        s = sp_str_from(s, n);
    }
}

static void add_frame(sp_ws *w, sp_ws_op op, sp_str a, sp_str b) {
    char head[SP_WS_HEAD_MAX];
    uint8_t mask[4];
    bool server = w->parser.server;
    sp_outq *out = sp_conn_out(w->io);
    if (!server) sp_rng_bytes(mask, sizeof mask);
    size_t at = 0, n = sp_ws_frame_head(head, op, true, a.n + b.n, server ? NULL : mask);
    sp_outq_add(out, (sp_str){head, n});
    if (server) {
        sp_outq_add(out, a);
        sp_outq_add(out, b);
    } else {
        add_masked(out, a, mask, &at);
        add_masked(out, b, mask, &at);
    }
    sp_conn_wake(w->io);
}

static void say_close(sp_ws *w, unsigned code, const char *reason) {
    char two[2] = {(char)(code >> 8), (char)code};
    sp_str text = sp_str_sub(sp_str_z(reason), 0, SP_WS_CONTROL_MAX - 2);
    add_frame(w, SP_WS_CLOSE, (sp_str){two, code == SP_WS_NO_CODE ? 0 : 2}, text);
}

void sp_ws_close(sp_ws *w, unsigned code, const char *reason) {
    say_close(w, code, reason);
    sp_conn_finish(w->io);
    release(w);
}

void sp_ws_free(sp_ws *w) {
    if (!w) return;
    sp_conn_free(w->io);
    release(w);
}

/* The other side's part is over; answer is what we say to it, 0 = nothing. */
static void end(sp_ws *w, unsigned answer, const char *why, unsigned told) {
    sp_ws_events ev = w->ev;
    void *ctx = w->ctx;
    if (answer)
        sp_ws_close(w, answer, why);
    else
        sp_ws_free(w);
    ev.closed(ctx, told);
}

/* --- what comes in --- */

static bool on_piece(void *ctx, sp_str bytes, bool text, bool first, bool last) {
    sp_ws *w = ctx;
    bool gone = false;
    w->gone = &gone;
    w->ev.piece(w->ctx, bytes, text, first, last);
    if (gone) return false;
    w->gone = NULL;
    return true;
}

static bool on_control(void *ctx, sp_ws_op op, sp_str payload) {
    sp_ws *w = ctx;
    unsigned code;
    sp_str reason;
    if (op == SP_WS_PING && sp_conn_pending(w->io) < SP_CONN_WINDOW)
        add_frame(w, SP_WS_PONG, payload, (sp_str){0});
    if (op != SP_WS_CLOSE) return true;
    if (sp_ws_close_code(payload, &code, &reason))
        end(w, code, "", code);
    else
        end(w, SP_WS_PROTOCOL, "the close frame is broken", SP_WS_PROTOCOL);
    return false;
}

static void on_data(void *ctx, char *p, size_t n) {
    static const sp_ws_sink sink = {on_piece, on_control};
    sp_ws *w = ctx;
    unsigned code = sp_ws_parse(&w->parser, p, n, &sink, w);
    if (code == SP_WS_NORMAL) return; /* or the endpoint is gone */
    end(w, code, code == SP_WS_BAD_TEXT ? "not UTF-8" : "broken frame", code);
}

static void on_fill(void *ctx) {
    sp_ws *w = ctx;
    if (w->ev.drain) w->ev.drain(w->ctx);
}

static void on_timeout(void *ctx) {
    (void)ctx; /* none is set */
}

static void on_closed(void *ctx, const sp_err *err) {
    (void)err;
    end(ctx, 0, NULL, SP_WS_ABNORMAL);
}

void sp_ws_start(sp_conn *io, bool server, sp_str early, const sp_ws_events *ev, void *ctx,
                 sp_ws **ret) {
    static const sp_conn_events events = {NULL, on_data, on_fill, on_timeout, on_closed};
    sp_ws *w = *ret = sp_zalloc(1, sizeof *w);
    w->io = io;
    w->parser.server = server;
    w->ev = *ev;
    w->ctx = ctx;
    sp_conn_adopt(io, &events, w);
    if (early.n) sp_ws_feed(w, early);
}

void sp_ws_feed(sp_ws *w, sp_str bytes) {
    sp_auto(sp_buf) copy = {0}; /* it is unmasked in place */
    sp_buf_add(&copy, bytes);
    on_data(w, copy.p, copy.n);
}

void sp_ws_send(sp_ws *w, sp_str head, sp_str bytes) {
    add_frame(w, SP_WS_BINARY, head, bytes);
}

size_t sp_ws_pending(const sp_ws *w) {
    return sp_conn_pending(w->io);
}

void sp_ws_pause(sp_ws *w, bool paused) {
    sp_conn_pause(w->io, paused);
}
