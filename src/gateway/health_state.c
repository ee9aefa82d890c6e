/* See health_state.h. */
#include "gateway/health_state.h"

sp_check_spec sp_check_defaults(const sp_check_spec *s) {
    sp_check_spec d = *s;
    if (!d.interval_ms) d.interval_ms = SP_CHECK_INTERVAL_MS;
    if (!d.fast_ms) d.fast_ms = d.interval_ms;
    if (!d.down_ms) d.down_ms = d.interval_ms;
    if (!d.timeout_ms) d.timeout_ms = SP_MIN(d.interval_ms, (uint32_t)SP_CHECK_TIMEOUT_MS);
    if (!d.rise) d.rise = SP_CHECK_RISE;
    if (!d.fall) d.fall = SP_CHECK_FALL;
    if (!d.method.n) d.method = SP_STR("GET");
    if (!d.path.n) d.path = SP_STR("/");
    if (!d.status_min) d.status_min = 200;
    if (!d.status_max) d.status_max = s->status_min ? s->status_min : 399;
    return d;
}

bool sp_check_result(sp_check_state *s, const sp_check_spec *spec, bool passed) {
    if (!s->known) {
        *s = (sp_check_state){.known = true, .up = passed};
        return true;
    }
    if (passed == s->up) {
        s->row = 0;
        return false;
    }
    if (++s->row < (passed ? spec->rise : spec->fall)) return false;
    *s = (sp_check_state){.known = true, .up = passed};
    return true;
}

uint32_t sp_check_delay_ms(const sp_check_state *s, const sp_check_spec *spec, uint64_t random) {
    uint32_t ms = s->row ? spec->fast_ms : s->known && !s->up ? spec->down_ms : spec->interval_ms;
    uint32_t spread = ms / 10;
    return SP_MAX(ms - spread / 2 + (uint32_t)(random % (spread + 1)), 1u);
}

/* --- agent --- */

static bool number_before(sp_str word, char end, uint64_t *ret) {
    return word.n > 1 && word.p[word.n - 1] == end &&
           sp_str_u64(sp_str_sub(word, 0, word.n - 1), ret);
}

static bool take_word(sp_str word, sp_agent_words *w) {
    const struct {
        const char *word;
        bool *flag;
    } rows[] = {{"up", &w->says_up},        {"down", &w->says_down},  {"failed", &w->says_down},
                {"stopped", &w->says_down}, {"fail", &w->says_down},  {"ready", &w->says_ready},
                {"drain", &w->says_drain},  {"maint", &w->says_maint}};
    uint64_t n = 0;
    for (size_t i = 0; i < SP_COUNT(rows); i++) {
        if (!sp_str_ieq(word, sp_str_z(rows[i].word))) continue;
        *rows[i].flag = true;
        return true;
    }
    if (number_before(word, '%', &n) && n <= 25600) {
        w->has_weight = true;
        w->percent = (uint16_t)n;
        return true;
    }
    if (sp_str_starts(word, SP_STR("maxconn:")) && sp_str_u64(sp_str_from(word, 8), &n) &&
        n <= UINT32_MAX) {
        w->has_limit = true;
        w->max_connections = (uint32_t)n;
        return true;
    }
    return false;
}

static bool is_gap(char c) {
    return c == ' ' || c == '\t' || c == ',' || c == '\r' || c == '\n';
}

static void keep_text(sp_str text, sp_agent_words *w) {
    size_t n = 0;
    text = sp_str_trim(text);
    for (size_t i = 0; i < text.n && n + 1 < sizeof w->text; i++)
        if ((unsigned char)text.p[i] >= ' ' && text.p[i] != 127) w->text[n++] = text.p[i];
    w->text[n] = 0;
}

bool sp_agent_parse(sp_str line, sp_agent_words *ret, sp_str *ret_bad) {
    sp_agent_words w = {0};
    size_t at = 0;
    ptrdiff_t end = sp_str_chr(line, '\n');
    if (end >= 0) line.n = (size_t)end;
    ptrdiff_t hash = sp_str_chr(line, '#');
    if (hash >= 0) {
        keep_text(sp_str_from(line, (size_t)hash + 1), &w);
        line.n = (size_t)hash;
    }
    for (;;) {
        while (at < line.n && is_gap(line.p[at])) at++;
        size_t from = at;
        while (at < line.n && !is_gap(line.p[at])) at++;
        if (from == at) break;
        sp_str word = sp_str_sub(line, from, at - from);
        if (take_word(word, &w)) continue;
        *ret_bad = word;
        return false;
    }
    *ret = w;
    return true;
}

/* "ready" ends drain and maint; a share of 0 % is another word for drain. */
bool sp_agent_apply(sp_agent_state *s, const sp_agent_words *w, bool *ret_passed) {
    sp_agent_state old = *s;
    if (w->says_ready) s->draining = s->maintenance = false;
    if (w->says_drain) s->draining = true;
    if (w->says_maint) s->maintenance = true;
    if (w->has_weight) s->percent = w->percent;
    if (w->has_limit) s->max_connections = w->max_connections;
    *ret_passed = !w->says_down || w->says_up;
    return old.draining != s->draining || old.maintenance != s->maintenance ||
           old.percent != s->percent || old.max_connections != s->max_connections;
}
