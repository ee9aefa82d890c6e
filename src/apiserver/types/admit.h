/* What the hooks of built-in kinds share: a place in the object that is written out only when
 * something is wrong there, and the words in which Kubernetes says so. Places live on the stack and
 * point at the place above them. */
#pragma once
#include "apiserver/registry.h"

typedef struct sp_at {
    const struct sp_at *up; /* NULL: the object itself */
    const char *key;        /* a member, or NULL: */
    size_t index;           /* an item */
    sp_admit *admit;        /* of the root; copied down */
} sp_at;

static inline sp_at sp_at_root(sp_admit *a) {
    return (sp_at){.admit = a};
}
static inline sp_at sp_at_key(const sp_at *up, const char *key) {
    return (sp_at){.up = up, .key = key, .admit = up->admit};
}
static inline sp_at sp_at_item(const sp_at *up, size_t index) {
    return (sp_at){.up = up, .index = index, .admit = up->admit};
}

/* Each adds one cause at the place, or at its member `key` (NULL = the place itself). */
void sp_say_required(const sp_at *at, const char *key,
                     const char *detail); /* detail: NULL = none */
void sp_say_invalid(const sp_at *at, const char *key, const sp_json *value, const char *fmt, ...)
    SP_PRINTF(4, 5);
void sp_say_duplicate(const sp_at *at, const char *key, const sp_json *value);
void sp_say_not_found(const sp_at *at, const char *key, const sp_json *value);
void sp_say_forbidden(const sp_at *at, const char *key, const char *fmt, ...) SP_PRINTF(3, 4);
void sp_say_unsupported(const sp_at *at, const char *key, const sp_json *value,
                        const char *supported); /* supported: "\"A\", \"B\"" */
void sp_say_too_long(const sp_at *at, const char *key, size_t max_bytes);
/* A member of a map: data[key]. */
void sp_say_invalid_entry(const sp_at *at, sp_str key, const char *what);

/* --- checks of single values; each returns what is wrong (static text), or NULL --- */
const char *sp_wrong_host(sp_str s);      /* a DNS name, maybe *.name */
const char *sp_wrong_subdomain(sp_str s); /* RFC 1123 subdomain, at most 253 */
const char *sp_wrong_label(sp_str s);     /* RFC 1123 label, at most 63 */
const char *sp_wrong_1035(sp_str s);      /* DNS-1035 label, at most 63 */
const char *sp_wrong_qualified(sp_str s); /* label key: prefix/name */
const char *sp_wrong_port_name(sp_str s); /* IANA service name, at most 15 */
const char *sp_wrong_config_key(sp_str s);
const char *sp_wrong_env_name(sp_str s);

/* --- checks of members: missing ones pass unless said otherwise --- */
/* A required string; true when it is there and not empty. */
bool sp_check_present(const sp_at *at, const sp_json *obj, const char *key);
/* Runs `wrong` on a string that is there. */
void sp_check_text(const sp_at *at, const sp_json *obj, const char *key,
                   const char *(*wrong)(sp_str s));
void sp_check_min(const sp_at *at, const sp_json *obj, const char *key, int64_t min);
void sp_check_port(const sp_at *at, const sp_json *obj, const char *key); /* 1-65535 */
/* A port number or the name of one. */
void sp_check_port_or_name(const sp_at *at, const sp_json *obj, const char *key);
void sp_check_labels(const sp_at *at, const sp_json *obj, const char *key);
/* matchLabels and matchExpressions of obj[key]. */
void sp_check_selector(const sp_at *at, const sp_json *obj, const char *key);
/* On update: the member must be what it was. */
void sp_check_immutable(const sp_at *at, const sp_json *old, const sp_json *obj, const char *key);

/* --- editing, for prepare hooks: they run before the shape is checked, so they touch only what has
 * the right type --- */
sp_json *sp_member(const sp_json *obj, const char *key, sp_json_type type); /* NULL otherwise */
/* The member object, made if missing; NULL if it is something else. */
sp_json *sp_open_object(sp_arena *a, sp_json *obj, const char *key);
void sp_default_z(sp_arena *a, sp_json *obj, const char *key, const char *value);
void sp_default_int(sp_arena *a, sp_json *obj, const char *key, int64_t value);
void sp_default_bool(sp_arena *a, sp_json *obj, const char *key, bool value);

/* --- pod specs, alone and in templates (pod_defaults.c, pod_validate.c) --- */
void sp_pod_spec_defaults(sp_arena *a, sp_json *spec);
void sp_pod_spec_validate(const sp_at *at, const sp_json *spec);
void sp_containers_validate(const sp_at *at, const sp_json *spec, const char *key);

/* The member of an autoscaler's metric that its type names; NULL if there is no such type. */
const char *sp_metric_member(const sp_json *metric);

/* --- the hooks of the rows --- */
#define HOOKS(kind)                                   \
    bool sp_prepare_##kind(sp_admit *a, sp_err *err); \
    bool sp_validate_##kind(sp_admit *a, sp_err *err)
HOOKS(pod);
HOOKS(deployment);
HOOKS(replica_set);
HOOKS(service);
HOOKS(endpoints);
HOOKS(endpoint_slice);
HOOKS(config_map);
HOOKS(secret);
HOOKS(namespace);
HOOKS(ingress);
HOOKS(http_route);
HOOKS(gateway);
HOOKS(grpc_route);
HOOKS(tls_route);
HOOKS(tcp_route);
HOOKS(backend_tls_policy);
HOOKS(backend_policy);
HOOKS(traffic_policy);
HOOKS(hpa);
