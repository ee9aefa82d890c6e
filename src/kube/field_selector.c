/* Field selectors: "path=value,path!=value". In a value, \ takes the special meaning of the next
 * ',', '=' or '\' away. A missing field has the value "". */
#include "kube/object.h"

typedef struct term {
    sp_str path, value;
    bool differs;
    struct term *next;
} term;

struct sp_field_selector {
    term *first, **tail;
};

static bool fail_at(sp_str text, sp_err *err, const char *what) {
    return sp_fail(err, SP_BAD_REQUEST, "field selector \"%.*s\": %s", (int)SP_MIN(text.n, 200u),
                   text.p ? text.p : "", what);
}

/* From `from` up to the next bare ',' (or the end). */
static size_t term_end(sp_str s, size_t from) {
    for (; from < s.n && s.p[from] != ','; from++)
        if (s.p[from] == '\\' && from + 1 < s.n) from++;
    return from;
}

static bool unescape(sp_arena *a, sp_str s, sp_str *ret) {
    char *out = sp_arena_alloc(a, s.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '=') return false;
        if (s.p[i] == '\\') {
            if (++i == s.n || !strchr("\\,=", s.p[i]) || !s.p[i]) return false;
        }
        out[n++] = s.p[i];
    }
    *ret = (sp_str){out, n};
    return true;
}

static bool path_ok(sp_str p) {
    for (sp_str part, rest = p; sp_str_cut(&rest, '.', &part);) {
        if (!part.n) return false;
        for (size_t i = 0; i < part.n; i++)
            if ((unsigned char)part.p[i] <= ' ' || strchr("!=\\,", part.p[i])) return false;
    }
    return p.n > 0;
}

static bool parse_term(sp_arena *a, sp_str text, sp_str part, term *t, sp_err *err) {
    ptrdiff_t eq = sp_str_chr(part, '=');
    if (eq < 0) return fail_at(text, err, "each term is path=value or path!=value");
    t->differs = eq > 0 && part.p[eq - 1] == '!';
    sp_str path = sp_str_sub(part, 0, (size_t)eq - (t->differs ? 1 : 0));
    size_t after = (size_t)eq + 1;
    if (!t->differs && after < part.n && part.p[after] == '=') after++;
    t->path = sp_arena_str(a, sp_str_trim(path));
    if (!path_ok(t->path)) return fail_at(text, err, "a field path like metadata.name is expected");
    if (!unescape(a, sp_str_from(part, after), &t->value))
        return fail_at(text, err, "in a value, write ',' '=' and '\\' with a '\\' before them");
    return true;
}

bool sp_field_selector_parse(sp_arena *a, sp_str text, sp_field_selector **ret, sp_err *err) {
    sp_field_selector *s = SP_NEW(a, sp_field_selector);
    s->tail = &s->first;
    for (size_t at = 0; at < text.n;) {
        size_t end = term_end(text, at);
        sp_str part = sp_str_sub(text, at, end - at);
        at = end + 1;
        if (!part.n) continue;
        term *t = SP_NEW(a, term);
        if (!parse_term(a, text, part, t, err)) return false;
        *s->tail = t;
        s->tail = &t->next;
    }
    *ret = s;
    return true;
}

static sp_str value_at(const sp_json *obj, sp_str path) {
    const sp_json *j = obj;
    for (sp_str part, rest = path; j && sp_str_cut(&rest, '.', &part);)
        j = sp_json_get_str(j, part);
    if (sp_json_is(j, SP_JSON_BOOL)) return sp_str_z(j->boolean ? "true" : "false");
    if (sp_json_is(j, SP_JSON_STRING) || sp_json_is(j, SP_JSON_NUMBER)) return j->text;
    return (sp_str){0};
}

bool sp_field_selector_matches(const sp_field_selector *s, const sp_json *obj) {
    for (const term *t = s->first; t; t = t->next)
        if (sp_str_eq(value_at(obj, t->path), t->value) == t->differs) return false;
    return true;
}

void sp_field_selector_paths(const sp_field_selector *s, void (*fn)(void *ctx, sp_str path),
                             void *ctx) {
    for (const term *t = s->first; t; t = t->next) fn(ctx, t->path);
}
