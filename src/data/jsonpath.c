/* Each step turns a list of nodes into the next one. A budget of visited nodes bounds the whole
 * walk, filters and repeated ".." included. */
#include "data/jsonpath_parse.h"

#include <inttypes.h>

enum { BUDGET = 10000000 };

typedef struct walk {
    const sp_json *root;
    size_t budget;
    bool spent;
    bool strict;            /* an index outside its list is an error */
    const sp_json *outside; /* that list */
    int64_t index;
} walk;

static void run(walk *w, const sp_jsonpath *p, const sp_json *current, sp_json_nodes *ret);

static bool pay(walk *w) {
    if (!w->budget)
        w->spent = true;
    else
        w->budget--;
    return !w->spent;
}

/* Searching an object or a list for one child costs as much as it has children. */
static bool pay_search(walk *w, const sp_json *j) {
    size_t cost = j->count / 8 + 1;
    if (cost > w->budget)
        w->spent = true;
    else
        w->budget -= cost;
    return !w->spent;
}

static void add(walk *w, const sp_json *j, sp_json_nodes *ret) {
    if (j && pay(w)) sp_vec_push(ret, j);
}

static void descend(walk *w, const sp_json *j, sp_json_nodes *ret) {
    add(w, j, ret);
    sp_json_each(j, c) {
        if (w->spent) return;
        descend(w, c, ret);
    }
}

/* Python's rules: negative counts from the end, bounds are clamped. */
static void slice(walk *w, const step *s, const sp_json *j, sp_json_nodes *ret) {
    if (j->type != SP_JSON_ARRAY) return;
    int64_t n = (int64_t)j->count, start = s->has_start ? s->start : 0,
            end = s->has_end ? s->end : n;
    if (start < 0) start += n;
    if (end < 0) end += n;
    if (s->single) {
        bool inside = start >= 0 && start < n;
        if (inside && pay_search(w, j)) add(w, sp_json_at(j, (size_t)start), ret);
        if (!inside && w->strict) w->outside = j, w->index = s->start;
        return;
    }
    start = SP_MAX(start, 0);
    int64_t i = 0;
    sp_json_each(j, item) {
        if (w->spent || i >= end) return;
        if (i >= start && (i - start) % s->stride == 0) add(w, item, ret);
        i++;
    }
}

/* ---------- filters ---------- */

static const sp_json *operand_value(walk *w, const operand *o, const sp_json *current) {
    if (!o->path) return o->value;
    sp_json_nodes found = {0};
    bool strict = w->strict;
    w->strict = false;
    run(w, o->path, current, &found);
    w->strict = strict;
    const sp_json *first = found.n ? found.p[0] : NULL;
    sp_vec_free(&found);
    return first;
}

static bool is_true(compare op, int order) {
    switch (op) {
    case COMPARE_EXISTS: return true;
    case COMPARE_EQ: return order == 0;
    case COMPARE_NE: return order != 0;
    case COMPARE_LT: return order < 0;
    case COMPARE_LE: return order <= 0;
    case COMPARE_GT: return order > 0;
    case COMPARE_GE: return order >= 0;
    }
    return false;
}

/* Values of different types are different, and in no order. */
static bool holds(walk *w, const step *s, const sp_json *item) {
    const sp_json *left = operand_value(w, &s->left, item);
    if (s->op == COMPARE_EXISTS || !left) return left != NULL;
    const sp_json *right = operand_value(w, &s->right, item);
    if (!right) return false;
    if (left->type == SP_JSON_STRING && right->type == SP_JSON_STRING)
        return is_true(s->op, sp_str_cmp(left->text, right->text));
    if (left->type == SP_JSON_NUMBER && right->type == SP_JSON_NUMBER) {
        double x = sp_json_double(left, 0), y = sp_json_double(right, 0);
        return is_true(s->op, (x > y) - (x < y));
    }
    bool same = sp_json_equal(left, right);
    return s->op == COMPARE_EQ ? same : s->op == COMPARE_NE && !same;
}

static void filter(walk *w, const step *s, const sp_json *j, sp_json_nodes *ret) {
    if (j->type != SP_JSON_ARRAY) return;
    sp_json_each(j, item) {
        if (!pay(w)) return;
        if (holds(w, s, item)) add(w, item, ret);
    }
}

/* ---------- steps ---------- */

static void apply(walk *w, const step *s, const sp_json *j, sp_json_nodes *ret) {
    switch (s->kind) {
    case STEP_FIELD:
        if (pay_search(w, j)) add(w, sp_json_get_str(j, s->name), ret);
        break;
    case STEP_SLICE: slice(w, s, j, ret); break;
    case STEP_ALL: sp_json_each(j, c) add(w, c, ret); break;
    case STEP_DESCEND: descend(w, j, ret); break;
    case STEP_UNION: break; /* run does it: each alternative goes over all nodes */
    case STEP_FILTER: filter(w, s, j, ret); break;
    }
}

static void run(walk *w, const sp_jsonpath *p, const sp_json *current, sp_json_nodes *ret) {
    sp_json_nodes now = {0};
    sp_vec_push(&now, p->from_root ? w->root : current);
    for (const step *s = p->first; s && now.n; s = s->next) {
        sp_json_nodes next = {0};
        const step *each = s->kind == STEP_UNION ? s->alternatives : s;
        for (; each; each = s->kind == STEP_UNION ? each->next : NULL)
            sp_vec_each(&now, j) if (pay(w)) apply(w, each, *j, &next);
        sp_vec_free(&now);
        now = next;
    }
    sp_vec_each(&now, j) sp_vec_push(ret, *j);
    sp_vec_free(&now);
}

static bool too_much(sp_err *err) {
    return sp_fail(err, SP_INVALID, "the jsonpath visits more than %d nodes", BUDGET);
}

bool sp_jsonpath_find(const sp_jsonpath *p, const sp_json *j, sp_json_nodes *ret, sp_err *err) {
    walk w = {.root = j, .budget = BUDGET};
    size_t before = ret->n;
    run(&w, p, j, ret);
    if (!w.spent) return true;
    ret->n = before;
    return too_much(err);
}

const sp_json *sp_jsonpath_first(const sp_jsonpath *p, const sp_json *j) {
    sp_json_nodes found = {0};
    const sp_json *first = sp_jsonpath_find(p, j, &found, NULL) && found.n ? found.p[0] : NULL;
    sp_vec_free(&found);
    return first;
}

/* ---------- printing ---------- */

void sp_jsonpath_write_node(sp_buf *b, const sp_json *j) {
    if (j->type == SP_JSON_STRING)
        sp_buf_add(b, j->text);
    else
        sp_json_write(b, j);
}

typedef struct printer {
    walk walk;
    bool allow_missing;
    sp_buf *b;
    sp_err *err;
} printer;

static bool print(printer *pr, const action *first, const sp_json *current);

static bool look_up(printer *pr, const sp_jsonpath *p, const sp_json *current, sp_json_nodes *ret) {
    run(&pr->walk, p, current, ret);
    if (pr->walk.spent) return too_much(pr->err);
    if (pr->walk.outside)
        return sp_fail(pr->err, SP_INVALID,
                       "array index out of bounds: index %" PRId64 ", length %zu", pr->walk.index,
                       pr->walk.outside->count);
    if (ret->n || pr->allow_missing) return true;
    return sp_fail(pr->err, SP_NOT_FOUND, "%.*s leads nowhere in this object", SP_ARG(p->text));
}

static bool print_action(printer *pr, const action *act, const sp_json *current) {
    if (act->kind == ACTION_TEXT) {
        sp_buf_add(pr->b, act->text);
        return true;
    }
    sp_json_nodes found = {0};
    bool ok = look_up(pr, act->path, current, &found);
    for (size_t i = 0; ok && i < found.n; i++) {
        if (act->kind == ACTION_RANGE) {
            ok = print(pr, act->body, found.p[i]);
            continue;
        }
        if (i) sp_buf_addc(pr->b, ' ');
        sp_jsonpath_write_node(pr->b, found.p[i]);
    }
    sp_vec_free(&found);
    return ok;
}

static bool print(printer *pr, const action *first, const sp_json *current) {
    for (const action *act = first; act; act = act->next) {
        if (!print_action(pr, act, current)) return false;
        if (pr->b->n > SP_JSON_MAX_BYTES)
            return sp_fail(pr->err, SP_TOO_LARGE, "the jsonpath prints more than %d bytes",
                           SP_JSON_MAX_BYTES);
    }
    return true;
}

bool sp_jsonpath_print(const sp_jsonpath_template *t, const sp_json *j, bool allow_missing,
                       sp_buf *b, sp_err *err) {
    printer pr = {{.root = j, .budget = BUDGET, .strict = true}, allow_missing, b, err};
    return print(&pr, t->first, j);
}
