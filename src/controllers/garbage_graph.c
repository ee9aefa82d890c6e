#include "controllers/garbage.h"

#include "base/map.h"
#include "kube/gvrs.h"

typedef struct source { /* one watched collection */
    sp_gc_graph *graph;
    const sp_gvr *gvr;
    sp_informer *informer;
    bool own; /* else it belongs to the manager */
    bool served;
} source;

struct sp_gc_graph {
    sp_manager *manager;
    void (*changed)(void *ctx, sp_str uid);
    void *ctx;
    SP_VEC(source *) sources;
    sp_map nodes;      /* uid → sp_gc_node */
    sp_map dependents; /* owner uid → sp_gc_nodes */
};

/* Collections that other controllers watch in full. */
static const sp_gvr *const shared[] = {&sp_gvr_namespaces,
                                       &sp_gvr_nodes,
                                       &sp_gvr_pods,
                                       &sp_gvr_services,
                                       &sp_gvr_endpoints,
                                       &sp_gvr_serviceaccounts,
                                       &sp_gvr_deployments,
                                       &sp_gvr_replicasets,
                                       &sp_gvr_endpointslices,
                                       &sp_gvr_leases,
                                       &sp_gvr_horizontalpodautoscalers,
                                       &sp_gvr_customresourcedefinitions};

/* Owned by nobody, and many; and what is only another name of a collection above. */
static bool is_skipped(const sp_gvr *g) {
    static const char *const skipped[][2] = {
        {"", "events"}, {"events.k8s.io", "events"}, {"extensions", "deployments"}};
    for (size_t i = 0; i < SP_COUNT(skipped); i++)
        if (strcmp(g->group, skipped[i][0]) == 0 && strcmp(g->plural, skipped[i][1]) == 0)
            return true;
    return false;
}

/* ---------- nodes and edges ---------- */

static void node_free(sp_gc_node *n) {
    free((char *)(uintptr_t)n->uid.p);
    free((char *)(uintptr_t)n->ns.p);
    free((char *)(uintptr_t)n->name.p);
    free(n);
}

static sp_gc_node *node_for(sp_gc_graph *g, const source *s, const sp_json *obj) {
    sp_str uid = sp_obj_uid(obj);
    sp_gc_node *n = sp_map_get(&g->nodes, uid);
    if (n) return n;
    sp_str ns = sp_obj_namespace(obj), name = sp_obj_name(obj);
    n = sp_zalloc(1, sizeof *n);
    *n = (sp_gc_node){.uid = {sp_str_dup(uid), uid.n},
                      .gvr = s->gvr,
                      .informer = s->informer,
                      .ns = {sp_str_dup(ns), ns.n},
                      .name = {sp_str_dup(name), name.n}};
    sp_map_put(&g->nodes, n->uid, n);
    return n;
}

static sp_str owner_uid(const sp_json *ref) {
    return sp_json_str(sp_json_get(ref, "uid"));
}

static void link_owner(sp_gc_graph *g, sp_gc_node *n, sp_str owner) {
    sp_gc_nodes *list = sp_map_get(&g->dependents, owner);
    if (!list) sp_map_put(&g->dependents, owner, list = sp_zalloc(1, sizeof *list));
    sp_vec_push(list, n);
}

static void unlink_owner(sp_gc_graph *g, const sp_gc_node *n, sp_str owner) {
    sp_gc_nodes *list = sp_map_get(&g->dependents, owner);
    for (size_t i = 0; list && i < list->n; i++) {
        if (list->p[i] != n) continue;
        sp_vec_remove(list, i);
        break;
    }
    if (!list || list->n) return;
    sp_map_del(&g->dependents, owner);
    sp_vec_free(list);
    free(list);
}

static const sp_json *owners_of(const sp_json *obj) {
    return sp_json_dig(obj, "metadata", "ownerReferences", NULL);
}

static void tell_dependents(sp_gc_graph *g, sp_str uid) {
    const sp_gc_nodes *list = sp_map_get(&g->dependents, uid);
    for (size_t i = 0; list && i < list->n; i++) g->changed(g->ctx, list->p[i]->uid);
}

/* An owner that is deleted in the foreground waits for exactly this. */
static void tell_owners(sp_gc_graph *g, const sp_json *obj) {
    const sp_json *refs = owners_of(obj);
    sp_json_each(refs, r) if (sp_map_has(&g->nodes, owner_uid(r))) g->changed(g->ctx, owner_uid(r));
}

static void detach(sp_gc_graph *g, const sp_json *obj) {
    sp_gc_node *n = sp_map_get(&g->nodes, sp_obj_uid(obj));
    const sp_json *refs = owners_of(obj);
    sp_json_each(refs, r) if (n) unlink_owner(g, n, owner_uid(r));
}

static void remove_node(sp_gc_graph *g, const sp_json *old) {
    sp_gc_node *n = sp_map_del(&g->nodes, sp_obj_uid(old));
    tell_owners(g, old);
    tell_dependents(g, sp_obj_uid(old));
    if (n) node_free(n);
}

static void on_change(void *ctx, const sp_json *old, const sp_json *obj) {
    source *s = ctx;
    sp_gc_graph *g = s->graph;
    bool replaced = old && obj && !sp_str_eq(sp_obj_uid(old), sp_obj_uid(obj));
    if (old) detach(g, old);
    if (old && (!obj || replaced)) remove_node(g, old);
    if (!obj || !sp_obj_uid(obj).n) return;
    sp_gc_node *n = node_for(g, s, obj);
    const sp_json *refs = owners_of(obj);
    sp_json_each(refs, r) if (owner_uid(r).n) link_owner(g, n, owner_uid(r));
    bool deleting = sp_obj_deleting(obj), was = !replaced && sp_obj_deleting(old);
    bool moved = old && !replaced && !sp_json_equal(owners_of(old), refs);
    if (moved) tell_owners(g, old);
    if ((refs && refs->count && (!old || replaced || moved || deleting != was)) || deleting)
        g->changed(g->ctx, n->uid);
    if (deleting && !was) tell_dependents(g, n->uid);
}

/* ---------- which collections ---------- */

static const sp_gvr *shared_gvr(const sp_gvr *g) {
    for (size_t i = 0; i < SP_COUNT(shared); i++)
        if (strcmp(shared[i]->group, g->group) == 0 && strcmp(shared[i]->plural, g->plural) == 0)
            return shared[i];
    return NULL;
}

static source *find_source(sp_gc_graph *g, const sp_gvr *gvr) {
    sp_vec_each(&g->sources, s) {
        if (strcmp((*s)->gvr->group, gvr->group) == 0 &&
            strcmp((*s)->gvr->plural, gvr->plural) == 0)
            return *s;
    }
    return NULL;
}

static void add_source(sp_gc_graph *g, const sp_served_kind *k) {
    source *s = sp_zalloc(1, sizeof *s);
    s->graph = g;
    s->served = true;
    s->gvr = shared_gvr(&k->gvr);
    s->own = !s->gvr;
    if (s->own) {
        sp_gvr *copy = sp_malloc(sizeof *copy);
        *copy = k->gvr; /* its strings live as long as the manager */
        s->gvr = copy;
        sp_informer_config c = {.gvr = copy, .metadata_only = true};
        s->informer = sp_informer_new(sp_manager_kube(g->manager), &c);
    } else {
        s->informer = sp_manager_informer(g->manager, s->gvr);
    }
    sp_vec_push(&g->sources, s);
    sp_informer_on_change(s->informer, on_change, s);
}

static void source_free(source *s) {
    if (s->own) {
        sp_informer_free(s->informer);
        free((sp_gvr *)(uintptr_t)s->gvr);
    }
    free(s);
}

/* Its definition is gone, and with it every object. */
static void forget_source(sp_gc_graph *g, size_t at) {
    source *s = g->sources.p[at];
    sp_obj_list all = {0};
    sp_informer_list(s->informer, (sp_str){0}, &all);
    sp_vec_each(&all, obj) on_change(s, *obj, NULL);
    sp_vec_free(&all);
    sp_vec_remove(&g->sources, at);
    source_free(s);
}

static void on_catalog(void *ctx) {
    sp_gc_graph *g = ctx;
    const sp_served_kinds *kinds = sp_catalog_kinds(sp_catalog_of(g->manager));
    sp_vec_each(&g->sources, s)(*s)->served = false;
    sp_vec_each(kinds, k) {
        if (!k->can_list || !k->can_watch || !k->can_delete || is_skipped(&k->gvr)) continue;
        source *s = find_source(g, &k->gvr);
        if (s)
            s->served = true;
        else
            add_source(g, k);
    }
    for (size_t i = g->sources.n; i-- > 0;)
        if (!g->sources.p[i]->served && g->sources.p[i]->own) forget_source(g, i);
}

/* ---------- life and reading ---------- */

sp_gc_graph *sp_gc_graph_new(sp_manager *m, void (*changed)(void *ctx, sp_str uid), void *ctx) {
    sp_gc_graph *g = sp_zalloc(1, sizeof *g);
    g->manager = m;
    g->changed = changed;
    g->ctx = ctx;
    sp_catalog_on_change(sp_catalog_of(m), on_catalog, g);
    return g;
}

sp_gc_graph *sp_gc_graph_free(sp_gc_graph *g) {
    if (!g) return NULL;
    sp_vec_each(&g->sources, s) source_free(*s);
    sp_vec_free(&g->sources);
    void *v;
    for (size_t at = 0; sp_map_next(&g->nodes, &at, NULL, &v);) node_free(v);
    for (size_t at = 0; sp_map_next(&g->dependents, &at, NULL, &v);) {
        sp_vec_free((sp_gc_nodes *)v);
        free(v);
    }
    sp_map_free(&g->nodes);
    sp_map_free(&g->dependents);
    free(g);
    return NULL;
}

bool sp_gc_complete(const sp_gc_graph *g) {
    sp_vec_each(&g->sources, s) if (!sp_informer_synced((*s)->informer)) return false;
    return g->sources.n > 0;
}

const sp_gc_node *sp_gc_find(const sp_gc_graph *g, sp_str uid) {
    return sp_map_get(&g->nodes, uid);
}

const sp_json *sp_gc_object(const sp_gc_node *n) {
    const sp_json *obj = sp_informer_get(n->informer, n->ns, n->name);
    return obj && sp_str_eq(sp_obj_uid(obj), n->uid) ? obj : NULL;
}

const sp_gc_nodes *sp_gc_dependents(const sp_gc_graph *g, sp_str uid) {
    return sp_map_get(&g->dependents, uid);
}
