/* See http_head.h. Framing fields are never copied: they are written anew from what the parser
 * understood, so both sides of the gateway agree on where a message ends whatever they were sent.
 */
#include "gateway/http_head.h"

/* --- which fields end here --- */

static const sp_str hop_by_hop[] = {
    SP_STR_INIT("connection"),
    SP_STR_INIT("keep-alive"),
    SP_STR_INIT("proxy-connection"),
    SP_STR_INIT("proxy-authorization"),
    SP_STR_INIT("te"),
    SP_STR_INIT("trailer"),
    SP_STR_INIT("transfer-encoding"),
    SP_STR_INIT("upgrade"),
    SP_STR_INIT("content-length"), /* written anew */
    SP_STR_INIT("proxy-authenticate"),
};

/* Fields that Connection cannot make us drop: the backend relies on them, or on us writing them. */
static const sp_str end_to_end[] = {
    SP_STR_INIT("host"),         SP_STR_INIT("authorization"),   SP_STR_INIT("cookie"),
    SP_STR_INIT("content-type"), SP_STR_INIT("x-forwarded-for"),
};

static bool is_in(sp_str name, const sp_str *list, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (sp_str_eq(list[i], name)) return true;
    return false;
}

/* Connection names it (a token list, compared without case). */
static bool is_named(const sp_h1_head *h, sp_str name) {
    for (size_t i = 0; i < h->headers.n; i++) {
        sp_str value = h->headers.p[i].value;
        if (!sp_str_eq(h->headers.p[i].name, SP_STR("connection"))) continue;
        for (sp_str part; sp_str_cut(&value, ',', &part);)
            if (sp_str_ieq(sp_str_trim(part), name)) return true;
    }
    return false;
}

static bool connection_lists_fields(const sp_h1_head *h) {
    for (size_t i = 0; i < h->headers.n; i++) {
        if (!sp_str_eq(h->headers.p[i].name, SP_STR("connection"))) continue;
        sp_str v = h->headers.p[i].value;
        if (!sp_str_ieq(v, SP_STR("close")) && !sp_str_ieq(v, SP_STR("keep-alive"))) return true;
    }
    return false;
}

static bool ends_here(const sp_h1_head *h, sp_str name, bool lists_fields) {
    if (is_in(name, hop_by_hop, SP_COUNT(hop_by_hop))) return true;
    return lists_fields && !is_in(name, end_to_end, SP_COUNT(end_to_end)) && is_named(h, name);
}

/* --- edits --- */

static void write_length(sp_buf *b, uint64_t length) {
    sp_buf_add(b, SP_STR("content-length: "));
    sp_buf_u64(b, length);
    sp_buf_add(b, SP_STR("\r\n"));
}

static bool is_removed(const sp_header_edit *e, sp_str name) {
    if (!e) return false;
    for (size_t i = 0; i < e->set_count; i++)
        if (sp_str_eq(e->set[i].name, name)) return true;
    return is_in(name, e->remove, e->remove_count);
}

static void field(sp_buf *b, sp_str name, sp_str value) {
    sp_buf_reserve(b, name.n + value.n + 4);
    sp_buf_add(b, name);
    sp_buf_add(b, SP_STR(": "));
    sp_buf_add(b, value);
    sp_buf_add(b, SP_STR("\r\n"));
}

static void write_edits(sp_buf *b, const sp_header_edit *e) {
    if (!e) return;
    for (size_t i = 0; i < e->set_count; i++) field(b, e->set[i].name, e->set[i].value);
    for (size_t i = 0; i < e->add_count; i++) field(b, e->add[i].name, e->add[i].value);
}

/* --- requests --- */

bool sp_http_split_target(const sp_h1_head *h, sp_http_target *ret) {
    sp_http_target t = {.host = sp_headers_get(h->headers.p, h->headers.n, "host")};
    sp_str rest = h->target;
    if (sp_str_eq(rest, SP_STR("*"))) {
        if (!sp_str_eq(h->method, SP_STR("OPTIONS"))) return false;
        rest = SP_STR("/");
    } else if (rest.n && rest.p[0] != '/') {
        ptrdiff_t scheme = sp_str_find(rest, SP_STR("://"));
        if (scheme <= 0 || !sp_str_ieq(sp_str_sub(rest, 0, (size_t)scheme), SP_STR("http")))
            return false;
        rest = sp_str_from(rest, (size_t)scheme + 3);
        size_t end = 0;
        while (end < rest.n && rest.p[end] != '/' && rest.p[end] != '?') end++;
        t.host = sp_str_sub(rest, 0, end);
        rest = sp_str_from(rest, end);
        if (!t.host.n) return false;
    }
    ptrdiff_t mark = sp_str_chr(rest, '?');
    t.path = mark < 0 ? rest : sp_str_sub(rest, 0, (size_t)mark);
    t.query = mark < 0 ? (sp_str){0} : sp_str_from(rest, (size_t)mark + 1);
    if (!t.path.n) t.path = SP_STR("/");
    *ret = t;
    return true;
}

bool sp_http_is_idempotent(sp_str method) {
    static const sp_str list[] = {SP_STR_INIT("GET"), SP_STR_INIT("HEAD"), SP_STR_INIT("PUT"),
                                  SP_STR_INIT("DELETE"), SP_STR_INIT("OPTIONS")};
    return is_in(method, list, SP_COUNT(list));
}

sp_str sp_http_upgrade(const sp_h1_head *h) {
    if (!h->upgrade || h->minor < 1 || h->framing != SP_H1_NO_BODY) return (sp_str){0};
    sp_str to = sp_headers_get(h->headers.p, h->headers.n, "upgrade");
    for (sp_str part, rest = to; sp_str_cut(&rest, ',', &part);) {
        part = sp_str_trim(part);
        if (sp_str_ieq(sp_str_sub(part, 0, 2), SP_STR("h2")) ||
            sp_str_ieq(sp_str_sub(part, 0, 4), SP_STR("http")))
            return (sp_str){0};
    }
    return to;
}

static void write_forwarded(sp_buf *b, const sp_h1_head *h, const sp_http_hop *hop) {
    sp_buf_add(b, SP_STR("x-forwarded-for: "));
    for (size_t i = 0; i < h->headers.n; i++) {
        if (!sp_str_eq(h->headers.p[i].name, SP_STR("x-forwarded-for"))) continue;
        sp_buf_add(b, h->headers.p[i].value);
        sp_buf_add(b, SP_STR(", "));
    }
    sp_buf_add(b, hop->client_ip);
    sp_buf_add(b, SP_STR("\r\nx-forwarded-proto: http\r\n"));
    field(b, SP_STR("x-forwarded-host"), hop->target.host);
}

static const sp_str ours[] = {SP_STR_INIT("host"), SP_STR_INIT("x-forwarded-for"),
                              SP_STR_INIT("x-forwarded-proto"), SP_STR_INIT("x-forwarded-host")};

static void write_request_fields(sp_buf *b, const sp_h1_head *h, const sp_header_edit *edit) {
    bool lists = connection_lists_fields(h);
    for (size_t i = 0; i < h->headers.n; i++) {
        const sp_header *f = &h->headers.p[i];
        if (is_in(f->name, ours, SP_COUNT(ours)) || ends_here(h, f->name, lists)) continue;
        if (!is_removed(edit, f->name)) field(b, f->name, f->value);
    }
    write_edits(b, edit);
}

void sp_http_write_request(sp_buf *b, const sp_h1_head *h, const sp_http_hop *hop) {
    const sp_route_action *a = hop->entry->action;
    sp_buf_add(b, h->method);
    sp_buf_addc(b, ' ');
    if (sp_str_eq(h->target, SP_STR("*")))
        sp_buf_addc(b, '*');
    else
        sp_route_rewrite(hop->entry, hop->target.path, hop->target.query, b);
    sp_buf_add(b, SP_STR(" HTTP/1.1\r\n"));
    if (!is_removed(&a->request, SP_STR("host")))
        field(b, SP_STR("host"), a->host.n ? a->host : hop->target.host);
    write_request_fields(b, h, &a->request);
    write_forwarded(b, h, hop);
    if (h->framing == SP_H1_CHUNKED)
        sp_buf_add(b, SP_STR("transfer-encoding: chunked\r\n"));
    else if (h->framing == SP_H1_LENGTH ||
             sp_headers_get(h->headers.p, h->headers.n, "content-length").n)
        write_length(b, h->length);
    if (hop->upgrade.n) {
        sp_buf_add(b, SP_STR("connection: upgrade\r\n"));
        field(b, SP_STR("upgrade"), hop->upgrade);
    }
    sp_buf_add(b, SP_STR("\r\n"));
}

/* --- answers --- */

sp_http_body_as sp_http_answer_body(const sp_h1_head *answer, int client_minor) {
    bool unknown = answer->framing == SP_H1_CHUNKED || answer->framing == SP_H1_UNTIL_CLOSE;
    if (!unknown) return SP_BODY_AS_IS;
    return client_minor >= 1 ? SP_BODY_CHUNKED : SP_BODY_UNTIL_CLOSE;
}

static void write_answer_framing(sp_buf *b, const sp_h1_head *h, sp_http_body_as body) {
    bool has_length = h->framing == SP_H1_LENGTH ||
                      sp_headers_get(h->headers.p, h->headers.n, "content-length").n > 0;
    if (body == SP_BODY_CHUNKED)
        sp_buf_add(b, SP_STR("transfer-encoding: chunked\r\n"));
    else if (body == SP_BODY_AS_IS && has_length && h->status >= 200 && h->status != 204)
        write_length(b, h->length);
}

static void write_answer_connection(sp_buf *b, const sp_h1_head *h, int client_minor, bool keep) {
    if (h->status == 101) {
        sp_buf_add(b, SP_STR("connection: upgrade\r\n"));
        field(b, SP_STR("upgrade"), sp_headers_get(h->headers.p, h->headers.n, "upgrade"));
    } else if (h->status < 200) {
        return;
    } else if (!keep) {
        sp_buf_add(b, SP_STR("connection: close\r\n"));
    } else if (client_minor < 1) {
        sp_buf_add(b, SP_STR("connection: keep-alive\r\n"));
    }
}

void sp_http_write_answer(sp_buf *b, const sp_h1_head *h, const sp_header_edit *edit,
                          sp_http_body_as body, int client_minor, bool keep_alive) {
    bool lists = connection_lists_fields(h);
    sp_buf_add(b, SP_STR("HTTP/1.1 "));
    sp_buf_u64(b, (uint64_t)h->status);
    sp_buf_addc(b, ' ');
    sp_buf_add(b, h->reason);
    sp_buf_add(b, SP_STR("\r\n"));
    for (size_t i = 0; i < h->headers.n; i++) {
        const sp_header *f = &h->headers.p[i];
        if (!ends_here(h, f->name, lists) && !is_removed(edit, f->name))
            field(b, f->name, f->value);
    }
    write_edits(b, edit);
    write_answer_framing(b, h, body);
    write_answer_connection(b, h, client_minor, keep_alive);
    sp_buf_add(b, SP_STR("\r\n"));
}

static sp_str without_port(sp_str host) {
    ptrdiff_t colon = sp_str_rchr(host, ':'), bracket = sp_str_rchr(host, ']');
    return colon > bracket ? sp_str_sub(host, 0, (size_t)colon) : host;
}

void sp_http_redirect_location(sp_buf *b, const sp_http_hop *hop, uint16_t local_port) {
    const sp_route_action *a = hop->entry->action;
    sp_str scheme = a->redirect_scheme.n ? a->redirect_scheme : SP_STR("http");
    bool https = sp_str_eqz(scheme, "https");
    /* The well-known port of a scheme that was named; else the one the client came to. */
    unsigned port = a->redirect_port       ? a->redirect_port
                    : a->redirect_scheme.n ? (https ? 443u : 80u)
                                           : local_port;
    sp_buf_add(b, scheme);
    sp_buf_add(b, SP_STR("://"));
    sp_buf_add(b, a->host.n ? a->host : without_port(hop->target.host));
    if (port != (https ? 443u : 80u)) sp_buf_printf(b, ":%u", port);
    sp_route_rewrite(hop->entry, hop->target.path, hop->target.query, b);
}
