/* ConfigMaps and Secrets that pods of this node name, each kept current by a watch of its own
 * (field selector metadata.name), shared by all pods that name it and ended with the last of them.
 */
#include "agent/pod.h"

#include "base/log.h"
#include "kube/gvrs.h"

#include <stdio.h>

typedef struct object {
    sp_objects *owner;
    char *key; /* "ConfigMap/ns/name" */
    char *ns, *selector;
    sp_informer *informer;
    SP_VEC(sp_pod *) users;
} object;

struct sp_objects {
    sp_agent *agent;
    sp_map objects; /* key → object */
};

sp_objects *sp_objects_new(sp_agent *g) {
    sp_objects *o = sp_zalloc(1, sizeof *o);
    o->agent = g;
    return o;
}

static object *find(sp_objects *o, const char *kind, sp_str ns, sp_str name) {
    sp_auto(sp_buf) key = {0};
    sp_buf_printf(&key, "%s/%.*s/%.*s", kind, SP_ARG(ns), SP_ARG(name));
    return sp_map_get(&o->objects, sp_buf_str(&key));
}

/* The pod's volumes and environment are looked at again at once, whatever backoff is running. */
static void wake_users(object *ob) {
    if (!sp_informer_synced(ob->informer)) return;
    sp_vec_each(&ob->users, u) {
        sp_pod *p = *u;
        p->view.volumes_ready = false;
        p->view.volume_failures = 0;
        p->view.volumes_failed_ms = 0;
        for (size_t i = 0; i < p->view.n; i++) p->view.containers[i].config_failures = 0;
        sp_pod_sync_soon(p);
    }
}

static void on_change(void *ctx, const sp_json *old, const sp_json *obj) {
    (void)old, (void)obj;
    wake_users(ctx);
}

static void on_synced(void *ctx) {
    wake_users(ctx);
}

static object *add(sp_objects *o, const char *kind, sp_str ns, sp_str name) {
    object *ob = sp_zalloc(1, sizeof *ob);
    sp_auto(sp_buf) text = {0};
    ob->owner = o;
    sp_buf_printf(&text, "%s/%.*s/%.*s", kind, SP_ARG(ns), SP_ARG(name));
    ob->key = sp_strdup(text.p);
    sp_buf_clear(&text);
    sp_buf_printf(&text, "metadata.name=%.*s", SP_ARG(name));
    ob->selector = sp_strdup(text.p);
    ob->ns = sp_str_dup(ns);
    sp_map_put(&o->objects, sp_str_z(ob->key), ob);
    sp_informer_config c = {
        .gvr = strcmp(kind, "Secret") == 0 ? &sp_gvr_secrets : &sp_gvr_configmaps,
        .namespace_ = ob->ns,
        .field_selector = ob->selector,
    };
    ob->informer = sp_informer_new(o->agent->kube, &c);
    sp_informer_on_change(ob->informer, on_change, ob);
    sp_informer_on_synced(ob->informer, on_synced, ob);
    return ob;
}

static void drop(object *ob) {
    sp_map_del(&ob->owner->objects, sp_str_z(ob->key));
    sp_informer_free(ob->informer);
    sp_vec_free(&ob->users);
    free(ob->key);
    free(ob->ns);
    free(ob->selector);
    free(ob);
}

static void use(void *ctx, const char *kind, sp_str name) {
    sp_pod *p = ctx;
    sp_objects *o = p->agent->objects;
    object *ob = find(o, kind, p->ns, name);
    if (!ob) ob = add(o, kind, p->ns, name);
    sp_vec_each(&ob->users, u) {
        if (*u == p) return;
    }
    sp_vec_push(&ob->users, p);
}

void sp_objects_watch(sp_objects *o, sp_pod *p) {
    (void)o;
    sp_pod_refs(p->obj, use, p);
}

static void unuse(void *ctx, const char *kind, sp_str name) {
    sp_pod *p = ctx;
    object *ob = find(p->agent->objects, kind, p->ns, name);
    if (!ob) return;
    for (size_t i = ob->users.n; i-- > 0;)
        if (ob->users.p[i] == p) sp_vec_remove(&ob->users, i);
    if (!ob->users.n) drop(ob);
}

void sp_objects_release(sp_objects *o, sp_pod *p) {
    (void)o;
    sp_pod_refs(p->obj, unuse, p);
}

const sp_json *sp_objects_get(sp_objects *o, const char *kind, sp_str ns, sp_str name) {
    object *ob = find(o, kind, ns, name);
    return ob ? sp_informer_get(ob->informer, ns, name) : NULL;
}

typedef struct asking {
    sp_pod *pod;
    bool all;
} asking;

static void ask(void *ctx, const char *kind, sp_str name) {
    asking *q = ctx;
    object *ob = find(q->pod->agent->objects, kind, q->pod->ns, name);
    if (ob && !sp_informer_synced(ob->informer)) q->all = false;
}

bool sp_objects_known(sp_objects *o, sp_pod *p) {
    (void)o;
    asking q = {p, true};
    sp_pod_refs(p->obj, ask, &q);
    return q.all;
}
