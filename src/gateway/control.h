/* Watches the cluster and keeps the fleet doing what it says; writes back what came of it. Loop
 * thread only. */
#pragma once
#include "gateway/build.h"
#include "kube/controller.h"

typedef struct sp_control sp_control;

/* Borrows all of it. ready is called once, when the first configuration is carried out. */
sp_control *sp_control_new(sp_manager *m, sp_fleet *f, const sp_translate_options *o,
                           const sp_build_beyond *beyond, void (*ready)(void *ctx), void *ctx);
/* Before the manager and the fleet; takes NULL, returns NULL. */
sp_control *sp_control_free(sp_control *c);
bool sp_control_is_ready(const sp_control *c);
/* Lent: to look at and to ask for another pass. */
sp_build *sp_control_build(sp_control *c);
