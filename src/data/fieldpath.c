/* A path is cut into steps, each a field name or an index, by one reader that all three functions
 * share. Setting looks first whether every step fits what is there, so that a refusal changes
 * nothing. */
#include "data/fieldpath.h"

enum { MAX_STEPS = 100, MAX_INDEX = 999 };

typedef struct step {
    sp_str name; /* {0} for an index */
    size_t index;
    size_t end; /* of the step in the path, for messages */
} step;

typedef struct steps {
    step at[MAX_STEPS];
    size_t n;
} steps;

static bool refuse(sp_str path, size_t at, sp_err *err, const char *what) {
    return sp_fail(err, SP_INVALID, "field path \"%.*s\", character %zu: %s",
                   (int)SP_MIN(path.n, 200u), path.p ? path.p : "", at + 1, what);
}

static bool is_index(sp_str s, size_t *ret) {
    uint64_t v;
    if (s.n > 9 || !sp_str_u64(s, &v)) return false;
    *ret = (size_t)v;
    return true;
}

/* "[0]", "[key.with.dots]", "['k']", "["k"]": *at stands behind the bracket and is moved past. */
static bool read_bracket(sp_str path, size_t *at, step *ret, sp_err *err) {
    sp_str rest = sp_str_from(path, *at);
    char quote = rest.n && (rest.p[0] == '\'' || rest.p[0] == '"') ? rest.p[0] : 0;
    if (quote) rest = sp_str_from(rest, 1);
    ptrdiff_t end = sp_str_chr(rest, quote ? quote : ']');
    if (end < 0) return refuse(path, *at, err, quote ? "the quote does not end" : "']' is missing");
    if (end == 0) return refuse(path, *at, err, "nothing between the brackets");
    sp_str inside = sp_str_sub(rest, 0, (size_t)end);
    *at += (size_t)end + (quote ? 2 : 0);
    if (*at >= path.n || path.p[*at] != ']') return refuse(path, *at, err, "']' is expected here");
    (*at)++;
    *ret = (step){.end = *at};
    if (!quote && is_index(inside, &ret->index)) return true;
    if (!quote && (sp_str_eqz(inside, "*") || sp_str_chr(inside, '[') >= 0))
        return refuse(path, *at, err, "an index or a field name belongs between the brackets");
    ret->name = inside;
    return true;
}

static bool read_name(sp_str path, size_t *at, step *ret, sp_err *err) {
    size_t from = *at;
    while (*at < path.n && path.p[*at] != '.' && path.p[*at] != '[' && path.p[*at] != ']') (*at)++;
    if (*at == from) return refuse(path, from, err, "a field name is expected here");
    if (*at < path.n && path.p[*at] == ']') return refuse(path, *at, err, "']' without '['");
    *ret = (step){.name = sp_str_sub(path, from, *at - from), .end = *at};
    return true;
}

static bool read_steps(sp_str path, steps *ret, sp_err *err) {
    ret->n = 0;
    for (size_t at = 0; at < path.n || !ret->n;) {
        if (ret->n == MAX_STEPS) return refuse(path, at, err, "at most 100 steps are taken");
        step *s = &ret->at[ret->n++];
        bool bracket = at < path.n && path.p[at] == '[';
        if (bracket) at++;
        if (!(bracket ? read_bracket(path, &at, s, err) : read_name(path, &at, s, err)))
            return false;
        if (at == path.n) return true;
        if (path.p[at] == '[') continue;
        if (path.p[at] != '.') return refuse(path, at, err, "'.' or '[' is expected here");
        if (++at == path.n || path.p[at] == '[')
            return refuse(path, at - 1, err, "a field name must follow the dot");
    }
    return true;
}

bool sp_fieldpath_check(sp_str path, sp_err *err) {
    steps s;
    return read_steps(path, &s, err);
}

static bool mismatch(sp_str path, const step *before, const sp_json *j, const char *wanted,
                     sp_err *err) {
    size_t n = before ? before->end : 0;
    return sp_fail(err, SP_INVALID, "%.*s is %s, not %s", (int)(n ? n : 10),
                   n ? path.p : "the object", sp_json_type_name(j), wanted);
}

/* The child a step leads to, NULL if missing; false when j cannot have such a child. */
static bool descend(sp_str path, const step *before, const step *s, const sp_json *j, sp_json **ret,
                    sp_err *err) {
    sp_json_type wanted = s->name.p ? SP_JSON_OBJECT : SP_JSON_ARRAY;
    if (j->type != wanted) return mismatch(path, before, j, s->name.p ? "object" : "array", err);
    *ret = s->name.p ? sp_json_get_str(j, s->name) : sp_json_at(j, s->index);
    return true;
}

bool sp_fieldpath_get(const sp_json *j, sp_str path, sp_json **ret, sp_err *err) {
    steps s;
    sp_json *at = (sp_json *)(uintptr_t)j;
    if (!read_steps(path, &s, err)) return false;
    for (size_t i = 0; i < s.n; i++) {
        if (!descend(path, i ? &s.at[i - 1] : NULL, &s.at[i], at, &at, err)) return false;
        if (!at) return sp_fail(err, SP_NOT_FOUND, "there is no %.*s", (int)s.at[i].end, path.p);
    }
    *ret = at;
    return true;
}

static bool check_set(const sp_json *j, sp_str path, const steps *s, sp_err *err) {
    sp_json *at = (sp_json *)(uintptr_t)j;
    for (size_t i = 0; i < s->n; i++) {
        const step *st = &s->at[i];
        if (!st->name.p && st->index > MAX_INDEX)
            return refuse(path, st->end - 1, err, "an index of at most 999 is taken");
        if (!at || (i && at->type == SP_JSON_NULL)) {
            at = NULL;
            continue;
        }
        if (!descend(path, i ? &s->at[i - 1] : NULL, st, at, &at, err)) return false;
    }
    return true;
}

static sp_json *make_child(sp_arena *a, sp_json *parent, const step *s, sp_json *child) {
    if (s->name.p) return sp_json_set_str(a, parent, s->name, child);
    while (parent->count <= s->index) sp_json_push(parent, sp_json_null(a));
    sp_json *slot = sp_json_at(parent, s->index);
    sp_json_assign(slot, child);
    return slot;
}

bool sp_fieldpath_set(sp_arena *a, sp_json *j, sp_str path, const sp_json *value, sp_err *err) {
    steps s;
    if (!read_steps(path, &s, err) || !check_set(j, path, &s, err)) return false;
    for (size_t i = 0; i + 1 < s.n; i++) {
        const step *st = &s.at[i];
        sp_json *child = st->name.p ? sp_json_get_str(j, st->name) : sp_json_at(j, st->index);
        if (!child || child->type == SP_JSON_NULL)
            child = make_child(a, j, st, s.at[i + 1].name.p ? sp_json_object(a) : sp_json_array(a));
        j = child;
    }
    make_child(a, j, &s.at[s.n - 1], sp_json_clone(a, value));
    return true;
}
