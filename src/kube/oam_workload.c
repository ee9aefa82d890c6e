/* From a workload to the objects Kubernetes knows. A ContainerizedWorkload (OAM v1alpha2, with the
 * field names of the specification's own examples accepted) becomes a ConfigMap for each
 * configuration file, a Deployment and, if there are ports, a Service. A Deployment stays one. */
#include "kube/gvrs.h"
#include "kube/oam_model.h"

/* --- checking: what the schemas of these kinds cannot say --- */

static void check_volumes(const sp_json *container, sp_str path, sp_causes *causes) {
    size_t i = 0;
    sp_json_each(sp_json_dig(container, "resources", "volumes", NULL), it) {
        if (!sp_json_bool(sp_json_dig(it, "disk", "ephemeral", NULL), false))
            sp_causes_add(
                causes, "FieldValueNotSupported",
                sp_arena_printf(causes->arena, "%.*s.resources.volumes[%zu].disk", SP_ARG(path), i),
                "Unsupported value: this version has no volumes that outlive a pod: set "
                "disk.ephemeral to true");
        i++;
    }
}

static void check_config(const sp_json *container, sp_str path, sp_causes *causes) {
    size_t i = 0;
    sp_json_each(sp_json_get(container, "config"), it) {
        sp_str file = sp_json_str(sp_json_get(it, "path"));
        if (!sp_str_starts(file, SP_STR("/")) || sp_str_ends(file, SP_STR("/")))
            sp_causes_add(causes, "FieldValueInvalid",
                          sp_arena_printf(causes->arena, "%.*s.config[%zu].path", SP_ARG(path), i),
                          "Invalid value: \"%.*s\": must be the absolute path of a file",
                          SP_ARG(file));
        i++;
    }
}

static void check_containers(const sp_json *list, sp_str path, sp_causes *causes) {
    if (list && !list->first)
        sp_causes_add(causes, "FieldValueRequired", path, "Required value: at least one container");
    size_t i = 0;
    sp_json_each(list, it) {
        sp_str at = sp_arena_printf(causes->arena, "%.*s[%zu]", SP_ARG(path), i++);
        check_volumes(it, at, causes);
        check_config(it, at, causes);
    }
}

void sp_oam_check_workload(const sp_json *workload, sp_str path, sp_causes *causes,
                           sp_strs *warnings) {
    sp_arena *a = causes->arena;
    switch (sp_oam_workload_type_of(workload)) {
    case SP_OAM_CONTAINERIZED:
        check_containers(sp_json_dig(workload, "spec", "containers", NULL),
                         sp_arena_printf(a, "%.*s.spec.containers", SP_ARG(path)), causes);
        break;
    case SP_OAM_DEPLOYMENT:
        check_containers(sp_json_dig(workload, "spec", "template", "spec", "containers", NULL),
                         sp_arena_printf(a, "%.*s.spec.template.spec.containers", SP_ARG(path)),
                         causes);
        break;
    case SP_OAM_UNKNOWN_WORKLOAD:
        sp_causes_add(causes, "FieldValueNotSupported", path,
                      "Unsupported value: kind \"%s\" of \"%s\": this version runs "
                      "ContainerizedWorkload (core.oam.dev/v1alpha2) and Deployment (apps/v1)",
                      sp_json_get_z(workload, "kind"), sp_json_get_z(workload, "apiVersion"));
        break;
    }
}

/* --- rendering --- */

typedef struct rendering {
    sp_arena *a;
    sp_str name;
    const sp_json *labels;
    sp_oam_children *children;
    sp_json *pod;   /* the pod spec being built */
    sp_json *ports; /* of the Service */
} rendering;

static sp_json *new_child(rendering *r, const sp_gvr *g, sp_str name) {
    sp_json *o = sp_json_object(r->a);
    sp_json_set(r->a, o, "apiVersion", sp_json_new_str(r->a, sp_gvr_api_version(r->a, g)));
    sp_json_set_z(r->a, o, "kind", g->kind);
    sp_json *meta = sp_json_ensure_object(r->a, o, "metadata");
    sp_json_set(r->a, meta, "name", sp_json_new_str(r->a, name));
    sp_vec_push(r->children, (sp_oam_child){.gvr = g, .object = o, .trait = -1});
    return o;
}

static void copy(rendering *r, const sp_json *from, const char *field, sp_json *to,
                 const char *as) {
    const sp_json *v = sp_json_get(from, field);
    if (v) sp_json_set(r->a, to, as, sp_json_clone(r->a, v));
}

static sp_json *secret_key(rendering *r, const sp_json *from) {
    sp_json *ref = sp_json_object(r->a);
    copy(r, from, "name", ref, "name");
    copy(r, from, "key", ref, "key");
    return ref;
}

static void render_env(rendering *r, const sp_json *container, sp_json *to) {
    if (!sp_json_get(container, "env")) return;
    sp_json *list = sp_json_ensure_array(r->a, to, "env");
    sp_json_each(sp_json_get(container, "env"), it) {
        sp_json *env = sp_json_push(list, sp_json_object(r->a));
        copy(r, it, "name", env, "name");
        copy(r, it, "value", env, "value");
        const sp_json *secret = sp_json_get(it, "fromSecret");
        if (secret)
            sp_json_set(r->a, sp_json_ensure_object(r->a, env, "valueFrom"), "secretKeyRef",
                        secret_key(r, secret));
    }
}

static void render_ports(rendering *r, const sp_json *container, sp_json *to) {
    sp_json_each(sp_json_get(container, "ports"), it) {
        const sp_json *number = sp_json_get(it, "containerPort");
        if (!number) number = sp_json_get(it, "value");
        sp_json *port = sp_json_push(sp_json_ensure_array(r->a, to, "ports"), sp_json_object(r->a));
        sp_json *open = sp_json_push(r->ports, sp_json_object(r->a));
        int64_t n = sp_json_int(number, 0);
        sp_str name = sp_json_str(sp_json_get(it, "name"));
        if (!name.n) name = sp_arena_printf(r->a, "port-%lld", (long long)n);
        for (size_t i = 0; i < 2; i++) {
            sp_json_set(r->a, i ? open : port, "name", sp_json_new_str(r->a, name));
            copy(r, it, "protocol", i ? open : port, "protocol");
        }
        sp_json_set_int(r->a, port, "containerPort", n);
        sp_json_set_int(r->a, open, "port", n);
        sp_json_set_int(r->a, open, "targetPort", n);
    }
}

static void render_resources(rendering *r, const sp_json *container, sp_json *to) {
    const sp_json *from = sp_json_get(container, "resources");
    static const char *const amounts[] = {"cpu", "memory"};
    for (size_t i = 0; i < SP_COUNT(amounts); i++) {
        const sp_json *amount = sp_json_dig(from, amounts[i], "required", NULL);
        if (!amount) continue;
        sp_json *resources = sp_json_ensure_object(r->a, to, "resources");
        sp_json_set(r->a, sp_json_ensure_object(r->a, resources, "requests"), amounts[i],
                    sp_json_clone(r->a, amount));
    }
}

static sp_json *add_mount(rendering *r, sp_json *to, sp_str volume, sp_str path) {
    sp_json *m = sp_json_push(sp_json_ensure_array(r->a, to, "volumeMounts"), sp_json_object(r->a));
    sp_json_set(r->a, m, "name", sp_json_new_str(r->a, volume));
    sp_json_set(r->a, m, "mountPath", sp_json_new_str(r->a, path));
    return m;
}

static sp_json *add_volume(rendering *r, sp_str name) {
    sp_json *v = sp_json_push(sp_json_ensure_array(r->a, r->pod, "volumes"), sp_json_object(r->a));
    sp_json_set(r->a, v, "name", sp_json_new_str(r->a, name));
    return v;
}

static void render_volumes(rendering *r, const sp_json *container, sp_json *to) {
    sp_json_each(sp_json_dig(container, "resources", "volumes", NULL), it) {
        sp_str name = sp_json_str(sp_json_get(it, "name"));
        sp_json_ensure_object(r->a, add_volume(r, name), "emptyDir");
        add_mount(r, to, name, sp_json_str(sp_json_get(it, "mountPath")));
    }
}

static uint32_t fnv1a(sp_str s, uint32_t h) {
    for (size_t i = 0; i < s.n; i++) h = (h ^ (unsigned char)s.p[i]) * 16777619u;
    return h;
}

static void from_secret(rendering *r, sp_json *volume, const sp_json *ref, sp_str file) {
    sp_json *secret = sp_json_ensure_object(r->a, volume, "secret");
    copy(r, ref, "name", secret, "secretName");
    sp_json *item = sp_json_push(sp_json_ensure_array(r->a, secret, "items"), sp_json_object(r->a));
    copy(r, ref, "key", item, "key");
    sp_json_set(r->a, item, "path", sp_json_new_str(r->a, file));
}

/* One file, mounted over the one that is there. The pod template carries a hash of its content, so
 * that a change of content rolls the pods. */
static void render_file(rendering *r, const sp_json *container, const sp_json *config, sp_json *to,
                        uint32_t *content) {
    sp_str path = sp_json_str(sp_json_get(config, "path"));
    sp_str file = sp_str_from(path, (size_t)(sp_str_rchr(path, '/') + 1));
    uint32_t id = fnv1a(path, 2166136261u);
    sp_str volume = sp_arena_printf(r->a, "config-%08x", id);
    sp_json *mount = add_mount(r, to, volume, path);
    sp_json_set(r->a, mount, "subPath", sp_json_new_str(r->a, file));
    const sp_json *secret = sp_json_get(config, "fromSecret");
    if (secret) {
        from_secret(r, add_volume(r, volume), secret, file);
        return;
    }
    sp_str name = sp_arena_printf(r->a, "%.*s-%s-%08x", SP_ARG(r->name),
                                  sp_json_get_z(container, "name"), id);
    sp_json *map = new_child(r, &sp_gvr_configmaps, name);
    sp_str value = sp_json_str(sp_json_get(config, "value"));
    sp_json_set_str(r->a, sp_json_ensure_object(r->a, map, "data"), file,
                    sp_json_new_str(r->a, value));
    sp_json *source = sp_json_ensure_object(r->a, add_volume(r, volume), "configMap");
    sp_json_set(r->a, source, "name", sp_json_new_str(r->a, name));
    *content = fnv1a(value, fnv1a(path, *content));
}

static void render_container(rendering *r, const sp_json *from, uint32_t *content) {
    static const char *const same[] = {"name", "image",         "command",
                                       "args", "livenessProbe", "readinessProbe"};
    sp_json *to =
        sp_json_push(sp_json_ensure_array(r->a, r->pod, "containers"), sp_json_object(r->a));
    copy(r, from, "cmd", to, "command");
    for (size_t i = 0; i < SP_COUNT(same); i++) copy(r, from, same[i], to, same[i]);
    render_env(r, from, to);
    render_ports(r, from, to);
    render_resources(r, from, to);
    render_volumes(r, from, to);
    sp_json_each(sp_json_get(from, "config"), it) render_file(r, from, it, to, content);
    const sp_json *pull = sp_json_get(from, "imagePullSecret");
    if (!pull) return;
    sp_json *secrets = sp_json_ensure_array(r->a, r->pod, "imagePullSecrets");
    sp_json_set(r->a, sp_json_push(secrets, sp_json_object(r->a)), "name",
                sp_json_clone(r->a, pull));
}

static void add_labels(sp_arena *a, sp_json *to, const sp_json *labels) {
    sp_json_each(labels, it) sp_json_set_str(a, to, it->key, sp_json_clone(a, it));
}

/* The template of the Deployment is built first, as configuration files come before it. */
static sp_json *new_template(rendering *r) {
    sp_json *t = sp_json_object(r->a);
    sp_json *meta = sp_json_ensure_object(r->a, t, "metadata");
    add_labels(r->a, sp_json_ensure_object(r->a, meta, "labels"), r->labels);
    r->pod = sp_json_ensure_object(r->a, t, "spec");
    return t;
}

static void render_service(rendering *r) {
    if (!r->ports->first) return;
    sp_json *service = new_child(r, &sp_gvr_services, r->name);
    sp_json *spec = sp_json_ensure_object(r->a, service, "spec");
    sp_json_set(r->a, spec, "selector", sp_json_clone(r->a, r->labels));
    sp_json_set(r->a, spec, "ports", r->ports);
}

static void render_containerized(rendering *r, const sp_json *workload) {
    sp_json *template = new_template(r);
    uint32_t content = 0;
    sp_json_each(sp_json_dig(workload, "spec", "containers", NULL), it)
        render_container(r, it, &content);
    if (content) {
        sp_json *notes =
            sp_json_ensure_object(r->a, sp_json_get(template, "metadata"), "annotations");
        sp_json_set(r->a, notes, "app.oam.dev/config-hash", sp_json_printf(r->a, "%08x", content));
    }
    const sp_json *arch = sp_json_dig(workload, "spec", "arch", NULL);
    if (arch)
        sp_json_set(r->a, sp_json_ensure_object(r->a, r->pod, "nodeSelector"), "kubernetes.io/arch",
                    sp_json_clone(r->a, arch));
    sp_json *deployment = new_child(r, &sp_gvr_deployments, r->name);
    r->children->p[r->children->n - 1].is_workload = true;
    sp_json *spec = sp_json_ensure_object(r->a, deployment, "spec");
    sp_json *selector = sp_json_ensure_object(r->a, spec, "selector");
    sp_json_set(r->a, selector, "matchLabels", sp_json_clone(r->a, r->labels));
    sp_json_set(r->a, spec, "template", template);
    render_service(r);
}

static void render_deployment(rendering *r, const sp_json *workload) {
    sp_json *d = new_child(r, &sp_gvr_deployments, r->name);
    r->children->p[r->children->n - 1].is_workload = true;
    copy(r, workload, "spec", d, "spec");
    sp_json *spec = sp_json_ensure_object(r->a, d, "spec");
    sp_json *meta =
        sp_json_ensure_object(r->a, sp_json_ensure_object(r->a, spec, "template"), "metadata");
    sp_json *labels = sp_json_ensure_object(r->a, meta, "labels");
    if (!sp_json_get(spec, "selector")) /* as extensions/v1beta1 filled it */
        sp_json_set(r->a, sp_json_ensure_object(r->a, spec, "selector"), "matchLabels",
                    sp_json_clone(r->a, labels->first ? labels : r->labels));
    add_labels(r->a, labels, r->labels);
    sp_json *own = sp_json_get(d, "metadata");
    copy(r, sp_json_get(workload, "metadata"), "labels", own, "labels");
    copy(r, sp_json_get(workload, "metadata"), "annotations", own, "annotations");
}

bool sp_oam_render_workload(sp_arena *a, const sp_json *workload, sp_str name,
                            const sp_json *labels, sp_oam_children *ret, sp_err *err) {
    rendering r = {
        .a = a, .name = name, .labels = labels, .children = ret, .ports = sp_json_array(a)};
    switch (sp_oam_workload_type_of(workload)) {
    case SP_OAM_CONTAINERIZED: render_containerized(&r, workload); return true;
    case SP_OAM_DEPLOYMENT: render_deployment(&r, workload); return true;
    case SP_OAM_UNKNOWN_WORKLOAD: break;
    }
    return sp_fail(err, SP_INVALID, "a workload of kind \"%s\" cannot be run",
                   sp_json_get_z(workload, "kind"));
}
