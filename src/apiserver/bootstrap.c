/* What must exist before the first request: created at every start where it is missing, and kept as
 * written here where `enforce` says so. */
#include "apiserver/presence.h"
#include "apiserver/server.h"
#include "base/log.h"
#include "kube/gvrs.h"
#include "kube/oam.h"

#include <stdio.h>

#define NAMESPACE(name) \
    "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"" name "\"}}"

static const struct boot {
    const char *group, *version, *plural, *ns;
    bool enforce;
    const char *json; /* @A: the address, @P: the port of this server */
} table[] = {
    {"", "v1", "namespaces", "", false, NAMESPACE("default")},
    {"", "v1", "namespaces", "", false, NAMESPACE("kube-system")},
    {"", "v1", "namespaces", "", false, NAMESPACE("kube-public")},
    {"", "v1", "namespaces", "", false, NAMESPACE("kube-node-lease")},
    {"", "v1", "services", "default", false,
     "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"kubernetes\",\"labels\":"
     "{"
     "\"component\":\"apiserver\",\"provider\":\"kubernetes\"}},\"spec\":{\"clusterIP\":\"10.96.0."
     "1\","
     "\"type\":\"ClusterIP\",\"ports\":[{\"name\":\"https\",\"port\":443,\"protocol\":\"TCP\","
     "\"targetPort\":@P}]}}"},
    {"", "v1", "endpoints", "default", true,
     "{\"apiVersion\":\"v1\",\"kind\":\"Endpoints\",\"metadata\":{\"name\":\"kubernetes\"},"
     "\"subsets\":["
     "{\"addresses\":[{\"ip\":\"@A\"}],\"ports\":[{\"name\":\"https\",\"port\":@P,"
     "\"protocol\":\"TCP\"}]}]}"},
};

typedef struct boot_run {
    sp_apiserver *s;
    size_t next; /* row of the table, then of the OAM definitions */
    sp_arena *arena;
    sp_oam_objects oam;
    void (*done)(sp_apiserver *s);
} boot_run;

static void step(boot_run *r);

static void report(const sp_op *op) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    const sp_json *status = sp_status_from_err(a, &op->err, &op->causes, op->served->row->group,
                                               op->served->row->kind, op->name);
    sp_warn("a built-in object could not be created", SP_KV("resource", op->served->row->plural),
            SP_KV("name", op->name), SP_KV("reason", sp_json_get_z(status, "message")));
}

static bool set_subsets(sp_op *op, const sp_json *old, sp_json **ret, sp_err *err) {
    (void)err;
    sp_json *obj = sp_json_clone(op->arena, old);
    sp_json_set(op->arena, obj, "subsets",
                sp_json_clone(op->arena, sp_json_get(op->change_ctx, "subsets")));
    *ret = obj;
    return true;
}

static void end_op(sp_op *op) {
    boot_run *r = op->ctx;
    if (op->err.code && op->err.code != SP_ALREADY_EXISTS)
        report(op); /* another server was faster */
    sp_op_cleanup(op);
    sp_arena_free(op->arena);
    step(r);
}

static sp_op *new_op(boot_run *r, sp_served *v, const char *ns) {
    sp_arena *a = sp_arena_new();
    sp_op *op = SP_NEW(a, sp_op);
    *op = (sp_op){.s = r->s,
                  .served = sp_served_ref(v),
                  .arena = a,
                  .ns = sp_str_z(ns),
                  .done = end_op,
                  .ctx = r,
                  .user = SP_STR("system:apiserver")};
    return op;
}

static sp_str fill_in(sp_apiserver *s, sp_arena *a, sp_str text) {
    sp_auto(sp_buf) b = {0};
    for (ptrdiff_t at; (at = sp_str_chr(text, '@')) >= 0;) {
        sp_buf_add(&b, sp_str_sub(text, 0, (size_t)at));
        if (text.p[at + 1] == 'A')
            sp_buf_addz(&b, s->config.advertise);
        else
            sp_buf_u64(&b, sp_apiserver_port(s));
        text = sp_str_from(text, (size_t)at + 2);
    }
    sp_buf_add(&b, text);
    return sp_arena_str(a, sp_buf_str(&b));
}

static sp_json *built_in(boot_run *r, const struct boot *b) {
    sp_json *obj;
    sp_err err;
    sp_assert(sp_json_parse(r->arena, fill_in(r->s, r->arena, sp_str_z(b->json)), &obj, &err));
    return obj;
}

static void start_op(boot_run *r, const struct boot *b, sp_served *v, const sp_json *object) {
    sp_op *op = new_op(r, v, b->ns);
    sp_json *obj = sp_json_clone(op->arena, object);
    sp_str name = sp_obj_name(obj);
    sp_str key = sp_object_key(op->arena, v, op->ns, name);
    bool exists = sp_store_get_latest(r->s->store, key) != NULL;
    if (exists && b->enforce) {
        op->name = name;
        sp_op_update(op, set_subsets, obj);
    } else if (exists) {
        sp_op_cleanup(op);
        sp_arena_free(op->arena);
        step(r);
    } else {
        sp_op_create(op, obj);
    }
}

static struct boot definition_row(const sp_json *definition) {
    bool trait = sp_str_eqz(sp_obj_kind(definition), "TraitDefinition");
    const sp_gvr *g = trait ? &sp_gvr_traitdefinitions : &sp_gvr_workloaddefinitions;
    return (struct boot){g->group, g->version, g->plural, "", false, NULL};
}

static bool nothing_to_tell(const sp_apiserver *s, const struct boot *b) {
    if (b->enforce && sp_store_is_shared(s->store)) return true; /* presence.c */
    return b->json && strstr(b->json, "@A") && !sp_presence_may_tell(s);
}

/* False when there is nothing more to do. */
static bool next_object(boot_run *r, struct boot *ret, const sp_json **ret_object) {
    size_t i = r->next++;
    if (i >= SP_COUNT(table) + r->oam.n) return false;
    *ret = i < SP_COUNT(table) ? table[i] : definition_row(r->oam.p[i - SP_COUNT(table)]);
    *ret_object = i < SP_COUNT(table) ? built_in(r, ret) : r->oam.p[i - SP_COUNT(table)];
    return true;
}

static void step(boot_run *r) {
    sp_apiserver *s = r->s;
    struct boot b;
    const sp_json *object;
    while (!s->stopping && next_object(r, &b, &object)) {
        sp_served *v = sp_registry_served(s->registry, sp_str_z(b.group), sp_str_z(b.version),
                                          sp_str_z(b.plural));
        if (!v || nothing_to_tell(s, &b)) continue;
        start_op(r, &b, v, object);
        return;
    }
    void (*done)(sp_apiserver *) = r->done;
    sp_vec_free(&r->oam);
    sp_arena_free(r->arena);
    free(r);
    done(s);
}

void sp_bootstrap_start(sp_apiserver *s, void (*done)(sp_apiserver *s)) {
    boot_run *r = sp_zalloc(1, sizeof *r);
    r->s = s;
    r->done = done;
    r->arena = sp_arena_new();
    sp_oam_builtin(r->arena, &r->oam);
    step(r);
}
