/* Bodies both ways, and the backend's answer. Nothing is collected: a piece that was read is
 * written at once, and while the other side does not take it nothing more is read. Bodies of known
 * length pass as they are; chunked ones are decoded and encoded again, so that what leaves is
 * exactly what was understood. */
#include "gateway/http.h"

#include <stdio.h>

enum {
    WORTH_A_CALL = 4096
}; /* smaller pieces are gathered: a body of tiny chunks costs no calls */

static void write_piece(sp_worker *w, sp_sock *to, sp_str piece, bool chunked) {
    if (!piece.n) return;
    if (chunked) {
        char size[24];
        int n = snprintf(size, sizeof size, "%zx\r\n", piece.n);
        sp_sock_add(w, to, (sp_str){size, (size_t)n});
    }
    if (piece.n < WORTH_A_CALL)
        sp_sock_add(w, to, piece);
    else
        sp_sock_write(w, to, piece);
    if (chunked) sp_sock_add(w, to, SP_STR("\r\n"));
}

/* Decodes bytes and writes them on. Returns what follows the body, if it ended. */
static sp_h1_piece relay_bytes(sp_worker *w, sp_h1_body *body, sp_str *bytes, sp_sock *to,
                               bool chunked, sp_h1_error *err) {
    for (;;) {
        sp_str piece;
        sp_h1_piece p = sp_h1_body_next(body, bytes, &piece, err);
        if (p == SP_H1_DATA) {
            write_piece(w, to, piece, chunked);
            continue;
        }
        if (p == SP_H1_END && chunked) sp_sock_add(w, to, SP_STR("0\r\n\r\n"));
        return p;
    }
}

/* --- from the client --- */

static void client_gone(sp_http_session *s) {
    s->x->status = s->x->status ? s->x->status : 499;
    sp_proxy_end(s, true);
}

static bool take_request_bytes(sp_http_session *s, sp_str bytes) {
    sp_exchange *x = s->x;
    sp_h1_error err = {0};
    bool chunked = x->request.framing == SP_H1_CHUNKED;
    x->body_touched = true;
    sp_h1_piece p =
        relay_bytes(s->s.worker, &x->request_body, &bytes, &x->backend->sock, chunked, &err);
    if (p == SP_H1_BROKEN) {
        sp_proxy_fail(s, err.status, "broken request body: %s", err.text);
        return true;
    }
    if (p == SP_H1_END) {
        x->request_done = true;
        sp_sock_unread(s->s.worker, &s->client, bytes);
    }
    sp_sock_flush(s->s.worker, &x->backend->sock);
    return true;
}

bool sp_proxy_relay_request(sp_http_session *s) {
    sp_exchange *x = s->x;
    sp_worker *w = s->s.worker;
    sp_sock *up = &x->backend->sock;
    sp_sock_flush(w, up);
    if (x->request_done || sp_sock_blocked(up) || up->broken) return false;
    if (!sp_sock_has_input(&s->client)) return false;
    sp_str bytes = sp_sock_read(w, &s->client);
    if (bytes.n) return take_request_bytes(s, bytes);
    if (s->client.eof || s->client.failed) {
        client_gone(s);
        return true;
    }
    return false;
}

/* --- from the backend --- */

static const char *endpoint_name(const sp_exchange *x, char ret[SP_ADDR_MAX]) {
    sp_addr_format(&x->endpoint.addr, ret);
    return ret;
}

/* Nothing of the answer is here, and asking again cannot do a thing twice. */
static bool may_retry(const sp_exchange *x) {
    return !x->answer_begun && !x->answer_scan.at && x->idempotent && !x->body_touched &&
           x->attempts < SP_MAX_TRIES;
}

void sp_proxy_backend_lost(sp_http_session *s) {
    sp_exchange *x = s->x;
    sp_backend *b = x->backend;
    char at[SP_ADDR_MAX];
    if (x->answer_begun) {
        sp_proxy_end(s, true); /* a cut answer must look cut */
        return;
    }
    if (!may_retry(x)) {
        sp_proxy_fail(s, 502, "the endpoint %s of %.*s closed the connection without an answer",
                      endpoint_name(x, at), SP_ARG(x->pool->name));
        return;
    }
    if (!b->reused)
        sp_balance_connect_failed(&b->upstream->e, sp_poller_now_ms(s->s.worker->poller));
    s->s.worker->stats.retries++;
    sp_backend_close(b);
    x->backend = NULL;
    x->fresh_only = true;
    sp_proxy_connect(s);
}

static void bad_answer(sp_http_session *s, const sp_h1_error *err) {
    char at[SP_ADDR_MAX];
    sp_proxy_fail(s, 502, "the endpoint %s of %.*s gave an answer that is not valid HTTP/1.1: %s",
                  endpoint_name(s->x, at), SP_ARG(s->x->pool->name), err->text);
}

static const sp_header_edit *answer_edit(const sp_exchange *x) {
    return &x->hop.entry->action->response;
}

static void add_answer_head(sp_http_session *s, const sp_h1_head *h) {
    sp_exchange *x = s->x;
    sp_auto(sp_buf) b = sp_worker_take_buf(s->s.worker);
    sp_http_write_answer(&b, h, h->status >= 200 ? answer_edit(x) : NULL, x->answer_as,
                         x->request.minor, x->keep_client);
    sp_sock_add(s->s.worker, &s->client, sp_buf_str(&b));
    sp_worker_give_buf(s->s.worker, &b);
}

/* 1xx goes on to clients that know it; the final answer follows. */
static void pass_interim(sp_http_session *s, const sp_h1_head *h, sp_str rest) {
    sp_exchange *x = s->x;
    x->answer_scan = (sp_h1_scan){0};
    x->answer_as = SP_BODY_AS_IS;
    if (x->request.minor >= 1) add_answer_head(s, h);
    sp_sock_unread(s->s.worker, &x->backend->sock, rest);
    sp_sock_flush(s->s.worker, &s->client);
}

static void switch_protocols(sp_http_session *s, const sp_h1_head *h, sp_str rest) {
    sp_exchange *x = s->x;
    sp_backend *b = x->backend;
    if (!x->hop.upgrade.n) {
        bad_answer(s, &(sp_h1_error){502, "101 although no upgrade was asked for"});
        return;
    }
    x->status = 101;
    add_answer_head(s, h);
    sp_sock_add(s->s.worker, &s->client, rest);
    sp_tunnel_join(s->listener, &s->client, &b->sock, b->upstream, &s->s.client, &s->s.local);
    x->backend = NULL;
    sp_poller_bury(s->s.worker->poller, b); /* its upstream went to the tunnel */
    sp_proxy_end(s, false);
}

static void begin_answer(sp_http_session *s, const sp_h1_head *h) {
    sp_exchange *x = s->x;
    x->answer_begun = true;
    x->status = h->status;
    x->answer_as = sp_http_answer_body(h, x->request.minor);
    x->keep_backend = h->keep_alive;
    if (x->answer_as == SP_BODY_UNTIL_CLOSE || s->s.worker->stopping || !s->listener->spec)
        x->keep_client = false;
    sp_h1_body_start(&x->answer_body, h);
    add_answer_head(s, h);
    sp_alarm_start(s->s.worker->poller, &s->alarm, SP_TIMEOUT_STREAM);
}

/* False: no more can be done with these bytes (they may be gone with the session). */
static bool take_answer_head(sp_http_session *s, sp_str *bytes) {
    sp_exchange *x = s->x;
    sp_worker *w = s->s.worker;
    sp_h1_error err = {0};
    size_t n = 0;
    sp_h1_result r = sp_h1_scan_head(&x->answer_scan, *bytes, true, &n, &err);
    if (r == SP_H1_MORE) {
        sp_sock_keep(w, &x->backend->sock, *bytes);
        return false;
    }
    sp_str rest = sp_str_from(*bytes, n);
    if (r == SP_H1_BAD || !sp_h1_parse_response((char *)(uintptr_t)bytes->p, n, x->to_head, false,
                                                &w->answer, &err)) {
        bad_answer(s, &err);
        return false;
    }
    if (w->answer.status == 101)
        switch_protocols(s, &w->answer, rest);
    else if (w->answer.status < 200)
        pass_interim(s, &w->answer, rest);
    else {
        begin_answer(s, &w->answer);
        *bytes = rest;
        return true;
    }
    return false;
}

static void end_answer(sp_http_session *s, sp_str rest) {
    sp_exchange *x = s->x;
    x->answer_done = true;
    if (rest.n) x->keep_backend = false; /* it said more than its answer */
    sp_sock_flush(s->s.worker, &s->client);
    sp_proxy_finish(s);
}

static void take_answer_bytes(sp_http_session *s, sp_str bytes) {
    sp_exchange *x = s->x;
    sp_h1_error err = {0};
    bool chunked = x->answer_as == SP_BODY_CHUNKED;
    sp_h1_piece p = relay_bytes(s->s.worker, &x->answer_body, &bytes, &s->client, chunked, &err);
    if (p == SP_H1_END)
        end_answer(s, bytes);
    else if (p == SP_H1_BROKEN)
        sp_proxy_end(s, true);
    else
        sp_sock_flush(s->s.worker, &s->client);
}

static void backend_ended(sp_http_session *s) {
    sp_exchange *x = s->x;
    bool complete =
        x->answer_begun && !x->backend->sock.failed && sp_h1_body_eof_ok(&x->answer_body);
    if (!complete) {
        sp_proxy_backend_lost(s);
        return;
    }
    if (x->answer_as == SP_BODY_CHUNKED) sp_sock_add(s->s.worker, &s->client, SP_STR("0\r\n\r\n"));
    x->keep_backend = false;
    end_answer(s, (sp_str){0});
}

bool sp_proxy_relay_answer(sp_http_session *s) {
    sp_exchange *x = s->x;
    sp_worker *w = s->s.worker;
    sp_sock *up = &x->backend->sock;
    sp_sock_flush(w, &s->client);
    if (sp_sock_blocked(&s->client)) return false;
    if (!sp_sock_has_input(up)) return false;
    size_t seen = up->unread ? 0 : up->in.n;
    sp_str bytes = sp_sock_read(w, up);
    if (bytes.n == seen && (up->eof || up->failed)) {
        backend_ended(s);
        return true;
    }
    if (!bytes.n) return false;
    if (x->answer_begun || take_answer_head(s, &bytes)) take_answer_bytes(s, bytes);
    return true;
}
