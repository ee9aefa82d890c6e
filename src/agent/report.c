/* The pod's status into the API: built after each turn, sent when it differs from what was sent
 * last, one request at a time, again after a failure. */
#include "agent/pod.h"

#include "base/clock.h"
#include "base/log.h"
#include "kube/gvrs.h"

#include <stdio.h>

enum { RETRY_MS = 1000 };

typedef struct call {
    sp_agent *agent;
    char uid[64];
    sp_buf body;
} call;

static void container_report(sp_ctr *c, sp_arena *a, sp_ctr_report *ret) {
    sp_auto(sp_buf) id = {0};
    sp_str wanted = sp_json_str(sp_json_get(c->spec, "image"));
    *ret = (sp_ctr_report){
        .name = sp_str_z(c->name),
        .image = c->image.n ? sp_buf_str(&c->image) : wanted,
        .image_id = sp_buf_str(&c->image_id),
        .wait = {c->wait_reason, sp_buf_str(&c->wait_message)},
        .started_ms = c->started_ms,
        .last = c->last,
        .last_message = sp_buf_str(&c->last_message),
    };
    if (c->made) {
        sp_buf_addz(&id, "sampan://");
        sp_ctr_id(c, c->dir, &id);
        ret->container_id = sp_arena_str(a, sp_buf_str(&id));
    }
    if (c->last_dir) {
        sp_buf_clear(&id);
        sp_buf_addz(&id, "sampan://");
        sp_ctr_id(c, c->last_dir, &id);
        ret->last_id = sp_arena_str(a, sp_buf_str(&id));
    }
}

static sp_json *build(sp_pod *p, sp_arena *a) {
    sp_env_source source;
    sp_pod_source(p, &source);
    SP_VEC(sp_ctr_report) reports = {0};
    for (size_t i = 0; i < p->containers.n; i++) {
        sp_ctr_report r;
        container_report(p->containers.p[i], a, &r);
        sp_vec_push(&reports, r);
    }
    sp_pod_report r = {.pod = p->obj,
                       .view = &p->view,
                       .containers = reports.p,
                       .host_ip = source.host_ip,
                       .pod_ip = source.pod_ip,
                       .start_ms = p->start_ms,
                       .now_ms = sp_clock_wall_ms(),
                       .reason = p->reason,
                       .sandbox_ready = p->view.sandbox == SP_SANDBOX_READY};
    if (p->view.sandbox != SP_SANDBOX_READY && sp_pod_host_network(p)) r.pod_ip = SP_STR("");
    sp_json *status = sp_podstatus_build(a, &r, p->status);
    sp_vec_free(&reports);
    return status;
}

static void patch(sp_pod *p, sp_str body);

static void retry(void *ctx) {
    sp_pod *p = ctx;
    p->patch_retry = NULL;
    sp_pod_report_status(p);
}

static void sent(void *ctx, int http, const sp_json *obj, const sp_err *err) {
    (void)obj;
    call *cl = ctx;
    sp_pod *p = sp_pod_get(cl->agent, cl->uid);
    if (p) {
        p->patching = false;
        if (!err || http == 404 || http == 409 || http == 422) {
            sp_buf_clear(&p->sent);
            sp_buf_add(&p->sent, sp_buf_str(&cl->body));
            if (err && http != 404)
                sp_error("pod status refused", SP_KV("pod", p->name), SP_KV("error", err->text));
            if (!p->finishing) sp_pod_report_status(p); /* what changed meanwhile */
        } else if (!p->patch_retry) {
            p->patch_retry = sp_timer_start(p->agent->loop, RETRY_MS, retry, p);
        }
    }
    sp_buf_free(&cl->body);
    free(cl);
}

static void patch(sp_pod *p, sp_str body) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    call *cl = sp_zalloc(1, sizeof *cl);
    cl->agent = p->agent;
    memcpy(cl->uid, p->uid, sizeof cl->uid);
    sp_buf_add(&cl->body, body);
    p->patching = true;
    sp_kube_request r = {.method = "PATCH",
                         .target = sp_gvr_path(a, &sp_gvr_pods, p->ns, p->name, "status"),
                         .content_type = "application/merge-patch+json",
                         .raw = sp_buf_str(&cl->body)};
    sp_kube_call(p->agent->kube, &r, sent, cl);
}

void sp_pod_report_status(sp_pod *p) {
    if (p->patching || p->api_gone) return;
    sp_arena *a = sp_arena_new();
    sp_json *status = build(p, a);
    sp_auto(sp_buf) body = {0};
    sp_json *change = sp_json_object(a);
    /* The UID makes it a conflict to write on a namesake that came later. */
    sp_json_set_z(a, sp_json_ensure_object(a, change, "metadata"), "uid", p->uid);
    sp_json_set(a, change, "status", status);
    sp_json_write(&body, change);
    sp_arena_free(p->status_arena);
    p->status_arena = a;
    p->status = status;
    if (sp_str_eq(sp_buf_str(&body), sp_buf_str(&p->sent))) return;
    patch(p, sp_buf_str(&body));
}

/* ---------- the end of a pod ---------- */

typedef struct removal {
    sp_agent *agent;
    char *ns, *name, *uid;
} removal;

static void ask_delete(void *ctx);

static void deleted(void *ctx, int http, const sp_json *obj, const sp_err *err) {
    (void)obj;
    removal *r = ctx;
    if (err && http != 404 && http != 409) {
        sp_timer_start(r->agent->loop, RETRY_MS, ask_delete, r);
        return;
    }
    free(r->ns);
    free(r->name);
    free(r->uid);
    free(r);
}

static void ask_delete(void *ctx) {
    removal *r = ctx;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_json *body = sp_json_object(a);
    sp_json_set_z(a, body, "kind", "DeleteOptions");
    sp_json_set_z(a, body, "apiVersion", "v1");
    sp_json_set_int(a, body, "gracePeriodSeconds", 0);
    sp_json_set_z(a, sp_json_ensure_object(a, body, "preconditions"), "uid", r->uid);
    sp_kube_request q = {
        .method = "DELETE",
        .body = body,
        .target = sp_gvr_path(a, &sp_gvr_pods, sp_str_z(r->ns), sp_str_z(r->name), NULL)};
    sp_kube_call(r->agent->kube, &q, deleted, r);
}

void sp_pod_delete_in_api(sp_agent *g, sp_str ns, sp_str name, const char *uid) {
    removal *r = sp_zalloc(1, sizeof *r);
    r->agent = g;
    r->ns = sp_str_dup(ns);
    r->name = sp_str_dup(name);
    r->uid = sp_strdup(uid);
    ask_delete(r);
}
