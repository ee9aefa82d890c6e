/* Rules of containers: names, images, ports, environment, mounts, resources, probes. Types and
 * required members were checked by the schema before. */
#include "apiserver/types/admit.h"
#include "data/quantity.h"

#include <stdio.h>

/* --- ports --- */

static void check_ports(const sp_at *at, const sp_json *container, bool host_network) {
    sp_at list = sp_at_key(at, "ports");
    const sp_json *ports = sp_json_get(container, "ports");
    size_t i = 0;
    sp_json_each(ports, it) {
        sp_at item = sp_at_item(&list, i++);
        const sp_json *name = sp_json_get(it, "name"), *host = sp_json_get(it, "hostPort");
        sp_check_text(&item, it, "name", sp_wrong_port_name);
        sp_json_each(ports, other) {
            if (other == it) break;
            const sp_json *theirs = sp_json_get(other, "name");
            if (sp_json_str(name).n && theirs && sp_json_equal(name, theirs)) {
                sp_say_duplicate(&item, "name", name);
            }
        }
        sp_check_port(&item, it, "containerPort");
        if (sp_json_int(host, 0)) sp_check_port(&item, it, "hostPort");
        if (host_network && host && !sp_json_equal(host, sp_json_get(it, "containerPort"))) {
            sp_say_invalid(&item, "hostPort", host,
                           "must match `containerPort` when `hostNetwork` is true");
        }
    }
}

/* --- environment --- */

static const char *const env_sources[] = {"fieldRef", "resourceFieldRef", "configMapKeyRef",
                                          "secretKeyRef", "fileKeyRef"};

static void check_value_from(const sp_at *at, const sp_json *env) {
    const sp_json *from = sp_json_get(env, "valueFrom");
    sp_at here = sp_at_key(at, "valueFrom");
    size_t given = 0;
    if (!from) return;
    for (size_t i = 0; i < SP_COUNT(env_sources); i++) {
        given += sp_json_get(from, env_sources[i]) != NULL;
    }
    if (!given) {
        sp_say_invalid(&here, NULL, NULL,
                       "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or "
                       "`secretKeyRef`");
    }
    if (given > 1) {
        sp_say_invalid(&here, NULL, NULL, "may not have more than one field specified at a time");
    }
    if (sp_json_str(sp_json_get(env, "value")).n) {
        sp_say_invalid(&here, NULL, NULL, "may not be specified when `value` is not empty");
    }
}

static void check_env(const sp_at *at, const sp_json *container) {
    sp_at list = sp_at_key(at, "env"), from = sp_at_key(at, "envFrom");
    size_t i = 0;
    sp_json_each(sp_json_get(container, "env"), it) {
        sp_at item = sp_at_item(&list, i++);
        if (sp_check_present(&item, it, "name"))
            sp_check_text(&item, it, "name", sp_wrong_env_name);
        check_value_from(&item, it);
    }
    i = 0;
    sp_json_each(sp_json_get(container, "envFrom"), it) {
        sp_at item = sp_at_item(&from, i++);
        const sp_json *map = sp_json_get(it, "configMapRef"),
                      *secret = sp_json_get(it, "secretRef");
        if (!map && !secret) {
            sp_say_invalid(&item, NULL, NULL, "must specify one of: `configMapRef` or `secretRef`");
        } else if (map && secret) {
            sp_say_invalid(&item, NULL, NULL,
                           "may not have more than one field specified at a time");
        } else {
            sp_at ref = sp_at_key(&item, map ? "configMapRef" : "secretRef");
            sp_check_present(&ref, map ? map : secret, "name");
        }
    }
}

/* --- mounts --- */

static const sp_json *by_name(const sp_json *list, const sp_json *name) {
    sp_json_each(list, it) {
        const sp_json *n = sp_json_get(it, "name");
        if (n && sp_json_equal(n, name)) return it;
    }
    return NULL;
}

static bool climbs(sp_str path) {
    for (sp_str part; sp_str_cut(&path, '/', &part);) {
        if (sp_str_eqz(part, "..")) return true;
    }
    return false;
}

static void check_mounts(const sp_at *at, const sp_json *container, const sp_json *volumes) {
    sp_at list = sp_at_key(at, "volumeMounts");
    const sp_json *mounts = sp_json_get(container, "volumeMounts");
    size_t i = 0;
    sp_json_each(mounts, it) {
        sp_at item = sp_at_item(&list, i++);
        const sp_json *name = sp_json_get(it, "name"), *path = sp_json_get(it, "mountPath");
        const sp_json *sub = sp_json_get(it, "subPath");
        if (sp_check_present(&item, it, "name") && !by_name(volumes, name)) {
            sp_say_not_found(&item, "name", name);
        }
        sp_check_present(&item, it, "mountPath");
        sp_json_each(mounts, other) {
            if (other == it) break;
            const sp_json *theirs = sp_json_get(other, "mountPath");
            if (path && theirs && sp_json_equal(path, theirs)) {
                sp_say_invalid(&item, "mountPath", path, "must be unique");
            }
        }
        if (climbs(sp_json_str(sub))) {
            sp_say_invalid(&item, "subPath", sub, "must not contain '..'");
        }
    }
}

/* --- resources --- */

static bool is_standard(sp_str name) {
    static const char *const names[] = {"cpu", "memory", "ephemeral-storage"};
    for (size_t i = 0; i < SP_COUNT(names); i++) {
        if (sp_str_eqz(name, names[i])) return true;
    }
    return sp_str_starts(name, SP_STR("hugepages-")) || sp_str_chr(name, '/') >= 0;
}

static void check_amounts(const sp_at *at, const sp_json *resources, const char *key) {
    sp_at here = sp_at_key(at, key);
    sp_json_each(sp_json_get(resources, key), it) {
        int64_t milli;
        char name[300];
        snprintf(name, sizeof name, "%.*s", SP_ARG(it->key));
        sp_json key_node = {.type = SP_JSON_STRING, .text = it->key};
        if (!is_standard(it->key)) {
            sp_say_invalid(&here, NULL, &key_node, "must be a standard resource for containers");
        }
        if (sp_quantity_milli(it, &milli) && milli < 0) {
            sp_say_invalid(&here, name, it, "must be greater than or equal to 0");
        }
    }
}

static void check_resources(const sp_at *at, const sp_json *container) {
    const sp_json *resources = sp_json_get(container, "resources");
    const sp_json *limits = sp_json_get(resources, "limits");
    sp_at here = sp_at_key(at, "resources"), requests = sp_at_key(&here, "requests");
    check_amounts(&here, resources, "limits");
    check_amounts(&here, resources, "requests");
    sp_json_each(sp_json_get(resources, "requests"), it) {
        int64_t wanted, most;
        const sp_json *limit = sp_json_get_str(limits, it->key);
        if (!limit || !sp_quantity_milli(it, &wanted) || !sp_quantity_milli(limit, &most)) continue;
        if (wanted <= most) continue;
        sp_say_invalid(&requests, NULL, it, "must be less than or equal to %.*s limit of %.*s",
                       SP_ARG(it->key), SP_ARG(limit->text));
    }
}

/* --- probes and lifecycle --- */

static void check_http(const sp_at *at, const sp_json *handler) {
    const sp_json *get = sp_json_get(handler, "httpGet");
    sp_at here = sp_at_key(at, "httpGet");
    if (!get) return;
    sp_check_present(&here, get, "path");
    sp_check_port_or_name(&here, get, "port");
}

static void check_handler(const sp_at *at, const sp_json *handler, bool lifecycle) {
    static const char *const kinds[] = {"exec", "httpGet", "tcpSocket", "grpc", "sleep"};
    size_t given = 0;
    for (size_t i = 0; i < SP_COUNT(kinds); i++) {
        if (!sp_json_get(handler, kinds[i])) continue;
        if (given++) sp_say_forbidden(at, kinds[i], "may not specify more than 1 handler type");
    }
    if (!given) sp_say_required(at, NULL, "must specify a handler type");
    const sp_json *exec = sp_json_get(handler, "exec"), *tcp = sp_json_get(handler, "tcpSocket");
    sp_at exec_at = sp_at_key(at, "exec"), tcp_at = sp_at_key(at, "tcpSocket");
    const sp_json *command = sp_json_get(exec, "command");
    if (exec && !(command && command->count)) sp_say_required(&exec_at, "command", NULL);
    check_http(at, handler);
    if (tcp) sp_check_port_or_name(&tcp_at, tcp, "port");
    sp_at grpc_at = sp_at_key(at, "grpc");
    if (!lifecycle) sp_check_port(&grpc_at, sp_json_get(handler, "grpc"), "port");
}

static void check_probe(const sp_at *at, const sp_json *container, const char *key) {
    static const char *const numbers[] = {"initialDelaySeconds", "timeoutSeconds", "periodSeconds",
                                          "successThreshold", "failureThreshold"};
    const sp_json *probe = sp_json_get(container, key);
    sp_at here = sp_at_key(at, key);
    if (!probe) return;
    check_handler(&here, probe, false);
    for (size_t i = 0; i < SP_COUNT(numbers); i++) sp_check_min(&here, probe, numbers[i], 0);
    const sp_json *needed = sp_json_get(probe, "successThreshold");
    if (strcmp(key, "readinessProbe") != 0 && sp_json_int(needed, 1) != 1) {
        sp_say_invalid(&here, "successThreshold", needed, "must be 1");
    }
}

static void check_lifecycle(const sp_at *at, const sp_json *container) {
    static const char *const hooks[] = {"postStart", "preStop"};
    const sp_json *lifecycle = sp_json_get(container, "lifecycle");
    sp_at here = sp_at_key(at, "lifecycle");
    for (size_t i = 0; i < SP_COUNT(hooks); i++) {
        const sp_json *handler = sp_json_get(lifecycle, hooks[i]);
        sp_at hook = sp_at_key(&here, hooks[i]);
        if (handler) check_handler(&hook, handler, true);
    }
}

/* Init containers run to their end, so nothing may probe them, unless they never end. */
static void check_init(const sp_at *at, const sp_json *container) {
    static const char *const never[] = {"lifecycle", "livenessProbe", "readinessProbe",
                                        "startupProbe"};
    const sp_json *policy = sp_json_get(container, "restartPolicy");
    if (sp_json_str(policy).n && !sp_str_eqz(sp_json_str(policy), "Always")) {
        sp_say_unsupported(at, "restartPolicy", policy, "\"Always\"");
    }
    if (sp_json_str(policy).n) return;
    for (size_t i = 0; i < SP_COUNT(never); i++) {
        if (sp_json_get(container, never[i])) {
            sp_say_forbidden(at, never[i],
                             "may not be set for init containers without restartPolicy=Always");
        }
    }
}

/* --- one container, and all of them --- */

static void check_rights(const sp_at *at, const sp_json *container) {
    const sp_json *context = sp_json_get(container, "securityContext");
    sp_at here = sp_at_key(at, "securityContext");
    const sp_json *gain = sp_json_get(context, "allowPrivilegeEscalation");
    bool privileged = sp_json_bool(sp_json_get(context, "privileged"), false);
    if (gain && !gain->boolean && privileged) {
        sp_say_invalid(&here, NULL, context,
                       "cannot set `allowPrivilegeEscalation` to false and `privileged` to true");
    }
    sp_check_min(&here, context, "runAsUser", 0);
    sp_check_min(&here, context, "runAsGroup", 0);
}

static void check_container(const sp_at *at, const sp_json *it, const sp_json *spec) {
    if (sp_check_present(at, it, "name")) sp_check_text(at, it, "name", sp_wrong_label);
    const sp_json *image = sp_json_get(it, "image");
    sp_str text = sp_json_str(image);
    if (!text.n)
        sp_say_required(at, "image", NULL);
    else if (sp_str_trim(text).n != text.n) {
        sp_say_invalid(at, "image", image, "must not have leading or trailing whitespace");
    }
    check_ports(at, it, sp_json_bool(sp_json_get(spec, "hostNetwork"), false));
    check_env(at, it);
    check_mounts(at, it, sp_json_get(spec, "volumes"));
    check_resources(at, it);
    check_probe(at, it, "livenessProbe");
    check_probe(at, it, "readinessProbe");
    check_probe(at, it, "startupProbe");
    check_lifecycle(at, it);
    check_rights(at, it);
}

static bool name_is_taken(const sp_json *spec, const sp_json *container, const sp_json *name) {
    static const char *const lists[] = {"initContainers", "containers"};
    for (size_t i = 0; i < SP_COUNT(lists); i++) {
        sp_json_each(sp_json_get(spec, lists[i]), it) {
            if (it == container) return false;
            const sp_json *other = sp_json_get(it, "name");
            if (other && name && sp_json_equal(other, name)) return true;
        }
    }
    return false;
}

void sp_containers_validate(const sp_at *at, const sp_json *spec, const char *key) {
    sp_at list = sp_at_key(at, key);
    size_t i = 0;
    bool init = !strcmp(key, "initContainers");
    sp_json_each(sp_json_get(spec, key), it) {
        sp_at item = sp_at_item(&list, i++);
        const sp_json *name = sp_json_get(it, "name");
        check_container(&item, it, spec);
        if (init) check_init(&item, it);
        if (name_is_taken(spec, it, name)) sp_say_duplicate(&item, "name", name);
    }
}
