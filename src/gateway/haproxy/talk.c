/* Checks that speak over TCP: option tcp-check with its send and expect lines, and the ready-made
 * talks of option redis-check and smtpchk (manual, sections 4.2 and 5.2). All become the steps of a
 * BackendPolicy. */
#include "gateway/haproxy/model.h"

#include "data/regex.h"

enum { MAX_STEPS = 64, MAX_BYTES = 4096, MAX_RECEIVED = 16384 };

void sp_hap_tcpchk(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    (void)at;
    p->check = (sp_hap_check){.tcp = !h->no, .line = l->number};
}

/* The lines of a section replace those of its defaults. */
static sp_hap_talk *own_talk(sp_hap_proxy *p, const sp_hap_line *l) {
    if (!p->talk.own) p->talk = (sp_hap_talk){.own = true, .line = l->number};
    return &p->talk;
}

static void add_step(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, sp_check_step s) {
    sp_hap_talk *t = own_talk(p, l);
    if (s.bytes.n > MAX_BYTES)
        sp_hap_error(h, l->number, "tcp-check: %zu bytes in one step; at most %d are taken",
                     s.bytes.n, MAX_BYTES);
    if (t->step_count == MAX_STEPS) {
        sp_hap_error(h, l->number, "tcp-check: more than %d steps", MAX_STEPS);
        return;
    }
    sp_check_step *steps = sp_arena_alloc(h->arena, (t->step_count + 1) * sizeof *steps);
    if (t->step_count) memcpy(steps, t->steps, t->step_count * sizeof *steps);
    steps[t->step_count++] = s;
    t->steps = steps;
}

/* "comment TEXT" behind a step: true, and *i stands at the text. */
static bool is_comment(sp_hap *h, const sp_hap_line *l, size_t *i) {
    sp_str text;
    if (!sp_str_eqz(l->words[*i], "comment")) return false;
    (void)!sp_hap_word(h, l, ++*i, "the comment", &text);
    return true;
}

void sp_hap_tcp_check_connect(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    sp_hap_talk *t = own_talk(p, l);
    if (t->connects || t->step_count)
        sp_hap_error(h, l->number,
                     "tcp-check connect: a check has one connection, made before its first step");
    t->connects = true;
    for (size_t i = at; i < l->n; i++) {
        if (sp_str_eqz(l->words[i], "default") || sp_str_eqz(l->words[i], "linger")) continue;
        if (is_comment(h, l, &i)) continue;
        if (sp_str_eqz(l->words[i], "ssl"))
            t->tls = true;
        else
            sp_hap_error(h, l->number,
                         "tcp-check connect: \"%.*s\" is not supported; the port of checks is said "
                         "on the server line",
                         SP_ARG(l->words[i]));
    }
}

/* --- send --- */

static int digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool from_hex(sp_hap *h, unsigned line, sp_str text, sp_str *ret) {
    char *bytes = sp_arena_alloc(h->arena, text.n / 2 + 1);
    bool ok = text.n % 2 == 0;
    for (size_t i = 0; ok && i < text.n; i += 2) {
        int high = digit(text.p[i]), low = digit(text.p[i + 1]);
        ok = high >= 0 && low >= 0;
        if (ok) bytes[i / 2] = (char)(high * 16 + low);
    }
    *ret = (sp_str){bytes, text.n / 2};
    if (!ok)
        sp_hap_error(h, line, "tcp-check: \"%.*s\" is not an even number of hexadecimal digits",
                     SP_ARG(text));
    return ok;
}

static void send_step(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at, bool binary) {
    sp_check_step s = {.kind = SP_CHECK_STEP_SAY};
    if (!sp_hap_word(h, l, at, "what is sent", &s.bytes)) return;
    if (binary && !from_hex(h, l->number, s.bytes, &s.bytes)) return;
    for (size_t i = at + 1; i < l->n; i++)
        if (!is_comment(h, l, &i))
            sp_hap_error(
                h, l->number,
                "tcp-check send: \"%.*s\" is one word too many (a blank is written \"\\ \")",
                SP_ARG(l->words[i]));
    add_step(h, p, l, s);
}

void sp_hap_tcp_check_send(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    send_step(h, p, l, at, false);
}

void sp_hap_tcp_check_send_binary(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    send_step(h, p, l, at, true);
}

/* --- expect --- */

static bool expected(sp_hap *h, const sp_hap_line *l, sp_str how, size_t i, sp_check_step *s) {
    const sp_regex *re;
    sp_err err = {0};
    bool binary = sp_str_eqz(how, "binary"), pattern = sp_str_eqz(how, "rstring");
    if (!binary && !pattern && !sp_str_eqz(how, "string")) {
        sp_hap_error(h, l->number,
                     "tcp-check expect %.*s is not supported: string, rstring, binary",
                     SP_ARG(how));
        return false;
    }
    if (s->bytes.n) {
        sp_hap_error(h, l->number, "tcp-check expect: one thing per line");
        return false;
    }
    if (!sp_hap_word(h, l, i, "what is expected", &s->bytes)) return false;
    if (binary) return from_hex(h, l->number, s->bytes, &s->bytes);
    s->kind = pattern ? SP_CHECK_STEP_PATTERN : SP_CHECK_STEP_TEXT;
    if (!pattern || sp_regex_compile(h->arena, s->bytes, &re, &err)) return true;
    sp_hap_error(h, l->number, "tcp-check expect rstring: %s", err.text);
    return false;
}

/* How a failure is told; it is told in words of our own. */
static bool is_wording(sp_str word) {
    static const char *const words[] = {"ok-status",  "error-status", "tout-status",
                                        "on-success", "on-error",     "status-code"};
    for (size_t i = 0; i < SP_COUNT(words); i++)
        if (sp_str_eqz(word, words[i])) return true;
    return false;
}

static bool min_recv(sp_hap *h, const sp_hap_line *l, size_t i, sp_check_step *s) {
    sp_str text;
    uint64_t n;
    if (!sp_hap_word(h, l, i, "the number of bytes", &text)) return false;
    if (sp_str_eqz(text, "-1")) return true;
    if (!sp_hap_number(h, l->number, text, MAX_RECEIVED, &n)) return false;
    s->min_bytes = (uint32_t)SP_MAX(n, 1U);
    return true;
}

void sp_hap_tcp_check_expect(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    sp_check_step s = {.kind = SP_CHECK_STEP_TEXT};
    sp_str text;
    for (size_t i = at; i < l->n; i++) {
        sp_str word = l->words[i];
        if (is_comment(h, l, &i)) continue;
        for (; sp_str_starts(word, SP_STR("!")); word = sp_str_from(word, 1))
            s.negated = !s.negated;
        if (!word.n) continue;
        if (sp_str_eqz(word, "min-recv")) {
            if (!min_recv(h, l, ++i, &s)) return;
        } else if (is_wording(word)) {
            sp_hap_note(h, l->number,
                        "tcp-check expect %.*s: a check that fails tells the step "
                        "and what came",
                        SP_ARG(word));
            if (!sp_hap_word(h, l, ++i, "its value", &text)) return;
        } else if (!expected(h, l, word, ++i, &s)) {
            return;
        }
    }
    if (s.bytes.n)
        add_step(h, p, l, s);
    else
        sp_hap_error(h, l->number, "tcp-check expect: what is expected is missing");
}

/* --- ready-made talks --- */

#define SAY(text) \
    { SP_CHECK_STEP_SAY, false, 0, SP_STR_INIT(text) }
/* An answer that cannot become right any more fails at once, not when the time is over. */
#define BEGINS(min, pattern) \
    { SP_CHECK_STEP_PATTERN, false, min, SP_STR_INIT(pattern) }
#define WHOLE(pattern) \
    { SP_CHECK_STEP_PATTERN, false, 0, SP_STR_INIT(pattern) }
/* RFC 5321, section 4.2: lines of an answer go on with a dash; the last one has none. */
#define SMTP_GOOD BEGINS(1, "^2"), WHOLE("(^|\\n)2[0-9]{2}( [^\\n]*)?\\r?\\n")

void sp_hap_redis_chk(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    static sp_check_step steps[] = {
        SAY("*1\r\n$4\r\nPING\r\n"),
        {SP_CHECK_STEP_TEXT, false, sizeof "+PONG\r\n" - 1, SP_STR_INIT("+PONG\r\n")}};
    if (at < l->n)
        sp_hap_error(h, l->number, "option redis-check: \"%.*s\" is one word too many",
                     SP_ARG(l->words[at]));
    p->check = (sp_hap_check){.line = l->number};
    if (h->no) return;
    p->check.tcp = true;
    p->check.steps = steps;
    p->check.step_count = SP_COUNT(steps);
}

/* As haproxy has it: anything but HELO or EHLO with a name is "HELO localhost". */
void sp_hap_smtp_chk(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    static const sp_check_step talk[] = {SMTP_GOOD, SAY("HELO localhost\r\n"), SMTP_GOOD,
                                         SAY("QUIT\r\n")};
    enum { GREETING = 2 };
    p->check = (sp_hap_check){.line = l->number};
    if (h->no) return;
    sp_check_step *steps = sp_arena_alloc(h->arena, sizeof talk);
    memcpy(steps, talk, sizeof talk);
    if (at + 1 < l->n && (sp_str_eqz(l->words[at], "HELO") || sp_str_eqz(l->words[at], "EHLO")))
        steps[GREETING].bytes = sp_arena_printf(h->arena, "%.*s %.*s\r\n", SP_ARG(l->words[at]),
                                                SP_ARG(l->words[at + 1]));
    p->check.tcp = true;
    p->check.steps = steps;
    p->check.step_count = SP_COUNT(talk);
}
