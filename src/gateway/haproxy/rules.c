/* Lines that depend on the request: http-request, redirect, use_backend, tcp-request. Each becomes
 * a step with a condition; tree.c orders them. */
#include "gateway/haproxy/model.h"
#include "gateway/http_value.h"
#include "net/http.h"

/* Takes the condition at index; false: said already, nothing is pushed. */
static bool push(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t index, sp_hap_steps *list,
                 sp_hap_step step) {
    step.line = l->number;
    if (!sp_hap_condition(h, p, l, index, &step.cond)) return false;
    if (sp_hap_takes_rate(h, p, &step)) {
        sp_hap_free_cond(&step.cond);
        return false;
    }
    sp_vec_push(list, step);
    return true;
}

static bool is_if(sp_str w) {
    return sp_str_eqz(w, "if") || sp_str_eqz(w, "unless");
}

static bool needs_http(sp_hap *h, const sp_hap_proxy *p, const sp_hap_line *l) {
    if (p->http) return true;
    sp_hap_error(h, l->number, "%.*s does nothing in mode tcp: the gateway sees no requests there",
                 SP_ARG(l->words[0]));
    return false;
}

/* --- text with variables --- */

/* Constants only; %% is a percent sign. %[dst_port] is a constant once the bind line is known. */
static bool constant(sp_hap *h, const sp_hap_line *l, sp_str text, sp_str *ret) {
    sp_auto(sp_buf) b = {0};
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] != '%') {
            sp_buf_addc(&b, text.p[i]);
        } else if (i + 1 < text.n && text.p[i + 1] == '%') {
            sp_buf_addc(&b, '%');
            i++;
        } else {
            sp_hap_error(h, l->number,
                         "\"%.*s\": values are constants; variables of log formats "
                         "are not filled in",
                         SP_ARG(text));
            return false;
        }
    }
    if (!sp_http_is_value(sp_buf_str(&b))) {
        sp_hap_error(h, l->number, "\"%.*s\" cannot stand in a header", SP_ARG(text));
        return false;
    }
    *ret = sp_arena_str(h->arena, sp_buf_str(&b));
    return true;
}

/* Letters of log formats that have a name, too. */
static const struct {
    const char *letters, *name;
} aliases[] = {{"%ci", "%[src]"},      {"%cp", "%[src_port]"},  {"%fi", "%[dst]"},
               {"%fp", "%[dst_port]"}, {"%ID", "%[unique-id]"}, {"%HM", "%[method]"},
               {"%HP", "%[path]"}};

static const char *alias_of(sp_str text, size_t *ret_n) {
    for (size_t i = 0; i < SP_COUNT(aliases); i++) {
        *ret_n = strlen(aliases[i].letters);
        if (sp_str_starts(text, sp_str_z(aliases[i].letters))) return aliases[i].name;
    }
    return NULL;
}

/* With all variables by name; false when there is none. */
static bool with_names(sp_hap *h, sp_str text, sp_str *ret) {
    sp_auto(sp_buf) b = {0};
    bool any = false;
    for (size_t i = 0; i < text.n;) {
        size_t n = 0;
        sp_str rest = sp_str_from(text, i);
        const char *name = alias_of(rest, &n);
        any |= name || sp_str_starts(rest, SP_STR("%["));
        if (!name) n = sp_str_starts(rest, SP_STR("%%")) ? 2 : 1;
        sp_buf_add(&b, name ? sp_str_z(name) : sp_str_sub(rest, 0, n));
        i += n;
    }
    *ret = sp_arena_str(h->arena, sp_buf_str(&b));
    return any;
}

/* A constant, or a value with variables. */
static bool header_value(sp_hap *h, const sp_hap_line *l, sp_str text, sp_hap_step *s) {
    sp_err err = {0};
    sp_str compiled;
    if (!with_names(h, text, &s->value)) return constant(h, l, text, &s->value);
    bool port = sp_str_eqz(s->value, "%[dst_port]"); /* of the bind line: a constant */
    if (!sp_value_compile(h->arena, s->value, &compiled, &s->varies, &err))
        sp_hap_error(h, l->number, "\"%.*s\": %s", SP_ARG(text), err.text);
    else if (s->response && !port)
        sp_hap_error(h, l->number, "\"%.*s\": values in answers are constants", SP_ARG(text));
    else if (sp_str_ieq(s->name, SP_STR("host")) && !port)
        sp_hap_error(h, l->number, "\"%.*s\": the Host is a constant", SP_ARG(text));
    else
        return true;
    return false;
}

static bool is_one_of(sp_str s, const char *const *list) {
    for (; *list; list++)
        if (sp_str_eqz(s, *list)) return true;
    return false;
}

/* What the gateway says by itself, whoever the client is. */
static bool said_anyway(sp_hap *h, const sp_hap_line *l, sp_str name, sp_str value) {
    static const char *const client[] = {"%[src]", "%ci", NULL};
    static const char *const host[] = {"%[req.hdr(host)]", "%[req.hdr(Host)]", "%[hdr(host)]",
                                       NULL};
    bool forwarded = sp_str_ieq(name, SP_STR("x-forwarded-for")) && is_one_of(value, client);
    static const char *const tls[] = {"%[ssl_fc,iif(https,http)]", NULL};
    bool hosted = sp_str_ieq(name, SP_STR("x-forwarded-host")) && is_one_of(value, host);
    bool told = sp_str_ieq(name, SP_STR("x-forwarded-proto")) && is_one_of(value, tls);
    if (!forwarded && !hosted && !told) return false;
    sp_hap_note(h, l->number, "%.*s is set by the gateway itself, for every request", SP_ARG(name));
    return true;
}

static void edit(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at, sp_hap_step_kind kind,
                 bool response) {
    sp_hap_step s = {.kind = kind, .response = response};
    bool has_value = kind != SP_STEP_DEL;
    sp_str value = {0};
    if (!needs_http(h, p, l) || !sp_hap_word(h, l, at, "the header", &s.name) ||
        (has_value && !sp_hap_word(h, l, at + 1, "the value", &value)))
        return;
    if (!sp_http_is_token(s.name)) {
        sp_hap_error(h, l->number, "\"%.*s\" is not the name of a header", SP_ARG(s.name));
        return;
    }
    if (has_value && said_anyway(h, l, s.name, value)) return;
    if (has_value && !header_value(h, l, value, &s)) return;
    push(h, p, l, at + (has_value ? 2 : 1), &p->steps, s);
}

void sp_hap_set_header(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    edit(h, p, l, at, SP_STEP_SET, false);
}
void sp_hap_add_header(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    edit(h, p, l, at, SP_STEP_ADD, false);
}
void sp_hap_del_header(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    edit(h, p, l, at, SP_STEP_DEL, false);
}
void sp_hap_resp_set(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    edit(h, p, l, at, SP_STEP_SET, true);
}
void sp_hap_resp_add(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    edit(h, p, l, at, SP_STEP_ADD, true);
}
void sp_hap_resp_del(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    edit(h, p, l, at, SP_STEP_DEL, true);
}

/* --- answers of the gateway's own --- */

static bool read_status(sp_hap *h, const sp_hap_line *l, sp_str v, uint16_t *ret) {
    uint64_t n;
    if (!sp_hap_number(h, l->number, v, 599, &n)) return false;
    if (n < 200) sp_hap_error(h, l->number, "status %llu: 200 to 599", (unsigned long long)n);
    *ret = (uint16_t)n;
    return n >= 200;
}

/* deny [deny_status N], return [status N] [content-type T] [string S]. */
static void answer(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at, uint16_t status) {
    sp_hap_step s = {.kind = SP_STEP_ANSWER, .status = status};
    if (!needs_http(h, p, l)) return;
    for (; at < l->n && !is_if(l->words[at]); at += 2) {
        sp_str word = l->words[at], value;
        if (!sp_hap_word(h, l, at + 1, "a value", &value)) return;
        if (sp_str_eqz(word, "deny_status") || sp_str_eqz(word, "status")) {
            if (!read_status(h, l, value, &s.status)) return;
        } else if (sp_str_eqz(word, "string")) {
            s.value = value;
        } else if (sp_str_eqz(word, "content-type")) {
            if (!sp_str_starts(value, SP_STR("text/plain")))
                sp_hap_note(h, l->number, "content-type %.*s: own answers are text/plain",
                            SP_ARG(value));
        } else {
            sp_hap_error(h, l->number, "%.*s %.*s: \"%.*s\" is not supported: status, string",
                         SP_ARG(l->words[0]), SP_ARG(l->words[1]), SP_ARG(word));
            return;
        }
    }
    push(h, p, l, at, &p->steps, s);
}

void sp_hap_http_deny(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    bool tarpit = sp_str_eqz(l->words[1], "tarpit");
    if (tarpit) sp_hap_note(h, l->number, "http-request tarpit: answered at once");
    answer(h, p, l, at, tarpit ? 500 : 403);
}
void sp_hap_http_return(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    answer(h, p, l, at, 200);
}
void sp_hap_http_allow(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    if (needs_http(h, p, l)) push(h, p, l, at, &p->steps, (sp_hap_step){.kind = SP_STEP_ALLOW});
}

/* Health checks of others: before all other rules. */
void sp_hap_monitor_uri(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    sp_str path;
    if (!needs_http(h, p, l) || !sp_hap_word(h, l, at, "the path", &path)) return;
    sp_str words[] = {SP_STR("if"), SP_STR("{"), SP_STR("path"), path, SP_STR("}")};
    sp_hap_line cond = {.number = l->number, .n = SP_COUNT(words), .words = words};
    sp_hap_step s = {.kind = SP_STEP_ANSWER, .status = 200, .value = SP_STR("OK")};
    if (!push(h, p, &cond, 0, &p->steps, s)) return;
    s = p->steps.p[p->steps.n - 1];
    memmove(p->steps.p + 1, p->steps.p, (p->steps.n - 1) * sizeof s);
    p->steps.p[0] = s;
}

/* --- redirects --- */

/* https://host:port/path, or /path. */
static bool read_url(sp_str url, sp_hap_target *t) {
    ptrdiff_t scheme = sp_str_find(url, SP_STR("://"));
    if (scheme >= 0) {
        t->scheme = sp_str_sub(url, 0, (size_t)scheme);
        sp_str rest = sp_str_from(url, (size_t)scheme + 3);
        ptrdiff_t slash = sp_str_chr(rest, '/');
        sp_str host = slash < 0 ? rest : sp_str_sub(rest, 0, (size_t)slash);
        uint16_t last;
        t->path = slash < 0 ? (sp_str){0} : sp_str_from(rest, (size_t)slash);
        return sp_hap_address(host, &t->host, &t->port, &last) && t->host.n &&
               (sp_str_eqz(t->scheme, "http") || sp_str_eqz(t->scheme, "https"));
    }
    t->path = url;
    return sp_str_starts(url, SP_STR("/"));
}

static const char *const same_place[] = {"https://%[hdr(host)]%[capture.req.uri]",
                                         "https://%[req.hdr(host)]%[capture.req.uri]",
                                         "https://%[hdr(host)]%[path]",
                                         "https://%[req.hdr(Host)]%[capture.req.uri]",
                                         "https://%[hdr(host)]%[url]",
                                         "https://%[req.hdr(host)]%[url]",
                                         "https://%[req.hdr(host)]%[path]%[query]",
                                         "https://%[req.hdr(host)]%[pathq]",
                                         "https://%[hdr(host),field(1,:)]%[capture.req.uri]",
                                         NULL};

/* location verbatim; prefix before path and query; scheme with all the rest kept. */
static bool redirect_to(sp_hap *h, const sp_hap_line *l, sp_str how, sp_str to, sp_hap_target *t) {
    if (sp_str_eqz(how, "location") && is_one_of(to, same_place)) {
        t->scheme = SP_STR("https");
        return true;
    }
    if (!constant(h, l, to, &to)) return false;
    bool ok = true;
    if (sp_str_eqz(how, "scheme")) {
        t->scheme = to;
        ok = sp_str_eqz(to, "http") || sp_str_eqz(to, "https");
    } else if (sp_str_eqz(how, "prefix")) {
        t->prefix = true;
        ok = read_url(to, t) && sp_str_chr(to, '?') < 0;
    } else {
        t->location = to;
    }
    if (!ok)
        sp_hap_error(h, l->number,
                     "redirect %.*s %.*s is not understood: http or https for scheme, "
                     "a URL or a path else",
                     SP_ARG(how), SP_ARG(to));
    return ok;
}

static void redirect(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at,
                     sp_hap_steps *list) {
    sp_hap_step s = {.kind = SP_STEP_REDIRECT, .status = 302};
    sp_str how, to;
    uint64_t code;
    if (!needs_http(h, p, l) || !sp_hap_word(h, l, at, "location, prefix or scheme", &how) ||
        !sp_hap_word(h, l, at + 1, "where to", &to))
        return;
    if (!sp_str_eqz(how, "location") && !sp_str_eqz(how, "prefix") && !sp_str_eqz(how, "scheme")) {
        sp_hap_error(h, l->number, "redirect %.*s: location, prefix or scheme", SP_ARG(how));
        return;
    }
    for (at += 2; at < l->n && !is_if(l->words[at]); at++) {
        if (sp_str_eqz(l->words[at], "code") && at + 1 < l->n) {
            if (!sp_hap_number(h, l->number, l->words[++at], 399, &code)) return;
            s.status = (uint16_t)code;
        } else if (!(sp_str_eqz(l->words[at], "drop-query") && sp_str_eqz(how, "location"))) {
            sp_hap_error(h, l->number, "redirect: \"%.*s\" is not supported", SP_ARG(l->words[at]));
            return;
        }
    }
    static const uint16_t codes[] = {301, 302, 303, 307, 308};
    size_t i = 0;
    while (i < SP_COUNT(codes) && codes[i] != s.status) i++;
    if (i == SP_COUNT(codes))
        sp_hap_error(h, l->number, "redirect code %u: 301, 302, 303, 307 or 308", s.status);
    else if (redirect_to(h, l, how, to, &s.target))
        push(h, p, l, at, list, s);
}

void sp_hap_http_redirect(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    redirect(h, p, l, at, &p->steps);
}
void sp_hap_redirect(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    redirect(h, p, l, at, &p->redirects);
}

/* --- paths --- */

void sp_hap_set_path(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    sp_hap_step s = {.kind = SP_STEP_PATH};
    sp_str to;
    if (!needs_http(h, p, l) || !sp_hap_word(h, l, at, "the path", &to)) return;
    if (sp_str_starts(to, SP_STR("/")) && sp_str_ends(to, SP_STR("%[path]"))) {
        s.kind = SP_STEP_PATH_PREFIX;
        s.name = SP_STR("/");
        to.n -= strlen("%[path]");
    }
    if (!constant(h, l, to, &s.value)) return;
    if (!sp_str_starts(s.value, SP_STR("/")))
        sp_hap_error(h, l->number, "set-path %.*s: a path begins with /", SP_ARG(to));
    else
        push(h, p, l, at + 1, &p->steps, s);
}

/* The replacement does nothing to other paths. */
static bool only_below(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, sp_str path,
                       sp_hap_cond *ret) {
    sp_str words[] = {
        SP_STR("if"), SP_STR("{"), SP_STR("path"), SP_STR("-m"), SP_STR(SP_HAP_ELEMENTS),
        path,         SP_STR("}")};
    sp_hap_line cond = {.number = l->number, .n = SP_COUNT(words), .words = words};
    return sp_hap_condition(h, p, &cond, 0, ret);
}

/* "^/old/(.*)" and "/new/\1": one beginning for another. */
void sp_hap_replace_path(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    sp_hap_step s = {.kind = SP_STEP_PATH_PREFIX};
    sp_str from, to;
    if (!needs_http(h, p, l) || !sp_hap_word(h, l, at, "the pattern", &from) ||
        !sp_hap_word(h, l, at + 1, "the replacement", &to))
        return;
    if (sp_str_starts(from, SP_STR("^"))) from = sp_str_from(from, 1);
    if (sp_str_ends(from, SP_STR("$"))) from.n--;
    static const char *const rests[] = {"/(.*)", "(/.*)", "(/.*)?"};
    bool ok = false;
    for (size_t i = 0; !ok && i < SP_COUNT(rests); i++) {
        if (!sp_str_ends(from, sp_str_z(rests[i])) || !sp_str_ends(to, SP_STR("\\1"))) continue;
        from.n -= strlen(rests[i]);
        to.n -= 2;
        if (i == 0 && sp_str_ends(to, SP_STR("/"))) to.n--;
        ok = true;
    }
    for (size_t i = 0; i < from.n; i++) ok = ok && !strchr("\\^$.|?*+()[]{}", from.p[i]);
    ok = ok && (!from.n || from.p[0] == '/') && sp_str_chr(to, '\\') < 0;
    if (!ok) {
        sp_hap_error(h, l->number,
                     "http-request replace-path: only a beginning can be replaced: "
                     "^/old/(.*) by /new/\\1");
        return;
    }
    s.name = from.n ? from : SP_STR("/");
    if (!constant(h, l, to.n ? to : SP_STR("/"), &s.value)) return;
    if (from.n && !only_below(h, p, l, from, &s.also)) return;
    if (!push(h, p, l, at + 2, &p->steps, s)) sp_hap_free_cond(&s.also);
}

/* --- where to --- */

void sp_hap_use_backend(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    sp_hap_step s = {.kind = SP_STEP_BACKEND};
    if (!sp_hap_word(h, l, at, "the backend", &s.value)) return;
    if (sp_str_chr(s.value, '%') >= 0) {
        sp_hap_error(h, l->number,
                     "use_backend %.*s: names that are worked out for each request "
                     "are not supported: one line for each backend",
                     SP_ARG(s.value));
        return;
    }
    if (at + 1 >= l->n)
        sp_hap_warn(h, l->number,
                    "use_backend without a condition: lines below it are never "
                    "reached; default_backend says the same");
    push(h, p, l, at + 1, &p->switches, s);
}

/* accept is what happens anyway; reject becomes an access list. */
static void tcp_rule(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    sp_hap_step s = {.kind = SP_STEP_ANSWER, .status = 403};
    sp_str what = l->words[at - 1];
    if (sp_str_eqz(what, "accept")) s.kind = SP_STEP_ALLOW;
    if (p->http && s.kind == SP_STEP_ANSWER)
        sp_hap_note(h, l->number, "tcp-request … reject: such clients are answered 403");
    push(h, p, l, at, &p->steps, s);
}
void sp_hap_tcp_content(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    tcp_rule(h, p, l, at);
}
void sp_hap_tcp_connection(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    tcp_rule(h, p, l, at);
}
