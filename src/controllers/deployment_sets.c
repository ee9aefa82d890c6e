/* ReplicaSets as a Deployment sees them. */
#include "controllers/common.h"
#include "controllers/controllers.h"
#include "controllers/deployment.h"

static const char hash_key[] = "pod-template-hash";
static const char history_key[] = "deployment.kubernetes.io/revision-history";
const char sp_revision_key[] = "deployment.kubernetes.io/revision";
const char sp_desired_replicas_key[] = "deployment.kubernetes.io/desired-replicas";
const char sp_max_replicas_key[] = "deployment.kubernetes.io/max-replicas";

int64_t sp_set_replicas(const sp_json *set) {
    return sp_json_int(sp_json_dig(set, "spec", "replicas", NULL), 1);
}

int64_t sp_set_status(const sp_json *set, const char *field) {
    return sp_json_int(sp_json_dig(set, "status", field, NULL), 0);
}

int64_t sp_set_annotated(const sp_json *set, const char *key) {
    int64_t v;
    sp_str s = sp_obj_annotation(set, key);
    return s.n && sp_str_i64(s, &v) ? v : 0;
}

/* ---------- templates ---------- */

/* The template without the label that tells ReplicaSets apart. */
static sp_json *bare_template(sp_arena *a, const sp_json *owner) {
    const sp_json *t = sp_json_dig(owner, "spec", "template", NULL);
    sp_json *copy = t ? sp_json_clone(a, t) : sp_json_object(a);
    sp_json_remove(sp_json_dig(copy, "metadata", "labels", NULL), hash_key);
    sp_json *meta = sp_json_get(copy, "metadata");
    sp_json_remove(meta, "creationTimestamp"); /* clients send null here */
    return copy;
}

static void hash_bytes(uint32_t *h, sp_str s) {
    for (size_t i = 0; i < s.n; i++) *h = (*h ^ (unsigned char)s.p[i]) * 16777619u; /* FNV-1a */
}

static int by_key(const void *a, const void *b) {
    return sp_str_cmp((*(const sp_json *const *)a)->key, (*(const sp_json *const *)b)->key);
}

/* Of the value, not of its spelling: the order of fields does not count. */
static void hash_node(sp_arena *a, uint32_t *h, const sp_json *j) {
    char type = (char)('0' + j->type);
    hash_bytes(h, (sp_str){&type, 1});
    if (j->type == SP_JSON_BOOL) hash_bytes(h, j->boolean ? SP_STR("t") : SP_STR("f"));
    hash_bytes(h, j->text);
    if (!j->count) return;
    const sp_json **list = sp_arena_alloc(a, j->count * sizeof *list);
    size_t n = 0;
    sp_json_each(j, c) list[n++] = c;
    if (j->type == SP_JSON_OBJECT) qsort(list, n, sizeof *list, by_key);
    for (size_t i = 0; i < n; i++) {
        hash_bytes(h, list[i]->key);
        hash_node(a, h, list[i]);
    }
    hash_bytes(h, SP_STR(";"));
}

sp_str sp_template_hash(sp_arena *a, const sp_json *template, int64_t collisions) {
    static const char alphabet[] = "bcdfghjklmnpqrstvwxz2456789";
    uint32_t h = 2166136261u;
    hash_node(a, &h, template);
    if (collisions) hash_bytes(&h, sp_arena_printf(a, "%lld", (long long)collisions));
    sp_str digits = sp_arena_printf(a, "%u", h);
    char *out = sp_arena_strz(a, digits);
    for (size_t i = 0; i < digits.n; i++) out[i] = alphabet[(unsigned char)out[i] % 27];
    return (sp_str){out, digits.n};
}

/* ---------- finding ---------- */

static int by_age(const void *pa, const void *pb) {
    const sp_json *a = *(const sp_json *const *)pa, *b = *(const sp_json *const *)pb;
    int64_t ta = sp_obj_created_ms(a), tb = sp_obj_created_ms(b);
    if (ta != tb) return ta < tb ? -1 : 1;
    return sp_str_cmp(sp_obj_name(a), sp_obj_name(b));
}

bool sp_deploy_find_sets(sp_deploy *x, const sp_obj_list *all, sp_err *err) {
    sp_arena *a = x->r->arena;
    sp_selector *selector = NULL;
    if (!sp_selector_from_json(a, sp_json_dig(x->d, "spec", "selector", NULL), &selector, err))
        return false;
    const sp_json *wanted = bare_template(a, x->d);
    sp_vec_each(all, set) {
        if (sp_claim(x->r, &sp_gvr_replicasets, x->d, selector, *set, true))
            sp_vec_push(&x->old, *set);
    }
    if (x->old.n) qsort(x->old.p, x->old.n, sizeof *x->old.p, by_age);
    for (size_t i = 0; i < x->old.n; i++) {
        if (!sp_json_equal(bare_template(a, x->old.p[i]), wanted)) continue;
        x->fresh = x->old.p[i];
        sp_vec_remove(&x->old, i);
        break;
    }
    return true;
}

/* ---------- revisions and annotations ---------- */

static bool is_own_annotation(sp_str key) {
    static const char *const own[] = {"kubectl.kubernetes.io/last-applied-configuration",
                                      "deployment.kubernetes.io/revision",
                                      "deployment.kubernetes.io/revision-history",
                                      "deployment.kubernetes.io/desired-replicas",
                                      "deployment.kubernetes.io/max-replicas",
                                      "deprecated.deployment.rollback.to"};
    for (size_t i = 0; i < SP_COUNT(own); i++)
        if (sp_str_eqz(key, own[i])) return true;
    return false;
}

static int64_t next_revision(const sp_deploy *x) {
    int64_t most = 0;
    sp_vec_each(&x->old, set) {
        int64_t v = sp_set_annotated(*set, sp_revision_key);
        most = SP_MAX(most, v);
    }
    return most + 1;
}

static void put_number(sp_arena *a, sp_json *annotations, const char *key, int64_t v) {
    sp_json_set(a, annotations, key, sp_json_printf(a, "%lld", (long long)v));
}

static int64_t most_replicas(const sp_deploy *x) {
    return x->replicas + x->max_surge;
}

/* A set that becomes current again keeps the numbers it had. */
static sp_str history_of(sp_arena *a, const sp_json *set) {
    sp_str revision = sp_obj_annotation(set, sp_revision_key),
           old = sp_obj_annotation(set, history_key);
    if (!old.n) return revision;
    for (sp_str part, rest = old; sp_str_cut(&rest, ',', &part);)
        if (sp_str_eq(part, revision)) return old;
    return sp_arena_printf(a, "%.*s,%.*s", SP_ARG(old), SP_ARG(revision));
}

static void sync_set_annotations(sp_deploy *x, int64_t revision) {
    sp_arena *a = x->r->arena;
    const sp_json *have = sp_json_dig(x->fresh, "metadata", "annotations", NULL);
    const sp_json *wanted = sp_json_dig(x->d, "metadata", "annotations", NULL);
    sp_json *patch = sp_json_object(a);
    sp_json *change =
        sp_json_ensure_object(a, sp_json_ensure_object(a, patch, "metadata"), "annotations");
    sp_json_each(wanted, w) {
        if (!is_own_annotation(w->key) && !sp_json_equal(sp_json_get_str(have, w->key), w))
            sp_json_set_str(a, change, w->key, sp_json_clone(a, w));
    }
    if (sp_set_annotated(x->fresh, sp_revision_key) < revision) {
        sp_str history = history_of(a, x->fresh);
        if (history.n) sp_json_set(a, change, history_key, sp_json_new_str(a, history));
        put_number(a, change, sp_revision_key, revision);
    }
    if (change->count)
        sp_reconcile_merge(x->r, &sp_gvr_replicasets, sp_obj_namespace(x->d), sp_obj_name(x->fresh),
                           patch);
}

static void sync_own_revision(sp_deploy *x, int64_t revision) {
    sp_arena *a = x->r->arena;
    if (sp_set_annotated(x->d, sp_revision_key) == revision) return;
    sp_json *patch = sp_json_object(a);
    sp_json *meta = sp_json_ensure_object(a, patch, "metadata");
    put_number(a, sp_json_ensure_object(a, meta, "annotations"), sp_revision_key, revision);
    sp_reconcile_merge(x->r, &sp_gvr_deployments, sp_obj_namespace(x->d), sp_obj_name(x->d), patch);
}

void sp_deploy_sync_revision(sp_deploy *x) {
    if (!x->fresh) return;
    int64_t next = next_revision(x), now = sp_set_annotated(x->fresh, sp_revision_key);
    sync_set_annotations(x, next);
    sync_own_revision(x, SP_MAX(next, now));
}

/* ---------- making ---------- */

static bool name_taken(const sp_obj_list *all, sp_str name) {
    sp_vec_each(all, set) if (sp_str_eq(sp_obj_name(*set), name)) return true;
    return false;
}

static void fill_metadata(sp_deploy *x, sp_json *set, sp_str name, int64_t replicas) {
    sp_arena *a = x->r->arena;
    (void)replicas;
    sp_json *meta = sp_json_ensure_object(a, set, "metadata");
    sp_json_set(a, meta, "name", sp_json_new_str(a, name));
    sp_json_set(a, meta, "namespace", sp_json_new_str(a, sp_obj_namespace(x->d)));
    sp_json *annotations = sp_json_ensure_object(a, meta, "annotations");
    const sp_json *copied = sp_json_dig(x->d, "metadata", "annotations", NULL);
    sp_json_each(copied, w) {
        if (!is_own_annotation(w->key))
            sp_json_set_str(a, annotations, w->key, sp_json_clone(a, w));
    }
    put_number(a, annotations, sp_desired_replicas_key, x->replicas);
    put_number(a, annotations, sp_max_replicas_key, most_replicas(x));
    put_number(a, annotations, sp_revision_key, next_revision(x));
    sp_json_push(sp_json_ensure_array(a, meta, "ownerReferences"), sp_owner_ref(a, x->d));
}

static void fill_spec(sp_deploy *x, sp_json *set, sp_json *template, sp_str hash,
                      int64_t replicas) {
    sp_arena *a = x->r->arena;
    sp_json *spec = sp_json_ensure_object(a, set, "spec");
    sp_json_set_int(a, spec, "replicas", replicas);
    int64_t min_ready = sp_json_int(sp_json_dig(x->d, "spec", "minReadySeconds", NULL), 0);
    sp_set_unless_zero(a, spec, "minReadySeconds", min_ready);
    sp_json *selector = sp_json_clone(a, sp_json_dig(x->d, "spec", "selector", NULL));
    sp_json *match = sp_json_ensure_object(a, selector, "matchLabels");
    sp_json_set(a, match, hash_key, sp_json_new_str(a, hash));
    sp_json_set(a, spec, "selector", selector);
    sp_json *meta = sp_json_ensure_object(a, template, "metadata");
    sp_json *labels = sp_json_ensure_object(a, meta, "labels");
    sp_json_set(a, labels, hash_key, sp_json_new_str(a, hash));
    sp_json_set(a, spec, "template", template);
    sp_json *own = sp_json_ensure_object(a, sp_json_get(set, "metadata"), "labels");
    sp_json_each(labels, l) sp_json_set_str(a, own, l->key, sp_json_clone(a, l));
}

bool sp_deploy_make_set(sp_deploy *x, const sp_obj_list *all, int64_t replicas) {
    sp_arena *a = x->r->arena;
    sp_json *template = bare_template(a, x->d);
    int64_t collisions = sp_json_int(sp_json_dig(x->d, "status", "collisionCount", NULL), 0);
    sp_str hash = sp_template_hash(a, template, collisions);
    sp_str name = sp_arena_printf(a, "%.*s-%.*s", SP_ARG(sp_obj_name(x->d)), SP_ARG(hash));
    if (name_taken(all, name)) {
        sp_deploy_write_status(x, collisions + 1);
        return false;
    }
    sp_json *set = sp_json_object(a);
    sp_json_set_z(a, set, "apiVersion", "apps/v1");
    sp_json_set_z(a, set, "kind", "ReplicaSet");
    fill_metadata(x, set, name, replicas);
    fill_spec(x, set, template, hash, replicas);
    sp_reconcile_create(x->r, &sp_gvr_replicasets, sp_obj_namespace(x->d), set);
    if (replicas)
        sp_reconcile_event(x->r, x->d, "Normal", "ScalingReplicaSet",
                           "Scaled up replica set %.*s from 0 to %lld", SP_ARG(name),
                           (long long)replicas);
    sync_own_revision(x, next_revision(x));
    x->made = set;
    return true;
}

/* ---------- sizes ---------- */

bool sp_deploy_was_scaled(const sp_deploy *x) {
    if (x->fresh && sp_set_replicas(x->fresh) > 0 &&
        sp_set_annotated(x->fresh, sp_desired_replicas_key) &&
        sp_set_annotated(x->fresh, sp_desired_replicas_key) != x->replicas)
        return true;
    sp_vec_each(&x->old, set) {
        int64_t remembered = sp_set_annotated(*set, sp_desired_replicas_key);
        if (sp_set_replicas(*set) > 0 && remembered && remembered != x->replicas) return true;
    }
    return false;
}

void sp_deploy_resize(sp_deploy *x, const sp_json *set, int64_t replicas) {
    sp_arena *a = x->r->arena;
    int64_t now = sp_set_replicas(set);
    bool remembered = sp_set_annotated(set, sp_desired_replicas_key) == x->replicas &&
                      sp_set_annotated(set, sp_max_replicas_key) == most_replicas(x);
    if (now == replicas && remembered) return;
    sp_json *patch = sp_json_object(a);
    sp_json *meta = sp_json_ensure_object(a, patch, "metadata");
    sp_json *annotations = sp_json_ensure_object(a, meta, "annotations");
    put_number(a, annotations, sp_desired_replicas_key, x->replicas);
    put_number(a, annotations, sp_max_replicas_key, most_replicas(x));
    if (now != replicas)
        sp_json_set_int(a, sp_json_ensure_object(a, patch, "spec"), "replicas", replicas);
    sp_reconcile_merge(x->r, &sp_gvr_replicasets, sp_obj_namespace(set), sp_obj_name(set), patch);
    if (now != replicas)
        sp_reconcile_event(x->r, x->d, "Normal", "ScalingReplicaSet",
                           "Scaled %s replica set %.*s from %lld to %lld",
                           replicas > now ? "up" : "down", SP_ARG(sp_obj_name(set)), (long long)now,
                           (long long)replicas);
}

/* ---------- history ---------- */

static int by_revision(const void *pa, const void *pb) {
    const sp_json *a = *(const sp_json *const *)pa, *b = *(const sp_json *const *)pb;
    int64_t ra = sp_set_annotated(a, sp_revision_key), rb = sp_set_annotated(b, sp_revision_key);
    if (ra != rb) return ra < rb ? -1 : 1;
    return by_age(pa, pb);
}

static bool is_history(const sp_json *set) {
    return sp_set_replicas(set) == 0 && sp_set_status(set, "replicas") == 0 &&
           !sp_obj_deleting(set) &&
           sp_set_status(set, "observedGeneration") >= sp_obj_generation(set);
}

void sp_deploy_trim_history(sp_deploy *x) {
    int64_t keep = sp_json_int(sp_json_dig(x->d, "spec", "revisionHistoryLimit", NULL), 10);
    sp_obj_list done = {0};
    sp_vec_each(&x->old, set) if (is_history(*set)) sp_vec_push(&done, *set);
    if (done.n) qsort(done.p, done.n, sizeof *done.p, by_revision);
    for (size_t i = 0; (int64_t)(done.n - i) > keep && i < done.n; i++)
        sp_reconcile_delete(x->r, &sp_gvr_replicasets, done.p[i], "Background");
    sp_vec_free(&done);
}
