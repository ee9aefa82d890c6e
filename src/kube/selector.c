/* Label and field selectors. A label selector is a list of requirements that must all hold; its
 * text form is read by a small hand-written scanner over the grammar
 *   requirement = ["!"] key | key ("=" | "==" | "!=") value | key ("in" | "notin") "(" values ")"
 *               | key (">" | "<") integer
 * separated by commas. != and notin also match objects without the key (as Kubernetes does). */
#include "kube/object.h"

#include "base/vec.h"

#include <stdio.h>

enum { MAX_REQUIREMENTS = 1000 };

typedef enum op { OP_IN, OP_NOT_IN, OP_EXISTS, OP_MISSING, OP_GREATER, OP_LESS } op;

typedef struct requirement {
    sp_str key;
    op op;
    sp_str *values; /* IN, NOT_IN: at least one */
    size_t count;
    int64_t bound; /* GREATER, LESS */
    struct requirement *next;
} requirement;

struct sp_selector {
    requirement *first, *last;
    size_t count;
};

static requirement *add(sp_arena *a, sp_selector *s, sp_str key, op o) {
    requirement *r = SP_NEW(a, requirement);
    r->key = sp_arena_str(a, key);
    r->op = o;
    if (s->last)
        s->last->next = r;
    else
        s->first = r;
    s->last = r;
    s->count++;
    return r;
}

static void set_values(sp_arena *a, requirement *r, const sp_strs *values) {
    r->values = sp_arena_alloc(a, values->n * sizeof(sp_str));
    for (size_t i = 0; i < values->n; i++) r->values[i] = sp_arena_str(a, values->p[i]);
    r->count = values->n;
}

static bool check_key(sp_str key, const char *field, sp_err *err) {
    if (sp_label_is_key(key)) return true;
    return sp_fail_field(
        err, SP_BAD_REQUEST, field,
        "\"%.*s\" is not a label key: letters, digits, '-', '_' and '.', up to 63, "
        "with an optional DNS prefix before '/'",
        (int)SP_MIN(key.n, 80u), key.p ? key.p : "");
}

static bool check_value(sp_str value, const char *field, sp_err *err) {
    if (sp_label_is_value(value)) return true;
    return sp_fail_field(
        err, SP_BAD_REQUEST, field,
        "\"%.*s\" is not a label value: letters, digits, '-', '_' and '.', up to 63, "
        "beginning and ending with a letter or digit",
        (int)SP_MIN(value.n, 80u), value.p ? value.p : "");
}

/* ---------- text form ---------- */

typedef struct scanner {
    sp_arena *a;
    sp_str text;
    size_t at;
    sp_err *err;
} scanner;

static bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}
static bool is_special(char c) {
    return c && strchr("=!(),<>", c) != NULL;
}

static char peek(scanner *s) {
    while (s->at < s->text.n && is_space(s->text.p[s->at])) s->at++;
    return s->at < s->text.n ? s->text.p[s->at] : 0;
}

static bool take(scanner *s, char c) {
    if (s->at >= s->text.n || peek(s) != c) return false;
    s->at++;
    return true;
}

/* A run of bytes that are neither blank nor special; may be empty. */
static sp_str word(scanner *s) {
    peek(s);
    size_t from = s->at;
    while (s->at < s->text.n && !is_space(s->text.p[s->at]) && !is_special(s->text.p[s->at]))
        s->at++;
    return sp_str_sub(s->text, from, s->at - from);
}

static bool syntax(scanner *s, const char *what) {
    return sp_fail(s->err, SP_BAD_REQUEST, "label selector \"%.*s\", position %zu: %s",
                   (int)SP_MIN(s->text.n, 200u), s->text.p ? s->text.p : "", s->at + 1, what);
}

static bool scan_set(scanner *s, requirement *r) {
    if (!take(s, '(')) return syntax(s, "'(' is expected after in and notin");
    sp_strs values = {0};
    bool ok = true;
    do {
        sp_str v = word(s);
        ok = check_value(v, "", s->err);
        sp_vec_push(&values, v);
    } while (ok && take(s, ','));
    if (ok && !take(s, ')')) ok = syntax(s, "',' or ')' is expected in the list of values");
    if (ok) set_values(s->a, r, &values);
    sp_vec_free(&values);
    return ok;
}

static bool scan_bound(scanner *s, requirement *r) {
    if (sp_str_i64(word(s), &r->bound)) return true;
    return syntax(s, "an integer is expected after < and >");
}

static bool scan_equal(scanner *s, requirement *r) {
    sp_str v = word(s);
    if (!check_value(v, "", s->err)) return false;
    set_values(s->a, r, &(sp_strs){.p = &v, .n = 1});
    return true;
}

static bool scan_operator(scanner *s, sp_selector *sel, sp_str key) {
    if (take(s, '=')) {
        take(s, '=');
        return scan_equal(s, add(s->a, sel, key, OP_IN));
    }
    if (take(s, '!')) {
        if (s->at >= s->text.n || s->text.p[s->at] != '=')
            return syntax(s, "'=' is expected after '!'");
        s->at++;
        return scan_equal(s, add(s->a, sel, key, OP_NOT_IN));
    }
    if (take(s, '>')) return scan_bound(s, add(s->a, sel, key, OP_GREATER));
    if (take(s, '<')) return scan_bound(s, add(s->a, sel, key, OP_LESS));
    sp_str w = word(s);
    if (sp_str_eqz(w, "in")) return scan_set(s, add(s->a, sel, key, OP_IN));
    if (sp_str_eqz(w, "notin")) return scan_set(s, add(s->a, sel, key, OP_NOT_IN));
    return syntax(s, "one of = == != in notin < > is expected after the key");
}

static bool scan_requirement(scanner *s, sp_selector *sel) {
    bool negated = take(s, '!');
    sp_str key = word(s);
    if (!key.n) return syntax(s, "a label key is expected");
    if (!check_key(key, "", s->err)) return false;
    char c = peek(s);
    bool alone = s->at >= s->text.n || c == ',';
    if (negated && !alone) return syntax(s, "nothing may follow !key");
    if (!alone) return scan_operator(s, sel, key);
    add(s->a, sel, key, negated ? OP_MISSING : OP_EXISTS);
    return true;
}

bool sp_selector_parse(sp_arena *a, sp_str text, sp_selector **ret, sp_err *err) {
    scanner s = {.a = a, .text = text, .err = err};
    sp_selector *sel = SP_NEW(a, sp_selector);
    peek(&s);
    while (s.at < s.text.n) {
        if (!scan_requirement(&s, sel)) return false;
        peek(&s);
        if (s.at >= s.text.n) break;
        if (!take(&s, ',')) return syntax(&s, "',' is expected between requirements");
        if (sel->count == MAX_REQUIREMENTS)
            return syntax(&s, "more than 1000 requirements are not taken");
        peek(&s);
        if (s.at >= s.text.n) return syntax(&s, "a label key is expected after ','");
    }
    *ret = sel;
    return true;
}

/* ---------- object form ---------- */

static bool add_map(sp_arena *a, sp_selector *s, const sp_json *map, const char *field,
                    sp_err *err) {
    sp_json_each(map, m) {
        char at[160];
        snprintf(at, sizeof at, "%s%s%.*s", field, *field ? "." : "", (int)SP_MIN(m->key.n, 100u),
                 m->key.p);
        if (!sp_json_is(m, SP_JSON_STRING))
            return sp_fail_field(err, SP_INVALID, at, "a label value is a string, not %s",
                                 sp_json_type_name(m));
        if (!check_key(m->key, at, err) || !check_value(m->text, at, err)) return false;
        set_values(a, add(a, s, m->key, OP_IN), &(sp_strs){.p = &m->text, .n = 1});
    }
    return true;
}

static const struct {
    const char *name;
    op op;
    bool values;
} operators[] = {{"In", OP_IN, true},
                 {"NotIn", OP_NOT_IN, true},
                 {"Exists", OP_EXISTS, false},
                 {"DoesNotExist", OP_MISSING, false}};

static bool collect_values(const sp_json *e, const char *field, sp_strs *values, sp_err *err) {
    const sp_json *list = sp_json_get(e, "values");
    sp_json_each(list, v) {
        if (!sp_json_is(v, SP_JSON_STRING))
            return sp_fail_field(err, SP_INVALID, field, "values are strings");
        if (!check_value(v->text, field, err)) return false;
        sp_vec_push(values, v->text);
    }
    return true;
}

static bool add_expression(sp_arena *a, sp_selector *s, const sp_json *e, const char *field,
                           sp_err *err) {
    sp_str key = sp_json_str(sp_json_get(e, "key")), name = sp_json_str(sp_json_get(e, "operator"));
    if (!check_key(key, field, err)) return false;
    for (size_t i = 0; i < SP_COUNT(operators); i++) {
        if (!sp_str_eqz(name, operators[i].name)) continue;
        sp_strs values = {0};
        bool ok = collect_values(e, field, &values, err);
        if (ok && operators[i].values != (values.n > 0))
            ok = sp_fail_field(err, SP_INVALID, field, "operator %.*s takes %s", SP_ARG(name),
                               operators[i].values ? "at least one value" : "no values");
        if (ok) set_values(a, add(a, s, key, operators[i].op), &values);
        sp_vec_free(&values);
        return ok;
    }
    return sp_fail_field(err, SP_INVALID, field,
                         "operator \"%.*s\" is none of In, NotIn, Exists, DoesNotExist",
                         (int)SP_MIN(name.n, 40u), name.p);
}

static bool is_label_selector(const sp_json *j) {
    const sp_json *labels = sp_json_get(j, "matchLabels"), *e = sp_json_get(j, "matchExpressions");
    return sp_json_is(labels, SP_JSON_OBJECT) || sp_json_is(labels, SP_JSON_NULL) ||
           sp_json_is(e, SP_JSON_ARRAY) || sp_json_is(e, SP_JSON_NULL);
}

bool sp_selector_from_json(sp_arena *a, const sp_json *j, sp_selector **ret, sp_err *err) {
    sp_selector *s = SP_NEW(a, sp_selector);
    if (j && j->type != SP_JSON_OBJECT && j->type != SP_JSON_NULL)
        return sp_fail(err, SP_INVALID, "a selector is an object, not %s", sp_json_type_name(j));
    if (is_label_selector(j)) {
        if (!add_map(a, s, sp_json_get(j, "matchLabels"), "matchLabels", err)) return false;
        size_t i = 0;
        const sp_json *list = sp_json_get(j, "matchExpressions");
        sp_json_each(list, e) {
            char field[64];
            snprintf(field, sizeof field, "matchExpressions[%zu]", i++);
            if (!add_expression(a, s, e, field, err)) return false;
        }
    } else if (!add_map(a, s, j, "", err)) {
        return false;
    }
    *ret = s;
    return true;
}

/* ---------- matching ---------- */

static bool is_one_of(const requirement *r, sp_str value) {
    for (size_t i = 0; i < r->count; i++)
        if (sp_str_eq(r->values[i], value)) return true;
    return false;
}

static bool compares(const requirement *r, const sp_json *label) {
    int64_t v;
    if (!label || !sp_str_i64(sp_json_str(label), &v)) return false;
    return r->op == OP_GREATER ? v > r->bound : v < r->bound;
}

static bool holds(const requirement *r, const sp_json *labels) {
    const sp_json *label = sp_json_get_str(labels, r->key);
    switch (r->op) {
    case OP_IN: return label && is_one_of(r, sp_json_str(label));
    case OP_NOT_IN: return !label || !is_one_of(r, sp_json_str(label));
    case OP_EXISTS: return label != NULL;
    case OP_MISSING: return label == NULL;
    case OP_GREATER:
    case OP_LESS: return compares(r, label);
    }
    return false;
}

bool sp_selector_matches(const sp_selector *s, const sp_json *labels) {
    for (const requirement *r = s->first; r; r = r->next)
        if (!holds(r, labels)) return false;
    return true;
}

bool sp_selector_is_empty(const sp_selector *s) {
    return s->count == 0;
}
