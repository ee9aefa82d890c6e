/* Endpoints and EndpointSlices of Services that have a selector; all others are left alone.
 *
 * Both say the same: which pods stand behind the Service, on which ports, in which state. Pods
 * whose named target ports resolve to the same numbers form one group; a group is one subset of the
 * Endpoints object and one slice (or several, by 1,000). The name of a slice is made of the Service
 * and a hash of its ports, so a reconcile always writes to the same slices. Both belong to the
 * Service by ownerReference and go with it by garbage collection. */
#include "controllers/common.h"
#include "controllers/controllers.h"

#include <stdio.h>

enum { MAX_PER_SLICE = 1000 };

static const char managed_by_key[] = "endpointslice.kubernetes.io/managed-by";
static const char managed_by[] = "endpointslice-controller.k8s.io";
static const char service_key[] = "kubernetes.io/service-name";

typedef struct member {
    const sp_json *pod;
    sp_str ip;
    bool ready, serving, terminating;
} member;

typedef struct group {
    sp_json *ports; /* [{name,port,protocol,appProtocol}] */
    SP_VEC(member) members;
} group;

typedef struct view {
    sp_reconcile *r;
    sp_arena *a;
    const sp_json *service;
    bool publish_not_ready;
    SP_VEC(group) groups;
} view;

/* ---------- gathering ---------- */

/* 0: the pod has no port of that name. */
static int64_t named_port(const sp_json *pod, sp_str name, sp_str protocol) {
    const sp_json *containers = sp_json_dig(pod, "spec", "containers", NULL);
    sp_json_each(containers, c) {
        const sp_json *ports = sp_json_get(c, "ports");
        sp_json_each(ports, p) {
            sp_str have = sp_json_str(sp_json_get(p, "protocol"));
            if (sp_str_eq(sp_json_str(sp_json_get(p, "name")), name) &&
                sp_str_eq(have.n ? have : SP_STR("TCP"), protocol))
                return sp_json_int(sp_json_get(p, "containerPort"), 0);
        }
    }
    return 0;
}

static int64_t target_port(const sp_json *pod, const sp_json *port, sp_str protocol) {
    const sp_json *target = sp_json_get(port, "targetPort");
    if (sp_json_is(target, SP_JSON_STRING)) return named_port(pod, target->text, protocol);
    int64_t n = sp_json_int(target, 0);
    return n ? n : sp_json_int(sp_json_get(port, "port"), 0);
}

static sp_json *ports_of(view *v, const sp_json *pod) {
    sp_json *list = sp_json_array(v->a);
    const sp_json *ports = sp_json_dig(v->service, "spec", "ports", NULL);
    sp_json_each(ports, p) {
        sp_str protocol = sp_json_str(sp_json_get(p, "protocol"));
        if (!protocol.n) protocol = SP_STR("TCP");
        int64_t number = target_port(pod, p, protocol);
        if (number <= 0 || number > 65535) continue;
        sp_json *o = sp_json_push(list, sp_json_object(v->a));
        sp_json_set_z(v->a, o, "name", sp_json_get_z(p, "name"));
        sp_json_set_int(v->a, o, "port", number);
        sp_json_set(v->a, o, "protocol", sp_json_new_str(v->a, protocol));
        const char *app = sp_json_get_z(p, "appProtocol");
        if (*app) sp_json_set_z(v->a, o, "appProtocol", app);
    }
    return list;
}

static group *group_for(view *v, sp_json *ports) {
    sp_vec_each(&v->groups, g) if (sp_json_equal(g->ports, ports)) return g;
    sp_vec_push(&v->groups, {.ports = ports});
    return &v->groups.p[v->groups.n - 1];
}

static void add_pod(view *v, const sp_json *pod) {
    sp_str ip = sp_json_str(sp_json_dig(pod, "status", "podIP", NULL));
    if (!ip.n || sp_pod_is_finished(pod)) return;
    const sp_json *wanted = sp_json_dig(v->service, "spec", "ports", NULL);
    sp_json *ports = ports_of(v, pod);
    if (wanted && wanted->count && !ports->count) return; /* serves none of them */
    bool ready = sp_pod_is_ready(pod), terminating = sp_obj_deleting(pod);
    member m = {.pod = pod,
                .ip = ip,
                .ready = v->publish_not_ready || (ready && !terminating),
                .serving = v->publish_not_ready || ready,
                .terminating = terminating};
    group *g = group_for(v, ports);
    sp_vec_push(&g->members, m);
}

static void drop_view(view *v) {
    sp_vec_each(&v->groups, g) sp_vec_free(&g->members);
    sp_vec_free(&v->groups);
}

/* ---------- common parts ---------- */

static sp_json *target_ref(sp_arena *a, const sp_json *pod) {
    sp_json *t = sp_json_object(a);
    sp_json_set_z(a, t, "kind", "Pod");
    sp_json_set(a, t, "namespace", sp_json_new_str(a, sp_obj_namespace(pod)));
    sp_json_set(a, t, "name", sp_json_new_str(a, sp_obj_name(pod)));
    sp_json_set(a, t, "uid", sp_json_new_str(a, sp_obj_uid(pod)));
    return t;
}

static void describe_pod(view *v, sp_json *o, const member *m) {
    const sp_json *spec = sp_json_get(m->pod, "spec");
    sp_str host = sp_json_str(sp_json_get(spec, "hostname"));
    bool in_service =
        sp_str_eq(sp_json_str(sp_json_get(spec, "subdomain")), sp_obj_name(v->service));
    if (host.n && in_service) sp_json_set(v->a, o, "hostname", sp_json_new_str(v->a, host));
    sp_str node = sp_json_str(sp_json_get(spec, "nodeName"));
    if (node.n) sp_json_set(v->a, o, "nodeName", sp_json_new_str(v->a, node));
    sp_json_set(v->a, o, "targetRef", target_ref(v->a, m->pod));
}

static sp_json *new_object(view *v, const char *api, const char *kind, sp_str name) {
    sp_json *o = sp_json_object(v->a);
    sp_json_set_z(v->a, o, "apiVersion", api);
    sp_json_set_z(v->a, o, "kind", kind);
    sp_json *meta = sp_json_ensure_object(v->a, o, "metadata");
    sp_json_set(v->a, meta, "name", sp_json_new_str(v->a, name));
    sp_json_set(v->a, meta, "namespace", sp_json_new_str(v->a, sp_obj_namespace(v->service)));
    const sp_json *labels = sp_json_dig(v->service, "metadata", "labels", NULL);
    sp_json *copy = sp_json_set(v->a, meta, "labels",
                                labels ? sp_json_clone(v->a, labels) : sp_json_object(v->a));
    if (sp_str_eqz(sp_json_str(sp_json_dig(v->service, "spec", "clusterIP", NULL)), "None"))
        sp_json_set_z(v->a, copy, "service.kubernetes.io/headless", "");
    sp_json_push(sp_json_ensure_array(v->a, meta, "ownerReferences"),
                 sp_owner_ref(v->a, v->service));
    return o;
}

/* Creates it, or writes the parts that differ. */
static void write_object(view *v, const sp_gvr *g, const sp_json *old, const sp_json *wanted,
                         const char *const *parts) {
    sp_str ns = sp_obj_namespace(wanted);
    if (!old) {
        sp_action *act = sp_reconcile_create(v->r, g, ns, wanted);
        act->tolerate_missing = true; /* the namespace is going away */
        return;
    }
    sp_json *patch = sp_json_object(v->a);
    for (; *parts; parts++) {
        sp_json *now = sp_json_get(wanted, *parts);
        if (!sp_json_equal(sp_json_get(old, *parts), now))
            sp_json_set(v->a, patch, *parts, now ? sp_json_clone(v->a, now) : sp_json_null(v->a));
    }
    const sp_json *labels = sp_json_dig(wanted, "metadata", "labels", NULL);
    const sp_json *have = sp_json_dig(old, "metadata", "labels", NULL);
    if (!sp_json_equal(have, labels) && (have || labels->count)) {
        sp_json *change = sp_json_clone(v->a, labels);
        sp_json_each(have, l) {
            if (!sp_json_get_str(labels, l->key))
                sp_json_set_str(v->a, change, l->key, sp_json_null(v->a));
        }
        sp_json_set(v->a, sp_json_ensure_object(v->a, patch, "metadata"), "labels", change);
    }
    if (patch->count) sp_reconcile_merge(v->r, g, ns, sp_obj_name(old), patch);
}

/* ---------- Endpoints ---------- */

static void add_address(view *v, sp_json *subset, const member *m) {
    sp_json *list =
        sp_json_ensure_array(v->a, subset, m->ready ? "addresses" : "notReadyAddresses");
    sp_json *o = sp_json_push(list, sp_json_object(v->a));
    sp_json_set(v->a, o, "ip", sp_json_new_str(v->a, m->ip));
    describe_pod(v, o, m);
}

static sp_json *subsets(view *v) {
    sp_json *list = sp_json_array(v->a);
    sp_vec_each(&v->groups, g) {
        sp_json *subset = sp_json_object(v->a);
        sp_vec_each(&g->members, m) if (!m->terminating || m->ready) add_address(v, subset, m);
        if (!subset->count) continue;
        if (g->ports->count) sp_json_set(v->a, subset, "ports", sp_json_clone(v->a, g->ports));
        const sp_json *ports = sp_json_get(subset, "ports");
        sp_json_each(ports, p) if (!*sp_json_get_z(p, "name")) sp_json_remove(p, "name");
        sp_json_push(list, subset);
    }
    return list;
}

static void write_endpoints(view *v, const sp_json *old) {
    static const char *const parts[] = {"subsets", NULL};
    sp_json *e = new_object(v, "v1", "Endpoints", sp_obj_name(v->service));
    sp_json *list = subsets(v);
    if (list->count) sp_json_set(v->a, e, "subsets", list);
    write_object(v, &sp_gvr_endpoints, old, e, parts);
}

/* ---------- EndpointSlices ---------- */

static uint32_t hash_ports(const sp_json *ports) {
    sp_auto(sp_buf) b = {0};
    sp_json_write(&b, ports);
    uint32_t h = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < b.n; i++) h = (h ^ (unsigned char)b.p[i]) * 16777619u;
    return h;
}

static void add_endpoint(view *v, sp_json *list, const member *m) {
    sp_json *o = sp_json_push(list, sp_json_object(v->a));
    sp_json_push(sp_json_ensure_array(v->a, o, "addresses"), sp_json_new_str(v->a, m->ip));
    sp_json *c = sp_json_ensure_object(v->a, o, "conditions");
    sp_json_set_bool(v->a, c, "ready", m->ready);
    sp_json_set_bool(v->a, c, "serving", m->serving);
    sp_json_set_bool(v->a, c, "terminating", m->terminating);
    describe_pod(v, o, m);
}

static sp_json *new_slice(view *v, const group *g, bool v6, size_t number) {
    sp_str service = sp_obj_name(v->service);
    sp_str name = sp_arena_printf(v->a, "%.*s-%08x%s%zu", SP_ARG(service), hash_ports(g->ports),
                                  v6 ? "-v6-" : "-", number);
    sp_json *s = new_object(v, "discovery.k8s.io/v1", "EndpointSlice", name);
    sp_json *labels = sp_json_dig(s, "metadata", "labels", NULL);
    sp_json_set(v->a, labels, service_key, sp_json_new_str(v->a, service));
    sp_json_set_z(v->a, labels, managed_by_key, managed_by);
    sp_json_set_z(v->a, s, "addressType", v6 ? "IPv6" : "IPv4");
    sp_json_ensure_array(v->a, s, "endpoints");
    sp_json_set(v->a, s, "ports", sp_json_clone(v->a, g->ports));
    return s;
}

static void build_slices(view *v, const group *g, bool v6, sp_json *ret) {
    size_t number = 0;
    sp_json *slice = NULL, *list = NULL;
    sp_vec_each(&g->members, m) {
        if ((sp_str_chr(m->ip, ':') >= 0) != v6) continue;
        if (!slice || list->count == MAX_PER_SLICE) {
            slice = sp_json_push(ret, new_slice(v, g, v6, number++));
            list = sp_json_get(slice, "endpoints");
        }
        add_endpoint(v, list, m);
    }
}

static bool is_ours(const sp_json *slice, sp_str service) {
    return sp_str_eqz(sp_obj_label(slice, managed_by_key), managed_by) &&
           sp_str_eq(sp_obj_label(slice, service_key), service);
}

static const sp_json *find_named(const sp_obj_list *list, sp_str name) {
    sp_vec_each(list, o) if (sp_str_eq(sp_obj_name(*o), name)) return *o;
    return NULL;
}

static void write_slices(view *v, const sp_obj_list *old) {
    static const char *const parts[] = {"endpoints", "ports", NULL};
    sp_json *wanted = sp_json_array(v->a);
    sp_vec_each(&v->groups, g) {
        build_slices(v, g, false, wanted);
        build_slices(v, g, true, wanted);
    }
    if (!wanted->count) { /* an empty slice says "nobody" where none says "not looked yet" */
        group nobody = {.ports = sp_json_array(v->a)};
        sp_json_push(wanted, new_slice(v, &nobody, false, 0));
    }
    sp_json_each(wanted, s)
        write_object(v, &sp_gvr_endpointslices, find_named(old, sp_obj_name(s)), s, parts);
    sp_vec_each(old, s) {
        bool keep = false;
        sp_json_each(wanted, w) keep |= sp_str_eq(sp_obj_name(w), sp_obj_name(*s));
        if (!keep && is_ours(*s, sp_obj_name(v->service)) && !sp_obj_deleting(*s))
            sp_reconcile_delete(v->r, &sp_gvr_endpointslices, *s, NULL);
    }
}

/* ---------- the decision ---------- */

bool sp_endpoints_decide(sp_reconcile *r, const sp_json *service, const sp_obj_list *pods,
                         const sp_json *endpoints, const sp_obj_list *slices, sp_err *err) {
    const sp_json *selector = sp_json_dig(service, "spec", "selector", NULL);
    if (!selector || !selector->count || sp_obj_deleting(service)) return true;
    if (sp_str_eqz(sp_json_str(sp_json_dig(service, "spec", "type", NULL)), "ExternalName"))
        return true;
    sp_selector *s = NULL;
    if (!sp_selector_from_json(r->arena, selector, &s, err)) return false;
    view v = {.r = r, .a = r->arena, .service = service};
    v.publish_not_ready =
        sp_json_bool(sp_json_dig(service, "spec", "publishNotReadyAddresses", NULL), false);
    r->subject = service;
    sp_vec_each(pods, pod) {
        if (sp_selector_matches(s, sp_json_dig(*pod, "metadata", "labels", NULL)))
            add_pod(&v, *pod);
    }
    write_endpoints(&v, endpoints);
    write_slices(&v, slices);
    drop_view(&v);
    return true;
}

/* ---------- wiring ---------- */

static bool reconcile(void *ctx, sp_reconcile *r, sp_err *err) {
    sp_manager *m = ctx;
    const sp_json *service =
        sp_informer_get(sp_manager_informer(m, &sp_gvr_services), r->ns, r->name);
    if (!service) return true;
    const sp_json *endpoints =
        sp_informer_get(sp_manager_informer(m, &sp_gvr_endpoints), r->ns, r->name);
    sp_obj_list pods = {0}, slices = {0};
    sp_informer_list(sp_manager_informer(m, &sp_gvr_pods), r->ns, &pods);
    sp_informer_list(sp_manager_informer(m, &sp_gvr_endpointslices), r->ns, &slices);
    bool ok = sp_endpoints_decide(r, service, &pods, endpoints, &slices, err);
    sp_vec_free(&pods);
    sp_vec_free(&slices);
    return ok;
}

/* Called for the old and the new labels of a pod. */
static void on_pod(void *ctx, sp_controller *c, const sp_json *pod) {
    const sp_json *labels = sp_json_dig(pod, "metadata", "labels", NULL);
    sp_obj_list services = {0};
    sp_informer_list(sp_manager_informer(ctx, &sp_gvr_services), sp_obj_namespace(pod), &services);
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_vec_each(&services, service) {
        const sp_json *selector = sp_json_dig(*service, "spec", "selector", NULL);
        sp_selector *s = NULL;
        if (selector && selector->count && sp_selector_from_json(a, selector, &s, NULL) &&
            sp_selector_matches(s, labels))
            sp_controller_enqueue_object(c, *service);
    }
    sp_vec_free(&services);
}

static void on_slice(void *ctx, sp_controller *c, const sp_json *slice) {
    (void)ctx;
    if (!sp_str_eqz(sp_obj_label(slice, managed_by_key), managed_by)) return;
    sp_auto(sp_buf) key = {0};
    sp_buf_printf(&key, "%.*s/%.*s", SP_ARG(sp_obj_namespace(slice)),
                  SP_ARG(sp_obj_label(slice, service_key)));
    sp_controller_enqueue(c, sp_buf_str(&key));
}

void sp_add_endpoints(sp_manager *m) {
    sp_controller *c = sp_controller_new(m, "endpoints", reconcile, m);
    sp_controller_for(c, &sp_gvr_services);
    sp_controller_for(c, &sp_gvr_endpoints); /* same name */
    sp_controller_watch(c, &sp_gvr_endpointslices, on_slice, m);
    sp_controller_watch(c, &sp_gvr_pods, on_pod, m);
}
