/* See http_head.h. Framing fields are never copied: they are written anew from what the parser
 * understood, so both sides of the gateway agree on where a message ends whatever they were sent.
 */
#include "gateway/http_head.h"
#include "gateway/http_value.h"

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

/* CGI and what came of it (WSGI, PHP) make one variable of "x-a" and "x_a": who may not set the one
 * may not set the other. ret is name as it would be read there; NULL = it is no such name. */
static const char *respelled(sp_str name, char *ret, size_t cap) {
    if (name.n > cap || !memchr(name.p, '_', name.n)) return NULL;
    for (size_t i = 0; i < name.n; i++) ret[i] = name.p[i] == '_' ? '-' : name.p[i];
    return ret;
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

static void write_varying(sp_buf *b, const sp_header *list, size_t n, const sp_h1_head *h,
                          const sp_http_hop *hop) {
    for (size_t i = 0; i < n; i++) {
        sp_buf_add(b, list[i].name);
        sp_buf_add(b, SP_STR(": "));
        sp_value_write(b, list[i].value, h, hop);
        sp_buf_add(b, SP_STR("\r\n"));
    }
}

static void write_request_edits(sp_buf *b, const sp_header_edit *e, const sp_h1_head *h,
                                const sp_http_hop *hop) {
    if (!e->varies) {
        write_edits(b, e);
        return;
    }
    write_varying(b, e->set, e->set_count, h, hop);
    write_varying(b, e->add, e->add_count, h, hop);
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
        sp_str word = sp_str_sub(rest, 0, (size_t)SP_MAX(scheme, 0));
        t.https = sp_str_ieq(word, SP_STR("https"));
        if (!t.https && !sp_str_ieq(word, SP_STR("http"))) return false;
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

/* Fields that we write ourselves, or decide about. */
enum ours {
    HOST,
    FOR,
    PROTO,
    XHOST,
    PORT,
    FORWARDED,
    REQUEST_ID,
    TRACEPARENT,
    CERT,
    CERT_ERROR,
    OURS
};
static const sp_str ours[OURS] = {
    [HOST] = SP_STR_INIT("host"),
    [FOR] = SP_STR_INIT("x-forwarded-for"),
    [PROTO] = SP_STR_INIT("x-forwarded-proto"),
    [XHOST] = SP_STR_INIT("x-forwarded-host"),
    [PORT] = SP_STR_INIT("x-forwarded-port"),
    [FORWARDED] = SP_STR_INIT("forwarded"),
    [REQUEST_ID] = SP_STR_INIT("x-request-id"),
    [TRACEPARENT] = SP_STR_INIT("traceparent"),
    [CERT] = SP_STR_INIT("x-forwarded-client-cert"),
    [CERT_ERROR] = SP_STR_INIT("x-forwarded-client-cert-error"),
};

static enum ours which(sp_str name) {
    if (!name.n || !strchr("hxft", name.p[0])) return OURS;
    for (unsigned i = 0; i < OURS; i++)
        if (sp_str_eq(name, ours[i])) return (enum ours)i;
    return OURS;
}

static void write_hex(uint64_t v, char ret[16]) {
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 16; i-- > 0; v >>= 4) ret[i] = digits[v & 15];
}

static sp_str made_id(const sp_http_hop *hop, char ret[SP_HTTP_ID_BYTES]) {
    write_hex(hop->random[0], ret);
    write_hex(hop->random[1], ret + 16);
    return (sp_str){ret, SP_HTTP_ID_BYTES};
}

/* W3C Trace Context: version-trace-parent-flags in lower-case hexadecimal, neither id all zeros. */
static bool is_trace(sp_str v) {
    static const char form[] = "00-00000000000000000000000000000000-0000000000000000-00";
    bool trace = false, parent = false;
    if (v.n < sizeof form - 1 || (v.n > sizeof form - 1 && v.p[sizeof form - 1] != '-'))
        return false;
    for (size_t i = 0; i < sizeof form - 1; i++) {
        char c = v.p[i];
        bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
        if (form[i] == '-' ? c != '-' : !hex) return false;
        if (i > 2 && i < 35) trace |= c != '0';
        if (i > 35 && i < 52) parent |= c != '0';
    }
    return trace && parent && !sp_str_starts(v, SP_STR("ff"));
}

/* One of us stands between the client and the endpoint: for=, proto=, host= of RFC 7239. */
static void write_forwarded_element(sp_buf *b, const sp_http_hop *hop) {
    bool v6 = sp_str_chr(hop->client_ip, ':') >= 0;
    sp_buf_printf(b, "for=%s%.*s%s;proto=%s\r\n", v6 ? "\"[" : "", SP_ARG(hop->client_ip),
                  v6 ? "]\"" : "", hop->tls ? "https" : "http");
}

/* What a rule says about the client goes in place of what we would say. */
static bool is_said(const sp_header_edit *e, sp_str name) {
    for (size_t i = 0; i < e->set_count; i++)
        if (sp_str_eq(e->set[i].name, name)) return true;
    for (size_t i = 0; i < e->add_count; i++)
        if (sp_str_eq(e->add[i].name, name)) return true;
    return false;
}

static void write_forwarded(sp_buf *b, const sp_http_hop *hop, const sp_header_edit *edit,
                            const sp_header *const seen[OURS]) {
    if (!is_said(edit, ours[PROTO]))
        field(b, ours[PROTO],
              seen[PROTO] ? seen[PROTO]->value
              : hop->tls  ? SP_STR("https")
                          : SP_STR("http"));
    if (!is_said(edit, ours[XHOST]))
        field(b, ours[XHOST], seen[XHOST] ? seen[XHOST]->value : hop->target.host);
    if (is_said(edit, ours[PORT])) {
        /* written with the edits */
    } else if (seen[PORT]) {
        field(b, ours[PORT], seen[PORT]->value);
    } else {
        sp_buf_add(b, SP_STR("x-forwarded-port: "));
        sp_buf_u64(b, hop->port);
        sp_buf_add(b, SP_STR("\r\n"));
    }
    if (!seen[FORWARDED]) return;
    sp_buf_add(b, SP_STR("forwarded: "));
    sp_buf_add(b, seen[FORWARDED]->value);
    sp_buf_add(b, SP_STR(", "));
    write_forwarded_element(b, hop);
}

/* All values of X-Forwarded-For in their order, then the client. */
static void write_client(sp_buf *b, const sp_h1_head *h, const sp_http_hop *hop, bool believed) {
    sp_buf_add(b, SP_STR("x-forwarded-for: "));
    for (size_t i = 0; believed && i < h->headers.n; i++) {
        if (!sp_str_eq(h->headers.p[i].name, ours[FOR])) continue;
        sp_buf_add(b, h->headers.p[i].value);
        sp_buf_add(b, SP_STR(", "));
    }
    sp_buf_add(b, hop->client_ip);
    sp_buf_add(b, SP_STR("\r\n"));
}

static void write_ids(sp_buf *b, const sp_http_hop *hop, const sp_header_edit *edit,
                      const sp_header *const seen[OURS]) {
    char id[SP_HTTP_ID_BYTES], parent[16];
    sp_str made = made_id(hop, id);
    bool named = seen[REQUEST_ID] && seen[REQUEST_ID]->value.n;
    if (!is_said(edit, ours[REQUEST_ID]))
        field(b, ours[REQUEST_ID], named ? seen[REQUEST_ID]->value : made);
    if (seen[TRACEPARENT] && is_trace(seen[TRACEPARENT]->value)) {
        field(b, ours[TRACEPARENT], seen[TRACEPARENT]->value);
        return;
    }
    write_hex(hop->random[2] | 1, parent);
    sp_buf_add(b, SP_STR("traceparent: 00-"));
    sp_buf_add(b, made);
    sp_buf_addc(b, '-');
    sp_buf_add(b, (sp_str){parent, sizeof parent});
    sp_buf_add(b, SP_STR("-00\r\n"));
}

sp_str sp_http_request_id(const sp_h1_head *h, const sp_http_hop *hop, char ret[SP_HTTP_ID_BYTES]) {
    sp_str own = sp_headers_get(h->headers.p, h->headers.n, "x-request-id");
    return own.n ? own : made_id(hop, ret);
}

sp_str sp_http_trace_id(const sp_h1_head *h, const sp_http_hop *hop, char ret[SP_HTTP_ID_BYTES]) {
    sp_str own = sp_headers_get(h->headers.p, h->headers.n, "traceparent");
    return is_trace(own) ? sp_str_sub(own, 3, SP_HTTP_ID_BYTES) : made_id(hop, ret);
}

/* What the last hop proved itself counts; a trusted one that proved nothing may tell of its own. */
static void write_cert(sp_buf *b, const sp_http_hop *hop, const sp_header *const seen[OURS]) {
    bool own = hop->client_cert.n || hop->client_cert_error.n;
    if (hop->client_cert.n) field(b, ours[CERT], hop->client_cert);
    if (hop->client_cert_error.n) field(b, ours[CERT_ERROR], hop->client_cert_error);
    if (!own && seen[CERT]) field(b, ours[CERT], seen[CERT]->value);
}

static bool is_disguised(const sp_header_edit *edit, sp_str name) {
    char text[64];
    sp_str plain = {respelled(name, text, sizeof text), name.n};
    return plain.p && (which(plain) != OURS || is_removed(edit, plain) ||
                       is_in(plain, hop_by_hop, SP_COUNT(hop_by_hop)));
}

void sp_http_write_request_fields(sp_buf *b, const sp_h1_head *h, const sp_http_hop *hop) {
    const sp_header_edit *edit = &hop->entry->action->request;
    const sp_header *seen[OURS] = {0};
    bool lists = connection_lists_fields(h);
    for (size_t i = 0; i < h->headers.n; i++) {
        const sp_header *f = &h->headers.p[i];
        enum ours which_one = which(f->name);
        if (which_one != OURS) {
            bool ids = which_one == REQUEST_ID || which_one == TRACEPARENT;
            if (!seen[which_one] && (hop->trusted || ids)) seen[which_one] = f;
            continue;
        }
        if (!ends_here(h, f->name, lists) && !is_removed(edit, f->name) &&
            !is_disguised(edit, f->name))
            field(b, f->name, f->value);
    }
    write_request_edits(b, edit, h, hop);
    if (!is_said(edit, ours[FOR])) write_client(b, h, hop, hop->trusted);
    write_forwarded(b, hop, edit, seen);
    write_cert(b, hop, seen);
    write_ids(b, hop, edit, seen);
}

void sp_http_write_target(sp_buf *b, const sp_h1_head *h, const sp_http_hop *hop) {
    if (sp_str_eq(h->target, SP_STR("*")))
        sp_buf_addc(b, '*');
    else
        sp_route_rewrite(hop->entry, hop->target.path, hop->target.query, b);
}

sp_str sp_http_backend_host(const sp_http_hop *hop) {
    const sp_route_action *a = hop->entry->action;
    if (is_removed(&a->request, ours[HOST])) return (sp_str){0};
    if (a->host.n) return a->host;
    return hop->target.host.p ? hop->target.host : SP_STR(""); /* HTTP/1.0 without Host */
}

bool sp_http_request_has_length(const sp_h1_head *h) {
    return h->framing == SP_H1_LENGTH ||
           (h->framing == SP_H1_NO_BODY &&
            sp_headers_get(h->headers.p, h->headers.n, "content-length").n);
}

static void write_request_connection(sp_buf *b, const sp_http_hop *hop) {
    if (hop->upgrade.n) {
        sp_buf_add(b, SP_STR("connection: upgrade\r\n"));
        field(b, SP_STR("upgrade"), hop->upgrade);
        if (hop->key.n) field(b, SP_STR("sec-websocket-key"), hop->key);
    } else if (hop->trailers) {
        sp_buf_add(b, SP_STR("connection: te\r\nte: trailers\r\n"));
    }
}

void sp_http_write_request(sp_buf *b, const sp_h1_head *h, const sp_http_hop *hop) {
    sp_str host = sp_http_backend_host(hop);
    sp_buf_add(b, h->method);
    sp_buf_addc(b, ' ');
    sp_http_write_target(b, h, hop);
    sp_buf_add(b, SP_STR(" HTTP/1.1\r\n"));
    if (host.p) field(b, ours[HOST], host);
    sp_http_write_request_fields(b, h, hop);
    if (h->framing == SP_H1_CHUNKED)
        sp_buf_add(b, SP_STR("transfer-encoding: chunked\r\n"));
    else if (sp_http_request_has_length(h))
        write_length(b, h->length);
    write_request_connection(b, hop);
    sp_buf_add(b, SP_STR("\r\n"));
}

/* --- answers --- */

sp_http_body_as sp_http_answer_body(const sp_h1_head *answer, int client_minor) {
    bool unknown = answer->framing == SP_H1_CHUNKED || answer->framing == SP_H1_UNTIL_CLOSE;
    if (!unknown) return SP_BODY_AS_IS;
    return client_minor >= 1 ? SP_BODY_CHUNKED : SP_BODY_UNTIL_CLOSE;
}

bool sp_http_answer_has_length(const sp_h1_head *h) {
    if (h->status < 200 || h->status == 204) return false;
    if (h->framing == SP_H1_CHUNKED || h->framing == SP_H1_UNTIL_CLOSE) return false;
    return h->framing == SP_H1_LENGTH ||
           sp_headers_get(h->headers.p, h->headers.n, "content-length").n > 0;
}

static void write_answer_framing(sp_buf *b, const sp_h1_head *h, sp_http_body_as body) {
    if (body == SP_BODY_CHUNKED)
        sp_buf_add(b, SP_STR("transfer-encoding: chunked\r\n"));
    else if (body == SP_BODY_AS_IS && sp_http_answer_has_length(h))
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

void sp_http_write_answer_fields(sp_buf *b, const sp_h1_head *h, const sp_http_edit *edit) {
    static const sp_http_edit none;
    bool lists = connection_lists_fields(h);
    if (!edit) edit = &none;
    for (size_t i = 0; i < h->headers.n; i++) {
        const sp_header *f = &h->headers.p[i];
        if (ends_here(h, f->name, lists) || is_removed(edit->by_rule, f->name)) continue;
        if (edit->no_cors && sp_str_starts(f->name, SP_STR("access-control-"))) continue;
        field(b, f->name, f->value);
    }
    write_edits(b, edit->by_rule);
    sp_buf_add(b, edit->extra);
}

void sp_http_write_answer(sp_buf *b, const sp_h1_head *h, const sp_http_edit *edit,
                          sp_http_body_as body, int client_minor, bool keep_alive) {
    sp_buf_add(b, SP_STR("HTTP/1.1 "));
    sp_buf_u64(b, (uint64_t)h->status);
    sp_buf_addc(b, ' ');
    sp_buf_add(b, h->reason);
    sp_buf_add(b, SP_STR("\r\n"));
    sp_http_write_answer_fields(b, h, edit);
    write_answer_framing(b, h, body);
    write_answer_connection(b, h, client_minor, keep_alive);
    sp_buf_add(b, SP_STR("\r\n"));
}

/* --- trailers --- */

static const sp_str not_behind[] = {
    SP_STR_INIT("content-length"),
    SP_STR_INIT("content-encoding"),
    SP_STR_INIT("content-type"),
    SP_STR_INIT("content-range"),
    SP_STR_INIT("host"),
    SP_STR_INIT("authorization"),
    SP_STR_INIT("cookie"),
    SP_STR_INIT("set-cookie"),
    SP_STR_INIT("cache-control"),
    SP_STR_INIT("expect"),
    SP_STR_INIT("range"),
    SP_STR_INIT("max-forwards"),
    SP_STR_INIT("www-authenticate"),
    SP_STR_INIT("forwarded"),
};

static bool may_be_behind(sp_str name) {
    return sp_http_is_token(name) && !is_in(name, hop_by_hop, SP_COUNT(hop_by_hop)) &&
           !is_in(name, not_behind, SP_COUNT(not_behind)) &&
           !sp_str_starts(name, SP_STR("x-forwarded-"));
}

void sp_http_filter_trailers(sp_buf *b, sp_str lines) {
    while (lines.n) {
        ptrdiff_t end = sp_str_find(lines, SP_STR("\r\n"));
        if (end < 0) return;
        sp_str line = sp_str_sub(lines, 0, (size_t)end);
        lines = sp_str_from(lines, (size_t)end + 2);
        ptrdiff_t colon = sp_str_chr(line, ':');
        if (colon <= 0) continue;
        sp_str name = sp_str_sub(line, 0, (size_t)colon);
        sp_str value = sp_str_trim(sp_str_from(line, (size_t)colon + 1));
        if (may_be_behind(name) && sp_http_is_value(value)) field(b, name, value);
    }
}

static sp_str without_port(sp_str host) {
    ptrdiff_t colon = sp_str_rchr(host, ':'), bracket = sp_str_rchr(host, ']');
    return colon > bracket ? sp_str_sub(host, 0, (size_t)colon) : host;
}

void sp_http_redirect_location(sp_buf *b, const sp_http_hop *hop, uint16_t local_port) {
    const sp_route_action *a = hop->entry->action;
    sp_str scheme = a->redirect_scheme.n ? a->redirect_scheme
                    : hop->tls           ? SP_STR("https")
                                         : SP_STR("http");
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
