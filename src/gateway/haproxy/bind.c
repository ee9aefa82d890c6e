/* bind: where clients come in. */
#include "data/base64.h"
#include "gateway/haproxy/model.h"

static bool port_range(sp_str text, uint16_t *ret_first, uint16_t *ret_last) {
    uint64_t first, last;
    ptrdiff_t dash = sp_str_chr(text, '-');
    sp_str a = dash < 0 ? text : sp_str_sub(text, 0, (size_t)dash);
    sp_str b = dash < 0 ? text : sp_str_from(text, (size_t)dash + 1);
    if (!sp_str_u64(a, &first) || !sp_str_u64(b, &last)) return false;
    if (!first || first > last || last > 65535) return false;
    *ret_first = (uint16_t)first;
    *ret_last = (uint16_t)last;
    return true;
}

/* The last colon parts the port, but for a bare IPv6 address in brackets. */
bool sp_hap_address(sp_str text, sp_str *ret_host, uint16_t *ret_port, uint16_t *ret_last) {
    static const char *const families[] = {"ipv4@", "ipv6@", "ip@"};
    *ret_port = *ret_last = 0;
    for (size_t i = 0; i < SP_COUNT(families); i++)
        if (sp_str_starts(text, sp_str_z(families[i]))) {
            text = sp_str_from(text, strlen(families[i]));
            break;
        }
    ptrdiff_t colon = sp_str_rchr(text, ':'), bracket = sp_str_rchr(text, ']');
    sp_str host = text, port = {0};
    if (colon > bracket) {
        host = sp_str_sub(text, 0, (size_t)colon);
        port = sp_str_from(text, (size_t)colon + 1);
    }
    if (host.n > 1 && host.p[0] == '[' && host.p[host.n - 1] == ']')
        host = sp_str_sub(host, 1, host.n - 2);
    if (sp_str_eqz(host, "*")) host = SP_STR("0.0.0.0");
    *ret_host = host;
    return !port.n || port_range(port, ret_port, ret_last);
}

static bool one_address(sp_hap *h, unsigned line, sp_str text, sp_hap_bind *b) {
    sp_str host;
    if (sp_str_starts(text, SP_STR("/")) || sp_str_chr(text, '@') >= 0) {
        if (!sp_str_starts(text, SP_STR("ip"))) {
            sp_hap_error(h, line,
                         "bind %.*s: only IP addresses and ports are bound, no sockets of "
                         "the file system and no descriptors",
                         SP_ARG(text));
            return false;
        }
    }
    if (!sp_hap_address(text, &host, &b->port, &b->last_port) || !b->port) {
        sp_hap_error(h, line,
                     "bind %.*s: not an address with a port or a range, like *:80, :::80, "
                     "10.0.0.1:8000-8010",
                     SP_ARG(text));
        return false;
    }
    if (b->last_port - b->port >= 1024) {
        sp_hap_error(h, line, "bind %.*s: at most 1024 ports in one range", SP_ARG(text));
        return false;
    }
    bool any = !host.n || sp_str_eqz(host, "0.0.0.0");
    if (any) host = sp_str_starts(text, SP_STR("ipv6@")) ? SP_STR("::") : SP_STR("0.0.0.0");
    if (sp_addr_parse(host, b->port, &b->addr)) return true;
    sp_hap_error(h, line, "bind %.*s: \"%.*s\" is not an IP address", SP_ARG(text), SP_ARG(host));
    return false;
}

/* What haproxy looks for beside a certificate (ssl-load-extra-files, -del-ext): FILE.key where it
 * holds no key, or NAME.key for NAME.crt; FILE.ocsp, which becomes a block of PEM. */
static sp_str with_extras(sp_hap *h, sp_str file, sp_str pem) {
    sp_arena *a = h->arena;
    bool crt = sp_str_ends(file, SP_STR(".crt"));
    sp_str stem = crt ? sp_str_sub(file, 0, file.n - 4) : file, more;
    if (sp_str_find(pem, SP_STR("KEY-----")) < 0 &&
        (sp_hap_file_if_any(h, h->crt_base, sp_arena_printf(a, "%.*s.key", SP_ARG(file)), &more) ||
         sp_hap_file_if_any(h, h->crt_base, sp_arena_printf(a, "%.*s.key", SP_ARG(stem)), &more)))
        pem = sp_arena_printf(a, "%.*s\n%.*s", SP_ARG(pem), SP_ARG(more));
    sp_str ocsp = sp_arena_printf(a, "%.*s.ocsp", SP_ARG(file));
    if (sp_hap_file_if_any(h, h->crt_base, ocsp, &more)) {
        sp_auto(sp_buf) b = {0};
        sp_base64_encode(&b, more);
        pem = sp_arena_printf(a, "%.*s\n%s%.*s\n%s", SP_ARG(pem), SP_HAP_OCSP_BEGIN,
                              SP_ARG(sp_buf_str(&b)), SP_HAP_OCSP_END);
    }
    return pem;
}

static void bind_crt(sp_hap *h, unsigned line, sp_str v, sp_hap_bind *b) {
    sp_str pem;
    if (!sp_hap_file(h, line, h->crt_base, v, &pem)) return;
    if (sp_str_chr(pem, '\f') < 0) pem = with_extras(h, v, pem); /* else the files of a directory */
    b->cert_pem = b->cert_pem.n
                      ? sp_arena_printf(h->arena, "%.*s\f%.*s", SP_ARG(b->cert_pem), SP_ARG(pem))
                      : pem;
    b->crt = b->crt.n ? b->crt : v;
}

static void bind_ca(sp_hap *h, unsigned line, sp_str v, sp_hap_bind *b) {
    if (sp_hap_file(h, line, h->ca_base, v, &b->ca_pem) && !b->verify) b->verify = 2;
}

static void bind_verify(sp_hap *h, unsigned line, sp_str v, sp_hap_bind *b) {
    static const char *const words[] = {"none", "optional", "required"};
    for (uint8_t i = 0; i < 3; i++)
        if (sp_str_eqz(v, words[i])) {
            b->verify = i;
            return;
        }
    sp_hap_error(h, line, "bind verify %.*s: none, optional or required", SP_ARG(v));
}

static void bind_alpn(sp_hap *h, unsigned line, sp_str v, sp_hap_bind *b) {
    b->no_http2 = true;
    for (sp_str part, rest = v; sp_str_cut(&rest, ',', &part);) {
        if (sp_str_eqz(part, "h2"))
            b->no_http2 = false;
        else if (!sp_str_eqz(part, "http/1.1") && !sp_str_eqz(part, "http/1.0"))
            sp_hap_error(h, line, "bind alpn: \"%.*s\" is not spoken: h2, http/1.1", SP_ARG(part));
    }
}

static void bind_min(sp_hap *h, unsigned line, sp_str v, sp_hap_bind *b) {
    b->tls13 = sp_str_eqz(v, "TLSv1.3");
    if (!b->tls13 && !sp_str_eqz(v, "TLSv1.2"))
        sp_hap_note(h, line, "bind ssl-min-ver %.*s: the lowest version spoken is TLSv1.2",
                    SP_ARG(v));
}

static void bind_max(sp_hap *h, unsigned line, sp_str v, sp_hap_bind *b) {
    (void)b;
    if (!sp_str_eqz(v, "TLSv1.3"))
        sp_hap_note(h, line, "bind ssl-max-ver %.*s: TLSv1.3 is spoken too", SP_ARG(v));
}

typedef void bind_value(sp_hap *h, unsigned line, sp_str v, sp_hap_bind *b);

static const struct {
    const char *word;
    bind_value *run;  /* takes one value */
    size_t flag;      /* else a member to set; 0 = none */
    const char *note; /* read, and said */
    const char *refused;
    unsigned values; /* of a note */
} words[] = {
    {"crt", bind_crt, 0, NULL, NULL, 1},
    {"ca-file", bind_ca, 0, NULL, NULL, 1},
    {"verify", bind_verify, 0, NULL, NULL, 1},
    {"alpn", bind_alpn, 0, NULL, NULL, 1},
    {"ssl-min-ver", bind_min, 0, NULL, NULL, 1},
    {"ssl-max-ver", bind_max, 0, NULL, NULL, 1},
    {"ssl", NULL, offsetof(sp_hap_bind, tls), NULL, NULL, 0},
    {"accept-proxy", NULL, offsetof(sp_hap_bind, accept_proxy), NULL, NULL, 0},
    {"strict-sni", NULL, 0, "a client that names none of the certificates is shown the first one",
     NULL, 0},
    {"no-tlsv12", NULL, offsetof(sp_hap_bind, tls13), NULL, NULL, 0},
    {"no-sslv3", NULL, 0, NULL, NULL, 0},
    {"no-tlsv10", NULL, 0, NULL, NULL, 0},
    {"no-tlsv11", NULL, 0, NULL, NULL, 0},
    {"v4v6", NULL, 0, NULL, NULL, 0},
    {"v6only", NULL, offsetof(sp_hap_bind, v6only), NULL, NULL, 0},
    {"name", NULL, 0, "listeners are named by frontend and port", NULL, 1},
    {"id", NULL, 0, "listeners have no numbers", NULL, 1},
    {"nice", NULL, 0, "all connections have the same priority", NULL, 1},
    {"backlog", NULL, 0, "the system's net.core.somaxconn holds", NULL, 1},
    {"maxconn", NULL, 0, "the limit of the frontend holds", NULL, 1},
    {"process", NULL, 0, "every core serves every listener", NULL, 1},
    {"thread", NULL, 0, "every core serves every listener", NULL, 1},
    {"tfo", NULL, 0, "TCP fast open is not used", NULL, 0},
    {"transparent", NULL, 0, NULL, "addresses of others are not taken", 0},
    {"interface", NULL, 0, NULL, "bind the interface's address instead", 1},
    {"namespace", NULL, 0, NULL, "start the gateway in that namespace instead (ip netns exec)", 1},
    {"defer-accept", NULL, 0, "connections are accepted at once", NULL, 0},
    {"mss", NULL, 0, "the system's segment size holds", NULL, 1},
    {"tcp-ut", NULL, 0, "keep-alive probes find dead clients", NULL, 1},
    {"ciphers", NULL, 0, "OpenSSL's own choice of ciphers holds", NULL, 1},
    {"ciphersuites", NULL, 0, "OpenSSL's own choice of ciphers holds", NULL, 1},
    {"curves", NULL, 0, "OpenSSL's own choice of curves holds", NULL, 1},
    {"ecdhe", NULL, 0, "OpenSSL's own choice of curves holds", NULL, 1},
    {"no-tls-tickets", NULL, 0, "sessions are resumed by tickets", NULL, 0},
    {"prefer-client-ciphers", NULL, 0, "OpenSSL's own choice of ciphers holds", NULL, 0},
    {"generate-certificates", NULL, 0, NULL, "certificates are not made on the fly", 0},
    {"crt-list", NULL, 0, NULL, "give the files by crt; they are chosen by their names", 1},
    {"crl-file", NULL, 0, NULL, "revocation lists are not read; use short-lived certificates", 1},
    {"crt-ignore-err", NULL, 0, NULL, "client certificates must verify", 1},
    {"ca-ignore-err", NULL, 0, NULL, "client certificates must verify", 1},
    {"accept-netscaler-cip", NULL, 0, NULL, "use the PROXY protocol: accept-proxy", 1},
    {"allow-0rtt", NULL, 0, "early data is not taken", NULL, 0},
    {"proto", NULL, 0, "the protocol is agreed by ALPN, or seen in the first bytes", NULL, 1},
    {"user", NULL, 0, NULL, "only IP addresses are bound", 1},
    {"group", NULL, 0, NULL, "only IP addresses are bound", 1},
    {"mode", NULL, 0, NULL, "only IP addresses are bound", 1},
};

static size_t bind_word(sp_hap *h, const sp_hap_line *l, size_t i, sp_hap_bind *b) {
    sp_str word = l->words[i];
    size_t k = 0;
    while (k < SP_COUNT(words) && !sp_str_eqz(word, words[k].word)) k++;
    if (k == SP_COUNT(words)) {
        sp_hap_error(h, l->number, "bind: \"%.*s\" is not known", SP_ARG(word));
        return 1;
    }
    if (words[k].values && i + 1 >= l->n) {
        sp_hap_error(h, l->number, "bind: %s needs a value", words[k].word);
        return 1;
    }
    if (words[k].refused)
        sp_hap_error(h, l->number, "bind %s is not supported: %s", words[k].word, words[k].refused);
    if (words[k].note) sp_hap_note(h, l->number, "bind %s: %s", words[k].word, words[k].note);
    if (words[k].flag) *(bool *)(void *)((char *)b + words[k].flag) = true;
    if (words[k].run) words[k].run(h, l->number, l->words[i + 1], b);
    return 1 + words[k].values;
}

/* As the system does it (net.ipv6.bindv6only is 0); our own sockets carry one family each. */
static bool takes_ipv4_too(const sp_hap_bind *b) {
    return b->addr.family == AF_INET6 && !b->v6only && sp_addr_is_any(&b->addr);
}

void sp_hap_bind_line(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    sp_str addresses;
    sp_hap_bind b = {.line = l->number, .tls13 = h->tls13};
    if (!sp_hap_word(h, l, at, "the address", &addresses)) return;
    for (size_t i = at + 1; i < l->n;) i += bind_word(h, l, i, &b);
    if (b.tls && !b.cert_pem.n)
        sp_hap_error(h, l->number, "bind ssl needs a certificate with its key: crt FILE");
    if (!b.tls && b.cert_pem.n)
        sp_hap_warn(h, l->number, "bind has a certificate but no \"ssl\": it is served in clear");
    if (b.verify && !b.ca_pem.n)
        sp_hap_error(h, l->number, "bind verify needs the authority to verify by: ca-file FILE");
    for (sp_str part, rest = addresses; sp_str_cut(&rest, ',', &part);) {
        if (!one_address(h, l->number, part, &b)) continue;
        sp_vec_push(&p->binds, b);
        if (takes_ipv4_too(&b)) {
            sp_hap_bind also = b;
            also.implied = true;
            also.addr = (sp_addr){.family = AF_INET, .port = b.port};
            sp_vec_push(&p->binds, also);
        }
    }
}
