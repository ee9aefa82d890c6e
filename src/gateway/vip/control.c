#include "gateway/vip/control.h"
#include "base/file.h"
#include "base/log.h"
#include "base/map.h"
#include "data/base64.h"
#include "data/time.h"
#include "gateway/vip/keepalived.h"
#include "gateway/vip/objects.h"
#include "gateway/vip/run.h"
#include "kube/gvrs.h"

enum { SETTLE_MS = 5 };

struct sp_vip_control {
    sp_vip_control_config c;
    sp_vip *vip; /* NULL until there is something to hold */
    sp_buf file;
    sp_informer *objects, *secrets;
    sp_controller *status;
    sp_timer *settle;
    sp_buf applied; /* what the last configuration was made of */
    sp_map refused; /* object name → why, a heap string */
    sp_map health;  /* name → HEALTH_UP or HEALTH_DOWN, for a vip that starts later */
    bool synced, stopping, waiting; /* waiting: for the predecessor */
};

static char health_up, health_down;

/* --- what is to be --- */

/* A secret's value, decoded; kept until the next one is asked for. */
static bool find_secret(void *ctx, sp_str ns, sp_str name, sp_str key, sp_str *ret) {
    static __thread char value[64];
    sp_vip_control *c = ctx;
    const sp_json *secret = sp_informer_get(c->secrets, ns, name);
    sp_auto(sp_buf) bytes = {0};
    sp_str text = sp_json_str(sp_json_get_str(sp_json_get(secret, "data"), key));
    if (!text.n || !sp_base64_decode(&bytes, text) || bytes.n > sizeof value) return false;
    memcpy(value, bytes.p, bytes.n);
    *ret = (sp_str){value, bytes.n};
    return true;
}

static void forget_refusals(sp_vip_control *c) {
    void *text;
    for (size_t at = 0; sp_map_next(&c->refused, &at, NULL, &text);) free(text);
    sp_map_free(&c->refused);
}

static void read_object(sp_vip_control *c, sp_vip_config *config, const sp_json *o, sp_buf *text) {
    sp_vip_node node = {sp_str_z(c->c.node_name), find_secret, c};
    sp_err err = {0};
    bool part;
    if (sp_obj_deleting(o)) return;
    if (!sp_vip_object_read(config, o, &node, &part, &err)) {
        sp_map_put(&c->refused, sp_obj_name(o), sp_strdup(err.text));
        return;
    }
    if (!part) return;
    const sp_vip_instance *i = &config->instances.p[config->instances.n - 1];
    sp_buf_add(text, sp_obj_name(o));
    sp_json_write(text, sp_json_get(o, "spec"));
    sp_buf_add(text, (sp_str){i->pass, sizeof i->pass});
}

static sp_vip_config *gather(sp_vip_control *c, sp_buf *text) {
    sp_vip_problems problems = {0};
    sp_keepalived_options o = {c->c.exact};
    sp_vip_config *config;
    if (c->c.keepalived_conf)
        config =
            sp_keepalived_conf_parse(sp_buf_str(&c->file), c->c.keepalived_conf, &o, &problems);
    else
        config = sp_vip_config_new();
    sp_vec_free(&problems);
    sp_buf_add(text, sp_buf_str(&c->file));
    forget_refusals(c);
    sp_obj_list list = {0};
    if (c->objects) sp_informer_list(c->objects, SP_STR(""), &list);
    sp_vec_each(&list, obj) read_object(c, config, *obj, text);
    sp_vec_free(&list);
    return config;
}

/* --- telling the objects --- */

static bool enqueue(void *ctx, const sp_json *obj) {
    sp_controller_enqueue_object(ctx, obj);
    return true;
}

static void on_vip_changed(void *ctx) {
    sp_vip_control *c = ctx;
    if (c->objects && c->status && !c->stopping) sp_informer_each(c->objects, enqueue, c->status);
}

static bool start_vip(sp_vip_control *c) {
    sp_vip_settings s = {.changed = on_vip_changed, .ctx = c, .last_will = !c->c.exact};
    sp_err err = {0};
    sp_str name;
    void *value;
    s.inherit = c->c.inherit;
    s.hold = c->waiting;
    if (!sp_vip_new(c->c.loop, &s, &c->vip, &err)) {
        sp_error("virtual addresses cannot be held", SP_KV("why", err.text));
        return false;
    }
    for (size_t at = 0; sp_map_next(&c->health, &at, &name, &value);) {
        char *z = sp_str_dup(name);
        sp_vip_set_health(c->vip, z, value == &health_up);
        free(z);
    }
    return true;
}

static void rebuild(void *ctx) {
    sp_vip_control *c = ctx;
    sp_buf text = {0};
    c->settle = NULL;
    sp_vip_config *config = gather(c, &text);
    bool same = sp_str_eq(sp_buf_str(&text), sp_buf_str(&c->applied));
    bool idle = !c->vip && config->instances.n == 0;
    if (same || idle || (!c->vip && !start_vip(c))) {
        sp_vip_config_free(config);
        sp_buf_free(&text);
    } else {
        sp_buf_free(&c->applied);
        c->applied = text;
        sp_vip_apply(c->vip, config);
    }
    on_vip_changed(c);
}

static void on_object(void *ctx, const sp_json *old, const sp_json *obj) {
    sp_vip_control *c = ctx;
    bool status_only = old && obj && sp_obj_generation(old) == sp_obj_generation(obj) &&
                       sp_obj_deleting(old) == sp_obj_deleting(obj);
    if (!c->synced || c->settle || c->stopping || status_only) return;
    c->settle = sp_timer_start(c->c.loop, SETTLE_MS, rebuild, c);
}

/* Only those that an object names matter, but any may be one. */
static void on_secret(void *ctx, const sp_json *old, const sp_json *obj) {
    sp_vip_control *c = ctx;
    (void)old, (void)obj;
    if (!c->synced || c->settle || c->stopping || sp_informer_count(c->objects) == 0) return;
    c->settle = sp_timer_start(c->c.loop, SETTLE_MS, rebuild, c);
}

static void on_synced(void *ctx) {
    sp_vip_control *c = ctx;
    if (!sp_informer_synced(c->objects) || !sp_informer_synced(c->secrets)) return;
    c->synced = true;
    if (!c->stopping && !c->settle) rebuild(c);
}

/* --- status --- */

static bool find_view(sp_vip_control *c, sp_str name, sp_vip_view *ret) {
    sp_vip_views views = {0};
    bool found = false;
    if (c->vip) sp_vip_status(c->vip, &views);
    sp_vec_each(&views, v) {
        if (!sp_str_eqz(name, v->name)) continue;
        *ret = *v;
        found = true;
    }
    sp_vec_free(&views);
    return found;
}

static sp_json *node_status(sp_arena *a, const sp_vip_view *v, const char *refused) {
    sp_json *o = sp_json_object(a);
    if (refused) {
        sp_json_set_z(a, o, "state", "INIT");
        sp_json_set_z(a, o, "message", refused);
        return o;
    }
    sp_json_set_z(a, o, "state", sp_vrrp_state_name(v->state));
    sp_json_set_int(a, o, "priority", v->effective);
    sp_json_set_int(a, o, "transitions", (int64_t)v->transitions);
    sp_json_set(a, o, "since", sp_json_new_time(a, v->since_wall_ms));
    sp_json_set_z(a, o, "message", v->trouble[0] ? v->trouble : v->why);
    return o;
}

/* The same words on every node, so that nodes do not contradict each other. */
static sp_json *accepted(sp_reconcile *r, const sp_json *obj) {
    const sp_json *now = sp_json_dig(obj, "status", "conditions", NULL);
    sp_json *list = now ? sp_json_clone(r->arena, now) : sp_json_array(r->arena);
    sp_strs warnings = {0};
    sp_auto(sp_buf) text = {0};
    sp_vip_object_lint(r->arena, obj, &warnings);
    sp_vec_each(&warnings, w) {
        if (text.n) sp_buf_addz(&text, "; ");
        sp_buf_add(&text, *w);
    }
    sp_condition_set(r->arena, list, "Accepted", "True", warnings.n ? "Warning" : "Accepted",
                     sp_arena_strz(r->arena, sp_buf_str(&text)), r->now_wall_ms);
    sp_vec_free(&warnings);
    return list;
}

static void set_if_other(sp_reconcile *r, sp_json *to, const sp_json *status, const char *key,
                         sp_json *value) {
    const sp_json *now = sp_json_get(status, key);
    if (!now || !sp_json_equal(now, value)) sp_json_set(r->arena, to, key, value);
}

/* Who lost it clears the field only if nobody else has written it since. */
static void put_owner(sp_vip_control *c, sp_reconcile *r, const sp_json *obj, bool master,
                      sp_json *patch, sp_json *changes) {
    const sp_json *status = sp_json_get(obj, "status");
    sp_str owner = sp_json_str(sp_json_get(status, "owner"));
    bool said = sp_str_eqz(owner, c->c.node_name);
    if (master && !said) sp_json_set_z(r->arena, changes, "owner", c->c.node_name);
    if (master || !said) return;
    sp_json_set(r->arena, changes, "owner", sp_json_null(r->arena));
    const sp_json *revision = sp_json_dig(obj, "metadata", "resourceVersion", NULL);
    sp_json *meta = sp_json_ensure_object(r->arena, patch, "metadata");
    sp_json_set(r->arena, meta, "resourceVersion", sp_json_clone(r->arena, revision));
}

static bool reconcile(void *ctx, sp_reconcile *r, sp_err *err) {
    sp_vip_control *c = ctx;
    (void)err;
    const sp_json *obj = sp_informer_get(c->objects, r->ns, r->name);
    const char *refused = sp_map_get(&c->refused, r->name);
    sp_vip_view view = {0};
    if (!obj || c->stopping || c->waiting || (!find_view(c, r->name, &view) && !refused))
        return true;
    const sp_json *status = sp_json_get(obj, "status"), *nodes = sp_json_get(status, "nodes");
    sp_json *patch = sp_json_object(r->arena), *changes = sp_json_object(r->arena),
            *mine = sp_json_object(r->arena);
    set_if_other(r, mine, nodes, c->c.node_name, node_status(r->arena, &view, refused));
    if (mine->count) sp_json_set(r->arena, changes, "nodes", mine);
    put_owner(c, r, obj, !refused && view.state == SP_VRRP_MASTER, patch, changes);
    set_if_other(r, changes, status, "conditions", accepted(r, obj));
    if (!changes->count) return true;
    sp_json_set(r->arena, patch, "status", changes);
    sp_action *a = sp_reconcile_merge_status(r, &sp_gvr_virtualaddresses, r->ns, r->name, patch);
    a->tolerate_missing = a->tolerate_conflict = true;
    return true;
}

/* --- life --- */

static bool read_file(sp_vip_control *c, sp_err *err) {
    sp_vip_problems problems = {0};
    sp_keepalived_options o = {c->c.exact};
    sp_buf text = {0};
    if (!sp_keepalived_conf_read(c->c.keepalived_conf, &text, err)) {
        sp_buf_free(&text);
        return false;
    }
    sp_vip_config *trial =
        sp_keepalived_conf_parse(sp_buf_str(&text), c->c.keepalived_conf, &o, &problems);
    bool ok = sp_vip_print_problems(c->c.keepalived_conf, &problems);
    sp_vip_config_free(trial);
    sp_vec_free(&problems);
    sp_buf_free(ok ? &c->file : &text);
    if (!ok) return sp_fail(err, SP_INVALID, "%s cannot be used", c->c.keepalived_conf);
    c->file = text;
    return true;
}

static void watch_objects(sp_vip_control *c) {
    c->objects = sp_manager_informer(c->c.manager, &sp_gvr_virtualaddresses);
    c->secrets = sp_manager_informer(c->c.manager, &sp_gvr_secrets);
    sp_informer_on_change(c->objects, on_object, c);
    sp_informer_on_change(c->secrets, on_secret, c);
    c->status = sp_controller_new(c->c.manager, "gateway-virtualaddress", reconcile, c);
    sp_controller_for(c->status, &sp_gvr_virtualaddresses);
    sp_informer_on_synced(c->objects, on_synced, c);
    sp_informer_on_synced(c->secrets, on_synced, c);
}

bool sp_vip_control_new(const sp_vip_control_config *config, sp_vip_control **ret, sp_err *err) {
    sp_vip_control *c = sp_zalloc(1, sizeof *c);
    c->c = *config;
    c->waiting = config->inherit;
    if (config->keepalived_conf && !read_file(c, err)) {
        sp_vip_control_free(c);
        return false;
    }
    if (config->manager && config->node_name) watch_objects(c);
    if (config->keepalived_conf && !config->later) rebuild(c); /* does not wait for an API server */
    *ret = c;
    return true;
}

void sp_vip_control_begin(sp_vip_control *c) {
    if (c->c.later) {
        c->c.later = false;
        if (!c->stopping) rebuild(c);
        return;
    }
    if (c->objects && !c->synced) on_synced(c); /* if nobody told us yet */
    c->waiting = false;
    if (c->vip) sp_vip_begin(c->vip);
}

void sp_vip_control_reload(sp_vip_control *c) {
    sp_err err = {0};
    if (!c->c.keepalived_conf || c->stopping || c->waiting || c->c.later) return;
    if (read_file(c, &err))
        rebuild(c);
    else
        sp_error("what was before goes on", SP_KV("why", err.text));
}

void sp_vip_control_set_health(sp_vip_control *c, const char *name, bool up) {
    sp_map_put(&c->health, sp_str_z(name), up ? &health_up : &health_down);
    if (c->vip) sp_vip_set_health(c->vip, name, up);
}

void sp_vip_control_stop(sp_vip_control *c, void (*done)(void *ctx), void *ctx) {
    if (c) c->stopping = true;
    if (c) c->settle = sp_timer_stop(c->settle);
    if (c && c->vip)
        sp_vip_stop(c->vip, true, done, ctx);
    else
        done(ctx);
}

void sp_vip_control_abandon(sp_vip_control *c) {
    c->stopping = true;
    c->settle = sp_timer_stop(c->settle);
    if (c->vip) c->vip = sp_vip_abandon(c->vip);
}

sp_vip_control *sp_vip_control_free(sp_vip_control *c) {
    if (!c) return NULL;
    sp_timer_stop(c->settle);
    sp_vip_free(c->vip);
    forget_refusals(c);
    sp_map_free(&c->health);
    sp_buf_free(&c->file);
    sp_buf_free(&c->applied);
    free(c);
    return NULL;
}

/* --- to look at --- */

sp_json *sp_vip_control_status(sp_vip_control *c, sp_arena *a) {
    sp_json *list = sp_json_array(a);
    sp_vip_views views = {0};
    if (c->vip) sp_vip_status(c->vip, &views);
    sp_vec_each(&views, v) {
        sp_json *o = sp_json_push(list, node_status(a, v, NULL));
        sp_json_set_z(a, o, "name", v->name);
        sp_json_set_z(a, o, "interface", v->interface);
        sp_json_set_int(a, o, "virtualRouterID", v->vrid);
        sp_json_set_int(a, o, "advertsSent", (int64_t)v->sent);
        sp_json_set_int(a, o, "advertsReceived", (int64_t)v->received);
        sp_json_set_int(a, o, "advertsRefused", (int64_t)v->refused);
    }
    sp_vec_free(&views);
    return list;
}

void sp_vip_control_metrics(sp_vip_control *c, sp_buf *b) {
    sp_vip_views views = {0};
    if (c->vip) sp_vip_status(c->vip, &views);
    static const struct {
        const char *name, *type, *help;
        size_t at;
        bool wide;
    } rows[] = {
        {"sampan_vip_priority", "gauge", "Effective priority.", offsetof(sp_vip_view, effective),
         false},
        {"sampan_vip_transitions_total", "counter", "Changes of state.",
         offsetof(sp_vip_view, transitions), true},
        {"sampan_vip_adverts_sent_total", "counter", "Advertisements sent.",
         offsetof(sp_vip_view, sent), true},
        {"sampan_vip_adverts_received_total", "counter", "Advertisements taken.",
         offsetof(sp_vip_view, received), true},
        {"sampan_vip_adverts_refused_total", "counter", "Advertisements refused.",
         offsetof(sp_vip_view, refused), true},
    };
    for (size_t i = 0; i < SP_COUNT(rows) && views.n; i++) {
        sp_buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n", rows[i].name, rows[i].help, rows[i].name,
                      rows[i].type);
        sp_vec_each(&views, v) {
            const char *at = (const char *)v + rows[i].at;
            uint64_t value = rows[i].wide ? *(const uint64_t *)(const void *)at
                                          : *(const uint8_t *)(const void *)at;
            sp_buf_printf(b, "%s{instance=\"%s\"} %llu\n", rows[i].name, v->name,
                          (unsigned long long)value);
        }
    }
    if (views.n)
        sp_buf_addz(b, "# HELP sampan_vip_owner This node holds the address.\n"
                       "# TYPE sampan_vip_owner gauge\n");
    sp_vec_each(&views, v) sp_buf_printf(b, "sampan_vip_owner{instance=\"%s\"} %d\n", v->name,
                                         v->state == SP_VRRP_MASTER);
    sp_vec_free(&views);
}
