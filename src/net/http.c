#include "net/http.h"

#include <stdio.h>
#include <time.h>

sp_str sp_headers_get(const sp_header *h, size_t n, const char *name) {
    sp_str want = sp_str_z(name);
    for (size_t i = 0; i < n; i++)
        if (sp_str_eq(h[i].name, want)) return h[i].value;
    return (sp_str){0};
}

static const struct {
    int status;
    const char *text;
} status_texts[] = {
    {100, "Continue"},
    {101, "Switching Protocols"},
    {103, "Early Hints"},
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {203, "Non-Authoritative Information"},
    {204, "No Content"},
    {205, "Reset Content"},
    {206, "Partial Content"},
    {207, "Multi-Status"},
    {300, "Multiple Choices"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {303, "See Other"},
    {304, "Not Modified"},
    {307, "Temporary Redirect"},
    {308, "Permanent Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {402, "Payment Required"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {407, "Proxy Authentication Required"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {410, "Gone"},
    {411, "Length Required"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {416, "Range Not Satisfiable"},
    {417, "Expectation Failed"},
    {421, "Misdirected Request"},
    {422, "Unprocessable Content"},
    {423, "Locked"},
    {424, "Failed Dependency"},
    {425, "Too Early"},
    {426, "Upgrade Required"},
    {428, "Precondition Required"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {451, "Unavailable For Legal Reasons"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
    {507, "Insufficient Storage"},
};

const char *sp_http_status_text(int status) {
    for (size_t i = 0; i < SP_COUNT(status_texts); i++)
        if (status_texts[i].status == status) return status_texts[i].text;
    return "Unknown";
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

bool sp_url_decode(sp_arena *a, sp_str s, bool plus_is_space, sp_str *ret) {
    char *out = sp_arena_strz(a, s);
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '%') {
            int hi = i + 2 < s.n ? hex_digit(s.p[i + 1]) : -1;
            int lo = hi >= 0 ? hex_digit(s.p[i + 2]) : -1;
            if (lo < 0) return false;
            out[n++] = (char)(hi * 16 + lo);
            i += 2;
        } else {
            out[n++] = plus_is_space && s.p[i] == '+' ? ' ' : s.p[i];
        }
    }
    out[n] = 0;
    *ret = (sp_str){out, n};
    return true;
}

static bool unreserved(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

void sp_url_encode(sp_buf *b, sp_str s) {
    for (size_t i = 0; i < s.n; i++) {
        if (unreserved(s.p[i]))
            sp_buf_addc(b, s.p[i]);
        else
            sp_buf_printf(b, "%%%02X", (unsigned char)s.p[i]);
    }
}

bool sp_query_get(sp_arena *a, sp_str query, const char *key, sp_str *ret) {
    sp_str want = sp_str_z(key);
    for (sp_str pair, rest = query; sp_str_cut(&rest, '&', &pair);) {
        sp_str name, decoded, value = pair;
        if (!sp_str_cut(&value, '=', &name)) continue;
        if (!sp_url_decode(a, name, true, &decoded) || !sp_str_eq(decoded, want)) continue;
        return sp_url_decode(a, value, true, ret);
    }
    return false;
}

/* --- URLs --- */

static bool url_port(sp_str text, sp_str whole, uint16_t *ret, sp_err *err) {
    uint64_t port;
    if (!sp_str_u64(text, &port) || port == 0 || port > 65535)
        return sp_fail(err, SP_BAD_REQUEST, "URL \"%.*s\": the port must be a number 1-65535",
                       SP_ARG(whole));
    *ret = (uint16_t)port;
    return true;
}

static bool url_authority(sp_str s, sp_str whole, sp_url *u, sp_err *err) {
    if (sp_str_chr(s, '@') >= 0)
        return sp_fail(err, SP_BAD_REQUEST, "URL \"%.*s\": user names in URLs are not accepted",
                       SP_ARG(whole));
    ptrdiff_t colon = sp_str_rchr(s, ':');
    if (s.n && s.p[0] == '[') {
        ptrdiff_t end = sp_str_chr(s, ']');
        if (end < 0)
            return sp_fail(err, SP_BAD_REQUEST, "URL \"%.*s\": the bracket is not closed",
                           SP_ARG(whole));
        u->host = sp_str_sub(s, 1, (size_t)end - 1);
        colon = (size_t)end + 1 < s.n ? end + 1 : -1;
        if (colon >= 0 && s.p[colon] != ':') u->host.n = 0;
    } else {
        u->host = colon >= 0 ? sp_str_sub(s, 0, (size_t)colon) : s;
    }
    if (!u->host.n || sp_str_chr(u->host, ' ') >= 0)
        return sp_fail(err, SP_BAD_REQUEST, "URL \"%.*s\": the host is missing or broken",
                       SP_ARG(whole));
    return colon < 0 || url_port(sp_str_from(s, (size_t)colon + 1), whole, &u->port, err);
}

bool sp_url_parse(sp_str s, sp_url *ret, sp_err *err) {
    static const sp_str marker = SP_STR_INIT("://");
    ptrdiff_t at = sp_str_find(s, marker);
    sp_url u = {.scheme = sp_str_sub(s, 0, at < 0 ? 0 : (size_t)at)};
    u.tls = sp_str_ieq(u.scheme, SP_STR("https"));
    if (!u.tls && !sp_str_ieq(u.scheme, SP_STR("http")))
        return sp_fail(err, SP_BAD_REQUEST, "URL \"%.*s\": must start with http:// or https://",
                       SP_ARG(s));
    u.port = u.tls ? 443 : 80;
    sp_str rest = sp_str_from(s, (size_t)at + marker.n);
    ptrdiff_t hash = sp_str_chr(rest, '#');
    if (hash >= 0) rest.n = (size_t)hash;
    size_t n = 0;
    while (n < rest.n && rest.p[n] != '/' && rest.p[n] != '?') n++;
    u.target = n < rest.n ? sp_str_from(rest, n) : SP_STR("/");
    if (u.target.p[0] == '?')
        return sp_fail(err, SP_BAD_REQUEST, "URL \"%.*s\": write a / before the ?", SP_ARG(s));
    if (!url_authority(sp_str_sub(rest, 0, n), s, &u, err)) return false;
    *ret = u;
    return true;
}

/* --- fields --- */

bool sp_http_is_token(sp_str s) {
    static const char marks[] = "!#$%&'*+-.^_`|~";
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!alnum && (c == 0 || !strchr(marks, c))) return false;
    }
    return s.n > 0;
}

bool sp_http_is_value(sp_str s) {
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f) return false;
    }
    return true;
}

sp_str sp_http_lower(sp_arena *a, sp_str name) {
    size_t i = 0;
    while (i < name.n && !(name.p[i] >= 'A' && name.p[i] <= 'Z')) i++;
    if (i == name.n) return name;
    char *copy = sp_arena_strz(a, name);
    for (; i < name.n; i++)
        if (copy[i] >= 'A' && copy[i] <= 'Z') copy[i] = (char)(copy[i] + ('a' - 'A'));
    return (sp_str){copy, name.n};
}

void sp_http_date(int64_t wall_ms, char ret[30]) {
    static const char days[][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t t = (time_t)(wall_ms / 1000);
    struct tm tm;
    gmtime_r(&t, &tm);
    snprintf(ret, 30, "%s, %02u %s %04u %02u:%02u:%02u GMT", days[tm.tm_wday % 7],
             (unsigned)tm.tm_mday % 100, months[tm.tm_mon % 12],
             (unsigned)(tm.tm_year + 1900) % 10000, (unsigned)tm.tm_hour % 100,
             (unsigned)tm.tm_min % 100, (unsigned)tm.tm_sec % 100);
}
