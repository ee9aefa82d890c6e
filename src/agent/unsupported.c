/* Fields of a Pod that this agent takes but does nothing for. Silence would be worse than a
 * warning: the pod runs, and `kubectl describe` says what it does not get. */
#include "agent/pod.h"

typedef struct rule {
    const char *path[2]; /* below spec, or below the container */
    const char *instead;
} rule;

static const rule of_pods[] = {
    {{"shareProcessNamespace"}, "each container has its own processes"},
    {{"runtimeClassName"}, "crun is the only runtime"},
    {{"imagePullSecrets"}, "images are pulled without a login"},
    {{"ephemeralContainers"}, "they are not started"},
    {{"securityContext", "sysctls"}, "the kernel's defaults stay"},
    {{"securityContext", "seccompProfile"}, "no system call filter is set"},
    {{"securityContext", "appArmorProfile"}, "no profile is set"},
};

static const rule of_containers[] = {
    {{"volumeDevices"}, "block devices are not given to containers"},
    {{"stdin"}, "standard input is empty"},
    {{"tty"}, "output is a pipe, no terminal"},
    {{"securityContext", "seccompProfile"}, "no system call filter is set"},
    {{"securityContext", "appArmorProfile"}, "no profile is set"},
};

static bool asks_for(const sp_json *j) {
    if (!j) return false;
    if (j->type == SP_JSON_BOOL) return j->boolean;
    if (j->type == SP_JSON_ARRAY || j->type == SP_JSON_OBJECT) return j->count > 0;
    return j->type == SP_JSON_STRING && j->text.n > 0;
}

/* An Unconfined profile is what everybody gets. */
static bool unconfined(const sp_json *j) {
    return strcmp(sp_json_get_z(j, "type"), "Unconfined") == 0;
}

static void check(sp_pod *p, sp_ctr *c, const sp_json *at, const rule *rules, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const char *const *path = rules[i].path;
        const sp_json *j =
            path[1] ? sp_json_dig(at, path[0], path[1], NULL) : sp_json_get(at, path[0]);
        if (!asks_for(j) || unconfined(j)) continue;
        sp_pod_event(p, c, "Warning", "NotSupported", "%s%s%s has no effect on this node: %s",
                     path[0], path[1] ? "." : "", path[1] ? path[1] : "", rules[i].instead);
    }
}

static bool has_host_port(const sp_ctr *c) {
    sp_json_each(sp_json_get(c->spec, "ports"), port) {
        if (sp_json_int(sp_json_get(port, "hostPort"), 0) > 0) return true;
    }
    return false;
}

void sp_pod_tell_unsupported(sp_pod *p) {
    check(p, NULL, sp_json_get(p->obj, "spec"), of_pods, SP_COUNT(of_pods));
    sp_vec_each(&p->containers, it) {
        sp_ctr *c = *it;
        check(p, c, c->spec, of_containers, SP_COUNT(of_containers));
        if (has_host_port(c) && !sp_pod_host_network(p))
            sp_pod_event(
                p, c, "Warning", "NotSupported",
                "ports.hostPort has no effect on this node: use a Service of type NodePort");
    }
}
