/* See http_cors.h. A wildcard is spelled out where credentials are allowed, because browsers do not
 * take it for one then. */
#include "gateway/http_cors.h"

static const sp_str star = SP_STR_INIT("*");

bool sp_cors_origin_matches(sp_str pattern, sp_str origin) {
    ptrdiff_t at = sp_str_chr(pattern, '*');
    if (at < 0) return sp_str_ieq(pattern, origin);
    sp_str before = sp_str_sub(pattern, 0, (size_t)at);
    sp_str behind = sp_str_from(pattern, (size_t)at + 1);
    if (origin.n < before.n + behind.n + 1) return false;
    return sp_str_ieq(sp_str_sub(origin, 0, before.n), before) &&
           sp_str_ieq(sp_str_from(origin, origin.n - behind.n), behind);
}

static bool allows(const sp_cors_spec *c, sp_str origin) {
    for (size_t i = 0; i < c->origin_count; i++)
        if (sp_cors_origin_matches(c->origins[i], origin)) return true;
    return false;
}

static bool has_star(const sp_str *list, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (sp_str_eq(list[i], star)) return true;
    return false;
}

static void field(sp_buf *b, const char *name, sp_str value) {
    if (!value.n || !sp_http_is_value(value)) return;
    sp_buf_printf(b, "%s: %.*s\r\n", name, SP_ARG(value));
}

/* asked: what the client wants, in place of a wildcard. */
static void write_list(sp_buf *b, const char *name, const sp_str *list, size_t n, sp_str asked,
                       bool spell_out) {
    if (has_star(list, n)) {
        field(b, name, spell_out ? asked : star);
        return;
    }
    if (!n) return;
    sp_buf_printf(b, "%s: ", name);
    for (size_t i = 0; i < n; i++) sp_buf_printf(b, "%s%.*s", i ? ", " : "", SP_ARG(list[i]));
    sp_buf_add(b, SP_STR("\r\n"));
}

static sp_str get(const sp_h1_head *h, const char *name) {
    return sp_headers_get(h->headers.p, h->headers.n, name);
}

static void write_preflight(const sp_cors_spec *c, const sp_h1_head *h, sp_buf *b) {
    write_list(b, "access-control-allow-methods", c->methods, c->method_count,
               get(h, "access-control-request-method"), c->credentials);
    write_list(b, "access-control-allow-headers", c->request_headers, c->request_header_count,
               get(h, "access-control-request-headers"), c->credentials);
    if (c->max_age_s) sp_buf_printf(b, "access-control-max-age: %u\r\n", c->max_age_s);
}

bool sp_cors_write(const sp_cors_spec *c, const sp_h1_head *h, sp_buf *b) {
    sp_str origin = get(h, "origin");
    bool preflight = sp_str_eq(h->method, SP_STR("OPTIONS")) && origin.n &&
                     get(h, "access-control-request-method").n;
    bool any = has_star(c->origins, c->origin_count) && !c->credentials;
    if (!any) sp_buf_add(b, SP_STR("vary: origin\r\n"));
    if (!origin.n || !sp_http_is_value(origin) || !allows(c, origin)) return preflight;
    field(b, "access-control-allow-origin", any ? star : origin);
    if (c->credentials) sp_buf_add(b, SP_STR("access-control-allow-credentials: true\r\n"));
    if (preflight)
        write_preflight(c, h, b);
    else
        write_list(b, "access-control-expose-headers", c->exposed, c->exposed_count, (sp_str){0},
                   false);
    return preflight;
}
