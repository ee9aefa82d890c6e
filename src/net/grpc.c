/* Messages come length-prefixed in DATA frames that know nothing of them; the status comes in
 * trailers, or in the head when there is nothing else. */
#include "net/grpc.h"

#include <stdio.h>

enum { PREFIX_BYTES = 5 };

struct sp_grpc_call {
    sp_http_call *http;
    sp_grpc_params p;
    sp_grpc_reader in;
    bool status_seen;
    uint64_t status;
    char text[300];
    sp_err err;            /* found here; ends the call */
    bool reading, dropped; /* cancelled by the one who reads */
};

sp_code sp_grpc_code(uint64_t status) {
    static const sp_code codes[] = {
        [0] = SP_OK,
        [1] = SP_CANCELLED,
        [2] = SP_INTERNAL,
        [3] = SP_BAD_REQUEST,
        [4] = SP_TIMEOUT,
        [5] = SP_NOT_FOUND,
        [6] = SP_ALREADY_EXISTS,
        [7] = SP_FORBIDDEN,
        [8] = SP_TOO_MANY,
        [9] = SP_CONFLICT,
        [10] = SP_CONFLICT,
        [11] = SP_EXPIRED,
        [12] = SP_METHOD_NOT_ALLOWED,
        [13] = SP_INTERNAL,
        [14] = SP_UNAVAILABLE,
        [15] = SP_INTERNAL,
        [16] = SP_UNAUTHORIZED,
    };
    return status < SP_COUNT(codes) ? codes[status] : SP_INTERNAL;
}

static void free_call(sp_grpc_call *c) {
    sp_grpc_reader_free(&c->in);
    free(c);
}

void sp_grpc_cancel(sp_grpc_call *call) {
    sp_http_call_cancel(call->http);
    call->dropped = true;
    if (!call->reading) free_call(call);
}

/* --- status --- */

static int hex(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* grpc-message is percent-encoded; what is not stays as it is. */
static void decode(sp_str s, char *ret, size_t cap) {
    size_t n = 0;
    for (size_t i = 0; i < s.n && n + 1 < cap; i++) {
        bool escape = s.p[i] == '%' && i + 2 < s.n && hex(s.p[i + 1]) >= 0 && hex(s.p[i + 2]) >= 0;
        ret[n++] = escape ? (char)(hex(s.p[i + 1]) * 16 + hex(s.p[i + 2])) : s.p[i];
        if (escape) i += 2;
    }
    ret[n] = 0;
}

static void take_status(sp_grpc_call *c, const sp_header *h, size_t n) {
    sp_str status = sp_headers_get(h, n, "grpc-status");
    if (!status.n) return;
    c->status_seen = sp_str_u64(status, &c->status);
    decode(sp_headers_get(h, n, "grpc-message"), c->text, sizeof c->text);
}

static void on_head(void *ctx, int status, const sp_header *h, size_t n) {
    sp_grpc_call *c = ctx;
    sp_str type = sp_headers_get(h, n, "content-type");
    take_status(c, h, n);
    if (c->status_seen || c->err.code) return;
    if (status != 200)
        (void)sp_fail(&c->err, sp_code_from(NULL, status), "HTTP status %d in place of gRPC",
                      status);
    else if (!sp_str_starts(type, SP_STR("application/grpc")))
        (void)sp_fail(&c->err, SP_INTERNAL, "the answer is \"%.*s\", not gRPC", SP_ARG(type));
}

static void on_trailers(void *ctx, const sp_header *h, size_t n) {
    take_status(ctx, h, n);
}

/* --- messages --- */

static size_t length_of(const char *prefix) {
    const unsigned char *p = (const unsigned char *)prefix;
    return ((size_t)p[1] << 24) | ((size_t)p[2] << 16) | ((size_t)p[3] << 8) | p[4];
}

void sp_grpc_reader_free(sp_grpc_reader *r) {
    sp_buf_free(&r->in);
    r->at = 0;
}

void sp_grpc_reader_add(sp_grpc_reader *r, sp_str bytes) {
    if (r->at) sp_buf_drop(&r->in, r->at);
    r->at = 0;
    sp_buf_add(&r->in, bytes);
}

sp_grpc_read sp_grpc_reader_next(sp_grpc_reader *r, sp_str *ret, sp_err *err) {
    sp_str left = sp_str_from(sp_buf_str(&r->in), r->at);
    if (!left.n) {
        sp_buf_clear(&r->in);
        r->at = 0;
    }
    if (left.n < PREFIX_BYTES) return SP_GRPC_MORE;
    size_t n = length_of(left.p);
    if (left.p[0]) {
        (void)sp_fail(err, SP_INTERNAL, "a compressed message, though none was asked for");
        return SP_GRPC_BROKEN;
    }
    if (n > SP_GRPC_MAX_MESSAGE) {
        (void)sp_fail(err, SP_TOO_LARGE, "a message of %zu bytes is more than the limit of %d", n,
                      SP_GRPC_MAX_MESSAGE);
        return SP_GRPC_BROKEN;
    }
    if (left.n - PREFIX_BYTES < n) return SP_GRPC_MORE;
    *ret = sp_str_sub(left, PREFIX_BYTES, n);
    r->at += PREFIX_BYTES + n;
    return SP_GRPC_MESSAGE;
}

static void on_done(void *ctx, const sp_err *err);

/* A stream whose framing is lost says nothing any more: it ends now, or a watch would wait for
 * ever. */
static void end_now(sp_grpc_call *c) {
    sp_http_call_cancel(c->http);
    on_done(c, NULL);
}

static void on_data(void *ctx, sp_str bytes) {
    sp_grpc_call *c = ctx;
    sp_str message;
    if (c->dropped) return;
    if (!c->err.code) sp_grpc_reader_add(&c->in, bytes);
    c->reading = true;
    while (!c->err.code && !c->dropped &&
           sp_grpc_reader_next(&c->in, &message, &c->err) == SP_GRPC_MESSAGE)
        if (c->p.message_in) c->p.message_in(c->p.ctx, message);
    c->reading = false;
    if (c->dropped)
        free_call(c);
    else if (c->err.code)
        end_now(c);
}

/* --- the end --- */

static void on_done(void *ctx, const sp_err *err) {
    sp_grpc_call *c = ctx;
    sp_err why = c->err;
    if (!why.code && err) why = *err;
    if (!why.code && !c->status_seen)
        (void)sp_fail(&why, SP_CONNECTION, "the answer ended without a status");
    if (!why.code && !c->status && c->in.at < c->in.in.n)
        (void)sp_fail(&why, SP_CONNECTION, "the answer ended within a message");
    if (!why.code && c->status)
        (void)sp_fail(&why, sp_grpc_code(c->status), "%s",
                      c->text[0] ? c->text : "no reason given");
    sp_grpc_params p = c->p;
    if (p.sent && sp_http_call_sent(c->http)) *p.sent = true;
    free_call(c);
    p.done(p.ctx, why.code ? &why : NULL);
}

sp_grpc_call *sp_grpc_start(sp_http_client *client, const sp_grpc_params *p) {
    sp_grpc_call *c = sp_zalloc(1, sizeof *c);
    char timeout[24];
    sp_header h[3 + SP_GRPC_MAX_HEADERS] = {
        {SP_STR("content-type"), SP_STR("application/grpc")},
        {SP_STR("te"), SP_STR("trailers")},
    };
    size_t n = 2;
    c->p = *p;
    snprintf(timeout, sizeof timeout, "%um", p->timeout_ms);
    if (p->timeout_ms) h[n++] = (sp_header){SP_STR("grpc-timeout"), sp_str_z(timeout)};
    for (size_t i = 0; i < p->header_count && i < SP_GRPC_MAX_HEADERS; i++) h[n++] = p->headers[i];
    sp_auto(sp_buf) body = {0};
    uint32_t size = (uint32_t)p->message.n;
    char prefix[PREFIX_BYTES] = {0, (char)(size >> 24), (char)(size >> 16), (char)(size >> 8),
                                 (char)size};
    sp_buf_add(&body, (sp_str){prefix, sizeof prefix});
    sp_buf_add(&body, p->message);
    sp_http_call_params q = {.method = "POST",
                             .target = sp_str_z(p->path),
                             .headers = h,
                             .header_count = n,
                             .body = sp_buf_str(&body),
                             .timeout_ms = p->timeout_ms,
                             .once = p->once,
                             .head = on_head,
                             .data = on_data,
                             .trailers = on_trailers,
                             .done = on_done,
                             .ctx = c};
    c->http = sp_http_call_start(client, &q);
    return c;
}
