/* One call at a time on an HTTP/1.1 connection. A connection is used again only when both sides
 * agreed to keep it and the answer's end was seen. */
#include "net/client_internal.h"
#include "net/http1.h"

typedef struct h1 {
    sp_buf in; /* the beginning of a head */
    sp_h1_scan scan;
    sp_h1_head head;
    sp_h1_body body;
    sp_http_call *call; /* NULL: idle */
    bool in_body;
} h1;

static void h1_open(cli_conn *c) {
    c->state = sp_zalloc(1, sizeof(h1));
}

static void h1_close(cli_conn *c) {
    h1 *h = c->state;
    sp_buf_free(&h->in);
    sp_vec_free(&h->head.headers);
    free(h);
}

static bool h1_has_room(const cli_conn *c) {
    return ((const h1 *)c->state)->call == NULL;
}

static bool wants_length(const sp_http_call *call) {
    const char *m = call->p.method;
    return call->body || strcmp(m, "POST") == 0 || strcmp(m, "PUT") == 0 || strcmp(m, "PATCH") == 0;
}

static void write_head(sp_buf *b, const sp_http_call *call) {
    const sp_http_call_params *p = &call->p;
    sp_buf_printf(b, "%s %.*s HTTP/1.1\r\n", p->method, SP_ARG(p->target));
    if (!sp_headers_get(p->headers, p->header_count, "host").p)
        sp_buf_printf(b, "host: %s\r\n", call->client->authority);
    for (size_t i = 0; i < p->header_count; i++) {
        sp_str name = p->headers[i].name;
        if (sp_str_eqz(name, "content-length") || sp_str_eqz(name, "transfer-encoding")) continue;
        sp_h1_add_field(b, name, p->headers[i].value);
    }
    if (wants_length(call))
        sp_buf_printf(b, "content-length: %zu\r\n", call->body ? call->body->n : 0);
    sp_buf_addz(b, "\r\n");
}

static void h1_start(cli_conn *c, sp_http_call *call) {
    h1 *h = c->state;
    sp_auto(sp_buf) b = {0};
    write_head(&b, call);
    sp_outq_add(sp_conn_out(c->io), sp_buf_str(&b));
    if (call->body) sp_outq_add_blob(sp_conn_out(c->io), call->body, 0, call->body->n);
    call->sent = true;
    h->call = call;
    h->in_body = false;
    h->scan = (sp_h1_scan){0};
    sp_conn_wake(c->io);
}

/* The rest of the answer would come whether wanted or not. */
static void h1_cancel(cli_conn *c, sp_http_call *call) {
    h1 *h = c->state;
    (void)call;
    h->call = NULL;
    cli_conn_close(c, NULL);
}

static void h1_pause(cli_conn *c, sp_http_call *call) {
    if (((h1 *)c->state)->call == call) sp_conn_pause(c->io, call->paused);
}

static void h1_fill(cli_conn *c) {
    (void)c; /* the request was queued whole */
}

static void broken(cli_conn *c, const char *text) {
    sp_err err = {0};
    sp_fail(&err, SP_CONNECTION, "%s gave a broken answer: %s", c->client->authority, text);
    cli_conn_close(c, &err);
}

static void complete(cli_conn *c) {
    h1 *h = c->state;
    sp_http_call *call = h->call;
    h->call = NULL;
    sp_conn_pause(c->io, false);
    h->in_body = false;
    h->scan = (sp_h1_scan){0};
    if (!h->head.keep_alive || sp_conn_pending(c->io) > 0) c->no_more = true;
    cli_call_end(call, NULL);
    cli_conn_idle(c);
}

static void hand_over(cli_conn *c, sp_str *in) {
    h1 *h = c->state;
    sp_http_call *call = h->call;
    sp_str early = *in;
    h->call = NULL;
    *in = (sp_str){0};
    cli_conn_leave(c, call);
    call->p.upgraded(call->p.ctx, h->head.headers.p, h->head.headers.n, c->io, early);
}

/* Each takes bytes off *in and returns true while there is something more to do. */
static bool take_head(cli_conn *c, char *p, sp_str *in) {
    h1 *h = c->state;
    sp_h1_error err = {0};
    size_t n = 0;
    bool to_head = strcmp(h->call->p.method, "HEAD") == 0;
    sp_h1_result r = sp_h1_scan_head(&h->scan, *in, true, &n, &err);
    if (r == SP_H1_MORE) return false;
    char *head = p + (in->p - p);
    if (r == SP_H1_BAD || !sp_h1_parse_response(head, n, to_head, false, &h->head, &err)) {
        broken(c, err.text);
        return false;
    }
    *in = sp_str_from(*in, n);
    h->scan = (sp_h1_scan){0};
    if (h->head.status == 101 && h->call->p.upgraded) {
        hand_over(c, in);
        return false;
    }
    if (h->head.status == 101) {
        broken(c, "it switches protocols unasked");
        return false;
    }
    if (h->head.status < 200) return true;
    sp_h1_body_start(&h->body, &h->head);
    h->in_body = true;
    sp_http_call *call = h->call;
    if (call->p.head)
        call->p.head(call->p.ctx, h->head.status, h->head.headers.p, h->head.headers.n);
    return true;
}

static bool take_body(cli_conn *c, sp_str *in) {
    h1 *h = c->state;
    sp_h1_error err = {0};
    sp_str piece;
    sp_http_call *call = h->call;
    switch (sp_h1_body_next(&h->body, in, &piece, &err)) {
    case SP_H1_NEED: return false;
    case SP_H1_DATA:
        if (call->p.data) call->p.data(call->p.ctx, piece);
        return true;
    case SP_H1_END: complete(c); return true;
    case SP_H1_BROKEN: broken(c, err.text); return false;
    }
    return false;
}

static void h1_data(cli_conn *c, char *p, size_t n) {
    h1 *h = c->state;
    sp_str in = {p, n};
    sp_buf joined = {0};
    if (h->call) h->call->answered = true;
    if (h->in.n) {
        sp_buf_add(&h->in, in);
        joined = h->in;
        h->in = (sp_buf){0};
        in = sp_buf_str(&joined);
        p = joined.p;
    }
    bool more = true;
    while (more && !c->closed && h->call) {
        if (h->in_body)
            more = take_body(c, &in);
        else
            more = in.n > 0 && take_head(c, p, &in);
    }
    if (!c->closed && in.n && !h->call) /* bytes nobody asked for */
        cli_conn_close(c, NULL);
    else if (!c->closed)
        sp_buf_add(&h->in, in);
    sp_buf_free(&joined);
}

static void h1_eof(cli_conn *c) {
    h1 *h = c->state;
    if (!h->call || !h->in_body || !sp_h1_body_eof_ok(&h->body)) return;
    c->no_more = true;
    sp_http_call *call = h->call;
    h->call = NULL;
    cli_call_end(call, NULL);
}

const cli_proto cli_h1 = {
    .open = h1_open,
    .start = h1_start,
    .cancel = h1_cancel,
    .pause = h1_pause,
    .has_room = h1_has_room,
    .data = h1_data,
    .fill = h1_fill,
    .eof = h1_eof,
    .close = h1_close,
};
