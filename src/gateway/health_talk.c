/* See health_talk.h. */
#include "gateway/health_talk.h"
#include "data/json.h"

#include <stdio.h>

enum { WANTED_SHOWN = 50, HEARD_SHOWN = 70 };

void sp_talk_hear(sp_talk *t, sp_str bytes) {
    size_t room = SP_TALK_HEARD_MAX - t->heard.n;
    sp_buf_add(&t->heard, sp_str_sub(bytes, 0, room));
}

void sp_talk_end(sp_talk *t) {
    t->ended = true;
}

void sp_talk_free(sp_talk *t) {
    sp_buf_free(&t->heard);
}

/* Patterns are matched over UTF-8; a byte that is none, or the half of a character whose rest has
 * not come yet, must not end the search. */
static sp_regex_result search(const sp_regex *re, sp_str heard) {
    if (sp_utf8_is_valid(heard)) return sp_regex_search(re, heard);
    sp_auto(sp_buf) plain = {0};
    sp_buf_add(&plain, heard);
    for (size_t i = 0; i < plain.n; i++)
        if ((uint8_t)plain.p[i] >= 0x80) plain.p[i] = '?';
    return sp_regex_search(re, sp_buf_str(&plain));
}

static bool came(sp_talk *t, const sp_check_step *s) {
    sp_str heard = sp_buf_str(&t->heard);
    if (s->kind == SP_CHECK_STEP_PATTERN) {
        sp_regex_result found = search(t->patterns[t->at], heard);
        t->gave_up = found == SP_REGEX_GAVE_UP;
        return found == SP_REGEX_YES;
    }
    if (sp_str_find(sp_str_from(heard, t->searched), s->bytes) >= 0) return true;
    if (heard.n >= s->bytes.n) t->searched = heard.n - s->bytes.n + 1;
    return false;
}

/* One expectation: SP_TALK_PASSED of this step alone. */
static sp_talk_turn judge(sp_talk *t, const sp_check_step *s) {
    bool last = t->ended || t->heard.n == SP_TALK_HEARD_MAX;
    if (!last && (!t->heard.n || t->heard.n < s->min_bytes)) return SP_TALK_WAIT;
    t->found = came(t, s);
    if (t->gave_up || !t->heard.n) return SP_TALK_FAILED;
    if (!t->found && !last && !s->min_bytes) return SP_TALK_WAIT;
    return t->found != s->negated ? SP_TALK_PASSED : SP_TALK_FAILED;
}

sp_talk_turn sp_talk_go(sp_talk *t, sp_str *ret_say) {
    for (; t->at < t->count; t->at++, t->searched = 0, t->found = false) {
        const sp_check_step *s = &t->steps[t->at];
        if (s->kind == SP_CHECK_STEP_SAY) {
            if (t->ended) return SP_TALK_FAILED;
            sp_buf_clear(&t->heard);
            *ret_say = s->bytes;
            t->at++;
            return SP_TALK_SAY;
        }
        sp_talk_turn turn = judge(t, s);
        if (turn != SP_TALK_PASSED) return turn;
    }
    return SP_TALK_PASSED;
}

/* --- words --- */

static void add_escaped(sp_buf *b, char c) {
    static const char from[] = "\r\n\t\"\\", to[] = "rnt\"\\";
    const char *found = c ? strchr(from, c) : NULL;
    if (found)
        sp_buf_printf(b, "\\%c", to[found - from]);
    else if (c < 0x20 || c > 0x7e)
        sp_buf_printf(b, "\\x%02x", (unsigned)(uint8_t)c);
    else
        sp_buf_addc(b, c);
}

/* In quotes, at most about max characters. */
static void quote(sp_buf *b, sp_str s, size_t max) {
    size_t i = 0, start = b->n;
    sp_buf_addc(b, '"');
    while (i < s.n && b->n - start < max) add_escaped(b, s.p[i++]);
    sp_buf_addz(b, i < s.n ? "\"..." : "\"");
}

static const char *what_is_wrong(const sp_talk *t, const sp_check_step *s) {
    if (t->gave_up) return "too much work to look for ";
    if (!s->negated) return "no ";
    return t->found ? "" : "neither the end nor ";
}

void sp_talk_why(const sp_talk *t, char ret[SP_TALK_WHY_MAX]) {
    sp_auto(sp_buf) b = {0};
    const sp_check_step *s = t->at < t->count ? &t->steps[t->at] : NULL;
    sp_buf_printf(&b, "step %zu: ", t->at + 1);
    if (!s || s->kind == SP_CHECK_STEP_SAY) {
        sp_buf_addz(&b, "the server closed the connection before it");
    } else {
        sp_buf_addz(&b, what_is_wrong(t, s));
        quote(&b, s->bytes, WANTED_SHOWN);
        sp_buf_addz(&b, t->heard.n ? " in " : ": nothing came");
        if (t->heard.n) quote(&b, sp_buf_str(&t->heard), HEARD_SHOWN);
        if (t->ended) sp_buf_addz(&b, ", then the end");
    }
    snprintf(ret, SP_TALK_WHY_MAX, "%s", sp_buf_z(&b));
}
