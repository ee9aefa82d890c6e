/* The strict parser. It works in one private copy of the text, which becomes part of the tree:
 * strings are unescaped where they stand and end in a NUL where their closing quote was. Behind the
 * copy stand NULs, so that no step needs to ask for the end before it looks at a byte. Nodes are
 * taken from small slabs. */
#include "data/json.h"

#include "base/map.h"
#include "data/json_scan.h"

#include <stdio.h>

/* Objects with more members than this get a hash of their keys to find duplicates. */
enum { LINEAR_MEMBERS = 24, SLAB_NODES = 32, BYTES_PER_NODE = 24 };

typedef struct parser {
    sp_arena *a;
    sp_str text;          /* the caller's, unchanged: errors are located in it */
    char *base, *p, *end; /* the copy */
    char *seal;     /* the byte behind the number just read: NUL goes there once it has been read */
    char nowhere;   /* what seal points to otherwise */
    sp_json *nodes; /* zeroed */
    size_t node_count;
    int depth;
    sp_err *err;
} parser;

static bool fail(parser *ps, const char *what) {
    size_t line = 1, at = (size_t)(ps->p - ps->base), bol = 0;
    for (size_t i = 0; i < SP_MIN(at, ps->text.n); i++)
        if (ps->text.p[i] == '\n') line++, bol = i + 1;
    return sp_fail(ps->err, SP_BAD_REQUEST, "JSON line %zu, column %zu: %s", line, at - bol + 1,
                   what);
}

static sp_json *new_node(parser *ps) {
    if (!ps->node_count) {
        size_t guess = (size_t)(ps->end - ps->p) / BYTES_PER_NODE + 1;
        ps->node_count = SP_MIN(guess, (size_t)SLAB_NODES);
        ps->nodes = sp_arena_alloc(ps->a, ps->node_count * sizeof *ps->nodes);
    }
    ps->node_count--;
    return ps->nodes++;
}

static inline void skip_space(parser *ps) {
    char *p = ps->p;
    while ((unsigned char)*p <= ' ' && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t')) p++;
    ps->p = p;
}

/* What follows a value: read, then the number before it may be ended. */
static inline char take_separator(parser *ps) {
    skip_space(ps);
    char c = *ps->p;
    *ps->seal = 0;
    ps->seal = &ps->nowhere;
    return c;
}

/* ---------- numbers ---------- */

static inline bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static char *skip_digits(char *p) {
    while (is_digit(*p)) p++;
    return p;
}

static bool fail_at(parser *ps, char *at, const char *what) {
    ps->p = at;
    return fail(ps, what);
}

static bool parse_number(parser *ps, sp_json *j) {
    char *from = ps->p, *p = from;
    if (*p == '-') p++;
    if (!is_digit(*p)) return fail_at(ps, p, "a digit is expected here");
    p = *p == '0' ? p + 1 : skip_digits(p);
    if (is_digit(*p)) return fail_at(ps, p, "a number must not start with 0");
    if (*p == '.') {
        if (!is_digit(*++p)) return fail_at(ps, p, "a digit is expected after the decimal point");
        p = skip_digits(p);
    }
    if (*p == 'e' || *p == 'E') {
        p++;
        if (*p == '+' || *p == '-') p++;
        if (!is_digit(*p)) return fail_at(ps, p, "a digit is expected in the exponent");
        p = skip_digits(p);
    }
    j->type = SP_JSON_NUMBER;
    j->text = (sp_str){from, (size_t)(p - from)};
    ps->p = ps->seal = p;
    return true;
}

/* ---------- strings ---------- */

static bool parse_hex4(parser *ps, uint32_t *ret) {
    uint32_t v = 0;
    *ret = 0;
    for (int i = 0; i < 4; i++, ps->p++) {
        char c = *ps->p;
        uint32_t d;
        if (is_digit(c))
            d = (uint32_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            d = (uint32_t)(c - 'a') + 10;
        else if (c >= 'A' && c <= 'F')
            d = (uint32_t)(c - 'A') + 10;
        else
            return fail(ps, "four hexadecimal digits are expected after \\u");
        v = v << 4 | d;
    }
    *ret = v;
    return true;
}

static char *put_utf8(char *out, uint32_t cp) {
    if (cp < 0x80) {
        *out++ = (char)cp;
    } else if (cp < 0x800) {
        *out++ = (char)(0xc0 | cp >> 6);
        *out++ = (char)(0x80 | (cp & 0x3f));
    } else if (cp < 0x10000) {
        *out++ = (char)(0xe0 | cp >> 12);
        *out++ = (char)(0x80 | (cp >> 6 & 0x3f));
        *out++ = (char)(0x80 | (cp & 0x3f));
    } else {
        *out++ = (char)(0xf0 | cp >> 18);
        *out++ = (char)(0x80 | (cp >> 12 & 0x3f));
        *out++ = (char)(0x80 | (cp >> 6 & 0x3f));
        *out++ = (char)(0x80 | (cp & 0x3f));
    }
    return out;
}

static bool parse_unicode(parser *ps, char **out) {
    uint32_t cp, low;
    if (!parse_hex4(ps, &cp)) return false;
    if (cp >= 0xdc00 && cp <= 0xdfff) return fail(ps, "a low surrogate without its high one");
    if (cp >= 0xd800 && cp <= 0xdbff) {
        if (ps->p[0] != '\\' || ps->p[1] != 'u')
            return fail(ps, "a high surrogate without its low one");
        ps->p += 2;
        if (!parse_hex4(ps, &low)) return false;
        if (low < 0xdc00 || low > 0xdfff) return fail(ps, "a high surrogate without its low one");
        cp = 0x10000 + ((cp - 0xd800) << 10) + (low - 0xdc00);
    }
    *out = put_utf8(*out, cp);
    return true;
}

static bool parse_escape(parser *ps, char **out) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    char c = *++ps->p;
    if (c == 'u') {
        ps->p++;
        return parse_unicode(ps, out);
    }
    const char *at = c ? strchr(from, c) : NULL;
    if (!at) return fail(ps, "an unknown escape");
    *(*out)++ = to[at - from];
    ps->p++;
    return true;
}

/* Bytes of the valid UTF-8 sequence at p, 0 if there is none (RFC 3629: no overlong forms, no
 * surrogates, nothing past U+10FFFF). */
static size_t utf8_length(const unsigned char *p, size_t n) {
    size_t len = p[0] >= 0xc2 && p[0] <= 0xdf   ? 2
                 : (p[0] & 0xf0) == 0xe0        ? 3
                 : p[0] >= 0xf0 && p[0] <= 0xf4 ? 4
                                                : 0;
    if (len > n) return 0;
    for (size_t i = 1; i < len; i++)
        if ((p[i] & 0xc0) != 0x80) return 0;
    if (p[0] == 0xe0 && p[1] < 0xa0) return 0;
    if (p[0] == 0xed && p[1] > 0x9f) return 0;
    if (p[0] == 0xf0 && p[1] < 0x90) return 0;
    if (p[0] == 0xf4 && p[1] > 0x8f) return 0;
    return len;
}

bool sp_utf8_is_valid(sp_str s) {
    const unsigned char *p = (const unsigned char *)s.p;
    for (size_t i = 0; i < s.n;) {
        size_t len = p[i] < 0x80 ? 1 : utf8_length(p + i, s.n - i);
        if (!len) return false;
        i += len;
    }
    return true;
}

/* One step over what stopped the scan: an escape or a character beyond ASCII. */
static bool parse_special(parser *ps, char **out) {
    unsigned char c = (unsigned char)*ps->p;
    if (c == '\\') return parse_escape(ps, out);
    if (ps->p == ps->end) return fail(ps, "the string does not end");
    if (c < 0x20) return fail(ps, "a control character must be escaped");
    size_t len = utf8_length((const unsigned char *)ps->p, (size_t)(ps->end - ps->p));
    if (!len) return fail(ps, "the bytes are not UTF-8");
    memmove(*out, ps->p, len);
    *out += len;
    ps->p += len;
    return true;
}

/* ps->p is where the plain run from `begin` ended. */
static bool parse_rest_of_string(parser *ps, char *begin, sp_str *ret) {
    char *out = ps->p;
    while (*ps->p != '"') {
        if (!parse_special(ps, &out)) return false;
        char *stop = sp_scan_string(ps->p);
        memmove(out, ps->p, (size_t)(stop - ps->p));
        out += stop - ps->p;
        ps->p = stop;
    }
    ps->p++;
    *out = 0;
    *ret = (sp_str){begin, (size_t)(out - begin)};
    return true;
}

static inline bool parse_string(parser *ps, sp_str *ret) {
    char *begin = ps->p + 1, *stop = sp_scan_string(begin);
    ps->p = stop;
    if (*stop != '"') return parse_rest_of_string(ps, begin, ret);
    *stop = 0;
    ps->p++;
    *ret = (sp_str){begin, (size_t)(stop - begin)};
    return true;
}

/* ---------- structure ---------- */

static bool parse_value(parser *ps, sp_json *j);

static inline void append(sp_json *parent, sp_json *child) {
    if (parent->last)
        parent->last->next = child;
    else
        parent->first = child;
    parent->last = child;
    parent->count++;
}

static bool parse_array(parser *ps, sp_json *j) {
    j->type = SP_JSON_ARRAY;
    ps->p++;
    skip_space(ps);
    if (*ps->p == ']') {
        ps->p++;
        return true;
    }
    for (;;) {
        sp_json *item = new_node(ps);
        if (!parse_value(ps, item)) return false;
        append(j, item);
        char c = take_separator(ps);
        if (c != ',' && c != ']') return fail(ps, "',' or ']' is expected here");
        ps->p++;
        if (c == ']') return true;
    }
}

static bool is_duplicate(const sp_json *obj, sp_str key, sp_map *seen) {
    if (obj->count < LINEAR_MEMBERS) {
        sp_json_each(obj, m) if (m->key.n == key.n && m->key.p[0] == key.p[0] &&
                                 memcmp(m->key.p, key.p, key.n) == 0) return true;
        return false;
    }
    if (!seen->n) sp_json_each(obj, m) sp_map_put(seen, m->key, m);
    return sp_map_put(seen, key, (void *)(uintptr_t)obj);
}

static bool parse_member(parser *ps, sp_json *obj, sp_map *seen) {
    skip_space(ps);
    if (*ps->p != '"') return fail(ps, "a quoted field name is expected here");
    char *at = ps->p;
    sp_json *m = new_node(ps);
    if (!parse_string(ps, &m->key)) return false;
    if (is_duplicate(obj, m->key, seen)) {
        char text[160];
        snprintf(text, sizeof text, "the field \"%.100s\" is there twice", m->key.p);
        return fail_at(ps, at, text);
    }
    skip_space(ps);
    if (*ps->p != ':') return fail(ps, "':' is expected here");
    ps->p++;
    if (!parse_value(ps, m)) return false;
    append(obj, m);
    return true;
}

static bool parse_object(parser *ps, sp_json *j) {
    j->type = SP_JSON_OBJECT;
    ps->p++;
    skip_space(ps);
    if (*ps->p == '}') {
        ps->p++;
        return true;
    }
    sp_auto(sp_map) seen = {0};
    for (;;) {
        if (!parse_member(ps, j, &seen)) return false;
        char c = take_separator(ps);
        if (c != ',' && c != '}') return fail(ps, "',' or '}' is expected here");
        ps->p++;
        if (c == '}') return true;
    }
}

static bool parse_word(parser *ps, const char *word, sp_json *j, sp_json_type type, bool value) {
    size_t n = strlen(word);
    if (strncmp(ps->p, word, n) != 0) return fail(ps, "a value is expected here");
    ps->p += n;
    j->type = type;
    j->boolean = value;
    return true;
}

static bool parse_nested(parser *ps, sp_json *j, bool (*parse)(parser *, sp_json *)) {
    if (ps->depth == SP_JSON_MAX_DEPTH) return fail(ps, "nested too deeply (100 levels at most)");
    ps->depth++;
    bool ok = parse(ps, j);
    ps->depth--;
    return ok;
}

static bool parse_value(parser *ps, sp_json *j) {
    skip_space(ps);
    switch (*ps->p) {
    case '"': j->type = SP_JSON_STRING; return parse_string(ps, &j->text);
    case '{': return parse_nested(ps, j, parse_object);
    case '[': return parse_nested(ps, j, parse_array);
    case 't': return parse_word(ps, "true", j, SP_JSON_BOOL, true);
    case 'f': return parse_word(ps, "false", j, SP_JSON_BOOL, false);
    case 'n': return parse_word(ps, "null", j, SP_JSON_NULL, false);
    case '-':
    case '0' ... '9': return parse_number(ps, j);
    default:
        return fail(ps, ps->p < ps->end ? "a value is expected here" : "the text ends too early");
    }
}

bool sp_json_parse(sp_arena *a, sp_str text, sp_json **ret, sp_err *err) {
    if (text.n > SP_JSON_MAX_BYTES)
        return sp_fail(err, SP_TOO_LARGE, "JSON text of %zu bytes; at most %d are taken", text.n,
                       SP_JSON_MAX_BYTES);
    char *copy = sp_arena_alloc_raw(a, text.n + SP_SCAN_PADDING);
    if (text.n) memcpy(copy, text.p, text.n);
    memset(copy + text.n, 0, SP_SCAN_PADDING);
    parser ps = {.a = a, .text = text, .base = copy, .p = copy, .end = copy + text.n, .err = err};
    ps.seal = &ps.nowhere;
    sp_json *j = new_node(&ps);
    if (!parse_value(&ps, j)) return false;
    take_separator(&ps);
    if (ps.p != ps.end) return fail(&ps, "nothing may follow the document");
    *ret = j;
    return true;
}
