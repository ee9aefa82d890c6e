/* Is a container's image here, and if not, who fetches it: a child process `sampan image pull`, one
 * per reference whatever the number of containers that wait for it. */
#include "agent/pod.h"

#include "base/clock.h"
#include "base/log.h"
#include "net/process.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

enum { PULL_TIMEOUT_MS = 30 * 60 * 1000 };

typedef struct waiter {
    char uid[64];
    size_t index;
} waiter;

typedef struct pull {
    sp_agent *agent;
    char *ref;
    int64_t began_ms;
    SP_VEC(waiter) waiters;
} pull;

static void fail(sp_ctr *c, const char *reason, const char *fmt, ...) SP_PRINTF(3, 4);
static void fail(sp_ctr *c, const char *reason, const char *fmt, ...) {
    sp_ctr_view *x = sp_ctr_state(c);
    va_list ap;
    char text[700];
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    x->image = SP_IMAGE_FAILED;
    x->image_failures++;
    x->image_failed_ms = sp_clock_mono_ms();
    c->wait_reason =
        x->image_failures > 1 && strcmp(reason, "ErrImagePull") == 0 ? "ImagePullBackOff" : reason;
    sp_buf_clear(&c->wait_message);
    sp_buf_addz(&c->wait_message, text);
    sp_pod_event(c->pod, c, "Warning", "Failed", "%s", text);
    int64_t wait = sp_retry_backoff_ms(x->image_failures);
    sp_pod_event(c->pod, c, "Normal", "BackOff",
                 "Waiting %" PRId64 " s before image \"%s\" is tried again", wait / 1000,
                 sp_json_get_z(c->spec, "image"));
    sp_pod_sync_soon(c->pod);
}

static void present(sp_ctr *c) {
    sp_ctr_view *x = sp_ctr_state(c);
    x->image = SP_IMAGE_READY;
    x->image_failures = 0;
    sp_ctr_clear_wait(c);
    sp_pod_sync_soon(c->pod);
}

/* The last line of what the child said, without its own name and what it was told to do. */
static sp_str last_line(sp_str text, const char *ref) {
    sp_str last = {0};
    char doing[600];
    snprintf(doing, sizeof doing, "pull %s: ", ref);
    for (sp_str line, rest = sp_str_trim(text); sp_str_cut(&rest, '\n', &line);)
        if (sp_str_trim(line).n) last = sp_str_trim(line);
    static const sp_str head = SP_STR_INIT("sampan image: ");
    if (sp_str_starts(last, head)) last = sp_str_from(last, head.n);
    return sp_str_starts(last, sp_str_z(doing)) ? sp_str_from(last, strlen(doing)) : last;
}

static void tell(pull *pl, waiter *w, const sp_process_result *r, const sp_err *err) {
    sp_pod *p = sp_pod_get(pl->agent, w->uid);
    sp_ctr *c = p && w->index < p->containers.n ? p->containers.p[w->index] : NULL;
    if (!c || sp_ctr_state(c)->image != SP_IMAGE_PULLING) return;
    double took = (double)(sp_clock_mono_ms() - pl->began_ms) / 1000;
    if (r && r->exit_code == 0) {
        sp_pod_event(p, c, "Normal", "Pulled", "Successfully pulled image \"%s\" in %.1f s",
                     pl->ref, took);
        present(c);
        return;
    }
    sp_str why = err            ? sp_str_z(err->text)
                 : r->timed_out ? SP_STR("it took longer than 30 minutes")
                                : last_line(r->err, pl->ref);
    fail(c, "ErrImagePull", "Failed to pull image \"%s\": %.*s", pl->ref,
         (int)SP_MIN(why.n, (size_t)400), why.p ? why.p : "");
}

static void pulled(void *ctx, const sp_process_result *r, const sp_err *err) {
    pull *pl = ctx;
    sp_map_del(&pl->agent->pulls, sp_str_z(pl->ref));
    sp_info("image pull ended", SP_KV("image", pl->ref), SP_KV("exit_code", r ? r->exit_code : -1),
            SP_KV("took_ms", sp_clock_mono_ms() - pl->began_ms));
    sp_vec_each(&pl->waiters, w) tell(pl, w, r, err);
    sp_vec_free(&pl->waiters);
    free(pl->ref);
    free(pl);
}

static void start_pull(sp_ctr *c, const char *ref) {
    sp_agent *g = c->pod->agent;
    pull *pl = sp_map_get(&g->pulls, sp_str_z(ref));
    bool fresh = !pl;
    if (fresh) {
        pl = sp_zalloc(1, sizeof *pl);
        pl->agent = g;
        pl->ref = sp_strdup(ref);
        pl->began_ms = sp_clock_mono_ms();
        sp_map_put(&g->pulls, sp_str_z(ref), pl);
    }
    waiter w = {.index = c->index};
    memcpy(w.uid, c->pod->uid, sizeof w.uid);
    sp_vec_push(&pl->waiters, w);
    sp_ctr_state(c)->image = SP_IMAGE_PULLING;
    sp_pod_event(c->pod, c, "Normal", "Pulling", "Pulling image \"%s\"", ref);
    if (!fresh) return;
    const char *argv[] = {g->self, "image", "--data-dir", g->data_dir, "pull", ref, NULL};
    sp_process_params p = {.argv = argv, .timeout_ms = PULL_TIMEOUT_MS, .done = pulled, .ctx = pl};
    sp_process_run(g->loop, &p);
}

/* Kubernetes: Always for :latest and for no tag at all, else IfNotPresent. */
static const char *policy_of(const sp_ctr *c, const sp_image_ref *ref) {
    const char *said = sp_json_get_z(c->spec, "imagePullPolicy");
    if (*said) return said;
    return sp_str_eqz(ref->tag, "latest") ? "Always" : "IfNotPresent";
}

void sp_ctr_want_image(sp_ctr *c) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    const char *text = sp_json_get_z(c->spec, "image");
    sp_image_ref ref;
    sp_image image;
    sp_err err = {0};
    if (sp_ctr_state(c)->image == SP_IMAGE_PULLING) return;
    if (!sp_image_ref_parse(a, sp_str_z(text), &ref, &err)) {
        fail(c, "InvalidImageName", "%s", err.text);
        return;
    }
    const char *policy = policy_of(c, &ref);
    bool here = sp_image_find(c->pod->agent->store, a, sp_str_z(text), &image, &err);
    if (here && strcmp(policy, "Always") != 0) {
        if (!c->pull_said)
            sp_pod_event(c->pod, c, "Normal", "Pulled",
                         "Container image \"%s\" already present on machine", text);
        c->pull_said = true;
        present(c);
    } else if (!here && strcmp(policy, "Never") == 0) {
        fail(
            c, "ErrImageNeverPull",
            "Container image \"%s\" is not on this node and its pull policy is Never; add it with: "
            "sampan image import FILE",
            text);
    } else {
        start_pull(c, text);
    }
}
