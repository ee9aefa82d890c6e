/* The HTTP/1.1 parser on requests and responses. First byte: bit 0 request or response, bit 1 the
 * answer to HEAD, the rest how the bytes are split. What must hold: any split gives the same
 * result; an accepted head contains nothing that another reader could take differently; the body
 * decoder hands out slices of its input and never more than it got. */
#include "net/http1.h"

typedef struct outcome {
    sp_h1_result head;
    int status; /* of the error */
    size_t head_n;
    sp_buf fields, body;
    sp_h1_piece end;
    size_t rest;
} outcome;

static void check_head(const sp_h1_head *h, bool response) {
    for (size_t i = 0; i < h->headers.n; i++) {
        sp_str name = h->headers.p[i].name, value = h->headers.p[i].value;
        sp_assert(sp_http_is_token(name) && sp_http_is_value(value));
        for (size_t k = 0; k < name.n; k++) sp_assert(name.p[k] < 'A' || name.p[k] > 'Z');
        sp_assert(!value.n || (value.p[0] != ' ' && value.p[value.n - 1] != ' '));
    }
    bool coding = sp_headers_get(h->headers.p, h->headers.n, "transfer-encoding").p != NULL;
    bool length = sp_headers_get(h->headers.p, h->headers.n, "content-length").p != NULL;
    sp_assert(!(coding && length));
    if (response) {
        sp_assert(h->status >= 100 && h->status <= 599);
        return;
    }
    sp_assert(sp_http_is_token(h->method) && h->target.n && h->framing != SP_H1_UNTIL_CLOSE);
    sp_assert(coding == (h->framing == SP_H1_CHUNKED));
}

static void decode(const sp_h1_head *head, sp_str bytes, size_t step, outcome *o) {
    sp_h1_body b;
    sp_h1_error err = {0};
    sp_h1_body_start(&b, head);
    o->end = SP_H1_NEED;
    for (size_t at = 0; at < bytes.n || at == 0; at += step) {
        sp_str piece, in = sp_str_sub(bytes, at, step);
        while ((o->end = sp_h1_body_next(&b, &in, &piece, &err)) == SP_H1_DATA)
            sp_buf_add(&o->body, piece);
        o->rest = bytes.n - at - SP_MIN(step, bytes.n - at) + in.n;
        if (o->end == SP_H1_BROKEN) sp_assert(err.status && err.text);
        if (o->end != SP_H1_NEED) break;
    }
    sp_assert(o->body.n <= bytes.n);
    if (head->framing == SP_H1_LENGTH && o->end == SP_H1_END) sp_assert(o->body.n == head->length);
}

static void run(sp_str bytes, size_t step, bool response, bool to_head, outcome *o) {
    sp_h1_scan scan = {0};
    sp_h1_error err = {0};
    o->head = SP_H1_MORE;
    for (size_t n = SP_MIN(step, bytes.n); o->head == SP_H1_MORE; n = SP_MIN(n + step, bytes.n)) {
        o->head = sp_h1_scan_head(&scan, sp_str_sub(bytes, 0, n), response, &o->head_n, &err);
        if (n == bytes.n) break;
    }
    if (o->head == SP_H1_OK) {
        sp_assert(o->head_n <= bytes.n);
        sp_auto(sp_buf) copy = {0};
        sp_h1_head head = {0};
        sp_buf_add(&copy, sp_str_sub(bytes, 0, o->head_n));
        bool ok = response ? sp_h1_parse_response(copy.p, copy.n, to_head, false, &head, &err)
                           : sp_h1_parse_request(copy.p, copy.n, &head, &err);
        if (ok) {
            check_head(&head, response);
            for (size_t i = 0; i < head.headers.n; i++)
                sp_h1_add_field(&o->fields, head.headers.p[i].name, head.headers.p[i].value);
            decode(&head, sp_str_from(bytes, o->head_n), step, o);
        } else {
            o->head = SP_H1_BAD;
        }
        sp_vec_free(&head.headers);
    }
    o->status = o->head == SP_H1_BAD ? err.status : 0;
    if (o->head == SP_H1_BAD) sp_assert(err.status >= 400 && err.text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) return 0;
    bool response = data[0] & 1, to_head = data[0] & 2;
    sp_str bytes = {(const char *)data + 1, size - 1};
    outcome whole = {0}, split = {0};
    run(bytes, SP_MAX(bytes.n, 1), response, to_head, &whole);
    run(bytes, (size_t)(data[0] >> 2) % 32 + 1, response, to_head, &split);
    sp_assert(whole.head == split.head && whole.status == split.status);
    sp_assert(sp_str_eq(sp_buf_str(&whole.fields), sp_buf_str(&split.fields)));
    sp_assert(sp_str_eq(sp_buf_str(&whole.body), sp_buf_str(&split.body)));
    sp_assert(whole.end == split.end && whole.rest == split.rest);
    outcome *both[] = {&whole, &split};
    for (size_t i = 0; i < 2; i++) {
        sp_buf_free(&both[i]->fields);
        sp_buf_free(&both[i]->body);
    }
    return 0;
}
