/* Keywords of a proxy that are one value each, and those of global. */
#include "gateway/haproxy/model.h"

sp_hap_proxy *sp_hap_find(const sp_hap *h, sp_str name, unsigned kinds) {
    sp_vec_each(&h->proxies, p) {
        if (((*p)->kind & kinds) && sp_str_eq((*p)->name, name)) return *p;
    }
    return NULL;
}

void sp_hap_mode(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    sp_str mode;
    if (!sp_hap_word(h, l, at, "tcp or http", &mode)) return;
    if (!sp_str_eqz(mode, "tcp") && !sp_str_eqz(mode, "http"))
        sp_hap_error(h, l->number, "mode %.*s is not supported: tcp or http", SP_ARG(mode));
    p->http = sp_str_eqz(mode, "http");
}

void sp_hap_timeout(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    const struct {
        const char *word;
        uint32_t *to;
        const char *note;
    } rows[] = {{"connect", &p->timeouts.connect},
                {"client", &p->timeouts.client},
                {"server", &p->timeouts.server},
                {"check", &p->timeouts.check},
                {"queue", &p->timeouts.queue},
                {"http-request", &p->timeouts.http_request},
                {"http-keep-alive", &p->timeouts.http_keep_alive},
                {"tunnel", &p->timeouts.tunnel, NULL},
                {"tarpit", &p->timeouts.tarpit, "such clients are answered at once"}};
    sp_str which, value;
    if (!sp_hap_word(h, l, at, "which timeout", &which) ||
        !sp_hap_word(h, l, at + 1, "the time", &value))
        return;
    for (size_t i = 0; i < SP_COUNT(rows); i++) {
        if (!sp_str_eqz(which, rows[i].word)) continue;
        sp_hap_time(h, l->number, value, rows[i].to);
        if (rows[i].note) sp_hap_note(h, l->number, "timeout %s: %s", rows[i].word, rows[i].note);
        return;
    }
    if (sp_str_eqz(which, "client-fin") || sp_str_eqz(which, "server-fin"))
        sp_hap_note(h, l->number,
                    "timeout %.*s: a half-closed connection has the timeout of any "
                    "idle one",
                    SP_ARG(which));
    else
        sp_hap_error(h, l->number, "timeout %.*s is not known", SP_ARG(which));
}

void sp_hap_maxconn(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    sp_str value;
    uint64_t n;
    if (sp_hap_word(h, l, at, "the number", &value) &&
        sp_hap_number(h, l->number, value, UINT32_MAX, &n))
        p->maxconn = (uint32_t)n;
}

void sp_hap_retries(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    sp_str value;
    uint64_t n;
    if (!sp_hap_word(h, l, at, "the number", &value) ||
        !sp_hap_number(h, l->number, value, 1000, &n))
        return;
    p->retries = (uint32_t)n;
    p->retries_given = true;
    sp_hap_note(h, l->number,
                "retries %llu: a server that refuses is left at once for the next one, each at "
                "most once, up to 8",
                (unsigned long long)n);
}

void sp_hap_default_backend(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    if (!sp_hap_word(h, l, at, "the backend", &p->default_backend)) return;
    p->default_backend_line = l->number;
    if (at + 1 < l->n)
        sp_hap_error(h, l->number, "default_backend takes no condition: use_backend does");
}

/* --- choosing --- */

/* "hdr(X-User)" → hdr, X-User. */
static bool split_call(sp_str text, sp_str *ret_name, sp_str *ret_arg) {
    ptrdiff_t open = sp_str_chr(text, '(');
    if (open < 0 || text.p[text.n - 1] != ')') return false;
    *ret_name = sp_str_sub(text, 0, (size_t)open);
    *ret_arg = sp_str_sub(text, (size_t)open + 1, text.n - (size_t)open - 2);
    return ret_arg->n > 0;
}

static const char *const algorithms[] = {"roundrobin", "static-rr", "leastconn", "first", "source",
                                         "uri",        "url_param", "hdr",       "random"};

void sp_hap_balance_line(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    sp_str word, name = {0};
    if (!sp_hap_word(h, l, at, "the algorithm", &word)) return;
    sp_str call = word;
    split_call(word, &call, &name);
    size_t i = 0;
    while (i < SP_COUNT(algorithms) && !sp_str_eqz(call, algorithms[i])) i++;
    if (i == SP_COUNT(algorithms)) {
        sp_hap_error(h, l->number,
                     "balance %.*s is not supported: roundrobin, static-rr, leastconn, source, "
                     "uri, url_param NAME, hdr(NAME) or random",
                     SP_ARG(word));
        return;
    }
    if (sp_str_eqz(call, "url_param") && !sp_hap_word(h, l, at + 1, "the parameter", &name)) return;
    if (sp_str_eqz(call, "hdr") && !name.n)
        sp_hap_error(h, l->number, "balance hdr needs the header: hdr(NAME)");
    for (size_t k = at + (sp_str_eqz(call, "url_param") ? 2 : 1); k < l->n; k++)
        sp_hap_error(h, l->number, "balance %.*s: \"%.*s\" is not supported", SP_ARG(call),
                     SP_ARG(l->words[k]));
    p->balance.algorithm = call;
    p->balance.name = name;
    p->balance.line = l->number;
}

void sp_hap_hash_type(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    sp_str word;
    if (!sp_hap_word(h, l, at, "map-based or consistent", &word)) return;
    p->balance.consistent = sp_str_eqz(word, "consistent");
    if (!p->balance.consistent)
        sp_hap_note(h, l->number,
                    "hash-type %.*s: hashes are always consistent here (few clients "
                    "move when a server comes or goes)",
                    SP_ARG(word));
}

void sp_hap_cookie(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    static const char *const fine[] = {"insert",   "indirect", "nocache", "postonly",
                                       "preserve", "httponly", "dynamic"};
    if (!sp_hap_word(h, l, at, "the cookie's name", &p->cookie)) return;
    bool insert = false;
    for (size_t i = at + 1; i < l->n; i++) {
        size_t k = 0;
        while (k < SP_COUNT(fine) && !sp_str_eqz(l->words[i], fine[k])) k++;
        if (sp_str_eqz(l->words[i], "secure"))
            p->cookie_secure = true;
        else if (k == SP_COUNT(fine))
            sp_hap_error(h, l->number,
                         "cookie %.*s: \"%.*s\" is not supported; \"cookie NAME insert indirect "
                         "nocache\" is",
                         SP_ARG(p->cookie), SP_ARG(l->words[i]));
        insert |= sp_str_eqz(l->words[i], "insert");
    }
    if (!insert)
        sp_hap_error(h, l->number,
                     "cookie %.*s: the gateway sets the cookie itself: add \"insert "
                     "indirect nocache\"",
                     SP_ARG(p->cookie));
    else
        sp_hap_note(h, l->number,
                    "cookie %.*s: its value is a keyed hash of the server's address, "
                    "not the word of the server line",
                    SP_ARG(p->cookie));
}

/* A client's address is remembered with its server, or requests are counted (rates.c). */
void sp_hap_stick_table(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    sp_str type = {0};
    p->table_ms = 30 * 60 * 1000;
    for (size_t i = at; i < l->n; i += 2) {
        sp_str word = l->words[i], value = i + 1 < l->n ? l->words[i + 1] : (sp_str){0};
        if (sp_str_eqz(word, "nopurge") || sp_str_eqz(word, "recv-only")) {
            i--;
        } else if (sp_str_eqz(word, "type")) {
            p->table_ip = sp_str_eqz(value, "ip") || sp_str_eqz(value, "ipv6");
            type = value;
        } else if (sp_str_eqz(word, "expire")) {
            sp_hap_time(h, l->number, value, &p->table_ms);
        } else if (sp_str_eqz(word, "peers")) {
            sp_hap_error(h, l->number,
                         "stick-table peers: tables are not sent between gateways; "
                         "use balance source or a cookie, which all decide alike");
        } else if (sp_str_eqz(word, "store")) {
            sp_hap_table_store(h, p, l->number, value);
        } else if (!sp_str_eqz(word, "size") && !sp_str_eqz(word, "len")) {
            sp_hap_error(h, l->number, "stick-table: \"%.*s\" is not known", SP_ARG(word));
        }
    }
    if (!p->table_ip && !p->table_rate_ms)
        sp_hap_error(h, l->number,
                     "stick-table type %.*s is not supported: type ip, with \"stick on src\"",
                     SP_ARG(type));
}

void sp_hap_stick(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    bool src =
        at + 1 < l->n && sp_str_eqz(l->words[at], "on") && sp_str_eqz(l->words[at + 1], "src");
    if (!src || l->n > at + 2) {
        sp_hap_error(h, l->number,
                     "only \"stick on src\" is supported; otherwise use a cookie or "
                     "balance hdr()");
        return;
    }
    if (!p->table_ms || !p->table_ip)
        sp_hap_error(h, l->number,
                     "stick on src needs a \"stick-table type ip size … expire …\" "
                     "line above it");
    p->stick_ms = p->table_ms;
}

/* --- options --- */

void sp_hap_forwardfor(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    p->forwardfor = !h->no;
    for (size_t i = at; i < l->n; i += 2) {
        sp_str word = l->words[i], value = i + 1 < l->n ? l->words[i + 1] : (sp_str){0};
        if (sp_str_eqz(word, "if-none")) {
            i--;
            sp_hap_note(h, l->number,
                        "option forwardfor if-none: X-Forwarded-For is replaced, or "
                        "continued for trusted peers");
        } else if (sp_str_eqz(word, "except")) {
            sp_cidr c;
            sp_addr one;
            if (!sp_cidr_parse(value, &c) && !sp_addr_parse(value, 0, &one))
                sp_hap_error(h, l->number, "option forwardfor except: \"%.*s\" is not a network",
                             SP_ARG(value));
            else
                sp_hap_note(h, l->number,
                            "option forwardfor except %.*s: the header is set for "
                            "these clients too",
                            SP_ARG(value));
        } else if (sp_str_eqz(word, "header")) {
            if (!sp_str_ieq(value, SP_STR("x-forwarded-for")))
                sp_hap_error(h, l->number,
                             "option forwardfor header %.*s: the header is always "
                             "X-Forwarded-For",
                             SP_ARG(value));
        } else {
            sp_hap_error(h, l->number, "option forwardfor: \"%.*s\" is not known", SP_ARG(word));
        }
    }
}

void sp_hap_redispatch(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    (void)at;
    (void)p;
    if (h->no)
        sp_hap_note(h, l->number,
                    "no option redispatch: a client whose server is gone is always "
                    "given another");
}

void sp_hap_all_backups(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    (void)l, (void)at;
    p->all_backups = !h->no;
}

void sp_hap_disabled(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    (void)at;
    p->disabled = sp_str_eqz(l->words[0], "disabled");
    if (p->disabled && p->kind != SP_HAP_DEFAULTS)
        sp_hap_note(h, l->number, "disabled: nothing of this section is served");
}

/* --- global, resolvers --- */

void sp_hap_global_maxconn(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    (void)p;
    sp_str value;
    uint64_t n;
    if (sp_hap_word(h, l, at, "the number", &value) &&
        sp_hap_number(h, l->number, value, UINT32_MAX, &n))
        h->ret->max_connections = (uint32_t)n;
}

void sp_hap_hard_stop(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    (void)p;
    sp_str value;
    if (sp_hap_word(h, l, at, "the time", &value))
        sp_hap_time(h, l->number, value, &h->ret->grace_ms);
}

void sp_hap_ca_base(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    (void)p;
    (void)sp_hap_word(h, l, at, "the directory", &h->ca_base);
}

void sp_hap_crt_base(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    (void)p;
    (void)sp_hap_word(h, l, at, "the directory", &h->crt_base);
}

void sp_hap_server_verify(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    (void)p;
    sp_str word;
    if (!sp_hap_word(h, l, at, "none or required", &word)) return;
    h->no_verify = sp_str_eqz(word, "none");
    if (!h->no_verify && !sp_str_eqz(word, "required"))
        sp_hap_error(h, l->number, "ssl-server-verify %.*s: none or required", SP_ARG(word));
}

void sp_hap_bind_options(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    (void)p;
    bool other = false;
    for (size_t i = at; i < l->n; i++) {
        if (sp_str_eqz(l->words[i], "ssl-min-ver") && i + 1 < l->n) {
            h->tls13 |= sp_str_eqz(l->words[++i], "TLSv1.3");
        } else {
            h->tls13 |= sp_str_eqz(l->words[i], "no-tlsv12");
            other |= !sp_str_eqz(l->words[i], "no-sslv3") &&
                     !sp_str_eqz(l->words[i], "no-tlsv10") &&
                     !sp_str_eqz(l->words[i], "no-tlsv11") && !sp_str_eqz(l->words[i], "no-tlsv12");
        }
    }
    if (other)
        sp_hap_note(h, l->number,
                    "ssl-default-bind-options: TLS is 1.2 or 1.3 with tickets and "
                    "OpenSSL's own choice of ciphers; only the lowest version is taken over");
}

/* resolvers: how often names are looked up again. */
void sp_hap_hold(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    (void)p;
    sp_str status, value;
    uint32_t ms;
    if (!sp_hap_word(h, l, at, "the status", &status) ||
        !sp_hap_word(h, l, at + 1, "the time", &value) || !sp_hap_time(h, l->number, value, &ms))
        return;
    if (sp_str_eqz(status, "valid") && h->resolvers.n)
        h->resolvers.p[h->resolvers.n - 1].every_ms = SP_MAX(ms, 1000U);
    else
        sp_hap_note(h, l->number,
                    "hold %.*s: the last addresses of a name stay until others are "
                    "found",
                    SP_ARG(status));
}
