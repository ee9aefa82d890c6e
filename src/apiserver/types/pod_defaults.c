/* Defaults of pods that depend on more than one field; the others stand in the tables. They run
 * before the shape of the object is checked, so every step looks at types first. */
#include "apiserver/types/admit.h"

/* No tag or ":latest" means: it may change, pull it every time. A digest never changes. */
static const char *pull_policy(sp_str image) {
    ptrdiff_t slash = sp_str_rchr(image, '/');
    sp_str last = sp_str_from(image, slash < 0 ? 0 : (size_t)slash + 1);
    ptrdiff_t colon = sp_str_chr(last, ':');
    if (sp_str_chr(last, '@') >= 0) return "IfNotPresent";
    bool latest = colon < 0 || sp_str_eqz(sp_str_from(last, (size_t)colon + 1), "latest");
    return latest ? "Always" : "IfNotPresent";
}

/* What is limited is requested, unless the request says otherwise. */
static void requests_from_limits(sp_arena *a, sp_json *container) {
    sp_json *resources = sp_open_object(a, container, "resources");
    const sp_json *limits = sp_member(resources, "limits", SP_JSON_OBJECT);
    if (!limits || !limits->count) return;
    sp_json *requests = sp_open_object(a, resources, "requests");
    if (!requests) return;
    sp_json_each(limits, it) {
        if (sp_json_get_str(requests, it->key)) continue;
        sp_json_set_str(a, requests, it->key, sp_json_clone(a, it));
    }
}

/* With the host's network a container's port is the host's. */
static void host_ports(sp_arena *a, sp_json *container) {
    sp_json_each(sp_member(container, "ports", SP_JSON_ARRAY), port) {
        const sp_json *number = sp_member(port, "containerPort", SP_JSON_NUMBER);
        if (number && !sp_json_int(sp_json_get(port, "hostPort"), 0)) {
            sp_json_set(a, port, "hostPort", sp_json_clone(a, number));
        }
    }
}

/* A zero is as good as missing here. */
static void probe_defaults(sp_arena *a, sp_json *container, const char *key) {
    static const struct {
        const char *key;
        int64_t value;
    } numbers[] = {{"timeoutSeconds", 1},
                   {"periodSeconds", 10},
                   {"successThreshold", 1},
                   {"failureThreshold", 3}};
    sp_json *probe = sp_member(container, key, SP_JSON_OBJECT);
    for (size_t i = 0; probe && i < SP_COUNT(numbers); i++) {
        const sp_json *v = sp_json_get(probe, numbers[i].key);
        if (sp_json_is_int(v) && sp_json_int(v, 1) == 0) {
            sp_json_set_int(a, probe, numbers[i].key, numbers[i].value);
        }
    }
}

static void container_defaults(sp_arena *a, sp_json *container, bool host_network) {
    if (!sp_json_is(container, SP_JSON_OBJECT)) return;
    sp_str image = sp_json_str(sp_json_get(container, "image"));
    sp_default_z(a, container, "imagePullPolicy", pull_policy(image));
    requests_from_limits(a, container);
    probe_defaults(a, container, "livenessProbe");
    probe_defaults(a, container, "readinessProbe");
    probe_defaults(a, container, "startupProbe");
    if (host_network) host_ports(a, container);
}

/* A volume that names no source is an empty directory. */
static void volume_defaults(sp_arena *a, sp_json *volume) {
    bool named_only = sp_json_is(volume, SP_JSON_OBJECT) && volume->count == 1;
    if (named_only && sp_json_get(volume, "name")) sp_open_object(a, volume, "emptyDir");
}

void sp_pod_spec_defaults(sp_arena *a, sp_json *spec) {
    static const char *const lists[] = {"initContainers", "containers"};
    if (!sp_json_is(spec, SP_JSON_OBJECT)) return;
    bool host = sp_json_bool(sp_json_get(spec, "hostNetwork"), false);
    for (size_t i = 0; i < SP_COUNT(lists); i++) {
        sp_json_each(sp_member(spec, lists[i], SP_JSON_ARRAY), it) container_defaults(a, it, host);
    }
    sp_json_each(sp_member(spec, "volumes", SP_JSON_ARRAY), it) volume_defaults(a, it);
    sp_open_object(a, spec, "securityContext");
    /* The old name of the field follows the new one. */
    sp_str account = sp_json_str(sp_json_get(spec, "serviceAccountName"));
    sp_str old_name = sp_json_str(sp_json_get(spec, "serviceAccount"));
    if (account.n)
        sp_json_set(a, spec, "serviceAccount", sp_json_new_str(a, account));
    else if (old_name.n)
        sp_json_set(a, spec, "serviceAccountName", sp_json_new_str(a, old_name));
}

/* --- quality of service --- */

/* Adds what one container asks for: any of it at all, and whether it is fully guaranteed. */
static void weigh(const sp_json *container, bool *any, bool *guaranteed) {
    static const char *const names[] = {"cpu", "memory"};
    const sp_json *resources = sp_json_get(container, "resources");
    const sp_json *limits = sp_json_get(resources, "limits");
    const sp_json *requests = sp_json_get(resources, "requests");
    for (size_t i = 0; i < SP_COUNT(names); i++) {
        const sp_json *limit = sp_json_get(limits, names[i]);
        const sp_json *request = sp_json_get(requests, names[i]);
        if (limit || request) *any = true;
        if (!limit || !request || !sp_json_equal(limit, request)) *guaranteed = false;
    }
}

static const char *qos_class(const sp_json *spec) {
    bool any = false, guaranteed = true;
    sp_json_each(sp_member(spec, "containers", SP_JSON_ARRAY), it) weigh(it, &any, &guaranteed);
    sp_json_each(sp_member(spec, "initContainers", SP_JSON_ARRAY), it) {
        weigh(it, &any, &guaranteed);
    }
    if (!any) return "BestEffort";
    return guaranteed ? "Guaranteed" : "Burstable";
}

bool sp_prepare_pod(sp_admit *a, sp_err *err) {
    if (a->subresource.n) return true;
    sp_json *spec = sp_member(a->obj, "spec", SP_JSON_OBJECT);
    if (!spec) return true;
    if (!a->old) sp_default_z(a->arena, spec, "serviceAccountName", "default");
    sp_pod_spec_defaults(a->arena, spec);
    sp_default_bool(a->arena, spec, "enableServiceLinks", true);
    if (a->old) return true;
    sp_json *status = sp_open_object(a->arena, a->obj, "status");
    if (!status) return true;
    sp_default_z(a->arena, status, "phase", "Pending");
    sp_json_set_z(a->arena, status, "qosClass", qos_class(spec));
    return true;
}
