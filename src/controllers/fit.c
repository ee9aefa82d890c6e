/* The predicates, in the order in which their reasons are told. Requests of a pod: the larger of
 * the sum of its containers and its largest init container (sidecars count as containers), plus its
 * overhead. A resource that the node does not list at all is not there. */
#include "controllers/fit.h"

#include "controllers/common.h"
#include "controllers/taint.h"
#include "data/quantity.h"

typedef struct amount {
    sp_str name;
    int64_t milli;
} amount;

typedef struct amounts {
    SP_VEC(amount) list;
} amounts;

/* ---------- requests ---------- */

static int64_t *slot(amounts *t, sp_str name) {
    sp_vec_each(&t->list, x) if (sp_str_eq(x->name, name)) return &x->milli;
    sp_vec_push(&t->list, {name, 0});
    return &t->list.p[t->list.n - 1].milli;
}

static int64_t amount_of(const amounts *t, sp_str name) {
    sp_vec_each(&t->list, x) if (sp_str_eq(x->name, name)) return x->milli;
    return 0;
}

static void add_requests(amounts *t, const sp_json *map) {
    sp_json_each(map, q) {
        int64_t v, *to = slot(t, q->key);
        if (!sp_quantity_milli(q, &v) || __builtin_add_overflow(*to, v, to)) *to = INT64_MAX;
    }
}

static void raise_to(amounts *t, const sp_json *map) {
    sp_json_each(map, q) {
        int64_t v, *to = slot(t, q->key);
        if (sp_quantity_milli(q, &v) && v > *to) *to = v;
    }
}

static void pod_requests(const sp_json *pod, amounts *t) {
    const sp_json *spec = sp_json_get(pod, "spec");
    const sp_json *containers = sp_json_get(spec, "containers");
    const sp_json *inits = sp_json_get(spec, "initContainers");
    sp_json_each(containers, c) add_requests(t, sp_json_dig(c, "resources", "requests", NULL));
    sp_json_each(inits, c) {
        const sp_json *requests = sp_json_dig(c, "resources", "requests", NULL);
        if (sp_str_eqz(sp_json_str(sp_json_get(c, "restartPolicy")), "Always"))
            add_requests(t, requests);
        else
            raise_to(t, requests);
    }
    add_requests(t, sp_json_get(spec, "overhead"));
}

static void used_on(const sp_room *room, amounts *t) {
    sp_vec_each(&room->pods, p) pod_requests(*p, t);
}

/* ---------- predicates: each returns NULL or a reason ---------- */

typedef struct question {
    sp_arena *a;
    const sp_json *pod, *spec, *node;
    const sp_room *room;
} question;

static const char *not_ready(const question *q) {
    return sp_condition_is_true(q->node, "Ready") ? NULL : "node(s) were not ready";
}

static const char *unschedulable(const question *q) {
    if (!sp_json_bool(sp_json_dig(q->node, "spec", "unschedulable", NULL), false)) return NULL;
    sp_json *taint = sp_json_object(q->a);
    sp_json_set_z(q->a, taint, "key", "node.kubernetes.io/unschedulable");
    sp_json_set_z(q->a, taint, "effect", "NoSchedule");
    return sp_taint_is_tolerated(taint, q->spec) ? NULL : "node(s) were unschedulable";
}

static const char *tainted(const question *q) {
    const sp_json *taints = sp_json_dig(q->node, "spec", "taints", NULL);
    sp_json_each(taints, t) {
        sp_str key = sp_json_str(sp_json_get(t, "key")),
               value = sp_json_str(sp_json_get(t, "value"));
        bool only_preferred = sp_str_eqz(sp_json_str(sp_json_get(t, "effect")), "PreferNoSchedule");
        if (only_preferred || sp_taint_is_tolerated(t, q->spec)) continue;
        return sp_arena_printf(q->a, "node(s) had untolerated taint {%.*s: %.*s}", SP_ARG(key),
                               SP_ARG(value))
            .p;
    }
    return NULL;
}

static bool selector_holds(const question *q, const sp_json *selector) {
    sp_selector *s = NULL;
    return sp_selector_from_json(q->a, selector, &s, NULL) &&
           sp_selector_matches(s, sp_json_dig(q->node, "metadata", "labels", NULL));
}

/* Gt and Lt are no operators of label selectors. */
static bool expression_holds(const question *q, const sp_json *e, const sp_json *labels) {
    sp_str op = sp_json_str(sp_json_get(e, "operator"));
    bool greater = sp_str_eqz(op, "Gt");
    if (greater || sp_str_eqz(op, "Lt")) {
        int64_t have, bound;
        sp_str label = sp_json_str(sp_json_get_str(labels, sp_json_str(sp_json_get(e, "key"))));
        if (!sp_str_i64(label, &have)) return false;
        if (!sp_str_i64(sp_json_str(sp_json_at(sp_json_get(e, "values"), 0)), &bound)) return false;
        return greater ? have > bound : have < bound;
    }
    sp_json *one = sp_json_object(q->a);
    sp_json_push(sp_json_ensure_array(q->a, one, "matchExpressions"), sp_json_clone(q->a, e));
    return selector_holds(q, one);
}

static bool term_holds(const question *q, const sp_json *term) {
    const sp_json *labels = sp_json_dig(q->node, "metadata", "labels", NULL);
    const sp_json *expressions = sp_json_get(term, "matchExpressions");
    const sp_json *fields = sp_json_get(term, "matchFields");
    if (!(expressions && expressions->count) && !(fields && fields->count)) return false;
    sp_json_each(expressions, e) if (!expression_holds(q, e, labels)) return false;
    sp_json_each(fields, f) { /* metadata.name is the only one the API allows */
        bool in = sp_str_eqz(sp_json_str(sp_json_get(f, "operator")), "In"), found = false;
        const sp_json *values = sp_json_get(f, "values");
        sp_json_each(values, v) found |= sp_str_eq(sp_json_str(v), sp_obj_name(q->node));
        if (found != in) return false;
    }
    return true;
}

static const char *not_selected(const question *q) {
    static const char reason[] = "node(s) didn't match Pod's node affinity/selector";
    const sp_json *selector = sp_json_get(q->spec, "nodeSelector");
    if (selector && selector->count && !selector_holds(q, selector)) return reason;
    const sp_json *terms =
        sp_json_dig(q->spec, "affinity", "nodeAffinity",
                    "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms", NULL);
    if (!terms || !terms->count) return NULL;
    sp_json_each(terms, t) if (term_holds(q, t)) return NULL;
    return reason;
}

static bool same_host_port(const sp_json *a, const sp_json *b) {
    int64_t port = sp_json_int(sp_json_get(a, "hostPort"), 0);
    if (!port || port != sp_json_int(sp_json_get(b, "hostPort"), 0)) return false;
    sp_str pa = sp_json_str(sp_json_get(a, "protocol")),
           pb = sp_json_str(sp_json_get(b, "protocol"));
    if (!sp_str_eq(pa.n ? pa : SP_STR("TCP"), pb.n ? pb : SP_STR("TCP"))) return false;
    sp_str ia = sp_json_str(sp_json_get(a, "hostIP")), ib = sp_json_str(sp_json_get(b, "hostIP"));
    bool any = !ia.n || !ib.n || sp_str_eqz(ia, "0.0.0.0") || sp_str_eqz(ib, "0.0.0.0");
    return any || sp_str_eq(ia, ib);
}

static bool ports_clash(const sp_json *pod, const sp_json *other) {
    const sp_json *ours = sp_json_dig(pod, "spec", "containers", NULL);
    const sp_json *theirs = sp_json_dig(other, "spec", "containers", NULL);
    sp_json_each(ours, c) sp_json_each(theirs, d) {
        const sp_json *p = sp_json_get(c, "ports"), *o = sp_json_get(d, "ports");
        sp_json_each(p, x) sp_json_each(o, y) if (same_host_port(x, y)) return true;
    }
    return false;
}

static const char *port_taken(const question *q) {
    sp_vec_each(
        &q->room->pods,
        other) if (ports_clash(q->pod,
                               *other)) return "node(s) didn't have free ports for the requested "
                                               "pod ports";
    return NULL;
}

static const char *no_room(const question *q) {
    const sp_json *allocatable = sp_json_dig(q->node, "status", "allocatable", NULL);
    int64_t most, have;
    const sp_json *pods = sp_json_get(allocatable, "pods");
    if (sp_quantity_milli(pods, &most) && (int64_t)q->room->pods.n + 1 > most / 1000)
        return "Too many pods";
    amounts wanted = {0}, used = {0};
    pod_requests(q->pod, &wanted);
    used_on(q->room, &used);
    const char *reason = NULL;
    sp_vec_each(&wanted.list, w) {
        if (!w->milli || reason) continue;
        if (!sp_quantity_milli(sp_json_get_str(allocatable, w->name), &have)) have = 0;
        if (w->milli > have - amount_of(&used, w->name))
            reason = sp_arena_printf(q->a, "Insufficient %.*s", SP_ARG(w->name)).p;
    }
    sp_vec_free(&wanted.list);
    sp_vec_free(&used.list);
    return reason;
}

const char *sp_fit_reason(sp_arena *a, const sp_json *pod, const sp_room *room) {
    static const char *(*const predicates[])(const question *) = {
        not_ready, unschedulable, tainted, not_selected, port_taken, no_room};
    question q = {a, pod, sp_json_get(pod, "spec"), room->node, room};
    for (size_t i = 0; i < SP_COUNT(predicates); i++) {
        const char *reason = predicates[i](&q);
        if (reason) return reason;
    }
    return NULL;
}

/* ---------- score ---------- */

static double free_share(const amounts *used, const sp_json *allocatable, const char *resource) {
    int64_t total;
    if (!sp_quantity_milli(sp_json_get(allocatable, resource), &total) || total <= 0) return 0;
    double share = 1 - (double)amount_of(used, sp_str_z(resource)) / (double)total;
    return share < 0 ? 0 : share;
}

double sp_fit_score(sp_arena *a, const sp_json *pod, const sp_room *room) {
    (void)a;
    const sp_json *allocatable = sp_json_dig(room->node, "status", "allocatable", NULL);
    amounts used = {0};
    used_on(room, &used);
    pod_requests(pod, &used);
    double score =
        (free_share(&used, allocatable, "cpu") + free_share(&used, allocatable, "memory")) / 2;
    sp_vec_free(&used.list);
    return score;
}
