/* See access_log.h. What clients sent is data: control bytes, quotes and backslashes are escaped in
 * every format, so that no request can forge a line or a field. */
#include "gateway/access_log.h"
#include "data/json.h"
#include "data/time.h"

#include <time.h>

static const struct {
    const char *name;
    sp_access_format format;
} names[] = {
    {"text", SP_ACCESS_TEXT},         {"json", SP_ACCESS_JSON},       {"common", SP_ACCESS_COMMON},
    {"combined", SP_ACCESS_COMBINED}, {"haproxy", SP_ACCESS_HAPROXY},
};

bool sp_access_format_parse(const char *name, sp_access_format *ret) {
    for (size_t i = 0; i < SP_COUNT(names); i++) {
        if (strcmp(names[i].name, name) != 0) continue;
        *ret = names[i].format;
        return true;
    }
    return false;
}

/* --- text that came from outside --- */

static void add_escaped(sp_buf *b, sp_str s) {
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c < 0x20 || c >= 0x7f || c == '"' || c == '\\')
            sp_buf_printf(b, "\\x%02X", c);
        else
            sp_buf_addc(b, (char)c);
    }
}

static void add_or_dash(sp_buf *b, sp_str s) {
    if (s.n)
        add_escaped(b, s);
    else
        sp_buf_addc(b, '-');
}

static void add_ip(sp_buf *b, const sp_addr *a) {
    char text[SP_ADDR_MAX] = "-";
    if (a->family) sp_addr_format_ip(a, text);
    sp_buf_addz(b, text);
}

static void add_addr(sp_buf *b, const sp_addr *a) {
    char text[SP_ADDR_MAX] = "-";
    if (a->family) sp_addr_format(a, text);
    sp_buf_addz(b, text);
}

static void add_date(sp_buf *b, int64_t wall_ms, const char *format) {
    char text[64];
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    strftime(text, sizeof text, format, &tm);
    sp_buf_addz(b, text);
}

/* --- ours --- */

static void write_text(sp_buf *b, const sp_access *a) {
    sp_buf_addz(b, a->protocol ? "http " : "tcp ");
    add_addr(b, &a->client);
    if (a->protocol) {
        sp_buf_addz(b, " \"");
        add_escaped(b, a->method);
        sp_buf_addc(b, ' ');
        add_escaped(b, a->host);
        add_escaped(b, a->target);
        sp_buf_printf(b, "\" %d", a->status);
    }
    sp_buf_printf(b, " in=%llu out=%llu %lldus ", (unsigned long long)a->in,
                  (unsigned long long)a->out, (long long)a->total_us);
    add_addr(b, &a->endpoint);
    if (a->protocol) sp_buf_printf(b, " tries=%u", a->attempts);
    sp_buf_addc(b, ' ');
    add_or_dash(b, a->route.n ? a->route : a->listener);
    if (a->cut) sp_buf_addz(b, " cut");
    if (a->refused) sp_buf_printf(b, " refused: %s", a->refused);
}

/* --- JSON --- */

static void member(sp_buf *b, const char *key, sp_str value) {
    if (!value.n) return;
    sp_buf_printf(b, ",\"%s\":", key);
    if (sp_utf8_is_valid(value)) {
        sp_json_write_string(b, value);
        return;
    }
    sp_buf_addc(b, '"'); /* bytes of no encoding: as Latin-1 */
    for (size_t i = 0; i < value.n; i++) {
        unsigned char c = (unsigned char)value.p[i];
        bool plain = c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
        if (plain)
            sp_buf_addc(b, (char)c);
        else
            sp_buf_printf(b, "\\u%04x", c);
    }
    sp_buf_addc(b, '"');
}

static void number(sp_buf *b, const char *key, int64_t value) {
    sp_buf_printf(b, ",\"%s\":%lld", key, (long long)value);
}

static void address(sp_buf *b, const char *key, const sp_addr *a) {
    char text[SP_ADDR_MAX];
    if (!a->family) return;
    sp_addr_format(a, text);
    member(b, key, sp_str_z(text));
}

static void write_json_times(sp_buf *b, const sp_access *a) {
    if (a->connected_us >= 0) number(b, "connect_us", a->connected_us);
    if (a->answered_us >= 0) number(b, "first_byte_us", a->answered_us);
    number(b, "duration_us", a->total_us);
}

static void write_json(sp_buf *b, const sp_access *a) {
    char ts[SP_TIME_MAX];
    sp_time_format_micro(a->wall_ms * 1000, ts);
    sp_buf_printf(b, "{\"ts\":\"%s\",\"protocol\":\"%s\"", ts, a->protocol ? a->protocol : "TCP");
    address(b, "client", &a->client);
    address(b, "local", &a->local);
    if (a->tls) sp_buf_addz(b, ",\"tls\":true");
    member(b, "server_name", a->server_name);
    member(b, "method", a->method);
    member(b, "host", a->host);
    member(b, "target", a->target);
    if (a->protocol) number(b, "status", a->status);
    number(b, "bytes_in", (int64_t)a->in);
    number(b, "bytes_out", (int64_t)a->out);
    write_json_times(b, a);
    member(b, "listener", a->listener);
    member(b, "route", a->route);
    member(b, "pool", a->pool);
    member(b, "server", a->server);
    address(b, "endpoint", &a->endpoint);
    if (a->protocol) number(b, "attempts", a->attempts);
    member(b, "request_id", a->request_id);
    member(b, "trace_id", a->trace_id);
    member(b, "user_agent", sp_headers_get(a->headers, a->header_count, "user-agent"));
    member(b, "referer", sp_headers_get(a->headers, a->header_count, "referer"));
    if (a->cut) sp_buf_addz(b, ",\"cut\":true");
    if (a->refused) member(b, "refused", sp_str_z(a->refused));
    sp_buf_addc(b, '}');
}

/* --- NCSA --- */

static void write_common(sp_buf *b, const sp_access *a) {
    add_ip(b, &a->client);
    sp_buf_addz(b, " - - [");
    add_date(b, a->wall_ms, "%d/%b/%Y:%H:%M:%S +0000");
    sp_buf_addz(b, "] \"");
    if (a->protocol) {
        add_escaped(b, a->method);
        sp_buf_addc(b, ' ');
        add_escaped(b, a->target);
        sp_buf_printf(b, " %s", a->protocol);
    } else {
        sp_buf_addz(b, "TCP");
    }
    sp_buf_printf(b, "\" %d %llu", a->status, (unsigned long long)a->out);
}

static void write_combined(sp_buf *b, const sp_access *a) {
    write_common(b, a);
    sp_buf_addz(b, " \"");
    add_or_dash(b, sp_headers_get(a->headers, a->header_count, "referer"));
    sp_buf_addz(b, "\" \"");
    add_or_dash(b, sp_headers_get(a->headers, a->header_count, "user-agent"));
    sp_buf_addc(b, '"');
}

/* --- haproxy: configuration manual 8.2.2 and 8.2.3 --- */

static long long ms(int64_t us) {
    return us < 0 ? -1 : us / 1000;
}

static int64_t between(int64_t from_us, int64_t to_us) {
    return from_us < 0 || to_us < 0 ? -1 : to_us - from_us;
}

/* Who ended it and where: "--" is all well. */
static const char *termination(const sp_access *a) {
    if (!a->cut) return a->protocol ? "----" : "--";
    if (a->status == 499) return a->protocol ? "CD--" : "CD";
    return a->protocol ? "SD--" : "SD";
}

/* Fields are told apart by blanks. */
static void add_word(sp_buf *b, sp_str s) {
    size_t from = b->n;
    add_or_dash(b, s);
    for (size_t i = from; i < b->n; i++)
        if (b->p[i] == ' ') b->p[i] = '/';
}

static void write_haproxy(sp_buf *b, const sp_access *a) {
    add_addr(b, &a->client);
    sp_buf_addz(b, " [");
    add_date(b, a->wall_ms, "%d/%b/%Y:%H:%M:%S");
    sp_buf_printf(b, ".%03d] ", (int)(a->wall_ms % 1000));
    add_word(b, a->listener);
    sp_buf_addc(b, ' ');
    add_word(b, a->pool);
    sp_buf_addc(b, '/');
    if (a->server.n)
        add_word(b, a->server);
    else if (a->endpoint.family)
        add_addr(b, &a->endpoint);
    else
        sp_buf_addz(b, "<NOSRV>");
    if (a->protocol)
        sp_buf_printf(b, " 0/0/%lld/%lld/%lld %d", ms(a->connected_us),
                      ms(between(a->connected_us, a->answered_us)), ms(a->total_us), a->status);
    else
        sp_buf_printf(b, " 0/%lld/%lld", ms(a->connected_us), ms(a->total_us));
    sp_buf_printf(b, " %llu", (unsigned long long)a->out);
    sp_buf_printf(b, a->protocol ? " - - %s 0/0/0/0/%u 0/0" : " %s 0/0/0/0/%u 0/0", termination(a),
                  a->attempts ? a->attempts - 1 : 0);
    if (!a->protocol) return;
    sp_buf_addz(b, " \"");
    add_escaped(b, a->method);
    sp_buf_addc(b, ' ');
    add_escaped(b, a->target);
    sp_buf_printf(b, " %s\"", a->protocol);
}

void sp_access_write(sp_buf *b, sp_access_format format, const sp_access *a) {
    static void (*const writers[])(sp_buf *, const sp_access *) = {
        [SP_ACCESS_TEXT] = write_text,       [SP_ACCESS_JSON] = write_json,
        [SP_ACCESS_COMMON] = write_common,   [SP_ACCESS_COMBINED] = write_combined,
        [SP_ACCESS_HAPROXY] = write_haproxy,
    };
    writers[format](b, a);
}
