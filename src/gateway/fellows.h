/* The other gateways of this cluster. Several write about the same objects (a Service's address, a
 * Gateway's conditions); so that they do not overwrite each other, one writes, for all of them: the
 * first by name of those that live. Each shows that it lives, and its address, by a Lease of its
 * own in kube-system. Control loop only. */
#pragma once
#include "gateway/translate.h"
#include "kube/controller.h"

typedef struct sp_fellows sp_fellows;
/* changed: another one writes now, or the addresses are others. node_name and node_address of the
 * options, borrowed. Owned by the caller; freed before the manager. */
sp_fellows *sp_fellows_new(sp_manager *m, const sp_translate_options *o, void (*changed)(void *ctx),
                           void *ctx);
sp_fellows *sp_fellows_free(sp_fellows *f); /* takes NULL, returns NULL */
/* True too while it is not known who else there is, because our own Lease cannot be written. */
bool sp_fellows_writes(const sp_fellows *f);
/* Of all that live, each once, in the order of their names; ours is among them. Borrowed until the
 * next return to the loop. */
const sp_strs *sp_fellows_addresses(const sp_fellows *f);
