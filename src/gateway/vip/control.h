/* The virtual addresses inside a gateway: what the file and the VirtualAddress objects say together
 * is carried out, what happens is written into the objects' status. On the control loop. */
#pragma once
#include "gateway/vip/vip.h"
#include "kube/controller.h"

typedef struct sp_vip_control sp_vip_control;

typedef struct sp_vip_control_config {
    uv_loop_t *loop;
    sp_manager *manager;         /* NULL: no objects */
    const char *node_name;       /* NULL: no objects. Borrowed for ever, as the next */
    const char *keepalived_conf; /* path; NULL: no file */
    bool exact;                  /* for the file; see keepalived.h */
    /* This process takes a predecessor's place: nothing is said or held before
     * sp_vip_control_begin, and addresses that are there are held on to. */
    bool inherit;
    /* The file's addresses are not sought before sp_vip_control_begin: who comes for them must find
     * somebody who serves. Not with inherit. */
    bool later;
} sp_vip_control_config;

/* A file that cannot be used is an error; what is to be said about it was printed. Nothing is
 * started before there is an address to hold. */
SP_MUST_USE bool sp_vip_control_new(const sp_vip_control_config *c, sp_vip_control **ret,
                                    sp_err *err);
/* This one is ready to serve. The predecessor goes on until this has returned, then it lets go
 * (sp_vip_control_abandon): between the two there is no moment without an advertisement. */
void sp_vip_control_begin(sp_vip_control *c);
/* Reads the file again; one that cannot be used is logged, and what was before goes on. */
void sp_vip_control_reload(sp_vip_control *c);
/* "gateway" is what objects track by default: up while traffic is taken. */
void sp_vip_control_set_health(sp_vip_control *c, const char *name, bool up);
/* Hands the addresses over; done exactly once, from the loop (from the call, when there are none
 * or c is NULL).
 * Before sp_manager_free. */
void sp_vip_control_stop(sp_vip_control *c, void (*done)(void *ctx), void *ctx);
/* For a successor on this machine: sends nothing more and leaves the addresses where they are. */
void sp_vip_control_abandon(sp_vip_control *c);
sp_vip_control *sp_vip_control_free(sp_vip_control *c); /* takes NULL, returns NULL */
/* A list, one object per address: for `sampan gateway status`. */
sp_json *sp_vip_control_status(sp_vip_control *c, sp_arena *a);
void sp_vip_control_metrics(sp_vip_control *c, sp_buf *b); /* Prometheus text */
