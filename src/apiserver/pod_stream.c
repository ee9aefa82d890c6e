/* pods/exec, pods/attach, pods/portforward: the client's upgrade is repeated to the agent of the
 * pod's node, and when the agent agrees, bytes go both ways unread. Which protocol they are is the
 * business of client and agent. Each side is read only as fast as the other takes. */
#include "apiserver/node_link.h"
#include "net/conn.h"

enum { PENDING_HIGH = 256 << 10, MAX_ERROR_TEXT = 2000, MAX_STREAMS = 4000 };

typedef struct stream stream;

typedef struct side {
    stream *s;
    sp_conn *io;
    struct side *other;
    bool held_back; /* we do not read it just now */
} side;

struct stream {
    sp_list link; /* in the server's list */
    sp_apiserver *server;
    sp_call *call; /* until both sides are there */
    sp_str node;
    sp_http_client *client;
    sp_http_call *upstream;
    side agent, user;
    sp_buf early; /* of the agent, until the user's side is there */
    int status;
    sp_buf error;
    bool agent_ended; /* before the user's side was there */
};

/* --- lives --- */

static void stream_free(stream *s) {
    if (s->agent.io) sp_conn_free(s->agent.io);
    if (s->user.io) sp_conn_free(s->user.io);
    if (s->upstream) sp_http_call_cancel(s->upstream);
    sp_http_client_free(s->client);
    sp_list_remove(&s->link);
    s->server->streams_n--;
    sp_buf_free(&s->early);
    sp_buf_free(&s->error);
    free(s);
}

static void end_call(stream *s) {
    sp_call *c = s->call;
    s->call = NULL;
    c->res = NULL;
    c->http = NULL;
    sp_call_end(c);
}

void sp_pod_streams_end(sp_apiserver *s) {
    sp_list_each(&s->streams, it) {
        stream *t = SP_CONTAINER(it, stream, link);
        if (!t->call) stream_free(t); /* else its answer is still the HTTP server's */
    }
}

/* --- bytes --- */

static void on_data(void *ctx, char *p, size_t n) {
    side *from = ctx;
    sp_outq_add(sp_conn_out(from->other->io), (sp_str){p, n});
    sp_conn_wake(from->other->io);
    if (sp_conn_pending(from->other->io) < PENDING_HIGH) return;
    from->held_back = true;
    sp_conn_pause(from->io, true);
}

static void on_fill(void *ctx) {
    side *to = ctx;
    if (!to->other->held_back || sp_conn_pending(to->io) > PENDING_HIGH / 2) return;
    to->other->held_back = false;
    sp_conn_pause(to->other->io, false);
}

static void on_timeout(void *ctx) {
    (void)ctx; /* none is set: an idle terminal may stay open for days */
}

/* What is on its way to the other side still arrives. */
static void on_closed(void *ctx, const sp_err *err) {
    side *ended = ctx;
    stream *s = ended->s;
    (void)err;
    sp_conn_finish(sp_steal(ended->other->io));
    stream_free(s);
}

static const sp_conn_events events = {NULL, on_data, on_fill, on_timeout, on_closed};

/* --- the agent's answer --- */

static void user_taken(void *ctx, sp_conn *io, sp_str early) {
    stream *s = ctx;
    s->user.io = io;
    sp_outq_add(sp_conn_out(io), sp_buf_str(&s->early));
    sp_buf_free(&s->early);
    end_call(s);
    if (s->agent_ended) {
        sp_conn_finish(sp_steal(s->user.io));
        stream_free(s);
        return;
    }
    sp_outq_add(sp_conn_out(s->agent.io), early);
    sp_conn_adopt(io, &events, &s->user);
    sp_conn_adopt(s->agent.io, &events, &s->agent);
    sp_conn_wake(io);
    sp_conn_wake(s->agent.io);
}

static void waiting_data(void *ctx, char *p, size_t n) {
    sp_buf_add(&((stream *)ctx)->early, (sp_str){p, n});
}

static void waiting_fill(void *ctx) {
    (void)ctx;
}

static void fail(stream *s, const sp_err *err) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    const sp_json *status = sp_status_from_err(a, err, NULL, "", "", SP_STR(""));
    sp_auto(sp_buf) b = {0};
    sp_json_write(&b, status);
    sp_header h[SP_CALL_HEADERS_MAX];
    size_t n = sp_call_headers(s->call, "application/json", h);
    sp_call_count(s->call, sp_code_http(err->code));
    sp_http_reply(s->call->res, sp_code_http(err->code), h, n, sp_buf_str(&b)); /* → user_gone */
}

/* The agent goes before the user has read the 101. */
static void waiting_closed(void *ctx, const sp_err *err) {
    (void)err;
    ((stream *)ctx)->agent_ended = true;
}

static void agent_agreed(void *ctx, const sp_header *h, size_t n, sp_conn *io, sp_str early) {
    static const sp_conn_events waiting = {NULL, waiting_data, waiting_fill, on_timeout,
                                           waiting_closed};
    static const char *const passed[] = {"upgrade", "sec-websocket-accept",
                                         "sec-websocket-protocol", "x-stream-protocol-version"};
    stream *s = ctx;
    sp_header out[SP_COUNT(passed)];
    size_t count = 0;
    s->upstream = NULL;
    s->agent.io = io;
    sp_buf_add(&s->early, early);
    sp_conn_adopt(io, &waiting, s);
    for (size_t i = 0; i < SP_COUNT(passed); i++) {
        sp_str v = sp_headers_get(h, n, passed[i]);
        if (v.n) out[count++] = (sp_header){sp_str_z(passed[i]), v};
    }
    sp_call_count(s->call, 101);
    sp_http_switch(s->call->res, out, count, user_taken, s);
}

static void agent_head(void *ctx, int status, const sp_header *h, size_t n) {
    (void)h, (void)n;
    ((stream *)ctx)->status = status;
}

static void agent_text(void *ctx, sp_str bytes) {
    stream *s = ctx;
    if (s->error.n < MAX_ERROR_TEXT) sp_buf_add(&s->error, sp_str_sub(bytes, 0, MAX_ERROR_TEXT));
}

static void agent_refused(void *ctx, const sp_err *failure) {
    stream *s = ctx;
    sp_err err;
    s->upstream = NULL;
    sp_node_explain(s->call, s->node, s->status, sp_buf_str(&s->error), failure, &err);
    fail(s, &err);
}

/* The user left before the upgrade, or the refusal is out. */
static void user_gone(void *ctx) {
    stream *s = ctx;
    end_call(s);
    stream_free(s);
}

/* --- the request --- */

static sp_str target(sp_call *c, const sp_node_place *p) {
    bool forward = sp_str_eqz(c->info.sub, "portforward");
    sp_str what = forward ? SP_STR("portForward") : c->info.sub;
    return sp_arena_printf(c->op.arena, "/%.*s/%.*s/%.*s%s%.*s?%.*s", SP_ARG(what),
                           SP_ARG(c->op.ns), SP_ARG(c->op.name), forward ? "" : "/",
                           SP_ARG(p->container), SP_ARG(c->query));
}

/* What client and agent have to agree on; who the client is stays here. */
static size_t copy_headers(const sp_http_req *q, sp_header *out, size_t max) {
    static const char *const passed[] = {"upgrade", "sec-websocket-key", "sec-websocket-version",
                                         "sec-websocket-protocol", "x-stream-protocol-version"};
    size_t n = 0;
    out[n++] = (sp_header){SP_STR("connection"), SP_STR("Upgrade")};
    for (size_t i = 0; i < q->header_count; i++)
        for (size_t k = 0; k < SP_COUNT(passed); k++)
            if (n < max && sp_str_eqz(q->headers[i].name, passed[k])) out[n++] = q->headers[i];
    return n;
}

static void start(sp_call *c, const sp_node_place *p) {
    sp_header h[32];
    stream *s = sp_zalloc(1, sizeof *s);
    s->server = c->op.s;
    s->call = c;
    s->node = p->node;
    s->agent = (side){.s = s, .other = &s->user};
    s->user = (side){.s = s, .other = &s->agent};
    sp_list_init(&s->link);
    sp_list_append(&c->op.s->streams, &s->link);
    c->op.s->streams_n++;
    s->client = sp_node_client_new(c->op.s->nodes, p);
    c->held = true;
    sp_http_on_close(c->res, user_gone, s);
    s->upstream = sp_http_call_start(
        s->client, &(sp_http_call_params){.method = "POST",
                                          .target = target(c, p),
                                          .headers = h,
                                          .header_count = copy_headers(c->http, h, SP_COUNT(h)),
                                          .once = true,
                                          .upgraded = agent_agreed,
                                          .head = agent_head,
                                          .data = agent_text,
                                          .done = agent_refused,
                                          .ctx = s});
}

static bool allowed(sp_call *c, sp_err *err) {
    if (!sp_http_upgrade_offer(c->http).n)
        return sp_fail(err, SP_BAD_REQUEST, "Upgrade request required");
    return c->op.s->streams_n < MAX_STREAMS ||
           sp_fail(err, SP_UNAVAILABLE, "%d streams to pods are open; that is the limit",
                   MAX_STREAMS);
}

void sp_pod_stream(sp_call *c) {
    sp_err err;
    sp_node_place p = {0};
    bool forward = sp_str_eqz(c->info.sub, "portforward");
    bool ok = allowed(c, &err) && sp_node_locate(c, c->info.sub.p, !forward, &p, &err);
    if (ok && !p.node.n)
        ok = sp_fail(&err, SP_BAD_REQUEST, "pod %.*s does not have a host assigned",
                     SP_ARG(c->op.name));
    if (ok)
        start(c, &p);
    else
        sp_call_fail(c, &err, NULL);
}
