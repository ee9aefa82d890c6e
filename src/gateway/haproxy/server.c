/* server, default-server, server-template: who answers. */
#include "gateway/haproxy/model.h"
#include "kube/object.h"

typedef void server_value(sp_hap *h, unsigned line, sp_str v, sp_hap_server *s);

static void number_into(sp_hap *h, unsigned line, sp_str v, uint64_t max, uint32_t *to) {
    uint64_t n;
    if (sp_hap_number(h, line, v, max, &n)) *to = (uint32_t)n;
}

static void set_weight(sp_hap *h, unsigned line, sp_str v, sp_hap_server *s) {
    number_into(h, line, v, 256, &s->weight);
    s->weight_given = true;
}
static void set_maxconn(sp_hap *h, unsigned line, sp_str v, sp_hap_server *s) {
    number_into(h, line, v, UINT32_MAX, &s->maxconn);
}
static void set_inter(sp_hap *h, unsigned line, sp_str v, sp_hap_server *s) {
    sp_hap_time(h, line, v, &s->inter_ms);
}
static void set_fast(sp_hap *h, unsigned line, sp_str v, sp_hap_server *s) {
    sp_hap_time(h, line, v, &s->fast_ms);
}
static void set_down(sp_hap *h, unsigned line, sp_str v, sp_hap_server *s) {
    sp_hap_time(h, line, v, &s->down_ms);
}
static void set_slow(sp_hap *h, unsigned line, sp_str v, sp_hap_server *s) {
    sp_hap_time(h, line, v, &s->slow_ms);
}
static void set_rise(sp_hap *h, unsigned line, sp_str v, sp_hap_server *s) {
    number_into(h, line, v, 1000, &s->rise);
}
static void set_fall(sp_hap *h, unsigned line, sp_str v, sp_hap_server *s) {
    number_into(h, line, v, 1000, &s->fall);
}
static void set_port(sp_hap *h, unsigned line, sp_str v, sp_hap_server *s) {
    uint64_t n;
    if (sp_hap_number(h, line, v, 65535, &n)) s->check_port = (uint16_t)n;
}
static void set_agent_port(sp_hap *h, unsigned line, sp_str v, sp_hap_server *s) {
    uint64_t n;
    if (sp_hap_number(h, line, v, 65535, &n)) s->agent_port = (uint16_t)n;
}
static void set_agent_inter(sp_hap *h, unsigned line, sp_str v, sp_hap_server *s) {
    sp_hap_time(h, line, v, &s->agent_ms);
}
static void set_cookie(sp_hap *h, unsigned line, sp_str v, sp_hap_server *s) {
    (void)h, (void)line;
    s->cookie = v;
}
static void set_verify(sp_hap *h, unsigned line, sp_str v, sp_hap_server *s) {
    s->no_verify = sp_str_eqz(v, "none");
    if (!s->no_verify && !sp_str_eqz(v, "required"))
        sp_hap_error(h, line, "server verify %.*s: none or required", SP_ARG(v));
}
static void set_ca(sp_hap *h, unsigned line, sp_str v, sp_hap_server *s) {
    (void)sp_hap_file(h, line, h->ca_base, v, &s->ca_pem);
}
static void set_crt(sp_hap *h, unsigned line, sp_str v, sp_hap_server *s) {
    (void)sp_hap_file(h, line, h->crt_base, v, &s->cert_pem);
}
/* sni str(name): the only constant among haproxy's expressions. */
static sp_str constant(sp_str v) {
    if (!sp_str_starts(v, SP_STR("str(")) || !sp_str_ends(v, SP_STR(")"))) return (sp_str){0};
    return sp_str_sub(v, 4, v.n - 5);
}
static void set_sni(sp_hap *h, unsigned line, sp_str v, sp_hap_server *s) {
    s->sni = constant(v);
    if (s->sni.n) return;
    if (sp_str_eqz(v, "req.hdr(host)") || sp_str_eqz(v, "hdr(host)") || sp_str_eqz(v, "ssl_fc_sni"))
        sp_hap_error(h, line,
                     "server sni %.*s: the name towards servers is one for all requests: "
                     "sni str(NAME)",
                     SP_ARG(v));
    else
        sp_hap_error(h, line, "server sni %.*s is not supported: sni str(NAME)", SP_ARG(v));
}
static void set_alpn(sp_hap *h, unsigned line, sp_str v, sp_hap_server *s) {
    for (sp_str part, rest = v; sp_str_cut(&rest, ',', &part);) {
        if (sp_str_eqz(part, "h2"))
            s->alpn_h2 = true;
        else if (!sp_str_eqz(part, "http/1.1"))
            sp_hap_error(h, line, "server alpn \"%.*s\" is not spoken: h2, http/1.1", SP_ARG(part));
    }
}
static void set_proto(sp_hap *h, unsigned line, sp_str v, sp_hap_server *s) {
    s->h2 = sp_str_eqz(v, "h2");
    if (!s->h2 && !sp_str_eqz(v, "h1"))
        sp_hap_error(h, line, "server proto %.*s: h1 or h2", SP_ARG(v));
}
static void set_resolvers(sp_hap *h, unsigned line, sp_str v, sp_hap_server *s) {
    s->resolvers = v;
    sp_vec_each(&h->resolvers, r) {
        if (sp_str_eq(r->name, v)) return;
    }
    sp_hap_error(h, line, "server: there is no section \"resolvers %.*s\"", SP_ARG(v));
}
static void set_init_addr(sp_hap *h, unsigned line, sp_str v, sp_hap_server *s) {
    (void)s;
    if (!sp_str_eqz(v, "last,libc") && !sp_str_eqz(v, "libc") && !sp_str_eqz(v, "last,libc,none") &&
        !sp_str_eqz(v, "libc,none"))
        sp_hap_note(h, line,
                    "server init-addr %.*s: a name that is not found leaves the server "
                    "out until it is",
                    SP_ARG(v));
}

static const struct {
    const char *word;
    server_value *run;
    size_t flag; /* a bool to set */
    size_t off;  /* a bool to clear */
    const char *note, *refused;
    unsigned values;
} words[] = {
#define FLAG(w, f) \
    { w, NULL, offsetof(sp_hap_server, f), 0, NULL, NULL, 0 }
#define UNSET(w, f) \
    { w, NULL, 0, offsetof(sp_hap_server, f), NULL, NULL, 0 }
#define VALUE(w, fn) \
    { w, fn, 0, 0, NULL, NULL, 1 }
#define NOTE(w, n, text) \
    { w, NULL, 0, 0, text, NULL, n }
#define REFUSE(w, n, text) \
    { w, NULL, 0, 0, NULL, text, n }
    FLAG("check", check),
    UNSET("no-check", check),
    FLAG("backup", backup),
    UNSET("no-backup", backup),
    FLAG("disabled", disabled),
    UNSET("enabled", disabled),
    FLAG("ssl", tls),
    UNSET("no-ssl", tls),
    FLAG("check-ssl", check_tls),
    UNSET("no-check-ssl", check_tls),
    FLAG("agent-check", agent),
    UNSET("no-agent-check", agent),
    VALUE("weight", set_weight),
    VALUE("maxconn", set_maxconn),
    VALUE("inter", set_inter),
    VALUE("fastinter", set_fast),
    VALUE("downinter", set_down),
    VALUE("slowstart", set_slow),
    VALUE("rise", set_rise),
    VALUE("fall", set_fall),
    VALUE("port", set_port),
    VALUE("agent-port", set_agent_port),
    VALUE("agent-inter", set_agent_inter),
    VALUE("cookie", set_cookie),
    VALUE("verify", set_verify),
    VALUE("ca-file", set_ca),
    VALUE("crt", set_crt),
    VALUE("sni", set_sni),
    NOTE("check-sni", 1, "checks send the name that the traffic sends"),
    VALUE("alpn", set_alpn),
    VALUE("proto", set_proto),
    VALUE("resolvers", set_resolvers),
    VALUE("init-addr", set_init_addr),
    NOTE("id", 1, "servers have no numbers; commands name them"),
    NOTE("minconn", 1, "maxconn is the limit at any load"),
    NOTE("maxqueue", 1, "the queue's limit is the backend's"),
    NOTE("pool-max-conn", 1, "kept connections have a limit of their own"),
    NOTE("pool-purge-delay", 1, "kept connections have a timeout of their own"),
    NOTE("pool-low-conn", 1, "kept connections have a limit of their own"),
    NOTE("max-reuse", 1, "connections are kept as long as the server keeps them"),
    NOTE("no-tls-tickets", 0, "sessions are resumed where the server offers it"),
    NOTE("no-ssl-reuse", 0, "sessions are resumed where the server offers it"),
    NOTE("no-sslv3", 0, "TLS is 1.2 or 1.3"),
    NOTE("no-tlsv10", 0, "TLS is 1.2 or 1.3"),
    NOTE("no-tlsv11", 0, "TLS is 1.2 or 1.3"),
    NOTE("ssl-min-ver", 1, "TLS is 1.2 or 1.3"),
    NOTE("ssl-max-ver", 1, "TLS is 1.2 or 1.3"),
    NOTE("ciphers", 1, "OpenSSL's own choice of ciphers holds"),
    NOTE("ciphersuites", 1, "OpenSSL's own choice of ciphers holds"),
    NOTE("tfo", 0, "TCP fast open is not used"),
    NOTE("resolve-prefer", 1, "all addresses of a name are taken"),
    NOTE("resolve-net", 1, "all addresses of a name are taken"),
    NOTE("resolve-opts", 1, "all addresses of a name are taken"),
    NOTE("non-stick", 0, "every server may be stuck to"),
    NOTE("no-send-proxy", 0, "the PROXY protocol is off unless asked for"),
    NOTE("no-send-proxy-v2", 0, "the PROXY protocol is off unless asked for"),
    NOTE("observe", 1, "failed connects always put a server last for a while"),
    NOTE("error-limit", 1, "failed connects always put a server last for a while"),
    NOTE("on-error", 1, "failed connects always put a server last for a while"),
    NOTE("on-marked-up", 1, "connections stay where they are when a server comes back"),
    REFUSE("addr", 1, "a server is checked at its own address; give its port by port N"),
    REFUSE("verifyhost", 1, "the certificate is verified for the name of sni str(NAME)"),
    REFUSE("source", 1, "connections go out from the address the system chooses"),
    REFUSE("interface", 1, "connections go out where the system routes them"),
    REFUSE("namespace", 1, "start the gateway in that namespace instead"),
    REFUSE("redir", 1, "use http-request redirect"),
    REFUSE("track", 1, "each backend checks its own servers"),
    REFUSE("socks4", 1, "servers are reached directly"),
    REFUSE("crl-file", 1, "revocation lists are not read"),
    REFUSE("agent-addr", 1, "the agent is asked at the server's address"),
    REFUSE("agent-send", 1, "the agent is asked without a word"),
    REFUSE("check-proto", 1, "checks speak the protocol of the traffic"),
    REFUSE("check-alpn", 1, "checks speak HTTP/1.1"),
    REFUSE("set-proxy-v2-tlv-fmt", 1, "no fields of one's own are sent in the PROXY header"),
    REFUSE("proxy-v2-options", 1, "no further fields are sent in the PROXY header"),
    REFUSE("send-proxy-v2-ssl", 0, "use send-proxy-v2; it says nothing of TLS"),
    REFUSE("send-proxy-v2-ssl-cn", 0, "use send-proxy-v2; it says nothing of TLS"),
    REFUSE("ws", 1, "upgrades speak HTTP/1.1 to servers"),
};

/* on-marked-down and the PROXY protocol are not flags of a byte. */
static size_t special_word(sp_hap *h, const sp_hap_line *l, size_t i, sp_hap_server *s) {
    sp_str word = l->words[i], value = i + 1 < l->n ? l->words[i + 1] : (sp_str){0};
    if (sp_str_eqz(word, "send-proxy")) return s->send_proxy = 1, 1;
    if (sp_str_eqz(word, "send-proxy-v2")) return s->send_proxy = 2, 1;
    if (sp_str_eqz(word, "check-send-proxy")) return 1; /* the check does as the traffic does */
    if (sp_str_eqz(word, "on-marked-down")) {
        if (!sp_str_eqz(value, "shutdown-sessions"))
            sp_hap_error(h, l->number,
                         "server on-marked-down %.*s: shutdown-sessions is the only "
                         "action",
                         SP_ARG(value));
        s->reset_when_down = true;
        return 2;
    }
    return 0;
}

static size_t server_word(sp_hap *h, const sp_hap_line *l, size_t i, sp_hap_server *s) {
    sp_str word = l->words[i];
    size_t k = special_word(h, l, i, s);
    if (k) return k;
    while (k < SP_COUNT(words) && !sp_str_eqz(word, words[k].word)) k++;
    if (k == SP_COUNT(words)) {
        sp_hap_error(h, l->number, "server: \"%.*s\" is not known", SP_ARG(word));
        return 1;
    }
    if (words[k].values && i + 1 >= l->n) {
        sp_hap_error(h, l->number, "server: %s needs a value", words[k].word);
        return 1;
    }
    if (words[k].refused)
        sp_hap_error(h, l->number, "server %s is not supported: %s", words[k].word,
                     words[k].refused);
    if (words[k].note) sp_hap_note(h, l->number, "server %s: %s", words[k].word, words[k].note);
    if (words[k].flag) *(bool *)(void *)((char *)s + words[k].flag) = true;
    if (words[k].off) *(bool *)(void *)((char *)s + words[k].off) = false;
    if (words[k].run) words[k].run(h, l->number, l->words[i + 1], s);
    return 1 + words[k].values;
}

static void find_addresses(sp_hap *h, sp_hap_server *s) {
    sp_addr ip;
    sp_err err = {0};
    if (sp_addr_parse(s->host, s->port, &ip)) {
        sp_vec_push(&s->addresses, s->host);
        return;
    }
    if (sp_str_eqz(s->host, "localhost")) {
        sp_vec_push(&s->addresses, SP_STR("127.0.0.1"));
        return;
    }
    if (!sp_name_is_subdomain(sp_hap_lower(h->arena, s->host))) {
        sp_hap_error(h, s->line, "server %.*s: \"%.*s\" is neither an IP address nor a host name",
                     SP_ARG(s->name), SP_ARG(s->host));
        return;
    }
    uint32_t every = 30000;
    sp_vec_each(&h->resolvers, r) {
        if (s->resolvers.n && sp_str_eq(r->name, s->resolvers) && r->every_ms) every = r->every_ms;
    }
    uint32_t *least = &h->ret->resolve_every_ms;
    *least = *least ? SP_MIN(*least, every) : every;
    if (!h->options->resolve)
        sp_fail(&err, SP_INVALID, "names are not looked up here");
    else if (h->options->resolve(h->options->ctx, h->arena, s->host, &s->addresses, &err))
        return;
    sp_hap_warn(h, s->line, "server %.*s: %s: left out until the name is found", SP_ARG(s->name),
                err.text);
}

static bool server_address(sp_hap *h, unsigned line, sp_str text, sp_hap_server *s) {
    uint16_t last;
    bool socket = sp_str_starts(text, SP_STR("/")) || sp_str_starts(text, SP_STR("unix@")) ||
                  sp_str_starts(text, SP_STR("abns@")) || sp_str_starts(text, SP_STR("fd@"));
    bool ok =
        !socket && sp_hap_address(text, &s->host, &s->port, &last) && s->host.n && last == s->port;
    if (!ok)
        sp_hap_error(h, line, "server %.*s: \"%.*s\" is not an address with one port",
                     SP_ARG(s->name), SP_ARG(text));
    else if (!s->port)
        sp_hap_error(h, line,
                     "server %.*s: the port is missing: %.*s:PORT (the port of the client "
                     "is not taken over)",
                     SP_ARG(s->name), SP_ARG(text));
    return ok && s->port;
}

void sp_hap_server_line(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    sp_hap_server s = p->default_server;
    sp_str address;
    s.line = l->number;
    if (!sp_hap_word(h, l, at, "the server's name", &s.name) ||
        !sp_hap_word(h, l, at + 1, "the server's address", &address) ||
        !server_address(h, l->number, address, &s))
        return;
    sp_vec_each(&p->servers, o) {
        if (sp_str_eq(o->name, s.name))
            sp_hap_error(h, l->number, "server %.*s: the name is taken by line %u", SP_ARG(s.name),
                         o->line);
    }
    for (size_t i = at + 2; i < l->n;) i += server_word(h, l, i, &s);
    if (s.tls && h->no_verify) s.no_verify = true;
    if (s.tls && !s.no_verify && !s.sni.n && !s.ca_pem.n)
        sp_hap_error(h, l->number,
                     "server %.*s ssl: say how it is verified: ca-file FILE, or "
                     "verify none",
                     SP_ARG(s.name));
    find_addresses(h, &s);
    sp_vec_push(&p->servers, s);
}

void sp_hap_default_server(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    for (size_t i = at; i < l->n;) i += server_word(h, l, i, &p->default_server);
}

enum { MAX_TEMPLATE = 1000 };

/* server-template NAME N|A-B host:port …: the addresses of the name, each a server. */
void sp_hap_server_template(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    sp_hap_server s = p->default_server;
    sp_str prefix, count, address;
    uint64_t most;
    s.line = l->number;
    if (!sp_hap_word(h, l, at, "the names' beginning", &prefix) ||
        !sp_hap_word(h, l, at + 1, "how many", &count) ||
        !sp_hap_word(h, l, at + 2, "the address", &address))
        return;
    ptrdiff_t dash = sp_str_chr(count, '-');
    s.name = prefix;
    if (!sp_hap_number(h, l->number, sp_str_from(count, (size_t)(dash + 1)), MAX_TEMPLATE, &most) ||
        !server_address(h, l->number, address, &s))
        return;
    for (size_t i = at + 3; i < l->n;) i += server_word(h, l, i, &s);
    if (s.tls && h->no_verify) s.no_verify = true;
    find_addresses(h, &s);
    if (s.addresses.n > most) s.addresses.n = most;
    sp_vec_push(&p->servers, s);
}
