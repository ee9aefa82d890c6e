#include "gateway/vip/keepalived_internal.h"

#include <stdarg.h>
#include <stdio.h>

void sp_kread_say(sp_kreader *r, uint32_t line, bool fatal, const char *fmt, ...) {
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    sp_vec_push(r->problems, {line, sp_arena_str(r->arena, sp_str_z(text)), fatal});
}

void sp_kread_bad_value(sp_kreader *r, const sp_kstatement *s, const char *wanted) {
    sp_str v = s->count ? s->words[0] : (sp_str){0};
    sp_kread_say(r, s->line, true, "%.*s %.*s: %s", SP_ARG(s->keyword), SP_ARG(v), wanted);
}

/* --- values --- */

bool sp_kread_whole(sp_kreader *r, const sp_kstatement *s, int64_t min, int64_t max, int64_t *ret) {
    int64_t v;
    if (!sp_str_i64(s->words[0], &v) || v < min || v > max) {
        char wanted[64];
        snprintf(wanted, sizeof wanted, "a whole number from %lld to %lld", (long long)min,
                 (long long)max);
        sp_kread_bad_value(r, s, wanted);
        return false;
    }
    *ret = v;
    return true;
}

/* "1", "0.25": seconds, as microseconds. */
static bool parse_seconds(sp_str text, int64_t *ret_us) {
    uint64_t whole_part = 0, part = 0;
    sp_str left = text, right = {0};
    ptrdiff_t dot = sp_str_chr(text, '.');
    if (dot >= 0) {
        left = sp_str_sub(text, 0, (size_t)dot);
        right = sp_str_from(text, (size_t)dot + 1);
        if (right.n == 0 || right.n > 6 || !sp_str_u64(right, &part)) return false;
        for (size_t n = right.n; n < 6; n++) part *= 10;
    }
    if (left.n && !sp_str_u64(left, &whole_part)) return false;
    if ((left.n == 0 && right.n == 0) || whole_part > 1000000) return false;
    *ret_us = (int64_t)(whole_part * 1000000 + part);
    return true;
}

bool sp_kread_seconds(sp_kreader *r, const sp_kstatement *s, int64_t min_us, int64_t *ret_us) {
    int64_t us;
    if (!parse_seconds(s->words[0], &us) || us < min_us) {
        sp_kread_bad_value(r, s,
                           min_us ? "seconds, more than 0, as 1 or 0.1" : "seconds, as 1 or 0.5");
        return false;
    }
    *ret_us = us;
    return true;
}

bool sp_kread_flag(sp_kreader *r, const sp_kstatement *s, bool *ret) {
    static const char *const yes[] = {"true", "on", "yes"}, *const no[] = {"false", "off", "no"};
    if (s->count == 0) return *ret = true;
    for (size_t i = 0; i < 3; i++) {
        if (sp_str_eqz(s->words[0], yes[i])) return *ret = true;
        if (sp_str_eqz(s->words[0], no[i])) {
            *ret = false;
            return true;
        }
    }
    sp_kread_bad_value(r, s, "true or false");
    return false;
}

bool sp_kread_address(sp_kreader *r, const sp_kstatement *s, sp_str text, sp_addr *ret) {
    if (sp_addr_parse(text, 0, ret)) return true;
    sp_kread_say(r, s->line, true, "%.*s: not an IP address", SP_ARG(text));
    return false;
}

const char *const *sp_kread_command(sp_kreader *r, const sp_kstatement *s) {
    sp_auto(sp_buf) text = {0};
    for (size_t i = 0; i < s->count; i++) {
        if (i) sp_buf_addc(&text, ' ');
        sp_buf_add(&text, s->words[i]);
    }
    sp_err err = {0};
    const char *const *argv = sp_vip_split_command(r->arena, sp_buf_str(&text), &err);
    if (!argv) sp_kread_say(r, s->line, true, "%.*s: %s", SP_ARG(s->keyword), err.text);
    return argv;
}

/* --- what each table shares --- */

void sp_kread_keyword(sp_kreader *r, const sp_keyword *table, const sp_kstatement *s,
                      const char *block) {
    const sp_keyword *k = table;
    while (k->name && !sp_str_eqz(s->keyword, k->name)) k++;
    if (!k->name) {
        sp_kread_say(r, s->line, true, "%.*s in %s is not supported", SP_ARG(s->keyword), block);
    } else if (!k->fn) {
        sp_kread_say(r, s->line, false, "%.*s has no effect here: %s", SP_ARG(s->keyword), k->why);
    } else if (s->count < k->min) {
        sp_kread_say(r, s->line, true, "%.*s: a value is missing", SP_ARG(s->keyword));
    } else if (s->count > k->max) {
        sp_kread_say(r, s->line, true, "%.*s: %.*s is too much", SP_ARG(s->keyword),
                     SP_ARG(s->words[k->max]));
    } else {
        k->fn(r, s);
    }
}

void sp_kread_block(sp_kreader *r, const sp_keyword *table, const sp_kstatement *s,
                    const char *block) {
    if (!s->has_block) {
        sp_kread_say(r, s->line, true, "%.*s: braces are missing", SP_ARG(s->keyword));
        return;
    }
    for (const sp_kstatement *k = s->first; k; k = k->next) sp_kread_keyword(r, table, k, block);
}
