/* Reading and writing the PROXY header. Both versions end where they say they do, so nothing of
 * the connection behind them is ever looked at. */
#include "gateway/proxy_header.h"

#include <stdio.h>

static const char signature[] = "\r\n\r\n\0\r\nQUIT\n";
enum { SIGNATURE = 12, HEAD2 = 16, LINE_MAX1 = 107 };
enum { LOCAL = 0x20, PROXY = 0x21 };
enum { UNSPEC = 0x00, TCP4 = 0x11, UDP4 = 0x12, TCP6 = 0x21, UDP6 = 0x22, UNIX_MIN = 0x31 };
enum { TLV_ALPN = 0x01, TLV_AUTHORITY = 0x02, TLV_SSL = 0x20, TLV_SSL_VERSION = 0x21 };
enum { TLV_SSL_CN = 0x22, SSL_BY_TLS = 1, SSL_CERT_CONN = 2 };

/* --- version 1 --- */

static bool port_of(sp_str text, uint16_t *ret) {
    uint64_t v = 0;
    if (!text.n || text.n > 5 || (text.n > 1 && text.p[0] == '0')) return false;
    if (!sp_str_u64(text, &v) || v > 65535) return false;
    *ret = (uint16_t)v;
    return true;
}

static bool address_of(sp_str text, sp_str port, uint8_t family, sp_addr *ret) {
    uint16_t number = 0;
    bool v6 = sp_str_chr(text, ':') >= 0;
    return port_of(port, &number) && sp_addr_parse(text, number, ret) && v6 == (family == AF_INET6);
}

static sp_proxy_result line_fields(sp_str line, sp_proxy_header *ret) {
    sp_str field[6];
    size_t n = 0;
    for (sp_str part, rest = line; sp_str_cut(&rest, ' ', &part); n++) {
        if (n == SP_COUNT(field)) return SP_PROXY_BAD;
        field[n] = part;
    }
    if (n != SP_COUNT(field)) return SP_PROXY_BAD;
    uint8_t family = sp_str_eqz(field[1], "TCP4") ? AF_INET : AF_INET6;
    if (family == AF_INET6 && !sp_str_eqz(field[1], "TCP6")) return SP_PROXY_BAD;
    bool ok = address_of(field[2], field[4], family, &ret->source) &&
              address_of(field[3], field[5], family, &ret->target);
    return ok ? SP_PROXY_OK : SP_PROXY_BAD;
}

static sp_proxy_result parse_line(sp_str bytes, sp_proxy_header *ret) {
    sp_str start = SP_STR("PROXY "), unknown = SP_STR("PROXY UNKNOWN");
    if (!sp_str_starts(sp_str_sub(bytes, 0, start.n), sp_str_sub(start, 0, bytes.n)))
        return SP_PROXY_BAD;
    ptrdiff_t end = sp_str_find(sp_str_sub(bytes, 0, LINE_MAX1), SP_STR("\r\n"));
    if (end < 0) return bytes.n < LINE_MAX1 ? SP_PROXY_MORE : SP_PROXY_BAD;
    sp_str line = sp_str_sub(bytes, 0, (size_t)end);
    *ret = (sp_proxy_header){.n = line.n + 2};
    if (sp_str_starts(line, unknown) && (line.n == unknown.n || line.p[unknown.n] == ' ')) {
        ret->local = true;
        return SP_PROXY_OK;
    }
    return line_fields(line, ret);
}

/* --- version 2 --- */

static sp_addr binary_addr(const uint8_t *ip, size_t n, const uint8_t *port) {
    sp_addr a = {.family = n == 4 ? AF_INET : AF_INET6, .port = (uint16_t)(port[0] << 8 | port[1])};
    memcpy(a.ip, ip, n);
    return sp_addr_plain(&a);
}

static bool well_formed_tlvs(sp_str rest) {
    while (rest.n) {
        if (rest.n < 3) return false;
        size_t n = (size_t)(uint8_t)rest.p[1] << 8 | (uint8_t)rest.p[2];
        if (rest.n - 3 < n) return false;
        rest = sp_str_from(rest, 3 + n);
    }
    return true;
}

static sp_proxy_result parse_binary(sp_str bytes, sp_proxy_header *ret) {
    const uint8_t *h = (const uint8_t *)bytes.p;
    if (memcmp(bytes.p, signature, SP_MIN(bytes.n, (size_t)SIGNATURE)) != 0) return SP_PROXY_BAD;
    if (bytes.n < HEAD2) return SP_PROXY_MORE;
    size_t length = (size_t)h[14] << 8 | h[15];
    if ((h[12] != LOCAL && h[12] != PROXY) || HEAD2 + length > SP_PROXY_HEADER_MAX)
        return SP_PROXY_BAD;
    if (bytes.n < HEAD2 + length) return SP_PROXY_MORE;
    *ret = (sp_proxy_header){.n = HEAD2 + length, .local = true};
    if (h[12] == LOCAL || h[13] == UNSPEC) return SP_PROXY_OK;
    size_t ip = h[13] == TCP4 ? 4 : h[13] == TCP6 ? 16 : 0, addresses = 2 * ip + 4;
    if (!ip || length < addresses) return SP_PROXY_BAD; /* datagrams, UNIX sockets: not for us */
    if (!well_formed_tlvs(sp_str_sub(bytes, HEAD2 + addresses, length - addresses)))
        return SP_PROXY_BAD;
    ret->local = false;
    ret->source = binary_addr(h + HEAD2, ip, h + HEAD2 + 2 * ip);
    ret->target = binary_addr(h + HEAD2 + ip, ip, h + HEAD2 + 2 * ip + 2);
    return SP_PROXY_OK;
}

sp_proxy_result sp_proxy_parse(sp_str bytes, sp_proxy_header *ret) {
    if (!bytes.n) return SP_PROXY_MORE;
    return bytes.p[0] == 'P' ? parse_line(bytes, ret) : parse_binary(bytes, ret);
}

/* --- writing --- */

static void write_line(const sp_proxy_facts *f, sp_buf *ret) {
    char source[SP_ADDR_MAX], target[SP_ADDR_MAX];
    if (!f->source.family || f->source.family != f->target.family) {
        sp_buf_addz(ret, "PROXY UNKNOWN\r\n");
        return;
    }
    sp_addr_format_ip(&f->source, source);
    sp_addr_format_ip(&f->target, target);
    sp_buf_printf(ret, "PROXY %s %s %s %u %u\r\n", f->source.family == AF_INET ? "TCP4" : "TCP6",
                  source, target, f->source.port, f->target.port);
}

static void add16(sp_buf *b, size_t v) {
    sp_buf_addc(b, (char)(v >> 8));
    sp_buf_addc(b, (char)v);
}

static void add_tlv(sp_buf *b, int type, sp_str value) {
    enum { VALUE_MAX = 1024 };
    if (!value.n || value.n > VALUE_MAX) return;
    sp_buf_addc(b, (char)type);
    add16(b, value.n);
    sp_buf_add(b, value);
}

static void add_tls(sp_buf *b, const sp_proxy_facts *f) {
    sp_auto(sp_buf) inside = {0};
    if (!f->tls) return;
    sp_buf_addc(&inside, f->client_cert ? SSL_BY_TLS | SSL_CERT_CONN : SSL_BY_TLS);
    sp_buf_add(&inside, f->client_cert ? SP_STR("\0\0\0\0") : SP_STR("\0\0\0\1")); /* verified? */
    add_tlv(&inside, TLV_SSL_VERSION, f->tls_version);
    if (f->client_cert) add_tlv(&inside, TLV_SSL_CN, f->common_name);
    add_tlv(b, TLV_SSL, sp_buf_str(&inside));
}

static void add_addresses(sp_buf *b, const sp_proxy_facts *f) {
    size_t ip = f->source.family == AF_INET ? 4 : 16;
    sp_buf_add(b, (sp_str){(const char *)f->source.ip, ip});
    sp_buf_add(b, (sp_str){(const char *)f->target.ip, ip});
    add16(b, f->source.port);
    add16(b, f->target.port);
}

static void write_binary(const sp_proxy_facts *f, sp_buf *ret) {
    sp_auto(sp_buf) rest = {0};
    bool known = f->source.family && f->source.family == f->target.family;
    if (known) add_addresses(&rest, f);
    add_tlv(&rest, TLV_ALPN, f->alpn);
    add_tlv(&rest, TLV_AUTHORITY, f->server_name);
    add_tls(&rest, f);
    sp_buf_add(ret, (sp_str){signature, SIGNATURE});
    sp_buf_addc(ret, PROXY);
    sp_buf_addc(ret, (char)(!known ? UNSPEC : f->source.family == AF_INET ? TCP4 : TCP6));
    add16(ret, rest.n);
    sp_buf_add(ret, sp_buf_str(&rest));
}

void sp_proxy_write(int version, const sp_proxy_facts *f, sp_buf *ret) {
    if (version == 1)
        write_line(f, ret);
    else
        write_binary(f, ret);
}
