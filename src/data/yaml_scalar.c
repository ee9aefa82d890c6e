/* Plain scalars as sigs.k8s.io/yaml resolves them: the YAML 1.1 words except single letters, Go's
 * integer prefixes, decimal floats; time stamps and sexagesimals stay text. Numbers that are JSON
 * already keep their digits, others are rewritten in decimal. */
#include "data/yaml_scalar.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

static const struct {
    const char *word; /* lower case; also matched as Word and WORD */
    sp_json_type type;
    bool value;
} words[] = {
    {"true", SP_JSON_BOOL, true},   {"yes", SP_JSON_BOOL, true}, {"on", SP_JSON_BOOL, true},
    {"false", SP_JSON_BOOL, false}, {"no", SP_JSON_BOOL, false}, {"off", SP_JSON_BOOL, false},
    {"null", SP_JSON_NULL, false},  {"~", SP_JSON_NULL, false},  {"", SP_JSON_NULL, false},
};

static bool is_upper(char c) {
    return c >= 'A' && c <= 'Z';
}

/* yes, Yes and YES are the word, yEs is text. */
static bool is_word(sp_str s, const char *word) {
    if (!sp_str_ieq(s, sp_str_z(word))) return false;
    size_t upper = 0;
    for (size_t i = 0; i < s.n; i++) upper += is_upper(s.p[i]);
    return upper == 0 || upper == s.n || (upper == 1 && is_upper(s.p[0]));
}

static bool resolve_word(sp_str s, sp_json *j) {
    for (size_t i = 0; i < SP_COUNT(words); i++)
        if (is_word(s, words[i].word)) {
            j->type = words[i].type;
            j->boolean = words[i].value;
            return true;
        }
    return false;
}

static bool is_special_float(sp_str s) {
    if (s.n && (s.p[0] == '-' || s.p[0] == '+') && is_word(sp_str_from(s, 1), ".inf")) return true;
    return is_word(s, ".inf") || sp_str_eqz(s, ".Inf") || is_word(s, ".nan") ||
           sp_str_eqz(s, ".Nan") || sp_str_eqz(s, ".NaN");
}

static int digit_of(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return 99;
}

/* Go's base prefixes; a bare leading zero is octal. */
static int take_base(sp_str *s) {
    if (s->n < 2 || s->p[0] != '0') return 10;
    char c = s->p[1];
    int base = c == 'x' || c == 'X' ? 16 : c == 'o' || c == 'O' ? 8 : c == 'b' || c == 'B' ? 2 : 0;
    *s = sp_str_from(*s, base ? 2 : 1);
    return base ? base : 8;
}

static bool resolve_int(sp_arena *a, sp_str s, sp_json *j) {
    bool negative = s.n && s.p[0] == '-';
    if (s.n && (s.p[0] == '-' || s.p[0] == '+')) s = sp_str_from(s, 1);
    int base = take_base(&s);
    uint64_t v = 0;
    if (!s.n) return false;
    for (size_t i = 0; i < s.n; i++) {
        int d = digit_of(s.p[i]);
        if (d >= base || __builtin_mul_overflow(v, (uint64_t)base, &v) ||
            __builtin_add_overflow(v, (uint64_t)d, &v))
            return false;
    }
    if (negative && v > (uint64_t)INT64_MAX + 1) return false;
    j->type = SP_JSON_NUMBER;
    j->text = sp_arena_printf(a, "%s%" PRIu64, negative && v ? "-" : "", v);
    return true;
}

static size_t digits_at(sp_str s, size_t i) {
    size_t n = 0;
    while (i + n < s.n && s.p[i + n] >= '0' && s.p[i + n] <= '9') n++;
    return n;
}

static bool is_float(sp_str s) {
    size_t i = s.n && (s.p[0] == '-' || s.p[0] == '+');
    size_t whole = digits_at(s, i), part = 0;
    i += whole;
    if (i < s.n && s.p[i] == '.') {
        part = digits_at(s, i + 1);
        i += 1 + part;
    }
    if (!whole && !part) return false;
    if (i < s.n && (s.p[i] == 'e' || s.p[i] == 'E')) {
        i++;
        if (i < s.n && (s.p[i] == '-' || s.p[i] == '+')) i++;
        size_t exponent = digits_at(s, i);
        if (!exponent) return false;
        i += exponent;
    }
    return i == s.n;
}

/* Whole values are written as integers: an integer field takes 1e3 and 4.0. */
static bool resolve_float(sp_arena *a, sp_str s, sp_json *j) {
    if (!is_float(s)) return false;
    double v = strtod(sp_arena_strz(a, s), NULL);
    if (!isfinite(v)) return false;
    if (v == floor(v) && fabs(v) < 1e15) {
        j->type = SP_JSON_NUMBER;
        j->text = sp_arena_printf(a, "%.0f", v == 0 ? 0.0 : v);
        return true;
    }
    sp_json *made = sp_json_new_double(a, v);
    j->type = SP_JSON_NUMBER;
    j->text = made->text;
    return true;
}

/* Underscores group digits in numbers: 1_000_000. */
static sp_str without_underscores(sp_arena *a, sp_str s) {
    if (sp_str_chr(s, '_') < 0) return s;
    char *p = sp_arena_strz(a, s);
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] != '_') p[n++] = s.p[i];
    p[n] = 0;
    return (sp_str){p, n};
}

static bool may_be_number(sp_str s) {
    char c = s.n ? s.p[0] : 0;
    return s.n <= 400 && ((c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.');
}

/* NULL or what is wrong. Leaves j alone when the text is just a string. */
static const char *resolve_plain(sp_arena *a, sp_str s, sp_json *j) {
    if (resolve_word(s, j)) return NULL;
    if (!may_be_number(s)) return NULL;
    if (is_special_float(s))
        return "infinity and not-a-number have no JSON form; quote it for text";
    sp_str plain = without_underscores(a, s);
    if (!resolve_int(a, plain, j)) resolve_float(a, plain, j);
    return NULL;
}

static const char *resolve_tagged(sp_arena *a, const char *tag, sp_json *j) {
    static const struct {
        const char *tag;
        sp_json_type type;
    } tags[] = {
        {YAML_NULL_TAG, SP_JSON_NULL},
        {YAML_BOOL_TAG, SP_JSON_BOOL},
        {YAML_INT_TAG, SP_JSON_NUMBER},
        {YAML_FLOAT_TAG, SP_JSON_NUMBER},
    };
    if (strcmp(tag, YAML_STR_TAG) == 0 || strcmp(tag, "!") == 0) return NULL;
    for (size_t i = 0; i < SP_COUNT(tags); i++)
        if (strcmp(tag, tags[i].tag) == 0) {
            const char *problem = resolve_plain(a, j->text, j);
            if (problem) return problem;
            return j->type == tags[i].type ? NULL : "the value does not fit its tag";
        }
    return "an unknown tag";
}

const char *sp_yaml_scalar(sp_arena *a, const yaml_event_t *event, sp_json *j) {
    sp_str s = {(const char *)event->data.scalar.value, event->data.scalar.length};
    const char *tag = (const char *)event->data.scalar.tag;
    j->type = SP_JSON_STRING;
    j->text = sp_arena_str(a, s);
    const char *problem = NULL;
    if (tag)
        problem = resolve_tagged(a, tag, j);
    else if (event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE)
        problem = resolve_plain(a, j->text, j);
    if (j->type == SP_JSON_NULL || j->type == SP_JSON_BOOL) j->text = (sp_str){0};
    return problem;
}

const char *sp_yaml_key(sp_arena *a, const yaml_event_t *event, sp_str *ret) {
    sp_json j = {0};
    const char *problem = sp_yaml_scalar(a, event, &j);
    if (problem) return problem;
    if (j.type == SP_JSON_NULL) return "a field name is missing (null is none; quote it for text)";
    *ret = j.type != SP_JSON_BOOL ? j.text : j.boolean ? SP_STR("true") : SP_STR("false");
    return NULL;
}

bool sp_yaml_is_merge_key(const yaml_event_t *event) {
    return event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && !event->data.scalar.tag &&
           strcmp((const char *)event->data.scalar.value, "<<") == 0;
}

bool sp_yaml_plain_is_string(sp_str text) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_json j = {.type = SP_JSON_STRING, .text = text};
    return !resolve_plain(a, text, &j) && j.type == SP_JSON_STRING;
}
