/* Documents as trees: reading and changing them. Parsing is json_parse.c, printing json_write.c. */
#include "data/json.h"

#include "data/json_index.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

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

static bool equal_items(const sp_json *a, const sp_json *b) {
    const sp_json *other = b->first;
    sp_json_each(a, item) {
        if (!sp_json_equal(item, other)) return false;
        other = other->next;
    }
    return true;
}

/* Nearly always both have the same order; only where not is there anything to look up. */
static bool equal_members(const sp_json *a, const sp_json *b) {
    sp_auto(sp_json_index) index = {0};
    const sp_json *other = b->first;
    bool in_order = true;
    sp_json_each(a, m) {
        if (in_order && !sp_str_eq(m->key, other->key)) {
            in_order = false;
            index = sp_json_index_make(b);
        }
        const sp_json *twin = in_order ? other : sp_json_index_get(&index, b->first, m->key);
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
    case SP_JSON_ARRAY: return a->count == b->count && equal_items(a, b);
    case SP_JSON_OBJECT: return a->count == b->count && equal_members(a, b);
    }
    return false;
}

size_t sp_json_depth(const sp_json *j) {
    size_t deepest = 0;
    sp_json_each(j, c) {
        size_t d = sp_json_depth(c);
        deepest = SP_MAX(deepest, d);
    }
    return deepest + (j->type == SP_JSON_ARRAY || j->type == SP_JSON_OBJECT);
}

const char *sp_json_type_name(const sp_json *j) {
    static const char *const names[] = {"null", "boolean", "number", "string", "array", "object"};
    if (!j) return "nothing";
    return sp_json_is_int(j) ? "integer" : names[j->type];
}

/* ---------- building ---------- */

static void append(sp_json *parent, sp_json *child) {
    child->next = NULL;
    if (parent->last)
        parent->last->next = child;
    else
        parent->first = child;
    parent->last = child;
    parent->count++;
}

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

sp_json *sp_json_take_children(sp_json *j) {
    sp_json *first = j->first;
    j->first = j->last = NULL;
    j->count = 0;
    return first;
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
