/* The answering half of server.h: states, and bytes into the answer's own queue. The protocols
 * take them out when the connection has room. */
#include "net/http1.h"
#include "net/server_internal.h"

void srv_who_unref(srv_who *w) {
    if (--w->refs > 0) return;
    sp_arena_free(w->arena);
    free(w);
}

static void res_free(sp_http_res *r) {
    sp_outq_free(&r->out);
    sp_buf_free(&r->body);
    sp_vec_free(&r->headers);
    sp_arena_free(r->req.arena);
    srv_who_unref(r->who);
    sp_turn_unref(r->turn);
    free(r);
}

static void release(sp_task *task) {
    sp_http_res *r = SP_CONTAINER(task, sp_http_res, release);
    if (r->on_close) r->on_close(r->close_ctx);
    sp_task_cancel(&r->release); /* on_close may have ended it */
    sp_task_cancel(&r->drained);
    res_free(r);
}

static void drained(sp_task *task) {
    sp_http_res *r = SP_CONTAINER(task, sp_http_res, drained);
    if (r->conn && r->on_drain && r->phase == RES_BEGUN && sp_http_pending(r) < SP_HTTP_LOW)
        r->on_drain(r->drain_ctx);
}

void srv_res_moved(sp_http_res *r) {
    if (r->on_drain && r->out.bytes < SP_HTTP_LOW) sp_task_defer(r->turn, &r->drained);
}

sp_http_res *srv_res_new(srv_conn *c) {
    sp_http_res *r = sp_zalloc(1, sizeof *r);
    r->conn = c;
    r->turn = sp_turn_ref(c->server->loop);
    r->who = c->who;
    r->who->refs++;
    r->req.arena = sp_arena_new();
    r->req.remote = sp_str_z(c->who->remote);
    r->req.peer = c->who->peer;
    r->req.tls = c->tls;
    sp_task_init(&r->release, release);
    sp_task_init(&r->drained, drained);
    sp_list_init(&r->link);
    return r;
}

void srv_res_detach(sp_http_res *r) {
    if (!r->conn) return;
    bool unheard = !r->dispatched; /* no handler holds it */
    srv_body_arrived(r);
    r->conn = NULL;
    sp_list_remove(&r->link);
    sp_outq_free(&r->out);
    if (r->on_close || r->phase == RES_ENDED || unheard) sp_task_defer(r->turn, &r->release);
}

bool srv_set_target(sp_http_res *r, sp_str target) {
    if (target.n && target.p[0] != '/') {
        sp_url u;
        if (!sp_url_parse(target, &u, NULL)) return false;
        target = u.target;
    }
    ptrdiff_t mark = sp_str_chr(target, '?');
    r->req.path = sp_str_sub(target, 0, mark < 0 ? target.n : (size_t)mark);
    r->req.query = mark < 0 ? (sp_str){0} : sp_str_from(target, (size_t)mark + 1);
    return r->req.path.n > 0;
}

/* --- server.h --- */

static void begin(sp_http_res *r, int status, const sp_header *h, size_t n, int64_t length) {
    sp_assert(r->phase == RES_FRESH && status >= 200 && status <= 599);
    r->phase = RES_BEGUN;
    if (!r->conn) return;
    r->no_body = r->is_head || status == 204 || status == 304;
    r->conn->proto->begin(r, status, h, n, length);
}

void sp_http_begin(sp_http_res *r, int status, const sp_header *h, size_t n) {
    begin(r, status, h, n, -1);
    if (r->conn) r->conn->proto->more(r);
}

static void write_piece(sp_http_res *r, sp_str bytes, sp_blob *b) {
    size_t n = b ? b->n : bytes.n;
    sp_assert(r->phase == RES_BEGUN);
    if (!r->conn || r->no_body || n == 0) return;
    const srv_proto *proto = r->conn->proto;
    if (proto->chunk) proto->chunk(r, n, true);
    if (b)
        sp_outq_add_blob(&r->out, b, 0, b->n);
    else
        sp_outq_add(&r->out, bytes);
    if (proto->chunk) proto->chunk(r, n, false);
    proto->more(r);
}

void sp_http_write(sp_http_res *r, sp_str bytes) {
    write_piece(r, bytes, NULL);
}
void sp_http_write_blob(sp_http_res *r, sp_blob *b) {
    write_piece(r, (sp_str){0}, b);
}

void sp_http_end(sp_http_res *r) {
    sp_assert(r->phase == RES_BEGUN);
    if (r->conn && r->conn->proto->chunk && !r->no_body) r->conn->proto->chunk(r, 0, true);
    r->phase = RES_ENDED;
    if (r->conn)
        r->conn->proto->more(r);
    else
        sp_task_defer(r->turn, &r->release);
}

sp_str sp_http_upgrade_offer(const sp_http_req *q) {
    sp_str part, rest = sp_headers_get(q->headers, q->header_count, "connection");
    while (!q->http2 && sp_str_cut(&rest, ',', &part))
        if (sp_str_ieq(sp_str_trim(part), SP_STR("upgrade")))
            return sp_headers_get(q->headers, q->header_count, "upgrade");
    return (sp_str){0};
}

void sp_http_switch(sp_http_res *r, const sp_header *h, size_t n, sp_http_taken *taken, void *ctx) {
    sp_assert(r->phase == RES_FRESH && !r->req.http2);
    r->phase = RES_BEGUN;
    r->taken = taken;
    r->taken_ctx = ctx;
    if (!r->conn) return;
    sp_auto(sp_buf) b = {0};
    sp_buf_addz(&b, "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\n");
    for (size_t i = 0; i < n; i++)
        if (!sp_str_ieq(h[i].name, SP_STR("connection")))
            sp_h1_add_field(&b, h[i].name, h[i].value);
    sp_buf_addz(&b, "\r\n");
    sp_outq_add(&r->out, sp_buf_str(&b));
    r->conn->proto->more(r);
}

void sp_http_reply(sp_http_res *r, int status, const sp_header *h, size_t n, sp_str body) {
    begin(r, status, h, n, (int64_t)body.n);
    sp_http_write(r, body);
    sp_http_end(r);
}

void sp_http_reply_blob(sp_http_res *r, int status, const sp_header *h, size_t n, sp_blob *body) {
    begin(r, status, h, n, (int64_t)body->n);
    sp_http_write_blob(r, body);
    sp_http_end(r);
}

size_t sp_http_pending(const sp_http_res *r) {
    return r->conn ? r->out.bytes + r->conn->proto->pending(r) : 0;
}

void sp_http_on_close(sp_http_res *r, void (*fn)(void *ctx), void *ctx) {
    r->on_close = fn;
    r->close_ctx = ctx;
    if (!r->conn && fn) sp_task_defer(r->turn, &r->release);
}

void sp_http_on_drain(sp_http_res *r, void (*fn)(void *ctx), void *ctx) {
    r->on_drain = fn;
    r->drain_ctx = ctx;
    if (fn) sp_task_defer(r->turn, &r->drained);
}
