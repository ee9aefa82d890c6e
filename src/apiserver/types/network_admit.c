/* Ingresses and HorizontalPodAutoscalers. */
#include "apiserver/types/admit.h"

/* "*.example.org" stands for one more label. */
const char *sp_wrong_host(sp_str s) {
    const char *what = sp_wrong_subdomain(sp_str_starts(s, SP_STR("*.")) ? sp_str_from(s, 2) : s);
    bool number = s.n && s.p[s.n - 1] >= '0' && s.p[s.n - 1] <= '9' && sp_str_chr(s, '.') > 0;
    for (size_t i = 0; number && i < s.n; i++) {
        number = s.p[i] == '.' || (s.p[i] >= '0' && s.p[i] <= '9');
    }
    return number ? "must be a DNS name, not an IP address" : what;
}

/* --- Ingress --- */

bool sp_prepare_ingress(sp_admit *a, sp_err *err) {
    return true;
}

static void check_backend(const sp_at *at, const sp_json *backend) {
    const sp_json *service = sp_json_get(backend, "service");
    const sp_json *resource = sp_json_get(backend, "resource");
    sp_at here = sp_at_key(at, "service"), port_at = sp_at_key(&here, "port");
    if (!backend || resource) return;
    if (!service) {
        sp_say_required(&here, "name", NULL);
        return;
    }
    const sp_json *port = sp_json_get(service, "port");
    bool named = sp_json_str(sp_json_get(port, "name")).n != 0;
    bool numbered = sp_json_int(sp_json_get(port, "number"), 0) != 0;
    if (sp_check_present(&here, service, "name"))
        sp_check_text(&here, service, "name", sp_wrong_label);
    if (named && numbered) {
        sp_say_invalid(&port_at, NULL, port, "cannot set both port name & port number");
    } else if (!named && !numbered) {
        sp_say_required(&here, "port", "port name or number is required");
    }
    sp_check_text(&port_at, port, "name", sp_wrong_port_name);
    if (numbered) sp_check_port(&port_at, port, "number");
}

static void check_path(const sp_at *at, const sp_json *path) {
    const sp_json *type = sp_json_get(path, "pathType"), *text = sp_json_get(path, "path");
    bool loose = sp_str_eqz(sp_json_str(type), "ImplementationSpecific");
    if (!type) sp_say_required(at, "pathType", "pathType must be specified");
    if (!loose && !sp_str_starts(sp_json_str(text), SP_STR("/"))) {
        sp_say_invalid(at, "path", text, "must be an absolute path");
    }
    sp_at backend = sp_at_key(at, "backend");
    check_backend(&backend, sp_json_get(path, "backend"));
}

static void check_rule(const sp_at *at, const sp_json *rule) {
    sp_at http = sp_at_key(at, "http"), list = sp_at_key(&http, "paths");
    const sp_json *given = sp_json_get(rule, "http"), *paths = sp_json_get(given, "paths");
    size_t i = 0;
    sp_check_text(at, rule, "host", sp_wrong_host);
    if (given && !(paths && paths->count)) sp_say_required(&http, "paths", NULL);
    sp_json_each(paths, it) {
        sp_at item = sp_at_item(&list, i++);
        check_path(&item, it);
    }
}

bool sp_validate_ingress(sp_admit *a, sp_err *err) {
    sp_at root = sp_at_root(a), at = sp_at_key(&root, "spec"), list = sp_at_key(&at, "rules");
    const sp_json *spec = sp_json_get(a->obj, "spec"), *rules = sp_json_get(spec, "rules");
    const sp_json *fallback = sp_json_get(spec, "defaultBackend");
    sp_at fallback_at = sp_at_key(&at, "defaultBackend");
    size_t i = 0;
    if (a->subresource.n) return true;
    if (!fallback && !(rules && rules->count)) {
        sp_json none = {.type = SP_JSON_ARRAY};
        sp_say_invalid(&at, NULL, &none, "either `defaultBackend` or `rules` must be specified");
    }
    check_backend(&fallback_at, fallback);
    sp_json_each(rules, it) {
        sp_at item = sp_at_item(&list, i++);
        check_rule(&item, it);
    }
    return true;
}

/* --- HorizontalPodAutoscaler --- */

/* Without a metric it keeps the processors at 80 %. */
bool sp_prepare_hpa(sp_admit *a, sp_err *err) {
    sp_json *spec = sp_member(a->obj, "spec", SP_JSON_OBJECT);
    const sp_json *given = spec ? sp_json_get(spec, "metrics") : NULL;
    bool some =
        given && (given->type != SP_JSON_ARRAY || given->count) && given->type != SP_JSON_NULL;
    if (!spec || a->subresource.n || some) return true;
    enum { DEFAULT_PERCENT = 80 };
    sp_arena *m = a->arena;
    sp_json *metric = sp_json_object(m), *resource = sp_json_object(m), *target = sp_json_object(m);
    sp_json_set_z(m, target, "type", "Utilization");
    sp_json_set_int(m, target, "averageUtilization", DEFAULT_PERCENT);
    sp_json_set_z(m, resource, "name", "cpu");
    sp_json_set(m, resource, "target", target);
    sp_json_set_z(m, metric, "type", "Resource");
    sp_json_set(m, metric, "resource", resource);
    sp_json_push(sp_json_set(m, spec, "metrics", sp_json_array(m)), metric);
    return true;
}

const char *sp_metric_member(const sp_json *metric) {
    static const char *const sources[][2] = {{"Resource", "resource"},
                                             {"ContainerResource", "containerResource"},
                                             {"Pods", "pods"},
                                             {"Object", "object"},
                                             {"External", "external"}};
    const char *type = sp_json_get_z(metric, "type");
    for (size_t i = 0; i < SP_COUNT(sources); i++)
        if (strcmp(type, sources[i][0]) == 0) return sources[i][1];
    return NULL;
}

static void check_metric(const sp_at *at, const sp_json *metric) {
    const char *member = sp_metric_member(metric);
    if (!member) return;
    if (!sp_json_get(metric, member)) {
        sp_say_required(at, member, "must populate information for the given metric source");
        return;
    }
    sp_at source = sp_at_key(at, member), here = sp_at_key(&source, "target");
    sp_check_min(&here, sp_json_dig(metric, member, "target", NULL), "averageUtilization", 1);
}

bool sp_validate_hpa(sp_admit *a, sp_err *err) {
    sp_at root = sp_at_root(a), at = sp_at_key(&root, "spec"), list = sp_at_key(&at, "metrics");
    const sp_json *spec = sp_json_get(a->obj, "spec");
    const sp_json *target = sp_json_get(spec, "scaleTargetRef");
    const sp_json *least = sp_json_get(spec, "minReplicas"),
                  *most = sp_json_get(spec, "maxReplicas");
    sp_at target_at = sp_at_key(&at, "scaleTargetRef");
    size_t i = 0;
    if (a->subresource.n) return true;
    sp_check_present(&target_at, target, "kind");
    sp_check_present(&target_at, target, "name");
    sp_check_min(&at, spec, "minReplicas", 1);
    if (sp_json_int(most, 1) < 1)
        sp_say_invalid(&at, "maxReplicas", most, "must be greater than 0");
    else if (sp_json_int(most, 1) < sp_json_int(least, 1)) {
        sp_say_invalid(&at, "maxReplicas", most, "must be greater than or equal to `minReplicas`");
    }
    sp_json_each(sp_json_get(spec, "metrics"), it) {
        sp_at item = sp_at_item(&list, i++);
        check_metric(&item, it);
    }
    return true;
}
