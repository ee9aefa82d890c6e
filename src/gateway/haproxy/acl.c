/* acl lines and conditions. A criterion becomes atoms: questions that a route can ask by itself,
 * positive, about one thing. Matching methods (beg, end, dir, …) become one pattern over the whole
 * text, in which several values are alternatives. Manual, section 7. */
#include "gateway/haproxy/model.h"

#include "data/regex.h"
#include "kube/object.h"
#include "net/http.h"

typedef enum fetch_kind {
    FETCH_PATH,
    FETCH_HEADER,
    FETCH_COOKIE,
    FETCH_QUERY,
    FETCH_METHOD,
    FETCH_SRC,
    FETCH_PORT,
    FETCH_TLS,
    FETCH_SNI,
    FETCH_HOST,
    FETCH_TRUE,
    FETCH_FALSE,
    FETCH_RATE,
    FETCH_REFUSED
} fetch_kind;

static const struct {
    const char *name;
    fetch_kind kind;
    bool takes_name, whole; /* whole: the header is not cut at commas */
    const char *refused;
} fetches[] = {
    {"path", FETCH_PATH, false, false, NULL},
    {"url", FETCH_PATH, false, false, NULL},
    {"hdr", FETCH_HEADER, true, false, NULL},
    {"req.hdr", FETCH_HEADER, true, false, NULL},
    {"req.fhdr", FETCH_HEADER, true, true, NULL},
    {"cook", FETCH_COOKIE, true, false, NULL},
    {"req.cook", FETCH_COOKIE, true, false, NULL},
    {"url_param", FETCH_QUERY, true, false, NULL},
    {"urlp", FETCH_QUERY, true, false, NULL},
    {"method", FETCH_METHOD, false, false, NULL},
    {"src", FETCH_SRC, false, false, NULL},
    {"dst_port", FETCH_PORT, false, false, NULL},
    {"ssl_fc", FETCH_TLS, false, false, NULL},
    {"ssl_fc_sni", FETCH_HOST, false, false, NULL},
    {"req.ssl_sni", FETCH_SNI, false, false, NULL},
    {"req_ssl_sni", FETCH_SNI, false, false, NULL},
    {"req.ssl_hello_type", FETCH_TRUE, false, false, NULL},
    {"req_ssl_hello_type", FETCH_TRUE, false, false, NULL},
    {"always_true", FETCH_TRUE, false, false, NULL},
    {"always_false", FETCH_FALSE, false, false, NULL},
    {"nbsrv", FETCH_REFUSED, true, false,
     "routes do not ask for servers: put the others into the same backend as \"backup\""},
    {"srv_is_up", FETCH_REFUSED, true, false, "mark servers that stand in for others \"backup\""},
    {"fe_conn", FETCH_REFUSED, false, false, "use maxconn"},
    {"be_conn", FETCH_REFUSED, false, false, "use maxconn on the server lines"},
    {"base", FETCH_REFUSED, false, false, "ask for hdr(host) and path apart"},
    {"query", FETCH_REFUSED, false, false, "ask for url_param(NAME)"},
    {"dst", FETCH_REFUSED, false, false, "make a frontend for each address"},
    {"ssl_c_used", FETCH_REFUSED, false, false, "say verify on the bind line"},
    {"ssl_c_verify", FETCH_REFUSED, false, false, "say verify on the bind line"},
    {"src_http_req_rate", FETCH_RATE, false, false, NULL},
    {"src_conn_rate", FETCH_REFUSED, false, false,
     "new connections per client are a TrafficPolicy's connectionRate"},
    {"sc_http_req_rate", FETCH_RATE, true, false, NULL},
    {"sc0_http_req_rate", FETCH_RATE, false, false, NULL},
    {"sc1_http_req_rate", FETCH_RATE, false, false, NULL},
    {"sc2_http_req_rate", FETCH_RATE, false, false, NULL},
    {"http_auth", FETCH_REFUSED, true, false, "passwords are not asked here"},
    {"hdr_cnt", FETCH_REFUSED, true, false, "ask whether it is there: hdr(NAME) -m found"},
};

typedef enum match_by {
    MATCH_STR,
    MATCH_BEG,
    MATCH_END,
    MATCH_SUB,
    MATCH_DIR,
    MATCH_DOM,
    MATCH_REG,
    MATCH_FOUND,
    MATCH_ELEMENTS, /* our own: by whole elements of a path */
    MATCH_NONE
} match_by;
static const char *const match_names[] = {"str", "beg", "end",   "sub",          "dir",
                                          "dom", "reg", "found", SP_HAP_ELEMENTS};

static match_by find_match(sp_str word) {
    for (size_t i = 0; i < SP_COUNT(match_names); i++)
        if (sp_str_eqz(word, match_names[i])) return (match_by)i;
    return MATCH_NONE;
}

typedef struct criterion {
    sp_hap *h;
    unsigned line;
    sp_str text, name; /* "hdr(host)"; "host" */
    fetch_kind kind;
    match_by match;
    bool ignore_case, whole, cut_port, bad;
    sp_strs patterns;
} criterion;

/* --- the criterion's words --- */

static void refuse(criterion *c, const char *why) {
    sp_hap_error(c->h, c->line, "acl criterion %.*s is not supported%s%s", SP_ARG(c->text),
                 why ? ": " : "", why ? why : "");
    c->bad = true;
}

/* ",lower" and ",field(1,:)" are all that is understood of converters. */
static void read_converters(criterion *c, sp_str rest) {
    while (rest.n && !c->bad) {
        sp_str part;
        if (sp_str_starts(rest, SP_STR(",lower"))) {
            part = sp_str_sub(rest, 0, 6);
            c->ignore_case = true;
        } else if (sp_str_starts(rest, SP_STR(",field(1,:)"))) {
            part = sp_str_sub(rest, 0, 11);
            c->cut_port = true;
        } else {
            refuse(c, "of the converters only lower and field(1,:) are understood");
            return;
        }
        rest = sp_str_from(rest, part.n);
    }
}

static size_t find_fetch(sp_str name) {
    size_t i = 0;
    while (i < SP_COUNT(fetches) && !sp_str_eqz(name, fetches[i].name)) i++;
    return i;
}

/* "hdr_beg(host)": the method of matching may be part of the name. */
static void read_fetch(criterion *c, sp_str text) {
    size_t n = 0;
    c->text = text;
    while (n < text.n && text.p[n] != '(' && text.p[n] != ',') n++;
    sp_str name = sp_str_sub(text, 0, n), rest = sp_str_from(text, n);
    size_t i = find_fetch(name);
    ptrdiff_t under = sp_str_rchr(name, '_');
    if (i == SP_COUNT(fetches) && under > 0) {
        c->match = find_match(sp_str_from(name, (size_t)under + 1));
        if (c->match != MATCH_NONE) i = find_fetch(sp_str_sub(name, 0, (size_t)under));
    }
    if (rest.n && rest.p[0] == '(') {
        ptrdiff_t close = sp_str_chr(rest, ')');
        if (close < 0) {
            refuse(c, "the bracket is not closed");
            return;
        }
        c->name = sp_str_sub(rest, 1, (size_t)close - 1);
        rest = sp_str_from(rest, (size_t)close + 1);
    }
    if (i == SP_COUNT(fetches)) {
        refuse(c, NULL);
        return;
    }
    c->kind = fetches[i].kind;
    c->whole = fetches[i].whole;
    if (c->kind == FETCH_REFUSED)
        refuse(c, fetches[i].refused);
    else if (fetches[i].takes_name != (c->name.n > 0) &&
             (c->kind != FETCH_RATE || fetches[i].takes_name))
        refuse(c, fetches[i].takes_name ? "it needs a name in brackets" : "it takes no argument");
    if (!c->bad) read_converters(c, rest);
}

enum { MAX_PATTERNS = 1000 };

static void read_file_patterns(criterion *c, sp_str path) {
    sp_str content;
    if (!sp_hap_file(c->h, c->line, (sp_str){0}, path, &content)) {
        c->bad = true;
        return;
    }
    for (sp_str line, rest = content; sp_str_cut(&rest, '\n', &line);) {
        sp_str p = sp_str_trim(line);
        if (p.n && p.p[0] != '#') sp_vec_push(&c->patterns, p);
    }
}

/* What a criterion compares by anyway; asked of another one it would have to be carried out. */
static bool is_its_own(const criterion *c, sp_str type) {
    if (sp_str_eqz(type, "ip")) return c->kind == FETCH_SRC;
    if (sp_str_eqz(type, "int")) return c->kind == FETCH_PORT;
    return sp_str_eqz(type, "bool") &&
           (c->kind == FETCH_TLS || c->kind == FETCH_TRUE || c->kind == FETCH_FALSE);
}

/* Flags, then values. Returns the index behind them. */
static size_t read_values(criterion *c, const sp_hap_line *l, size_t i, bool braces) {
    bool flags = true;
    for (; i < l->n && !(braces && sp_str_eqz(l->words[i], "}")); i++) {
        sp_str w = l->words[i];
        if (!flags || w.n < 2 || w.p[0] != '-') {
            sp_vec_push(&c->patterns, w);
        } else if (sp_str_eqz(w, "--")) {
            flags = false;
        } else if (sp_str_eqz(w, "-i")) {
            c->ignore_case = true;
        } else if (sp_str_eqz(w, "-n")) {
            continue;
        } else if (sp_str_eqz(w, "-m") && i + 1 < l->n) {
            c->match = find_match(l->words[++i]);
            if (c->match == MATCH_NONE && !is_its_own(c, l->words[i]))
                refuse(c, "-m knows str, beg, end, sub, dir, dom, reg and found; ip of src, int of "
                          "dst_port, bool of ssl_fc");
        } else if (sp_str_eqz(w, "-f") && i + 1 < l->n) {
            read_file_patterns(c, l->words[++i]);
        } else {
            refuse(c, "of the flags -i, -n, -m, -f and -- are understood");
        }
    }
    if (c->patterns.n > MAX_PATTERNS) refuse(c, "more than 1000 values");
    return i;
}

/* --- patterns --- */

static void quote(sp_buf *b, sp_str s) {
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '\n' || s.p[i] == '\r') continue;
        if (strchr("\\^$.|?*+()[]{}#", s.p[i]) && s.p[i]) sp_buf_addc(b, '\\');
        sp_buf_addc(b, s.p[i]);
    }
}

static sp_str strip(sp_str s, const char *delimiters) {
    while (s.n && strchr(delimiters, s.p[0])) s = sp_str_from(s, 1);
    while (s.n && strchr(delimiters, s.p[s.n - 1])) s.n--;
    return s;
}

/* any: what may stand for the rest of the text. */
static void one_pattern(sp_buf *b, match_by m, sp_str p, const char *any) {
    const char *delimiters = m == MATCH_DIR ? "/?" : "/?.:";
    switch (m) {
    case MATCH_BEG: quote(b, p), sp_buf_addz(b, any); break;
    case MATCH_END: sp_buf_addz(b, any), quote(b, p); break;
    case MATCH_SUB: sp_buf_addz(b, any), quote(b, p), sp_buf_addz(b, any); break;
    case MATCH_DIR:
    case MATCH_DOM:
        sp_buf_printf(b, "(?:%s[%s])?", any, delimiters);
        quote(b, strip(p, delimiters));
        sp_buf_printf(b, "(?:[%s]%s)?", delimiters, any);
        break;
    case MATCH_REG: sp_buf_printf(b, "%s(?:%.*s)%s", any, SP_ARG(p), any); break;
    case MATCH_FOUND: sp_buf_addz(b, any); break;
    case MATCH_ELEMENTS: quote(b, p), sp_buf_printf(b, "(?:/%s)?", any); break;
    case MATCH_STR:
    case MATCH_NONE: quote(b, p); break;
    }
}

/* All values as one pattern between `before` and `after`. */
static sp_str pattern(const criterion *c, const char *any, const char *before, const char *after) {
    sp_auto(sp_buf) b = {0};
    if (c->ignore_case) sp_buf_addz(&b, "(?i)");
    sp_buf_addz(&b, before);
    bool group = c->patterns.n != 1 || *before || *after;
    if (group) sp_buf_addz(&b, "(?:");
    for (size_t i = 0; i < c->patterns.n; i++) {
        if (i) sp_buf_addc(&b, '|');
        one_pattern(&b, c->match, c->patterns.p[i], any);
    }
    if (!c->patterns.n) sp_buf_addz(&b, any);
    if (group) sp_buf_addc(&b, ')');
    sp_buf_addz(&b, after);
    return sp_arena_str(c->h->arena, sp_buf_str(&b));
}

static size_t add_atom(criterion *c, sp_hap_proxy *p, sp_hap_atom a) {
    sp_auto(sp_buf) key = {0};
    a.line = c->line;
    sp_buf_printf(&key, "%d %d %d %.*s\n%.*s", (int)a.kind, a.truth, a.literal, SP_ARG(a.name),
                  SP_ARG(a.value));
    sp_vec_each(&a.hosts, host) sp_buf_printf(&key, "\n%.*s", SP_ARG(*host));
    for (size_t i = 0; i < p->atoms.n; i++) {
        if (!sp_str_eq(p->atoms.p[i].key, sp_buf_str(&key))) continue;
        sp_vec_free(&a.hosts);
        return i;
    }
    a.key = sp_arena_str(c->h->arena, sp_buf_str(&key));
    sp_vec_push(&p->atoms, a);
    return p->atoms.n - 1;
}

static void add_text(criterion *c, sp_hap_proxy *p, sp_hap_acl *acl, sp_hap_atom a) {
    const sp_regex *re;
    sp_err err = {0};
    if (!a.literal && !sp_regex_compile(c->h->arena, a.value, &re, &err)) {
        sp_hap_error(c->h, c->line, "acl criterion %.*s: %s", SP_ARG(c->text), err.text);
        return;
    }
    sp_vec_push(&acl->any, add_atom(c, p, a));
}

static bool plain_single(const criterion *c, match_by m) {
    return c->match == m && c->patterns.n == 1 && !c->ignore_case;
}

static void path_atom(criterion *c, sp_hap_proxy *p, sp_hap_acl *acl) {
    sp_hap_atom a = {.kind = SP_ATOM_PATH};
    bool url = sp_str_starts(c->text, SP_STR("url"));
    for (size_t i = 0; url && i < c->patterns.n; i++) {
        if (sp_str_starts(c->patterns.p[i], SP_STR("/")) && sp_str_chr(c->patterns.p[i], '?') < 0 &&
            c->match == MATCH_BEG)
            continue;
        refuse(c, "only url_beg with a path; ask for path and url_param(NAME)");
        return;
    }
    if (plain_single(c, MATCH_STR)) {
        a.begins = c->patterns.p[0];
        a.literal = sp_str_starts(c->patterns.p[0], SP_STR("/"));
        a.value = a.literal ? c->patterns.p[0] : pattern(c, ".*", "", "");
    } else {
        if (plain_single(c, MATCH_ELEMENTS)) a.prefix = a.begins = c->patterns.p[0];
        if (plain_single(c, MATCH_BEG)) a.begins = c->patterns.p[0];
        a.only_begins = plain_single(c, MATCH_BEG);
        a.value = pattern(c, ".*", "", "");
    }
    add_text(c, p, acl, a);
}

static bool is_host_name(sp_str s) {
    return sp_str_chr(s, ':') < 0 && sp_str_chr(s, '*') < 0 && s.n && sp_name_is_subdomain(s);
}

/* Names, or ends that are wildcards: then the atom says hosts as objects do. */
static bool take_hosts(criterion *c, sp_strs *ret) {
    for (size_t i = 0; i < c->patterns.n; i++) {
        sp_str v = sp_hap_lower(c->h->arena, c->patterns.p[i]);
        bool suffix = c->match == MATCH_END && sp_str_starts(v, SP_STR("."));
        bool name = c->match == MATCH_STR && is_host_name(v);
        if (!name && !(suffix && is_host_name(sp_str_from(v, 1)))) {
            sp_vec_free(ret);
            return false;
        }
        if (suffix) v = sp_arena_printf(c->h->arena, "*%.*s", SP_ARG(v));
        sp_vec_push(ret, v);
    }
    return c->patterns.n > 0;
}

static void header_atom(criterion *c, sp_hap_proxy *p, sp_hap_acl *acl) {
    sp_hap_atom a = {.name = sp_hap_lower(c->h->arena, c->name)};
    bool host = sp_str_eqz(a.name, "host");
    if (host && take_hosts(c, &a.hosts)) {
        a.kind = SP_ATOM_HOST;
        sp_vec_push(&acl->any, add_atom(c, p, a));
        return;
    }
    a.kind = SP_ATOM_HEADER;
    bool list = !host && !c->whole;
    a.value = pattern(c, ".*", list ? "(?:.*,\\s*)?" : "",
                      list          ? "(?:\\s*,.*)?"
                      : c->cut_port ? "(?::\\d*)?"
                                    : "");
    add_text(c, p, acl, a);
}

static void cookie_atom(criterion *c, sp_hap_proxy *p, sp_hap_acl *acl) {
    sp_auto(sp_buf) before = {0};
    sp_buf_addz(&before, "(?:.*;\\s*)?");
    quote(&before, c->name);
    sp_buf_addc(&before, '=');
    sp_hap_atom a = {.kind = SP_ATOM_HEADER, .name = SP_STR("cookie")};
    a.value = pattern(c, "[^;]*", sp_buf_z(&before), "(?:\\s*;.*)?");
    add_text(c, p, acl, a);
}

static void query_atom(criterion *c, sp_hap_proxy *p, sp_hap_acl *acl) {
    sp_hap_atom a = {.kind = SP_ATOM_QUERY, .name = c->name};
    a.literal = plain_single(c, MATCH_STR);
    a.value = a.literal ? c->patterns.p[0] : pattern(c, ".*", "", "");
    add_text(c, p, acl, a);
}

static void method_atoms(criterion *c, sp_hap_proxy *p, sp_hap_acl *acl) {
    for (size_t i = 0; i < c->patterns.n; i++) {
        if (!sp_http_is_token(c->patterns.p[i])) {
            refuse(c, "a method is one word");
            return;
        }
        sp_hap_atom a = {.kind = SP_ATOM_METHOD, .value = c->patterns.p[i], .literal = true};
        sp_vec_push(&acl->any, add_atom(c, p, a));
    }
}

static void src_atom(criterion *c, sp_hap_proxy *p, sp_hap_acl *acl) {
    sp_hap_atom a = {.kind = SP_ATOM_SRC};
    for (size_t i = 0; i < c->patterns.n; i++) {
        sp_str v = c->patterns.p[i];
        sp_cidr net;
        sp_addr one;
        if (sp_addr_parse(v, 0, &one))
            v = sp_arena_printf(c->h->arena, "%.*s/%d", SP_ARG(v),
                                one.family == AF_INET ? 32 : 128);
        if (!sp_cidr_parse(v, &net)) {
            sp_hap_error(c->h, c->line, "acl criterion src: \"%.*s\" is not a network", SP_ARG(v));
            continue;
        }
        sp_vec_push(&a.hosts, v);
    }
    sp_vec_push(&acl->any, add_atom(c, p, a));
}

static void port_atom(criterion *c, sp_hap_proxy *p, sp_hap_acl *acl) {
    sp_hap_atom a = {.kind = SP_ATOM_PORT};
    for (size_t i = 0; i < c->patterns.n; i++) {
        uint64_t n;
        sp_str v = c->patterns.p[i];
        if (sp_str_eqz(v, "eq")) continue;
        if (sp_str_u64(v, &n))
            sp_vec_push(&a.hosts, v);
        else
            sp_hap_error(c->h, c->line, "acl criterion dst_port: \"%.*s\" is not a port",
                         SP_ARG(v));
    }
    sp_vec_push(&acl->any, add_atom(c, p, a));
}

static void sni_atom(criterion *c, sp_hap_proxy *p, sp_hap_acl *acl, sp_hap_atom_kind kind) {
    sp_hap_atom a = {.kind = kind};
    if (!take_hosts(c, &a.hosts)) {
        refuse(c, "server names are compared whole, or by an end that starts with a dot");
        return;
    }
    if (kind == SP_ATOM_HOST)
        sp_hap_note(c->h, c->line, "acl criterion ssl_fc_sni: the Host of the request is compared");
    sp_vec_push(&acl->any, add_atom(c, p, a));
}

static void rate_atom(criterion *c, sp_hap_proxy *p, sp_hap_acl *acl) {
    sp_hap_atom a;
    if (sp_hap_rate_atom(c->h, c->line, c->text, c->name, &c->patterns, &a))
        sp_vec_push(&acl->any, add_atom(c, p, a));
}

/* Each alone, so that no value can change what another one says. */
static bool patterns_are_sound(criterion *c) {
    const sp_regex *re;
    sp_err err = {0};
    for (size_t i = 0; c->match == MATCH_REG && i < c->patterns.n; i++) {
        if (sp_regex_compile(c->h->arena, c->patterns.p[i], &re, &err)) continue;
        sp_hap_error(c->h, c->line, "acl criterion %.*s: \"%.*s\": %s", SP_ARG(c->text),
                     SP_ARG(c->patterns.p[i]), err.text);
        return false;
    }
    return true;
}

static void add_atoms(criterion *c, sp_hap_proxy *p, sp_hap_acl *acl) {
    sp_hap_atom constant = {.kind = SP_ATOM_CONST, .truth = c->kind == FETCH_TRUE};
    if (c->match == MATCH_NONE) c->match = MATCH_STR;
    if (!patterns_are_sound(c)) return;
    switch (c->kind) {
    case FETCH_PATH: path_atom(c, p, acl); break;
    case FETCH_HEADER: header_atom(c, p, acl); break;
    case FETCH_COOKIE: cookie_atom(c, p, acl); break;
    case FETCH_QUERY: query_atom(c, p, acl); break;
    case FETCH_METHOD: method_atoms(c, p, acl); break;
    case FETCH_SRC: src_atom(c, p, acl); break;
    case FETCH_PORT: port_atom(c, p, acl); break;
    case FETCH_TLS:
        sp_vec_push(&acl->any, add_atom(c, p, (sp_hap_atom){.kind = SP_ATOM_TLS}));
        break;
    case FETCH_SNI: sni_atom(c, p, acl, SP_ATOM_SNI); break;
    case FETCH_HOST: sni_atom(c, p, acl, SP_ATOM_HOST); break;
    case FETCH_TRUE:
        if (sp_str_find(c->text, SP_STR("ssl_hello_type")) >= 0)
            sp_hap_warn(c->h, c->line,
                        "%.*s is taken as true: who speaks no TLS is not told from who does",
                        SP_ARG(c->text));
        sp_vec_push(&acl->any, add_atom(c, p, constant));
        break;
    case FETCH_FALSE: sp_vec_push(&acl->any, add_atom(c, p, constant)); break;
    case FETCH_RATE: rate_atom(c, p, acl); break;
    case FETCH_REFUSED: break;
    }
}

/* Reads one criterion with its values into acl; returns the index behind. */
static size_t read_criterion(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at,
                             bool braces, sp_hap_acl *acl) {
    criterion c = {.h = h, .line = l->number, .match = MATCH_NONE};
    read_fetch(&c, l->words[at]);
    size_t end = read_values(&c, l, at + 1, braces);
    bool bare = c.kind == FETCH_TLS || c.kind == FETCH_TRUE || c.kind == FETCH_FALSE ||
                c.match == MATCH_FOUND;
    if (!c.bad && !c.patterns.n && !bare)
        sp_hap_error(h, l->number, "acl criterion %.*s has no value to compare with",
                     SP_ARG(c.text));
    else if (!c.bad)
        add_atoms(&c, p, acl);
    sp_vec_free(&c.patterns);
    return end;
}

/* --- named ones --- */

static const struct {
    const char *name, *words[6];
} predefined[] = {
    {"TRUE", {"always_true"}},
    {"FALSE", {"always_false"}},
    {"HTTP", {"always_true"}},
    {"WAIT_END", {"always_true"}},
    {"REQ_CONTENT", {"always_true"}},
    {"LOCALHOST", {"src", "127.0.0.0/8", "::1"}},
    {"HTTP_URL_SLASH", {"path", "/"}},
    {"METH_GET", {"method", "GET", "HEAD"}},
    {"METH_HEAD", {"method", "HEAD"}},
    {"METH_POST", {"method", "POST"}},
    {"METH_PUT", {"method", "PUT"}},
    {"METH_DELETE", {"method", "DELETE"}},
    {"METH_OPTIONS", {"method", "OPTIONS"}},
    {"METH_CONNECT", {"method", "CONNECT"}},
    {"METH_TRACE", {"method", "TRACE"}},
};

static size_t add_predefined(sp_hap *h, sp_hap_proxy *p, size_t row, unsigned number) {
    sp_str words[6];
    sp_hap_line l = {.number = number, .words = words};
    while (l.n < 6 && predefined[row].words[l.n]) {
        words[l.n] = sp_str_z(predefined[row].words[l.n]);
        l.n++;
    }
    sp_hap_acl acl = {.name = sp_str_z(predefined[row].name)};
    if (sp_str_eqz(acl.name, "HTTP"))
        sp_hap_warn(h, number,
                    "HTTP is taken as true: who speaks something else is not told from "
                    "who does");
    read_criterion(h, p, &l, 0, false, &acl);
    sp_vec_push(&p->acls, acl);
    return p->acls.n - 1;
}

/* SIZE_MAX: there is none of that name. */
static size_t find_acl(sp_hap *h, sp_hap_proxy *p, sp_str name, unsigned line) {
    for (size_t i = 0; i < p->acls.n; i++)
        if (sp_str_eq(p->acls.p[i].name, name)) return i;
    for (size_t i = 0; i < SP_COUNT(predefined); i++)
        if (sp_str_eqz(name, predefined[i].name)) return add_predefined(h, p, i, line);
    return SIZE_MAX;
}

void sp_hap_acl_line(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    sp_str name, fetch;
    if (!sp_hap_word(h, l, at, "its name", &name) ||
        !sp_hap_word(h, l, at + 1, "the criterion", &fetch))
        return;
    size_t i = 0;
    while (i < p->acls.n && !sp_str_eq(p->acls.p[i].name, name)) i++;
    if (i == p->acls.n) sp_vec_push(&p->acls, {.name = name});
    sp_hap_acl acl = p->acls.p[i];
    read_criterion(h, p, l, at + 1, false, &acl);
    p->acls.p[i] = acl;
}

/* --- conditions --- */

typedef struct reader {
    sp_hap *h;
    sp_hap_proxy *p;
    const sp_hap_line *l;
    size_t at;
} reader;

static bool one_literal(reader *r, sp_hap_literal *ret) {
    sp_str w = r->l->words[r->at];
    *ret = (sp_hap_literal){0};
    while (w.n && w.p[0] == '!') {
        ret->negated = !ret->negated;
        w = sp_str_from(w, 1);
        if (!w.n && ++r->at < r->l->n) w = r->l->words[r->at];
    }
    if (sp_str_eqz(w, "{")) {
        sp_hap_acl acl = {0};
        if (r->at + 1 >= r->l->n || sp_str_eqz(r->l->words[r->at + 1], "}")) {
            sp_hap_error(r->h, r->l->number, "an empty condition in braces");
            return false;
        }
        r->at = read_criterion(r->h, r->p, r->l, r->at + 1, true, &acl);
        sp_vec_push(&r->p->acls, acl);
        ret->acl = r->p->acls.n - 1;
        if (r->at >= r->l->n) {
            sp_hap_error(r->h, r->l->number, "the brace of a condition is not closed: \" }\"");
            return false;
        }
        r->at++;
        return true;
    }
    ret->acl = w.n ? find_acl(r->h, r->p, w, r->l->number) : SIZE_MAX;
    r->at++;
    if (ret->acl != SIZE_MAX) return true;
    sp_hap_error(r->h, r->l->number, "there is no acl \"%.*s\" above this line", SP_ARG(w));
    return false;
}

static bool is_or(sp_str w) {
    return sp_str_eqz(w, "or") || sp_str_eqz(w, "||") || sp_str_eqz(w, "OR");
}

static bool read_condition(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t index,
                           sp_hap_cond *ret) {
    if (index >= l->n) return true;
    ret->given = true;
    ret->unless = sp_str_eqz(l->words[index], "unless");
    if (!ret->unless && !sp_str_eqz(l->words[index], "if")) {
        sp_hap_error(h, l->number,
                     "\"%.*s\" is not understood here; a condition begins with if or "
                     "unless",
                     SP_ARG(l->words[index]));
        return false;
    }
    reader r = {h, p, l, index + 1};
    sp_vec_push(&ret->terms, {0});
    while (r.at < l->n) {
        sp_hap_literal literal;
        if (is_or(l->words[r.at])) {
            sp_vec_push(&ret->terms, {0});
            r.at++;
            continue;
        }
        if (!one_literal(&r, &literal)) return false;
        sp_vec_push(&ret->terms.p[ret->terms.n - 1], literal);
    }
    sp_vec_each(&ret->terms, t) {
        if (!t->n) {
            sp_hap_error(h, l->number, "a condition is missing after \"%s\"",
                         ret->terms.n > 1 ? "or"
                         : ret->unless    ? "unless"
                                          : "if");
            return false;
        }
    }
    return true;
}

bool sp_hap_condition(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t index,
                      sp_hap_cond *ret) {
    if (read_condition(h, p, l, index, ret)) return true;
    sp_hap_free_cond(ret);
    return false;
}
