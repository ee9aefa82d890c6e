#include "data/json.h"

#include "base/map.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

/* ---------- parsing ---------- */

/* Objects with more members than this get a hash of their keys to find duplicates. */
enum { LINEAR_MEMBERS = 24 };

typedef struct parser {
    sp_arena *a;
    const char *start, *p, *end;
    sp_err *err;
    int depth;
} parser;

static bool fail(parser *ps, const char *what) {
    size_t line = 1;
    const char *bol = ps->start;
    for (const char *c = ps->start; c < ps->p && c < ps->end; c++)
        if (*c == '\n') line++, bol = c + 1;
    return sp_fail(ps->err, SP_BAD_REQUEST, "JSON line %zu, column %zu: %s", line,
                   (size_t)(ps->p - bol) + 1, what);
}

static void skip_space(parser *ps) {
    while (ps->p < ps->end && (*ps->p == ' ' || *ps->p == '\n' || *ps->p == '\r' || *ps->p == '\t'))
        ps->p++;
}

static bool is_digit(const parser *ps) {
    return ps->p < ps->end && *ps->p >= '0' && *ps->p <= '9';
}

static bool parse_number(parser *ps, sp_json *j) {
    const char *from = ps->p;
    if (*ps->p == '-') ps->p++;
    if (!is_digit(ps)) return fail(ps, "a digit is expected here");
    if (*ps->p == '0')
        ps->p++;
    else
        while (is_digit(ps)) ps->p++;
    if (is_digit(ps)) return fail(ps, "a number must not start with 0");
    if (ps->p < ps->end && *ps->p == '.') {
        ps->p++;
        if (!is_digit(ps)) return fail(ps, "a digit is expected after the decimal point");
        while (is_digit(ps)) ps->p++;
    }
    if (ps->p < ps->end && (*ps->p == 'e' || *ps->p == 'E')) {
        ps->p++;
        if (ps->p < ps->end && (*ps->p == '+' || *ps->p == '-')) ps->p++;
        if (!is_digit(ps)) return fail(ps, "a digit is expected in the exponent");
        while (is_digit(ps)) ps->p++;
    }
    j->type = SP_JSON_NUMBER;
    j->text = sp_arena_str(ps->a, (sp_str){from, (size_t)(ps->p - from)});
    return true;
}

static bool parse_hex4(parser *ps, uint32_t *ret) {
    uint32_t v = 0;
    for (int i = 0; i < 4; i++, ps->p++) {
        char c = ps->p < ps->end ? *ps->p : 0;
        uint32_t d;
        if (c >= '0' && c <= '9')
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
        if (ps->end - ps->p < 2 || ps->p[0] != '\\' || ps->p[1] != 'u')
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
    ps->p++;
    char c = ps->p < ps->end ? *ps->p : 0;
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
    if (!len || n < len) return 0;
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

/* Where the raw run of a string ends: its quote, an escape or something forbidden. */
static const char *plain_run(const char *p, const char *end) {
    while (p < end && (unsigned char)*p >= 0x20 && (unsigned char)*p < 0x80 && *p != '"' &&
           *p != '\\')
        p++;
    return p;
}

static size_t string_bound(const parser *ps) {
    const char *c = ps->p;
    while (c < ps->end && *c != '"') c += *c == '\\' ? 2 : 1;
    return (size_t)(SP_MIN(c, ps->end) - ps->p);
}

static bool parse_string(parser *ps, sp_str *ret) {
    ps->p++;
    char *begin = sp_arena_alloc(ps->a, string_bound(ps) + 1), *out = begin;
    for (;;) {
        const char *stop = plain_run(ps->p, ps->end);
        memcpy(out, ps->p, (size_t)(stop - ps->p));
        out += stop - ps->p;
        ps->p = stop;
        if (stop == ps->end) return fail(ps, "the string does not end");
        unsigned char c = (unsigned char)*stop;
        if (c == '"') break;
        if (c < 0x20) return fail(ps, "a control character must be escaped");
        if (c == '\\') {
            if (!parse_escape(ps, &out)) return false;
            continue;
        }
        size_t len = utf8_length((const unsigned char *)stop, (size_t)(ps->end - stop));
        if (!len) return fail(ps, "the bytes are not UTF-8");
        memcpy(out, stop, len);
        out += len;
        ps->p += len;
    }
    ps->p++;
    *out = 0;
    *ret = (sp_str){begin, (size_t)(out - begin)};
    return true;
}

static bool parse_value(parser *ps, sp_json *j);

static void append(sp_json *parent, sp_json *child) {
    child->next = NULL;
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
    if (ps->p < ps->end && *ps->p == ']') {
        ps->p++;
        return true;
    }
    for (;;) {
        sp_json *item = SP_NEW(ps->a, sp_json);
        if (!parse_value(ps, item)) return false;
        append(j, item);
        skip_space(ps);
        char c = ps->p < ps->end ? *ps->p : 0;
        if (c != ',' && c != ']') return fail(ps, "',' or ']' is expected here");
        ps->p++;
        if (c == ']') return true;
    }
}

static bool is_duplicate(sp_json *obj, sp_str key, sp_map *seen) {
    if (obj->count < LINEAR_MEMBERS) return sp_json_get_str(obj, key) != NULL;
    if (!seen->n) sp_json_each(obj, m) sp_map_put(seen, m->key, m);
    if (sp_map_has(seen, key)) return true;
    sp_map_put(seen, key, obj);
    return false;
}

static bool parse_member(parser *ps, sp_json *obj, sp_map *seen) {
    skip_space(ps);
    if (ps->p == ps->end || *ps->p != '"') return fail(ps, "a quoted field name is expected here");
    const char *at = ps->p;
    sp_json *m = SP_NEW(ps->a, sp_json);
    if (!parse_string(ps, &m->key)) return false;
    if (is_duplicate(obj, m->key, seen)) {
        ps->p = at;
        char text[160];
        snprintf(text, sizeof text, "the field \"%.100s\" is there twice", m->key.p);
        return fail(ps, text);
    }
    skip_space(ps);
    if (ps->p == ps->end || *ps->p != ':') return fail(ps, "':' is expected here");
    ps->p++;
    if (!parse_value(ps, m)) return false;
    append(obj, m);
    return true;
}

static bool parse_object(parser *ps, sp_json *j) {
    j->type = SP_JSON_OBJECT;
    ps->p++;
    skip_space(ps);
    if (ps->p < ps->end && *ps->p == '}') {
        ps->p++;
        return true;
    }
    sp_auto(sp_map) seen = {0};
    for (;;) {
        if (!parse_member(ps, j, &seen)) return false;
        skip_space(ps);
        char c = ps->p < ps->end ? *ps->p : 0;
        if (c != ',' && c != '}') return fail(ps, "',' or '}' is expected here");
        ps->p++;
        if (c == '}') return true;
    }
}

static bool parse_word(parser *ps, const char *word, sp_json *j, sp_json_type type, bool value) {
    size_t n = strlen(word);
    if ((size_t)(ps->end - ps->p) < n || memcmp(ps->p, word, n) != 0)
        return fail(ps, "a value is expected here");
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
    switch (ps->p < ps->end ? *ps->p : 0) {
    case '{': return parse_nested(ps, j, parse_object);
    case '[': return parse_nested(ps, j, parse_array);
    case '"': j->type = SP_JSON_STRING; return parse_string(ps, &j->text);
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
    if (!text.p) text = SP_STR("");
    parser ps = {.a = a, .start = text.p, .p = text.p, .end = text.p + text.n, .err = err};
    sp_json *j = SP_NEW(a, sp_json);
    if (!parse_value(&ps, j)) return false;
    skip_space(&ps);
    if (ps.p != ps.end) return fail(&ps, "nothing may follow the document");
    *ret = j;
    return true;
}

/* ---------- printing ---------- */

void sp_json_write_string(sp_buf *b, sp_str s) {
    sp_buf_reserve(b, s.n + 2);
    sp_buf_addc(b, '"');
    for (size_t i = 0; i < s.n;) {
        size_t from = i;
        while (i < s.n && (unsigned char)s.p[i] >= 0x20 && s.p[i] != '"' && s.p[i] != '\\') i++;
        sp_buf_add(b, sp_str_sub(s, from, i - from));
        if (i == s.n) break;
        char c = s.p[i++];
        const char *at = strchr("\"\\\b\f\n\r\t", c);
        if (c && at) {
            sp_buf_addc(b, '\\');
            sp_buf_addc(b, "\"\\bfnrt"[at - "\"\\\b\f\n\r\t"]);
        } else {
            sp_buf_printf(b, "\\u%04x", c);
        }
    }
    sp_buf_addc(b, '"');
}

static void new_line(sp_buf *b, int indent) {
    if (indent < 0) return;
    sp_buf_addc(b, '\n');
    for (int i = 0; i < indent; i++) sp_buf_addz(b, "  ");
}

/* indent < 0: compact. */
static void write_node(sp_buf *b, const sp_json *j, int indent) {
    switch (j->type) {
    case SP_JSON_NULL: sp_buf_add(b, SP_STR("null")); return;
    case SP_JSON_BOOL: sp_buf_addz(b, j->boolean ? "true" : "false"); return;
    case SP_JSON_NUMBER: sp_buf_add(b, j->text); return;
    case SP_JSON_STRING: sp_json_write_string(b, j->text); return;
    case SP_JSON_ARRAY:
    case SP_JSON_OBJECT: break;
    }
    bool object = j->type == SP_JSON_OBJECT;
    int inner = indent < 0 ? -1 : indent + 1;
    sp_buf_addc(b, object ? '{' : '[');
    sp_json_each(j, c) {
        if (c != j->first) sp_buf_addc(b, ',');
        new_line(b, inner);
        if (object) {
            sp_json_write_string(b, c->key);
            sp_buf_addz(b, indent < 0 ? ":" : ": ");
        }
        write_node(b, c, inner);
    }
    if (j->first) new_line(b, indent);
    sp_buf_addc(b, object ? '}' : ']');
}

void sp_json_write(sp_buf *b, const sp_json *j) {
    write_node(b, j, -1);
}
void sp_json_write_pretty(sp_buf *b, const sp_json *j) {
    write_node(b, j, 0);
}

/* ---------- reading ---------- */

sp_json *sp_json_get_str(const sp_json *obj, sp_str key) {
    if (!sp_json_is(obj, SP_JSON_OBJECT)) return NULL;
    sp_json_each(obj, m) if (sp_str_eq(m->key, key)) return m;
    return NULL;
}

sp_json *sp_json_get(const sp_json *obj, const char *key) {
    return sp_json_get_str(obj, sp_str_z(key));
}

sp_json *sp_json_at(const sp_json *arr, size_t index) {
    if (!sp_json_is(arr, SP_JSON_ARRAY) || index >= arr->count) return NULL;
    sp_json *it = arr->first;
    while (index--) it = it->next;
    return it;
}

sp_json *sp_json_dig(const sp_json *j, ...) {
    va_list ap;
    va_start(ap, j);
    const char *key;
    sp_json *at = (sp_json *)(uintptr_t)j;
    while (at && (key = va_arg(ap, const char *))) at = sp_json_get(at, key);
    va_end(ap);
    return at;
}

sp_str sp_json_str(const sp_json *j) {
    return sp_json_is(j, SP_JSON_STRING) ? j->text : SP_STR("");
}

const char *sp_json_z(const sp_json *j) {
    return sp_json_str(j).p;
}

bool sp_json_bool(const sp_json *j, bool fallback) {
    return sp_json_is(j, SP_JSON_BOOL) ? j->boolean : fallback;
}

int64_t sp_json_int(const sp_json *j, int64_t fallback) {
    int64_t v;
    return sp_json_is(j, SP_JSON_NUMBER) && sp_str_i64(j->text, &v) ? v : fallback;
}

double sp_json_double(const sp_json *j, double fallback) {
    return sp_json_is(j, SP_JSON_NUMBER) ? strtod(j->text.p, NULL) : fallback;
}

bool sp_json_is_int(const sp_json *j) {
    return sp_json_is(j, SP_JSON_NUMBER) && sp_str_chr(j->text, '.') < 0 &&
           sp_str_chr(j->text, 'e') < 0 && sp_str_chr(j->text, 'E') < 0;
}

static bool equal_children(const sp_json *a, const sp_json *b) {
    if (a->count != b->count) return false;
    const sp_json *other = b->first;
    sp_json_each(a, m) {
        const sp_json *twin = other;
        if (a->type == SP_JSON_OBJECT && !sp_str_eq(m->key, other->key))
            twin = sp_json_get_str(b, m->key);
        if (!twin || !sp_json_equal(m, twin)) return false;
        other = other->next;
    }
    return true;
}

bool sp_json_equal(const sp_json *a, const sp_json *b) {
    if (!a || !b) return a == b;
    if (a->type != b->type) return false;
    switch (a->type) {
    case SP_JSON_NULL: return true;
    case SP_JSON_BOOL: return a->boolean == b->boolean;
    case SP_JSON_NUMBER:
    case SP_JSON_STRING: return sp_str_eq(a->text, b->text);
    case SP_JSON_ARRAY:
    case SP_JSON_OBJECT: return equal_children(a, b);
    }
    return false;
}

const char *sp_json_type_name(const sp_json *j) {
    static const char *const names[] = {"null", "boolean", "number", "string", "array", "object"};
    if (!j) return "nothing";
    return sp_json_is_int(j) ? "integer" : names[j->type];
}

/* ---------- building ---------- */

static sp_json *new_node(sp_arena *a, sp_json_type type) {
    sp_json *j = SP_NEW(a, sp_json);
    j->type = type;
    return j;
}

sp_json *sp_json_object(sp_arena *a) {
    return new_node(a, SP_JSON_OBJECT);
}
sp_json *sp_json_array(sp_arena *a) {
    return new_node(a, SP_JSON_ARRAY);
}
sp_json *sp_json_null(sp_arena *a) {
    return new_node(a, SP_JSON_NULL);
}

sp_json *sp_json_new_bool(sp_arena *a, bool v) {
    sp_json *j = new_node(a, SP_JSON_BOOL);
    j->boolean = v;
    return j;
}

sp_json *sp_json_new_int(sp_arena *a, int64_t v) {
    sp_json *j = new_node(a, SP_JSON_NUMBER);
    j->text = sp_arena_printf(a, "%" PRId64, v);
    return j;
}

sp_json *sp_json_new_double(sp_arena *a, double v) {
    sp_assert(isfinite(v));
    sp_json *j = new_node(a, SP_JSON_NUMBER);
    for (int digits = 1; digits <= 17; digits++) {
        char text[40];
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (digits < 17 && strtod(text, NULL) != v) continue;
        j->text = sp_arena_str(a, sp_str_z(text));
        break;
    }
    return j;
}

sp_json *sp_json_new_str(sp_arena *a, sp_str s) {
    sp_json *j = new_node(a, SP_JSON_STRING);
    j->text = sp_arena_str(a, s);
    return j;
}

sp_json *sp_json_new_z(sp_arena *a, const char *s) {
    return sp_json_new_str(a, sp_str_z(s));
}

sp_json *sp_json_printf(sp_arena *a, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    char *text = NULL;
    int n = vasprintf(&text, fmt, ap);
    va_end(ap);
    sp_assert(n >= 0);
    sp_json *j = sp_json_new_str(a, (sp_str){text, (size_t)n});
    free(text);
    return j;
}

sp_json *sp_json_clone(sp_arena *a, const sp_json *j) {
    if (!j) return NULL;
    sp_json *copy = new_node(a, j->type);
    copy->boolean = j->boolean;
    if (j->text.p) copy->text = sp_arena_str(a, j->text);
    sp_json_each(j, c) {
        sp_json *child = sp_json_clone(a, c);
        if (c->key.p) child->key = sp_arena_str(a, c->key);
        append(copy, child);
    }
    return copy;
}

sp_json *sp_json_set_str(sp_arena *a, sp_json *obj, sp_str key, sp_json *value) {
    sp_assert(sp_json_is(obj, SP_JSON_OBJECT) && value);
    sp_json **link = &obj->first, *prev = NULL;
    while (*link && !sp_str_eq((*link)->key, key)) {
        prev = *link;
        link = &(*link)->next;
    }
    if (*link == value) return value;
    if (!*link) {
        value->key = sp_arena_str(a, key);
        append(obj, value);
        return value;
    }
    (void)prev;
    value->key = (*link)->key;
    value->next = (*link)->next;
    if (obj->last == *link) obj->last = value;
    *link = value;
    return value;
}

sp_json *sp_json_set(sp_arena *a, sp_json *obj, const char *key, sp_json *value) {
    return sp_json_set_str(a, obj, sp_str_z(key), value);
}

void sp_json_set_new(sp_json *obj, sp_json *value) {
    sp_assert(sp_json_is(obj, SP_JSON_OBJECT));
    append(obj, value);
}

sp_json *sp_json_set_first(sp_arena *a, sp_json *obj, const char *key, sp_json *value) {
    sp_json_remove(obj, key);
    value->key = sp_arena_str(a, sp_str_z(key));
    value->next = obj->first;
    obj->first = value;
    if (!obj->last) obj->last = value;
    obj->count++;
    return value;
}

sp_json *sp_json_ensure_object(sp_arena *a, sp_json *obj, const char *key) {
    sp_json *j = sp_json_get(obj, key);
    return sp_json_is(j, SP_JSON_OBJECT) ? j : sp_json_set(a, obj, key, sp_json_object(a));
}

sp_json *sp_json_ensure_array(sp_arena *a, sp_json *obj, const char *key) {
    sp_json *j = sp_json_get(obj, key);
    return sp_json_is(j, SP_JSON_ARRAY) ? j : sp_json_set(a, obj, key, sp_json_array(a));
}

static void unlink_child(sp_json *parent, sp_json *prev, sp_json *child) {
    if (prev)
        prev->next = child->next;
    else
        parent->first = child->next;
    if (parent->last == child) parent->last = prev;
    child->next = NULL;
    parent->count--;
}

bool sp_json_remove_str(sp_json *obj, sp_str key) {
    if (!sp_json_is(obj, SP_JSON_OBJECT)) return false;
    for (sp_json *prev = NULL, *m = obj->first; m; prev = m, m = m->next)
        if (sp_str_eq(m->key, key)) {
            unlink_child(obj, prev, m);
            return true;
        }
    return false;
}

bool sp_json_remove(sp_json *obj, const char *key) {
    return sp_json_remove_str(obj, sp_str_z(key));
}

sp_json *sp_json_push(sp_json *arr, sp_json *value) {
    sp_assert(sp_json_is(arr, SP_JSON_ARRAY));
    append(arr, value);
    return value;
}

void sp_json_insert(sp_json *arr, size_t index, sp_json *value) {
    sp_assert(sp_json_is(arr, SP_JSON_ARRAY) && index <= arr->count);
    if (index == arr->count) {
        append(arr, value);
        return;
    }
    sp_json **link = &arr->first;
    while (index--) link = &(*link)->next;
    value->next = *link;
    *link = value;
    arr->count++;
}

void sp_json_remove_at(sp_json *arr, size_t index) {
    sp_assert(sp_json_is(arr, SP_JSON_ARRAY) && index < arr->count);
    sp_json *prev = NULL, *it = arr->first;
    for (; index; index--) prev = it, it = it->next;
    unlink_child(arr, prev, it);
}

void sp_json_assign(sp_json *dst, const sp_json *src) {
    sp_str key = dst->key;
    sp_json *next = dst->next;
    *dst = *src;
    dst->key = key;
    dst->next = next;
}
