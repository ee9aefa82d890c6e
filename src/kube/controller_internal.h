/* What controller.c (queues, informers, wiring) and run.c (one reconcile and its calls) share. */
#pragma once
#include "base/list.h"
#include "kube/controller.h"
#include "kube/events.h"
#include "kube/workqueue.h"

struct sp_controller {
    sp_manager *manager;
    const char *name;
    char component[64];
    sp_reconcile_fn *fn; /* or: */
    sp_job_fn *job_fn;
    void *ctx;
    sp_workqueue *queue;
    SP_VEC(sp_informer *) reads;
    unsigned parallel, busy, waiting; /* runs with calls under way; runs that wait to catch up */
    bool ready;
    uint64_t reconciles, errors, conflicts, duration_us;
};

typedef struct sp_hook {
    void (*fn)(void *ctx);
    void *ctx;
} sp_hook;

struct sp_manager {
    sp_kube *kube;
    sp_events *events;
    SP_VEC(sp_informer *) informers;
    SP_VEC(const sp_gvr *) gvrs;
    SP_VEC(sp_controller *) controllers;
    SP_VEC(struct sp_handler *) handlers;
    sp_list runs;
    uv_timer_t *timer;
    bool freeing, cut_off;
    void (*on_synced)(void *ctx);
    void *on_synced_ctx;
    SP_VEC(sp_hook) on_free;
};

typedef struct sp_request { /* an action, rendered */
    sp_action action;       /* body no longer valid */
    sp_str target, body;
    const char *method, *content_type;
    sp_str new_name, base; /* of an object to be created: its name, and what that was made from */
    struct sp_job *run;
    sp_http_call *call; /* while it is under way */
    uint64_t before;    /* revision of the object when the call was sent, 0 = not known */
    bool lost, again;   /* a creation whose answer was lost; that was asked for again */
} sp_request;

typedef struct sp_written { /* what an informer is to show before the key runs again */
    sp_informer *informer;
    uint64_t revision; /* 0: the object must have changed from `before` */
    uint64_t before;
    bool exists; /* it must be there, whatever its revision */
    sp_str ns, name;
} sp_written;

typedef struct sp_job_request { /* in the arena of its run */
    sp_list link;
    sp_job *job;
    sp_http_call *call;
    sp_kube_done *done;
    void *ctx;
} sp_job_request;

struct sp_job { /* one run: of a key's actions, or of a job */
    sp_list link;
    sp_list calls; /* of a job */
    sp_controller *controller;
    sp_reconcile *r;
    sp_request *requests;
    size_t count, at;
    const sp_json *subject; /* an Event reference, or NULL */
    SP_VEC(sp_written) writes;
    size_t lost;   /* creations to ask for again */
    size_t flying; /* requests under way: the last ones before `at` */
    sp_err err;    /* the first failure; nothing more is sent */
    bool over;     /* the namespace goes away; nothing more is sent */
    int64_t started_us, wait_until_ms;
    bool waiting, unclear; /* unclear: an answer was lost */
};

/* --- run.c --- */
void sp_run_start(sp_controller *c, sp_str key); /* a key just taken from the queue */
/* The informers show everything it wrote. */
bool sp_run_caught_up(sp_job *run);
/* Those creations whose answers were lost, once more. */
void sp_run_ask_again(sp_job *run);
void sp_run_end(sp_job *run);                                       /* the key may be taken again */
void sp_run_cancel(sp_job *run);                                    /* the manager goes */
sp_informer *sp_manager_find(const sp_manager *m, const sp_gvr *g); /* NULL = none yet */

/* --- controller.c --- */
void sp_manager_wake(sp_manager *m); /* plans the next look at the queues */
