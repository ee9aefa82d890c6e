/* Where several API servers share the store: which of them are there. Each keeps a Lease in
 * kube-system, and the endpoints of the service kubernetes are those whose Lease is renewed: one
 * that stops takes itself out, one that is killed is taken out by the others after 12 s. On one
 * machine nothing of this runs (bootstrap.c writes the one address). Loop thread. */
#pragma once
#include <stdbool.h>

typedef struct sp_apiserver sp_apiserver;

/* Others may be told where this server is: it has an address to advertise, and not loopback, which
 * would lead a pod to itself (the API refuses such endpoints). */
bool sp_presence_may_tell(const sp_apiserver *s);

void sp_presence_start(sp_apiserver *s); /* nothing to do where the store is not shared */
/* Leaves, then calls done (at once if there is nothing to leave). */
void sp_presence_stop(sp_apiserver *s, void (*done)(void *ctx), void *ctx);
