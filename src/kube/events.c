#include "kube/events.h"

#include "base/clock.h"
#include "base/list.h"
#include "base/map.h"
#include "base/rng.h"
#include "data/time.h"
#include "kube/gvrs.h"

#include <stdarg.h>
#include <stdio.h>

enum {
    MAX_REMEMBERED = 512,
    MAX_MESSAGE = 1024,
    MAX_AGE_MS = 45 * 60000 /* the server drops Events an hour after their last change */
};

typedef struct known {
    sp_list link; /* in recorder->recent, the oldest first */
    char *key, *ns, *name;
    int64_t count, last_ms;
} known;

struct sp_events {
    sp_kube *kube;
    char *component, *host;
    sp_map by_key;
    sp_list recent;
};

sp_events *sp_events_new(sp_kube *k, const char *component, const char *host) {
    sp_events *e = sp_zalloc(1, sizeof *e);
    e->kube = k;
    e->component = sp_strdup(component);
    e->host = host ? sp_strdup(host) : NULL;
    sp_list_init(&e->recent);
    return e;
}

static void forget(sp_events *e, known *n) {
    sp_map_del(&e->by_key, sp_str_z(n->key));
    sp_list_remove(&n->link);
    free(n->key);
    free(n->ns);
    free(n->name);
    free(n);
}

sp_events *sp_events_free(sp_events *e) {
    if (!e) return NULL;
    sp_list_each(&e->recent, it) forget(e, SP_CONTAINER(it, known, link));
    sp_map_free(&e->by_key);
    free(e->component);
    free(e->host);
    free(e);
    return NULL;
}

static void remember(sp_events *e, sp_str key, sp_str ns, sp_str name) {
    known *n = sp_zalloc(1, sizeof *n);
    *n = (known){.key = sp_str_dup(key),
                 .ns = sp_str_dup(ns),
                 .name = sp_str_dup(name),
                 .count = 1,
                 .last_ms = sp_clock_mono_ms()};
    sp_map_put(&e->by_key, key, n);
    sp_list_append(&e->recent, &n->link);
    if (e->by_key.n > MAX_REMEMBERED) forget(e, SP_CONTAINER(e->recent.next, known, link));
}

/* ---------- what is sent ---------- */

sp_json *sp_event_ref(sp_arena *a, const sp_json *obj, const char *field_path) {
    sp_json *r = sp_json_object(a);
    sp_json_set(a, r, "kind", sp_json_new_str(a, sp_obj_kind(obj)));
    if (sp_obj_namespace(obj).n)
        sp_json_set(a, r, "namespace", sp_json_new_str(a, sp_obj_namespace(obj)));
    sp_json_set(a, r, "name", sp_json_new_str(a, sp_obj_name(obj)));
    sp_json_set(a, r, "uid", sp_json_new_str(a, sp_obj_uid(obj)));
    sp_json_set_z(a, r, "apiVersion", sp_json_get_z(obj, "apiVersion"));
    sp_json_set(
        a, r, "resourceVersion",
        sp_json_new_str(a, sp_json_str(sp_json_dig(obj, "metadata", "resourceVersion", NULL))));
    if (field_path) sp_json_set_z(a, r, "fieldPath", field_path);
    return r;
}

static sp_json *new_event(sp_events *e, sp_arena *a, sp_str ns, sp_str name,
                          const char *component) {
    sp_json *j = sp_json_object(a);
    sp_json_set_z(a, j, "apiVersion", "v1");
    sp_json_set_z(a, j, "kind", "Event");
    sp_json *meta = sp_json_ensure_object(a, j, "metadata");
    sp_json_set(a, meta, "name", sp_json_new_str(a, name));
    sp_json_set(a, meta, "namespace", sp_json_new_str(a, ns));
    sp_json *source = sp_json_ensure_object(a, j, "source");
    sp_json_set_z(a, source, "component", component);
    if (e->host) sp_json_set_z(a, source, "host", e->host);
    sp_json_set_z(a, j, "reportingComponent", component);
    sp_json_set_z(a, j, "reportingInstance", e->host ? e->host : "");
    return j;
}

static void lost(void *ctx, int http, const sp_json *obj, const sp_err *err) {
    (void)ctx, (void)http, (void)obj, (void)err;
}

static void deliver(sp_events *e, sp_arena *a, const char *method, sp_str ns, sp_str name,
                    const sp_json *body) {
    bool patch = strcmp(method, "PATCH") == 0;
    sp_kube_request r = {.method = method,
                         .target = sp_gvr_path(a, &sp_gvr_events, ns, name, NULL),
                         .content_type = patch ? "application/merge-patch+json" : NULL,
                         .body = body};
    sp_kube_call(e->kube, &r, lost, NULL);
}

static void count_up(sp_events *e, sp_arena *a, known *n) {
    sp_json *patch = sp_json_object(a);
    sp_json_set_int(a, patch, "count", ++n->count);
    sp_json_set(a, patch, "lastTimestamp", sp_json_new_time(a, sp_clock_wall_ms()));
    n->last_ms = sp_clock_mono_ms();
    sp_list_remove(&n->link);
    sp_list_append(&e->recent, &n->link);
    deliver(e, a, "PATCH", sp_str_z(n->ns), sp_str_z(n->name), patch);
}

void sp_events_post(sp_events *e, const sp_json *ref, const char *component, const char *type,
                    const char *reason, sp_str message) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    if (!component) component = e->component;
    message = sp_str_sub(message, 0, MAX_MESSAGE);
    sp_str ns = sp_json_str(sp_json_get(ref, "namespace"));
    if (!ns.n) ns = SP_STR("default");
    sp_str key =
        sp_arena_printf(a, "%s|%s|%s|%s|%s|%.*s", sp_json_get_z(ref, "uid"),
                        sp_json_get_z(ref, "fieldPath"), component, type, reason, SP_ARG(message));
    known *n = sp_map_get(&e->by_key, key);
    if (n && sp_clock_mono_ms() - n->last_ms > MAX_AGE_MS) {
        forget(e, n);
        n = NULL;
    }
    if (n) {
        count_up(e, a, n);
        return;
    }
    sp_str name = sp_arena_printf(a, "%s.%016llx", sp_json_get_z(ref, "name"),
                                  (unsigned long long)sp_rng_u64());
    remember(e, key, ns, name);
    sp_json *j = new_event(e, a, ns, name, component);
    sp_json_set(a, j, "involvedObject", sp_json_clone(a, ref));
    sp_json_set_z(a, j, "type", type);
    sp_json_set_z(a, j, "reason", reason);
    sp_json_set(a, j, "message", sp_json_new_str(a, message));
    sp_json_set_int(a, j, "count", 1);
    sp_json_set(a, j, "firstTimestamp", sp_json_new_time(a, sp_clock_wall_ms()));
    sp_json_set(a, j, "lastTimestamp", sp_json_new_time(a, sp_clock_wall_ms()));
    deliver(e, a, "POST", ns, (sp_str){0}, j);
}
