/* RFC 6902. A table of operations, each a small function on a `change`: the parsed operation with
 * its target resolved to (parent, last step). Copies may not blow the document up: the bytes copied
 * by one patch and the depth of what comes out are capped. */
#include "data/patch.h"

#include "data/pointer.h"

enum { MAX_OPERATIONS = 10000, MAX_WORK = 100000000 };

typedef struct change {
    sp_arena *a;
    sp_json **doc;
    const sp_json *op;
    size_t index;    /* of the operation, for errors */
    size_t copied;   /* bytes cloned so far by the whole patch */
    size_t work;     /* members and items that looking up paths may have visited so far */
    sp_buf step;     /* the last step of `path`, unescaped */
    sp_json *parent; /* NULL: the path is "", the document itself */
    size_t depth;    /* steps in `path` */
    sp_err *err;
} change;

static bool refuse(change *c, sp_code code, const char *what) {
    return sp_fail(c->err, code, "JSON patch operation %zu (%.20s %.200s): %s", c->index,
                   sp_json_get_z(c->op, "op"), sp_json_get_z(c->op, "path"), what);
}

static size_t weight_of(const sp_json *j) {
    size_t n = sizeof *j + j->text.n + j->key.n;
    sp_json_each(j, child) n += weight_of(child);
    return n;
}

static bool too_deep(change *c) {
    return refuse(c, SP_BAD_REQUEST, "the result is nested too deeply (100 levels at most)");
}

/* A private copy, so that a patch never shares nodes with itself or with the caller's tree. */
static bool copy(change *c, const sp_json *from, sp_json **ret) {
    c->copied += weight_of(from);
    if (c->copied > SP_JSON_MAX_BYTES) return refuse(c, SP_TOO_LARGE, "the patch copies too much");
    if (c->depth + sp_json_depth(from) > SP_JSON_MAX_DEPTH) return too_deep(c);
    *ret = sp_json_clone(c->a, from);
    return true;
}

/* Splits the pointer into the node that holds the target and the last step. */
static bool resolve(change *c, sp_str path) {
    c->parent = NULL;
    c->depth = 0;
    if (!path.n) return true;
    if (path.p[0] != '/') return refuse(c, SP_BAD_REQUEST, "a path starts with '/' or is empty");
    sp_json *at = *c->doc;
    for (sp_str raw, rest = sp_str_from(path, 1); sp_str_cut(&rest, '/', &raw); c->depth++) {
        if (c->depth) at = sp_pointer_child(at, sp_buf_str(&c->step));
        if (!sp_pointer_step(&c->step, raw))
            return refuse(c, SP_BAD_REQUEST, "'~' is followed by 0 or 1 in a path");
        if (!at || !(at->type == SP_JSON_OBJECT || at->type == SP_JSON_ARRAY))
            return refuse(c, SP_INVALID, "what should hold the target is missing");
        c->work += at->count;
        if (c->work > MAX_WORK)
            return refuse(c, SP_TOO_LARGE, "too many operations for a document of this size");
    }
    c->parent = at;
    return true;
}

static sp_json *target(const change *c) {
    return c->parent ? sp_pointer_child(c->parent, sp_buf_str(&c->step)) : *c->doc;
}

static bool put(change *c, sp_json *value) {
    size_t index;
    sp_str step = sp_buf_str(&c->step);
    if (!c->parent) {
        *c->doc = value;
    } else if (c->parent->type == SP_JSON_OBJECT) {
        sp_json_set_str(c->a, c->parent, step, value);
    } else if (sp_str_eqz(step, "-")) {
        sp_json_push(c->parent, value);
    } else if (sp_pointer_index(step, &index) && index <= c->parent->count) {
        sp_json_insert(c->parent, index, value);
    } else {
        return refuse(c, SP_INVALID, "the index is outside the list");
    }
    return true;
}

static bool take_away(change *c) {
    size_t index;
    if (!target(c)) return refuse(c, SP_INVALID, "there is nothing at this path");
    if (!c->parent) return refuse(c, SP_INVALID, "the whole document cannot be removed");
    if (c->parent->type == SP_JSON_OBJECT) {
        sp_json_remove_str(c->parent, sp_buf_str(&c->step));
        return true;
    }
    sp_assert(sp_pointer_index(sp_buf_str(&c->step), &index));
    sp_json_remove_at(c->parent, index);
    return true;
}

static bool given_value(change *c, const sp_json **ret) {
    *ret = sp_json_get(c->op, "value");
    return *ret || refuse(c, SP_BAD_REQUEST, "\"value\" is missing");
}

static bool from_value(change *c, const sp_json **ret) {
    const sp_json *from = sp_json_get(c->op, "from");
    if (!sp_json_is(from, SP_JSON_STRING)) return refuse(c, SP_BAD_REQUEST, "\"from\" is missing");
    *ret = sp_json_pointer(*c->doc, from->text);
    return *ret || refuse(c, SP_INVALID, "there is nothing at the path in \"from\"");
}

static bool op_add(change *c) {
    const sp_json *value;
    sp_json *node;
    return given_value(c, &value) && copy(c, value, &node) && put(c, node);
}

static bool op_remove(change *c) {
    return take_away(c);
}

static bool op_replace(change *c) {
    const sp_json *value;
    sp_json *node, *old = target(c);
    if (!old) return refuse(c, SP_INVALID, "there is nothing at this path to replace");
    if (!given_value(c, &value) || !copy(c, value, &node)) return false;
    sp_json_assign(old, node);
    return true;
}

static bool op_copy(change *c) {
    const sp_json *value = NULL;
    sp_json *node;
    return from_value(c, &value) && copy(c, value, &node) && put(c, node);
}

/* Removing may shift the indexes on the way to the target, so it is looked up afterwards. */
static bool op_move(change *c) {
    sp_str path = sp_json_str(sp_json_get(c->op, "path"));
    const sp_json *from = sp_json_get(c->op, "from");
    if (!sp_json_is(from, SP_JSON_STRING)) return refuse(c, SP_BAD_REQUEST, "\"from\" is missing");
    if (path.n > from->text.n && sp_str_starts(path, from->text) && path.p[from->text.n] == '/')
        return refuse(c, SP_BAD_REQUEST, "a value cannot be moved into itself");
    if (!resolve(c, from->text)) return false;
    sp_json *node = target(c);
    if (!node) return refuse(c, SP_INVALID, "there is nothing at the path in \"from\"");
    if (sp_str_eq(path, from->text)) return true;
    if (!take_away(c) || !resolve(c, path)) return false;
    if (c->depth + sp_json_depth(node) > SP_JSON_MAX_DEPTH) return too_deep(c);
    return put(c, node);
}

/* As sp_json_equal, but numbers are compared by value (RFC 6902 section 4.6). */
static bool same(const sp_json *x, const sp_json *y) {
    if (!x || !y || x->type != y->type) return false;
    if (x->type == SP_JSON_NUMBER)
        return sp_str_eq(x->text, y->text) || sp_json_double(x, 0) == sp_json_double(y, 0);
    if (x->type != SP_JSON_ARRAY && x->type != SP_JSON_OBJECT) return sp_json_equal(x, y);
    if (x->count != y->count) return false;
    const sp_json *other = y->first;
    sp_json_each(x, it) {
        const sp_json *twin = x->type == SP_JSON_OBJECT ? sp_json_get_str(y, it->key) : other;
        if (!same(it, twin)) return false;
        other = other->next;
    }
    return true;
}

static bool op_test(change *c) {
    const sp_json *value;
    if (!given_value(c, &value)) return false;
    if (same(target(c), value)) return true;
    return refuse(c, SP_INVALID, "the test failed, the value there is another one");
}

static const struct {
    const char *name;
    bool (*run)(change *c);
} operations[] = {
    {"add", op_add},   {"remove", op_remove}, {"replace", op_replace},
    {"move", op_move}, {"copy", op_copy},     {"test", op_test},
};

static bool run(change *c) {
    if (!sp_json_is(c->op, SP_JSON_OBJECT))
        return refuse(c, SP_BAD_REQUEST, "an operation is an object");
    const sp_json *path = sp_json_get(c->op, "path");
    if (!sp_json_is(path, SP_JSON_STRING)) return refuse(c, SP_BAD_REQUEST, "\"path\" is missing");
    sp_str name = sp_json_str(sp_json_get(c->op, "op"));
    for (size_t i = 0; i < SP_COUNT(operations); i++)
        if (sp_str_eqz(name, operations[i].name))
            return (operations[i].run == op_move || resolve(c, path->text)) && operations[i].run(c);
    return refuse(c, SP_BAD_REQUEST, "\"op\" is add, remove, replace, move, copy or test");
}

bool sp_patch_json(sp_arena *a, sp_json **doc, const sp_json *patch, sp_err *err) {
    if (!sp_json_is(patch, SP_JSON_ARRAY))
        return sp_fail(err, SP_BAD_REQUEST, "a JSON patch is a list of operations, not %s",
                       sp_json_type_name(patch));
    if (patch->count > MAX_OPERATIONS)
        return sp_fail(err, SP_TOO_LARGE, "a JSON patch of %zu operations; at most %d are taken",
                       patch->count, MAX_OPERATIONS);
    change c = {.a = a, .doc = doc, .err = err};
    bool ok = true;
    sp_json_each(patch, op) {
        c.op = op;
        ok = run(&c);
        if (!ok) break;
        c.index++;
    }
    sp_buf_free(&c.step);
    return ok;
}
