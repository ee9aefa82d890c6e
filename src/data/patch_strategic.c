/* Kubernetes' strategic merge: like RFC 7386, but lists whose field has a merge key (or is a set of
 * scalars) are merged item by item, and "$…" members of the patch direct the merging.
 *
 * A list is merged in three steps over `slots`, one for each item: what is there, what the patch
 * deletes or changes or adds, and in which order all stand. The order is that of
 * $setElementOrder, else that of the patch; items nobody mentions keep their place relative to the
 * others as far as that goes. Keys are compared as JSON text, through maps, so that long lists cost
 * no quadratic time. */
#include "data/patch.h"

#include "data/json_index.h"
#include "data/schema_path.h"

typedef struct merger {
    sp_arena *a;
    sp_buf path;
    sp_err *err;
} merger;

static const char ORDER[] = "$setElementOrder/", DELETE[] = "$deleteFromPrimitiveList/";

static bool refuse(merger *m, const char *what) {
    return sp_fail_field(m->err, SP_BAD_REQUEST, sp_buf_z(&m->path),
                         "strategic merge patch%s%s: %s", m->path.n ? " at " : "",
                         sp_buf_z(&m->path), what);
}

static bool merges(const sp_field *f) {
    return f && (f->merge_key || f->merge_primitives);
}

static bool merge_object(merger *m, const sp_schema *s, sp_json *into, const sp_json *patch);
static bool merge_list(merger *m, const sp_field *f, sp_json *list, const sp_json *patch,
                       const sp_json *order);

/* What the patch makes where nothing was: directives and nulls are gone from it. */
static bool fresh(merger *m, const sp_schema *s, const sp_field *f, const sp_json *patch,
                  sp_json **ret) {
    bool merged_list = patch->type == SP_JSON_ARRAY && merges(f);
    if (patch->type != SP_JSON_OBJECT && !merged_list) {
        *ret = sp_json_clone(m->a, patch);
        return true;
    }
    *ret = merged_list ? sp_json_array(m->a) : sp_json_object(m->a);
    return merged_list ? merge_list(m, f, *ret, patch, NULL) : merge_object(m, s, *ret, patch);
}

/* ---------- lists ---------- */

typedef struct slot {
    sp_json *item;            /* NULL: deleted */
    ptrdiff_t server, wanted; /* place in the list as it was, place asked for; -1: none */
} slot;

typedef struct lister {
    merger *m;
    const sp_field *field;
    SP_VEC(slot) slots;
    sp_map by_key; /* key text to index of the slot + 1 */
    sp_map gone;   /* key texts to delete */
    sp_buf key;
} lister;

static void lister_free(lister *l) {
    sp_vec_free(&l->slots);
    sp_map_free(&l->by_key);
    sp_map_free(&l->gone);
    sp_buf_free(&l->key);
}

/* Key text of an item into l->key. */
static bool read_key(lister *l, const sp_json *item) {
    sp_buf_clear(&l->key);
    bool is_object = item->type == SP_JSON_OBJECT;
    if (!l->field->merge_key) {
        sp_json_write(&l->key, item);
        return true;
    }
    const sp_json *key = is_object ? sp_json_get(item, l->field->merge_key) : NULL;
    if (key) sp_json_write(&l->key, key);
    return key != NULL;
}

static bool need_key(lister *l, const sp_json *item) {
    if (read_key(l, item)) return true;
    char text[200];
    snprintf(text, sizeof text, "each item must be an object that has the merge key \"%.100s\"",
             l->field->merge_key);
    return refuse(l->m, text);
}

static slot *find(lister *l) {
    uintptr_t index = (uintptr_t)sp_map_get(&l->by_key, sp_buf_str(&l->key));
    return index ? &l->slots.p[index - 1] : NULL;
}

static void add_slot(lister *l, sp_json *item, ptrdiff_t server) {
    sp_vec_push(&l->slots, {item, server, -1});
    if (!find(l)) sp_map_put(&l->by_key, sp_buf_str(&l->key), (void *)(uintptr_t)l->slots.n);
}

static void load(lister *l, sp_json *list) {
    ptrdiff_t i = 0;
    for (sp_json *it = sp_json_take_children(list), *following; it; it = following) {
        following = it->next;
        it->next = NULL;
        if (read_key(l, it))
            add_slot(l, it, i++);
        else
            sp_vec_push(&l->slots, {it, i++, -1});
    }
}

static const char *item_directive(const sp_json *item) {
    return item->type == SP_JSON_OBJECT ? sp_json_get_z(item, "$patch") : "";
}

static bool drop_deleted(lister *l, const sp_json *patch) {
    sp_json_each(patch, it) {
        if (strcmp(item_directive(it), "delete") != 0) continue;
        if (!need_key(l, it)) return false;
        sp_map_put(&l->gone, sp_buf_str(&l->key), l);
    }
    if (!l->gone.n) return true;
    sp_vec_each(&l->slots, s) {
        if (!read_key(l, s->item) || !sp_map_has(&l->gone, sp_buf_str(&l->key))) continue;
        s->item = NULL;
        sp_map_del(&l->by_key, sp_buf_str(&l->key));
    }
    return true;
}

static bool merge_item(lister *l, const sp_json *patch) {
    const char *says = item_directive(patch);
    if (strcmp(says, "delete") == 0) return true;
    if (*says && strcmp(says, "merge") != 0)
        return refuse(l->m, "\"$patch\" of an item is delete, merge or replace");
    if (!need_key(l, patch)) return false;
    const sp_schema *items = l->field->schema ? l->field->schema->items : NULL;
    slot *there = find(l);
    if (there && !l->field->merge_key) return true;
    if (there && there->item->type == SP_JSON_OBJECT)
        return merge_object(l->m, items, there->item, patch);
    sp_json *made;
    if (!fresh(l->m, items, NULL, patch, &made) || !need_key(l, patch)) return false;
    if (there)
        there->item = made;
    else
        add_slot(l, made, -1);
    return true;
}

/* Gives each slot that `order` names its place. */
static void place(lister *l, const sp_json *order) {
    ptrdiff_t i = 0;
    sp_json_each(order, it) {
        if (strcmp(item_directive(it), "delete") == 0 || !read_key(l, it)) continue;
        slot *s = find(l);
        if (s && s->wanted < 0) s->wanted = i;
        i++;
    }
}

static bool check_placed(lister *l, const sp_json *patch) {
    sp_json_each(patch, it) {
        slot *s = read_key(l, it) ? find(l) : NULL;
        if (s && s->item && s->wanted < 0)
            return refuse(l->m, "$setElementOrder leaves out an item of the patch");
    }
    return true;
}

static int by_wanted(const void *a, const void *b) {
    const slot *x = a, *y = b;
    return (x->wanted > y->wanted) - (x->wanted < y->wanted);
}

/* Zips the items with a wanted place and the others (in server order): an unmentioned item goes
 * before a mentioned one only if it stood before it on the server. */
static void store(lister *l, sp_json *list) {
    SP_VEC(slot) wanted = {0};
    SP_VEC(slot) rest = {0};
    sp_vec_each(&l->slots, s) {
        if (!s->item) continue;
        if (s->wanted >= 0)
            sp_vec_push(&wanted, *s);
        else
            sp_vec_push(&rest, *s);
    }
    if (wanted.n) qsort(wanted.p, wanted.n, sizeof *wanted.p, by_wanted);
    for (size_t i = 0, k = 0; i < rest.n || k < wanted.n;) {
        bool take_rest = k == wanted.n;
        if (i < rest.n && k < wanted.n)
            take_rest = wanted.p[k].server >= 0 && rest.p[i].server >= 0 &&
                        rest.p[i].server < wanted.p[k].server;
        sp_json_push(list, take_rest ? rest.p[i++].item : wanted.p[k++].item);
    }
    sp_vec_free(&wanted);
    sp_vec_free(&rest);
}

static bool has_replace(const sp_json *patch) {
    sp_json_each(patch, it) if (strcmp(item_directive(it), "replace") == 0) return true;
    return false;
}

/* {"$patch":"replace"} among the items: the other items are the new list. */
static bool replace_list(merger *m, const sp_field *f, sp_json *list, const sp_json *patch) {
    const sp_schema *items = f->schema ? f->schema->items : NULL;
    sp_json_take_children(list);
    sp_json_each(patch, it) {
        sp_json *made;
        if (strcmp(item_directive(it), "replace") == 0) continue;
        if (!fresh(m, items, NULL, it, &made)) return false;
        sp_json_push(list, made);
    }
    return true;
}

static bool run_list(lister *l, sp_json *list, const sp_json *patch, const sp_json *order) {
    load(l, list);
    if (!drop_deleted(l, patch)) return false;
    sp_json_each(patch, it) if (!merge_item(l, it)) return false;
    place(l, order ? order : patch);
    if (order && !check_placed(l, patch)) return false;
    store(l, list);
    return true;
}

/* patch and order may be NULL. */
static bool merge_list(merger *m, const sp_field *f, sp_json *list, const sp_json *patch,
                       const sp_json *order) {
    if (order && order->type != SP_JSON_ARRAY) return refuse(m, "$setElementOrder takes a list");
    if (patch && has_replace(patch)) return replace_list(m, f, list, patch);
    lister l = {.m = m, .field = f};
    bool ok = run_list(&l, list, patch, order);
    lister_free(&l);
    return ok;
}

/* ---------- objects ---------- */

static bool delete_scalars(merger *m, sp_json *list, const sp_json *values) {
    if (values->type != SP_JSON_ARRAY) return refuse(m, "$deleteFromPrimitiveList takes a list");
    if (!sp_json_is(list, SP_JSON_ARRAY)) return true;
    const sp_field whole = {.merge_primitives = true};
    lister l = {.m = m, .field = &whole};
    sp_json_each(values, v) {
        read_key(&l, v);
        sp_map_put(&l.gone, sp_buf_str(&l.key), m);
    }
    load(&l, list);
    sp_vec_each(&l.slots, s) {
        read_key(&l, s->item);
        if (!sp_map_has(&l.gone, sp_buf_str(&l.key))) sp_json_push(list, s->item);
    }
    lister_free(&l);
    return true;
}

static bool is_directive(sp_str key) {
    return sp_str_eqz(key, "$patch") || sp_str_eqz(key, "$retainKeys") ||
           sp_str_starts(key, sp_str_z(ORDER)) || sp_str_starts(key, sp_str_z(DELETE));
}

/* Members of the object that $retainKeys does not list go; so the patch may only set listed ones.
 */
static bool retain_keys(merger *m, sp_json *into, const sp_json *patch) {
    const sp_json *names = sp_json_get(patch, "$retainKeys");
    if (!names) return true;
    if (names->type != SP_JSON_ARRAY) return refuse(m, "$retainKeys takes a list of field names");
    sp_auto(sp_map) kept = {0};
    sp_json_each(names, name) sp_map_put(&kept, sp_json_str(name), m);
    sp_json_each(
        patch,
        p) if (!is_directive(p->key) && p->type != SP_JSON_NULL &&
               !sp_map_has(
                   &kept,
                   p->key)) return refuse(m,
                                          "$retainKeys does not list every field the patch sets");
    for (sp_json *following, *it = sp_json_take_children(into); it; it = following) {
        following = it->next;
        if (sp_map_has(&kept, it->key)) sp_json_set_new(into, it);
    }
    return true;
}

/* Both sides of one merge, with quick look-up. The document's index holds until `into` changes. */
typedef struct sides {
    sp_json *into;
    const sp_json *patch;
    sp_json_index of_into, of_patch;
} sides;

static sp_json *in_doc(const sides *x, sp_str key) {
    return sp_json_index_get(&x->of_into, x->into->first, key);
}

static const sp_json *in_patch(const sides *x, sp_str key) {
    return sp_json_index_get(&x->of_patch, x->patch->first, key);
}

static const sp_json *order_of(const sides *x, sp_str field) {
    sp_auto(sp_buf) name = {0};
    sp_buf_addz(&name, ORDER);
    sp_buf_add(&name, field);
    return in_patch(x, sp_buf_str(&name));
}

/* The directives that stand beside the fields they are about. */
static bool run_directives(merger *m, const sp_schema *s, const sides *x) {
    sp_json_each(x->patch, p) {
        bool deletes = sp_str_starts(p->key, sp_str_z(DELETE));
        bool orders = sp_str_starts(p->key, sp_str_z(ORDER));
        if (!deletes && !orders) continue;
        sp_str name = sp_str_from(p->key, strlen(deletes ? DELETE : ORDER));
        size_t before = sp_path_field(&m->path, name);
        sp_json *list = in_doc(x, name);
        const sp_field *f = sp_schema_field(s, name);
        bool ok = true;
        if (deletes)
            ok = delete_scalars(m, list, p);
        else if (!in_patch(x, name) && merges(f) && sp_json_is(list, SP_JSON_ARRAY))
            ok = merge_list(m, f, list, NULL, p);
        sp_path_cut(&m->path, before);
        if (!ok) return false;
    }
    return true;
}

static const sp_schema *schema_of(const sp_schema *s, const sp_field *f) {
    return f ? f->schema : s && s->type == SP_SCHEMA_OBJECT ? s->items : NULL;
}

/* What p makes of old, in old's node. */
static bool change_member(merger *m, const sp_schema *s, const sides *x, sp_json *old,
                          const sp_json *p) {
    const sp_field *f = sp_schema_field(s, p->key);
    const sp_schema *inner = schema_of(s, f);
    sp_json *made;
    if (p->type == SP_JSON_OBJECT && old->type == SP_JSON_OBJECT)
        return merge_object(m, inner, old, p);
    if (p->type == SP_JSON_ARRAY && merges(f)) {
        if (old->type != SP_JSON_ARRAY) sp_json_assign(old, sp_json_array(m->a));
        return merge_list(m, f, old, p, order_of(x, p->key));
    }
    if (!fresh(m, inner, f, p, &made)) return false;
    sp_json_assign(old, made);
    return true;
}

static bool change_members(merger *m, const sp_schema *s, const sides *x) {
    for (sp_json *next, *it = sp_json_take_children(x->into); it; it = next) {
        next = it->next;
        const sp_json *p = is_directive(it->key) ? NULL : in_patch(x, it->key);
        if (p && p->type == SP_JSON_NULL) continue;
        size_t before = sp_path_field(&m->path, it->key);
        bool ok = !p || change_member(m, s, x, it, p);
        sp_path_cut(&m->path, before);
        if (!ok) return false;
        sp_json_set_new(x->into, it);
    }
    return true;
}

/* Into *added: what the patch has and the document has not. */
static bool add_members(merger *m, const sp_schema *s, const sides *x, sp_json *added) {
    sp_json_each(x->patch, p) {
        if (is_directive(p->key) || p->type == SP_JSON_NULL || in_doc(x, p->key)) continue;
        sp_json *made = sp_json_null(m->a);
        made->key = sp_arena_str(m->a, p->key);
        size_t before = sp_path_field(&m->path, p->key);
        bool ok = change_member(m, s, x, made, p);
        sp_path_cut(&m->path, before);
        if (!ok) return false;
        sp_json_set_new(added, made);
    }
    return true;
}

static bool merge_members(merger *m, const sp_schema *s, const sides *x) {
    sp_json added = {.type = SP_JSON_OBJECT};
    if (!run_directives(m, s, x) || !add_members(m, s, x, &added) || !change_members(m, s, x))
        return false;
    for (sp_json *next, *it = added.first; it; it = next) {
        next = it->next;
        sp_json_set_new(x->into, it);
    }
    return true;
}

static bool merge_object(merger *m, const sp_schema *s, sp_json *into, const sp_json *patch) {
    const char *says = sp_json_get_z(patch, "$patch");
    bool replaces = strcmp(says, "replace") == 0, deletes = strcmp(says, "delete") == 0;
    if (sp_json_get(patch, "$patch") && !replaces && !deletes && strcmp(says, "merge") != 0)
        return refuse(m, "\"$patch\" is delete, merge or replace");
    if (replaces || deletes) sp_json_take_children(into);
    if (deletes) return true;
    if (!retain_keys(m, into, patch)) return false;
    sides x = {into, patch, sp_json_index_make(into), sp_json_index_make(patch)};
    bool ok = merge_members(m, s, &x);
    sp_json_index_cleanup(&x.of_into);
    sp_json_index_cleanup(&x.of_patch);
    return ok;
}

bool sp_patch_strategic(sp_arena *a, const sp_schema *s, sp_json **doc, const sp_json *patch,
                        sp_err *err) {
    if (!sp_json_is(patch, SP_JSON_OBJECT) || !sp_json_is(*doc, SP_JSON_OBJECT))
        return sp_fail(err, SP_BAD_REQUEST, "a strategic merge patch is an object, not %s",
                       sp_json_type_name(patch));
    merger m = {.a = a, .err = err};
    bool ok = merge_object(&m, s, *doc, patch);
    sp_buf_free(&m.path);
    return ok;
}
