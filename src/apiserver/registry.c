/* The live table of resources. Rows come in sets: one set of all built-in rows, one set per CRD.
 * A set owns an arena; it dies when it has left the table and nobody holds one of its rows any
 * more, so a request that waits for the disk may outlive the CRD it talks about. */
#include "apiserver/registry.h"

#include "base/map.h"

typedef struct sp_rowset {
    uint32_t refs; /* the table's own, and one per held sp_served */
    sp_str owner;  /* name of the CRD, "" for the built-in rows */
    sp_arena *arena;
    sp_served *served;
    size_t n;
} sp_rowset;

struct sp_registry {
    SP_VEC(sp_rowset *) sets;         /* [0] is the built-in one */
    SP_VEC(const sp_resource *) rows; /* of all sets, in their order */
    sp_map by_path;                   /* "group/version/plural" → sp_served */
    uint64_t generation;
};

enum { PATH_MAX_BYTES = 512 };

/* Joins the three into buf; {0} when they do not fit (then nothing can have that name). */
static sp_str path_key(char buf[PATH_MAX_BYTES], sp_str group, sp_str version, sp_str plural) {
    if (group.n + version.n + plural.n + 2 > PATH_MAX_BYTES) return (sp_str){0};
    sp_str parts[] = {group, SP_STR("/"), version, SP_STR("/"), plural};
    size_t n = 0;
    for (size_t i = 0; i < SP_COUNT(parts); i++) {
        if (parts[i].n) memcpy(buf + n, parts[i].p, parts[i].n);
        n += parts[i].n;
    }
    return (sp_str){buf, n};
}

static sp_str api_version_of(sp_arena *a, const sp_resource *r) {
    if (!r->group[0]) return sp_arena_str(a, sp_str_z(r->version));
    return sp_arena_printf(a, "%s/%s", r->group, r->version);
}

static sp_str head_of(sp_arena *a, const sp_resource *r) {
    sp_str api = api_version_of(a, r);
    return sp_arena_printf(a, "{\"apiVersion\":\"%.*s\",\"kind\":\"%s\"", SP_ARG(api), r->kind);
}

static void fill(sp_served *s, sp_rowset *set, const sp_resource *row) {
    sp_arena *a = set->arena;
    const sp_resource *storage = row->storage ? row->storage : row;
    *s = (sp_served){.row = row, .storage = storage, .set = set};
    s->api_version = api_version_of(a, row);
    s->head = head_of(a, row);
    s->stored_head = head_of(a, storage);
    s->prefix = sp_arena_printf(a, "/registry/%s/%s/", storage->group[0] ? storage->group : "core",
                                storage->plural);
}

static sp_rowset *rowset_unref(sp_rowset *set) {
    if (--set->refs == 0) {
        sp_arena_free(set->arena);
        free(set);
    }
    return NULL;
}

static void index_row(sp_registry *r, sp_served *s) {
    char buf[PATH_MAX_BYTES];
    const sp_resource *row = s->row;
    sp_str key = path_key(buf, sp_str_z(row->group), sp_str_z(row->version), sp_str_z(row->plural));
    sp_vec_push(&r->rows, row);
    if (key.p && !sp_map_has(&r->by_path, key)) sp_map_put(&r->by_path, key, s);
}

static void index_all(sp_registry *r) {
    sp_map_free(&r->by_path);
    r->rows.n = 0;
    r->generation++;
    sp_vec_each(&r->sets, set) {
        for (size_t i = 0; i < (*set)->n; i++) index_row(r, &(*set)->served[i]);
    }
}

static sp_rowset *rowset_new(sp_str owner, const sp_resource *const *rows, size_t n,
                             sp_arena *taken) {
    sp_rowset *set = sp_zalloc(1, sizeof *set);
    set->refs = 1;
    set->arena = taken;
    set->owner = sp_arena_str(taken, owner);
    set->served = sp_arena_alloc(taken, n * sizeof *set->served);
    set->n = n;
    for (size_t i = 0; i < n; i++) fill(&set->served[i], set, rows[i]);
    return set;
}

sp_registry *sp_registry_new(void) {
    sp_registry *r = sp_zalloc(1, sizeof *r);
    size_t n;
    const sp_resource *const *rows = sp_builtin_resources(&n);
    sp_vec_push(&r->sets, rowset_new(SP_STR(""), rows, n, sp_arena_new()));
    index_all(r);
    return r;
}

sp_registry *sp_registry_free(sp_registry *r) {
    if (!r) return NULL;
    sp_vec_each(&r->sets, set) rowset_unref(*set);
    sp_vec_free(&r->sets);
    sp_vec_free(&r->rows);
    sp_map_free(&r->by_path);
    free(r);
    return NULL;
}

static size_t set_of(const sp_registry *r, sp_str owner) {
    size_t i = 1;
    while (i < r->sets.n && !sp_str_eq(r->sets.p[i]->owner, owner)) i++;
    return i;
}

void sp_registry_put_crd(sp_registry *r, sp_str owner, const sp_resource *const *rows, size_t n,
                         sp_arena *taken) {
    sp_rowset *set = rowset_new(owner, rows, n, taken);
    size_t at = set_of(r, owner);
    if (at < r->sets.n) {
        sp_rowset *old = r->sets.p[at];
        r->sets.p[at] = set;
        index_all(r);
        rowset_unref(old);
        return;
    }
    sp_vec_push(&r->sets, set);
    index_all(r);
}

void sp_registry_remove_crd(sp_registry *r, sp_str owner) {
    size_t at = set_of(r, owner);
    if (at == r->sets.n) return;
    sp_rowset *old = r->sets.p[at];
    sp_vec_remove(&r->sets, at);
    index_all(r);
    rowset_unref(old);
}

size_t sp_registry_count(const sp_registry *r) {
    return r->rows.n;
}
uint64_t sp_registry_generation(const sp_registry *r) {
    return r->generation;
}

const sp_resource *const *sp_registry_rows(const sp_registry *r) {
    return r->rows.p;
}

sp_served *sp_registry_served(const sp_registry *r, sp_str group, sp_str version, sp_str plural) {
    char buf[PATH_MAX_BYTES];
    sp_str key = path_key(buf, group, version, plural);
    return key.p ? sp_map_get(&r->by_path, key) : NULL;
}

const sp_resource *sp_registry_find(const sp_registry *r, sp_str group, sp_str version,
                                    sp_str plural) {
    const sp_served *s = sp_registry_served(r, group, version, plural);
    return s ? s->row : NULL;
}

sp_served *sp_served_ref(sp_served *s) {
    if (s) s->set->refs++;
    return s;
}

sp_served *sp_served_unref(sp_served *s) {
    if (s) rowset_unref(s->set);
    return NULL;
}
