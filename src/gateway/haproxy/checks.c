/* How servers are checked: option httpchk with http-check, option ssl-hello-chk. What checks say
 * over TCP: talk.c. */
#include "gateway/haproxy/model.h"

#include "data/regex.h"

static void host_of_version(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, sp_str version) {
    /* "HTTP/1.1\r\nHost:\ www" is how versions before 2.2 said it. */
    ptrdiff_t at = sp_str_find(sp_hap_lower(h->arena, version), SP_STR("\r\nhost:"));
    if (at >= 0) {
        sp_str rest = sp_str_from(version, (size_t)at + 7);
        ptrdiff_t end = sp_str_find(rest, SP_STR("\r\n"));
        p->check.host = sp_str_trim(end < 0 ? rest : sp_str_sub(rest, 0, (size_t)end));
    } else if (sp_str_find(version, SP_STR("\r\n")) >= 0) {
        sp_hap_error(h, l->number,
                     "option httpchk: headers behind the version go to \"http-check "
                     "send … hdr NAME VALUE\"");
    }
}

/* What http-check lines said holds wherever they stand. */
void sp_hap_check_lines(sp_hap_check *c, const sp_hap_check *lines) {
    if (lines->method.n) c->method = lines->method;
    if (lines->path.n) c->path = lines->path;
    if (lines->host.n) c->host = lines->host;
    if (lines->body.n) c->body = lines->body;
    if (lines->status_min) c->status_min = lines->status_min, c->status_max = lines->status_max;
    c->tls |= lines->tls;
    c->header_names = lines->header_names, c->header_values = lines->header_values;
    c->header_count = lines->header_count;
}

void sp_hap_httpchk(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    if (h->no) {
        p->check.http = false;
        return;
    }
    size_t words = l->n - at;
    p->check = (sp_hap_check){.http = true,
                              .line = l->number,
                              .method = SP_STR("OPTIONS"),
                              .path = SP_STR("/"),
                              .status_min = 200,
                              .status_max = 399};
    if (words == 1) p->check.path = l->words[at];
    if (words >= 2) p->check.method = l->words[at], p->check.path = l->words[at + 1];
    if (words >= 3) host_of_version(h, p, l, l->words[at + 2]);
    if (words >= 4) p->check.host = l->words[at + 3];
    if (words > 4)
        sp_hap_error(h, l->number, "option httpchk: \"%.*s\" is one word too many",
                     SP_ARG(l->words[at + 4]));
}

void sp_hap_ssl_chk(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    (void)at;
    p->check = (sp_hap_check){.tls = !h->no, .line = l->number};
}

static void add_header(sp_hap *h, sp_hap_check *c, sp_str name, sp_str value) {
    size_t n = c->header_count;
    sp_str *names = sp_arena_alloc(h->arena, (n + 1) * sizeof *names);
    sp_str *values = sp_arena_alloc(h->arena, (n + 1) * sizeof *values);
    if (n) memcpy(names, c->header_names, n * sizeof *names);
    if (n) memcpy(values, c->header_values, n * sizeof *values);
    names[n] = name, values[n] = value;
    c->header_names = names, c->header_values = values, c->header_count = n + 1;
}

void sp_hap_http_check_send(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    sp_hap_check *c = &p->http_check;
    for (size_t i = at; i < l->n; i += 2) {
        sp_str word = l->words[i], value;
        if (!sp_hap_word(h, l, i + 1, "a value", &value)) return;
        if (sp_str_eqz(word, "meth")) {
            c->method = value;
        } else if (sp_str_eqz(word, "uri")) {
            c->path = value;
        } else if (sp_str_eqz(word, "ver")) {
            continue; /* HTTP/1.1 always */
        } else if (sp_str_eqz(word, "hdr")) {
            sp_str text;
            if (!sp_hap_word(h, l, i + 2, "the header's value", &text)) return;
            if (sp_str_ieq(value, SP_STR("host")))
                c->host = text;
            else
                add_header(h, c, value, text);
            i++;
        } else {
            sp_hap_error(h, l->number, "http-check send %.*s is not supported: meth, uri, ver, hdr",
                         SP_ARG(word));
        }
    }
}

static void expect_status(sp_hap *h, sp_hap_check *c, const sp_hap_line *l, sp_str value) {
    ptrdiff_t dash = sp_str_chr(value, '-');
    uint64_t low, high;
    sp_str a = dash < 0 ? value : sp_str_sub(value, 0, (size_t)dash);
    sp_str b = dash < 0 ? value : sp_str_from(value, (size_t)dash + 1);
    if (!sp_str_u64(a, &low) || !sp_str_u64(b, &high) || low < 100 || high > 599 || low > high) {
        sp_hap_error(h, l->number,
                     "http-check expect status %.*s: one status or one range, like "
                     "200 or 200-399",
                     SP_ARG(value));
        return;
    }
    c->status_min = (uint16_t)low, c->status_max = (uint16_t)high;
}

static sp_str quote_pattern(sp_arena *a, sp_str s) {
    sp_buf b = {0};
    for (size_t i = 0; i < s.n; i++) {
        if (strchr("\\^$.|?*+()[]{}", s.p[i])) sp_buf_addc(&b, '\\');
        sp_buf_addc(&b, s.p[i]);
    }
    sp_str out = sp_arena_str(a, sp_buf_str(&b));
    sp_buf_free(&b);
    return out;
}

void sp_hap_http_check_expect(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    sp_str what, value;
    const sp_regex *re;
    sp_err err = {0};
    if (!sp_hap_word(h, l, at, "what is expected", &what) ||
        !sp_hap_word(h, l, at + 1, "the value", &value))
        return;
    if (at + 2 < l->n)
        sp_hap_error(h, l->number, "http-check expect: \"%.*s\" is not supported",
                     SP_ARG(l->words[at + 2]));
    if (sp_str_eqz(what, "status")) {
        expect_status(h, &p->http_check, l, value);
    } else if (sp_str_eqz(what, "string")) {
        p->http_check.body = quote_pattern(h->arena, value);
    } else if (sp_str_eqz(what, "rstring")) {
        if (!sp_regex_compile(h->arena, value, &re, &err))
            sp_hap_error(h, l->number, "http-check expect rstring: %s", err.text);
        p->http_check.body = value;
    } else {
        sp_hap_error(h, l->number,
                     "http-check expect %.*s is not supported: status, string, "
                     "rstring",
                     SP_ARG(what));
    }
}

void sp_hap_http_check_connect(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    for (size_t i = at; i < l->n; i++) {
        if (sp_str_eqz(l->words[i], "default") || sp_str_eqz(l->words[i], "linger")) continue;
        if (sp_str_eqz(l->words[i], "ssl"))
            p->http_check.tls = true;
        else
            sp_hap_error(
                h, l->number,
                "http-check connect: \"%.*s\" is not supported; the port of checks is said "
                "on the server line",
                SP_ARG(l->words[i]));
    }
}
