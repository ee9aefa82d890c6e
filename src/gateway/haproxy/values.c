/* Words of a line as values; what is wrong is said with the line. */
#include "gateway/haproxy/model.h"

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* Manual, section 2.4: us, ms, s, m, h, d; without a unit milliseconds. */
bool sp_hap_time(sp_hap *h, unsigned line, sp_str text, uint32_t *ret_ms) {
    static const struct {
        const char *unit;
        uint64_t us;
    } units[] = {{"", 1000},      {"us", 1},         {"ms", 1000},      {"s", 1000000},
                 {"m", 60000000}, {"h", 3600000000}, {"d", 86400000000}};
    size_t n = 0;
    uint64_t value;
    while (n < text.n && is_digit(text.p[n])) n++;
    bool ok = n && sp_str_u64(sp_str_sub(text, 0, n), &value) && value < 1000000000000;
    for (size_t i = 0; ok && i < SP_COUNT(units); i++) {
        if (!sp_str_eqz(sp_str_from(text, n), units[i].unit)) continue;
        uint64_t ms = (value * units[i].us + 999) / 1000;
        if (ms > INT32_MAX) break;
        *ret_ms = (uint32_t)ms;
        return true;
    }
    sp_hap_error(h, line, "\"%.*s\" is not a time of at most 24 days, like 500ms, 10s or 1m",
                 SP_ARG(text));
    return false;
}

bool sp_hap_number(sp_hap *h, unsigned line, sp_str text, uint64_t max, uint64_t *ret) {
    uint64_t v;
    if (sp_str_u64(text, &v) && v <= max) {
        *ret = v;
        return true;
    }
    sp_hap_error(h, line, "\"%.*s\" is not a number up to %llu", SP_ARG(text),
                 (unsigned long long)max);
    return false;
}

bool sp_hap_word(sp_hap *h, const sp_hap_line *l, size_t index, const char *what, sp_str *ret) {
    if (index < l->n && l->words[index].n) {
        *ret = l->words[index];
        return true;
    }
    sp_hap_error(h, l->number, "%.*s%s%.*s: %s is missing", SP_ARG(l->words[0]),
                 index > 1 && l->n > 1 ? " " : "",
                 SP_ARG(index > 1 && l->n > 1 ? l->words[1] : (sp_str){0}), what);
    return false;
}

static sp_str full_path(sp_hap *h, sp_str base, sp_str path) {
    if (!base.n || !path.n || path.p[0] == '/') return path;
    return sp_arena_printf(h->arena, "%.*s/%.*s", SP_ARG(base), SP_ARG(path));
}

bool sp_hap_file_if_any(sp_hap *h, sp_str base, sp_str path, sp_str *ret) {
    sp_err err = {0};
    return h->options->read_file &&
           h->options->read_file(h->options->ctx, h->arena, full_path(h, base, path), ret, &err);
}

bool sp_hap_file(sp_hap *h, unsigned line, sp_str base, sp_str path, sp_str *ret) {
    sp_err err = {0};
    sp_str full = full_path(h, base, path);
    if (!h->options->read_file)
        sp_fail(&err, SP_INVALID, "%.*s: no files can be read here", SP_ARG(full));
    else if (h->options->read_file(h->options->ctx, h->arena, full, ret, &err))
        return true;
    sp_hap_error(h, line, "%s", err.text);
    return false;
}

sp_str sp_hap_lower(sp_arena *a, sp_str s) {
    char *p = sp_arena_strz(a, s);
    for (size_t i = 0; i < s.n; i++)
        if (p[i] >= 'A' && p[i] <= 'Z') p[i] = (char)(p[i] + 32);
    return (sp_str){p, s.n};
}

enum { MAX_ID = 50 }; /* of 63; a suffix may follow */

sp_str sp_hap_id(sp_arena *a, sp_str name) {
    char *p = sp_arena_alloc(a, MAX_ID + 3);
    size_t n = 0;
    for (size_t i = 0; i < name.n && n < MAX_ID; i++) {
        char c = name.p[i];
        if (c >= 'A' && c <= 'Z') c = (char)(c + 32);
        bool keep = (c >= 'a' && c <= 'z') || is_digit(c);
        if (!keep && (!n || p[n - 1] == '-')) continue;
        if (!n && is_digit(c)) p[n++] = 'n'; /* names of Services begin with a letter */
        p[n++] = keep ? c : '-';
    }
    while (n && p[n - 1] == '-') n--;
    if (!n) p[n++] = 'x';
    return (sp_str){p, n};
}
