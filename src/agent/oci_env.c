/* The environment of a container: references resolved, $(NAME) expanded as
 * kubernetes.io/docs/tasks/inject-data-application describes it. */
#include "agent/oci.h"

#include "data/base64.h"
#include "data/quantity.h"
#include "kube/object.h"

#include <inttypes.h>

static sp_json *env_find(const sp_json *env, sp_str name) {
    sp_json_each(env, e) {
        if (sp_str_eq(sp_json_str(sp_json_get(e, "name")), name)) return e;
    }
    return NULL;
}

static void env_put(sp_arena *a, sp_json *env, sp_str name, sp_str value) {
    sp_json *e = env_find(env, name);
    if (!e) {
        e = sp_json_push(env, sp_json_object(a));
        sp_json_set(a, e, "name", sp_json_new_str(a, name));
    }
    sp_json_set(a, e, "value", sp_json_new_str(a, value));
}

sp_str sp_env_expand(sp_arena *a, sp_str text, const sp_json *env) {
    if (sp_str_chr(text, '$') < 0) return text;
    sp_auto(sp_buf) out = {0};
    for (size_t i = 0; i < text.n; i++) {
        char next = i + 1 < text.n ? text.p[i + 1] : 0;
        if (text.p[i] != '$' || (next != '$' && next != '(')) {
            sp_buf_addc(&out, text.p[i]);
            continue;
        }
        ptrdiff_t end = sp_str_chr(sp_str_from(text, i), ')');
        const sp_json *found = NULL;
        if (next == '(' && end > 0) found = env_find(env, sp_str_sub(text, i + 2, (size_t)end - 2));
        if (next == '$') {
            sp_buf_addc(&out, '$');
            i++;
        } else if (found) {
            sp_buf_add(&out, sp_json_str(sp_json_get(found, "value")));
            i += (size_t)end;
        } else {
            sp_buf_addc(&out, '$');
        }
    }
    return sp_arena_str(a, sp_buf_str(&out));
}

/* metadata.labels['a.b/c'] */
static bool subscript(const sp_json *pod, sp_str path, sp_str *ret) {
    static const char *const maps[] = {"labels", "annotations"};
    for (size_t i = 0; i < SP_COUNT(maps); i++) {
        sp_str rest = path, head = SP_STR("metadata.");
        if (!sp_str_starts(rest, head)) return false;
        rest = sp_str_from(rest, head.n);
        if (!sp_str_starts(rest, sp_str_z(maps[i]))) continue;
        rest = sp_str_from(rest, strlen(maps[i]));
        if (!sp_str_starts(rest, SP_STR("['")) || !sp_str_ends(rest, SP_STR("']"))) return false;
        sp_str key = sp_str_sub(rest, 2, rest.n - 4);
        const sp_json *map = sp_json_dig(pod, "metadata", maps[i], NULL);
        *ret = sp_json_str(sp_json_get_str(map, key));
        return true;
    }
    return false;
}

static sp_str whole_map(sp_arena *a, const sp_json *map) {
    sp_auto(sp_buf) out = {0};
    sp_json_each(map, m) {
        if (out.n) sp_buf_addc(&out, '\n');
        sp_buf_add(&out, m->key);
        sp_buf_addc(&out, '=');
        sp_json_write_string(&out, sp_json_str(m));
    }
    return sp_arena_str(a, sp_buf_str(&out));
}

bool sp_env_field(sp_arena *a, const sp_json *pod, const sp_env_source *source, sp_str path,
                  sp_str *ret, sp_err *err) {
    static const char *const plain[][3] = {
        {"metadata.name", "metadata", "name"},
        {"metadata.namespace", "metadata", "namespace"},
        {"metadata.uid", "metadata", "uid"},
        {"spec.nodeName", "spec", "nodeName"},
        {"spec.serviceAccountName", "spec", "serviceAccountName"},
    };
    for (size_t i = 0; i < SP_COUNT(plain); i++) {
        if (!sp_str_eqz(path, plain[i][0])) continue;
        *ret = sp_json_str(sp_json_dig(pod, plain[i][1], plain[i][2], NULL));
        return true;
    }
    if (subscript(pod, path, ret)) return true;
    if (sp_str_eqz(path, "metadata.labels") || sp_str_eqz(path, "metadata.annotations")) {
        *ret = whole_map(a, sp_json_dig(pod, "metadata", path.p + 9, NULL));
        return true;
    }
    bool pod_ip = sp_str_eqz(path, "status.podIP") || sp_str_eqz(path, "status.podIPs");
    bool host_ip = sp_str_eqz(path, "status.hostIP") || sp_str_eqz(path, "status.hostIPs");
    if (!pod_ip && !host_ip)
        return sp_fail(err, SP_INVALID, "fieldRef \"%.*s\" is not supported", SP_ARG(path));
    *ret = pod_ip ? source->pod_ip : source->host_ip;
    return true;
}

static const sp_json *container_named(const sp_json *pod, sp_str name) {
    static const char *const lists[] = {"containers", "initContainers"};
    for (size_t i = 0; i < SP_COUNT(lists); i++) {
        sp_json_each(sp_json_dig(pod, "spec", lists[i], NULL), c) {
            if (sp_str_eq(sp_json_str(sp_json_get(c, "name")), name)) return c;
        }
    }
    return NULL;
}

/* "limits.memory" divided by the divisor, rounded up. */
bool sp_env_resource(sp_arena *a, const sp_json *pod, const sp_json *container, const sp_json *ref,
                     sp_str *ret, sp_err *err) {
    sp_str what = sp_json_str(sp_json_get(ref, "resource")), which;
    sp_str name = sp_json_str(sp_json_get(ref, "containerName"));
    const sp_json *c = name.n ? container_named(pod, name) : container;
    sp_str rest = what;
    if (!sp_str_cut(&rest, '.', &which) ||
        (!sp_str_eqz(which, "limits") && !sp_str_eqz(which, "requests")))
        return sp_fail(err, SP_INVALID, "resourceFieldRef \"%.*s\" is not supported", SP_ARG(what));
    const sp_json *r = sp_json_get(c, "resources");
    const sp_json *v = sp_json_get_str(sp_json_get_str(r, which), rest);
    if (!v) v = sp_json_get_str(sp_json_get(r, "limits"), rest);
    int64_t milli = 0, unit = 1000;
    if (v && !sp_quantity_milli(v, &milli))
        return sp_fail(err, SP_INVALID, "%.*s is no quantity", SP_ARG(what));
    const sp_json *divisor = sp_json_get(ref, "divisor");
    if (divisor && !sp_quantity_milli(divisor, &unit)) unit = 1000;
    if (unit <= 0) unit = 1000;
    *ret = sp_arena_printf(a, "%" PRId64, milli / unit + (milli % unit != 0));
    return true;
}

static bool is_optional(const sp_json *ref) {
    return sp_json_bool(sp_json_get(ref, "optional"), false);
}

static bool decode(sp_arena *a, bool secret, const sp_json *v, sp_str *ret) {
    if (!secret) {
        *ret = sp_json_str(v);
        return true;
    }
    sp_auto(sp_buf) plain = {0};
    if (!sp_base64_decode(&plain, sp_json_str(v))) return false;
    *ret = sp_arena_str(a, sp_buf_str(&plain));
    return true;
}

/* found stays false when the key is missing but optional. */
static bool key_of(sp_arena *a, const sp_env_source *s, const char *kind, const sp_json *ref,
                   sp_str *ret, bool *found, sp_err *err) {
    sp_str name = sp_json_str(sp_json_get(ref, "name")), key = sp_json_str(sp_json_get(ref, "key"));
    const sp_json *obj = s->object(s->ctx, kind, name);
    const sp_json *v = sp_json_get_str(sp_json_get(obj, "data"), key);
    *found = v != NULL;
    if (!v && is_optional(ref)) return true;
    if (!obj) return sp_fail(err, SP_NOT_FOUND, "%s \"%.*s\" does not exist", kind, SP_ARG(name));
    if (!v)
        return sp_fail(err, SP_NOT_FOUND, "%s \"%.*s\" has no key \"%.*s\"", kind, SP_ARG(name),
                       SP_ARG(key));
    return decode(a, strcmp(kind, "Secret") == 0, v, ret) ||
           sp_fail(err, SP_INVALID, "Secret \"%.*s\": key \"%.*s\" is no base64", SP_ARG(name),
                   SP_ARG(key));
}

static bool value_from(sp_arena *a, const sp_json *pod, const sp_json *container,
                       const sp_env_source *s, const sp_json *from, sp_str *ret, bool *found,
                       sp_err *err) {
    const sp_json *ref;
    *found = true;
    if ((ref = sp_json_get(from, "configMapKeyRef")))
        return key_of(a, s, "ConfigMap", ref, ret, found, err);
    if ((ref = sp_json_get(from, "secretKeyRef")))
        return key_of(a, s, "Secret", ref, ret, found, err);
    if ((ref = sp_json_get(from, "fieldRef")))
        return sp_env_field(a, pod, s, sp_json_str(sp_json_get(ref, "fieldPath")), ret, err);
    if ((ref = sp_json_get(from, "resourceFieldRef")))
        return sp_env_resource(a, pod, container, ref, ret, err);
    return sp_fail(err, SP_INVALID, "valueFrom names no source");
}

static bool name_usable(sp_str s) {
    if (!s.n || (s.p[0] >= '0' && s.p[0] <= '9')) return false;
    return sp_str_chr(s, '=') < 0 && sp_str_chr(s, 0) < 0;
}

static bool add_all_of(sp_arena *a, const sp_env_source *s, const char *kind, const sp_json *ref,
                       sp_str prefix, sp_json *env, sp_err *err) {
    sp_str name = sp_json_str(sp_json_get(ref, "name"));
    const sp_json *obj = s->object(s->ctx, kind, name);
    if (!obj && is_optional(ref)) return true;
    if (!obj) return sp_fail(err, SP_NOT_FOUND, "%s \"%.*s\" does not exist", kind, SP_ARG(name));
    sp_json_each(sp_json_get(obj, "data"), m) {
        sp_str value, full = sp_arena_printf(a, "%.*s%.*s", SP_ARG(prefix), SP_ARG(m->key));
        if (name_usable(full) && decode(a, strcmp(kind, "Secret") == 0, m, &value))
            env_put(a, env, full, value);
    }
    return true;
}

static bool add_env_from(sp_arena *a, const sp_json *container, const sp_env_source *s,
                         sp_json *env, sp_err *err) {
    sp_json_each(sp_json_get(container, "envFrom"), from) {
        sp_str prefix = sp_json_str(sp_json_get(from, "prefix"));
        const sp_json *cm = sp_json_get(from, "configMapRef"), *se = sp_json_get(from, "secretRef");
        if (cm && !add_all_of(a, s, "ConfigMap", cm, prefix, env, err)) return false;
        if (se && !add_all_of(a, s, "Secret", se, prefix, env, err)) return false;
    }
    return true;
}

bool sp_env_resolve(sp_arena *a, const sp_json *pod, const sp_json *container,
                    const sp_env_source *source, sp_json **ret, sp_err *err) {
    sp_json *env = sp_json_array(a);
    if (!add_env_from(a, container, source, env, err)) return false;
    sp_json_each(sp_json_get(container, "env"), e) {
        sp_str name = sp_json_str(sp_json_get(e, "name"));
        const sp_json *from = sp_json_get(e, "valueFrom");
        sp_str value = sp_env_expand(a, sp_json_str(sp_json_get(e, "value")), env);
        bool found = true;
        if (from && !value_from(a, pod, container, source, from, &value, &found, err))
            return sp_err_wrap(err, "env %.*s", SP_ARG(name));
        if (found) env_put(a, env, name, value);
    }
    *ret = env;
    return true;
}
