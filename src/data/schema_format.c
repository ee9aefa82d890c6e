#include "data/schema_format.h"

#include "data/base64.h"
#include "data/quantity.h"
#include "data/time.h"

#include <arpa/inet.h>
#include <ctype.h>

/* ---------- checks ---------- */

static bool is_base64(sp_str s) {
    sp_auto(sp_buf) b = {0};
    return sp_base64_decode(&b, s);
}

static bool is_date_time(sp_str s) {
    int64_t ms;
    return sp_time_parse(s, &ms);
}

static bool is_date(sp_str s) {
    sp_auto(sp_buf) b = {0};
    sp_buf_add(&b, s);
    sp_buf_addz(&b, "T00:00:00Z");
    return s.n == 10 && is_date_time(sp_buf_str(&b));
}

static bool is_duration(sp_str s) {
    int64_t ns;
    return sp_duration_parse_ns(s, &ns);
}

static bool is_quantity(sp_str s) {
    return sp_quantity_check(&(sp_json){.type = SP_JSON_STRING, .text = s});
}

static bool is_address(sp_str s, int family) {
    char text[INET6_ADDRSTRLEN], bytes[16];
    if (!s.n || s.n >= sizeof text || memchr(s.p, 0, s.n)) return false;
    memcpy(text, s.p, s.n);
    text[s.n] = 0;
    return inet_pton(family, text, bytes) == 1;
}

static bool is_ipv4(sp_str s) {
    return is_address(s, AF_INET);
}
static bool is_ipv6(sp_str s) {
    return is_address(s, AF_INET6);
}
static bool is_ip(sp_str s) {
    return is_ipv4(s) || is_ipv6(s);
}

static bool is_cidr(sp_str s) {
    ptrdiff_t slash = sp_str_chr(s, '/');
    uint64_t bits;
    if (slash < 0 || !sp_str_u64(sp_str_from(s, (size_t)slash + 1), &bits)) return false;
    sp_str address = sp_str_sub(s, 0, (size_t)slash);
    return (is_ipv4(address) && bits <= 32) || (is_ipv6(address) && bits <= 128);
}

static bool is_uuid(sp_str s) {
    if (s.n != 36) return false;
    for (size_t i = 0; i < s.n; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? s.p[i] != '-' : !isxdigit((unsigned char)s.p[i])) return false;
    }
    return true;
}

static bool is_hostname(sp_str s) {
    if (!s.n || s.n > 253) return false;
    for (sp_str label, rest = s; sp_str_cut(&rest, '.', &label);) {
        if (!label.n || label.n > 63 || label.p[0] == '-' || label.p[label.n - 1] == '-')
            return false;
        for (size_t i = 0; i < label.n; i++)
            if (!isalnum((unsigned char)label.p[i]) && label.p[i] != '-') return false;
    }
    return true;
}

/* ---------- the table ---------- */

static const struct {
    sp_schema_format format;
    const char *name;
    bool (*check)(sp_str s); /* of strings; NULL: not checked here */
    const char *wanted;
} formats[] = {
    {SP_FORMAT_INT32, "int32", NULL, NULL},
    {SP_FORMAT_INT64, "int64", NULL, NULL},
    {SP_FORMAT_DOUBLE, "double", NULL, NULL},
    {SP_FORMAT_BYTE, "byte", is_base64, "base64"},
    {SP_FORMAT_DATE_TIME, "date-time", is_date_time,
     "of type date-time, such as 2026-11-22T16:03:29Z"},
    {SP_FORMAT_MICRO_TIME, "date-time", is_date_time,
     "of type date-time, such as 2026-11-22T16:03:29.000000Z"},
    {SP_FORMAT_QUANTITY, "quantity", is_quantity, "a quantity such as 500m, 64Mi, 1.5Gi or 2"},
    {SP_FORMAT_INT_OR_STRING, "int-or-string", NULL, NULL},
    {SP_FORMAT_DURATION, "duration", is_duration, "of type duration, such as 90s or 1h30m"},
    {SP_FORMAT_NONE, "date", is_date, "of type date, such as 2026-11-22"},
    {SP_FORMAT_NONE, "ipv4", is_ipv4, "of type ipv4"},
    {SP_FORMAT_NONE, "ipv6", is_ipv6, "of type ipv6"},
    {SP_FORMAT_NONE, "ip", is_ip, "of type ip"},
    {SP_FORMAT_NONE, "cidr", is_cidr, "of type cidr, such as 10.0.0.0/8"},
    {SP_FORMAT_NONE, "uuid", is_uuid, "of type uuid"},
    {SP_FORMAT_NONE, "hostname", is_hostname, "of type hostname"},
};

const char *sp_schema_format_problem(const sp_schema *s, const sp_json *j) {
    if (s->format == SP_FORMAT_NONE && !s->format_name) return NULL;
    for (size_t i = 0; i < SP_COUNT(formats); i++) {
        bool same = s->format ? formats[i].format == s->format
                              : strcmp(formats[i].name, s->format_name) == 0;
        if (same) return formats[i].check && !formats[i].check(j->text) ? formats[i].wanted : NULL;
    }
    return NULL;
}

sp_schema_format sp_schema_format_from_name(sp_str name) {
    for (size_t i = 0; i < SP_COUNT(formats); i++)
        if (sp_str_eqz(name, formats[i].name)) return formats[i].format;
    return SP_FORMAT_NONE;
}

const char *sp_schema_format_name(sp_schema_format f) {
    for (size_t i = 0; f && i < SP_COUNT(formats); i++)
        if (formats[i].format == f) return formats[i].name;
    return NULL;
}
