/* What the server serves, read at the start and again whenever a CustomResourceDefinition changes.
 * Shared by the controllers that work on every kind. Loop thread only. */
#pragma once
#include "kube/controller.h"
#include "kube/discovery.h"

typedef struct sp_catalog sp_catalog;

/* One per manager, made at the first call; goes with the manager. */
sp_catalog *sp_catalog_of(sp_manager *m);
/* Called after each reading that brought a difference, and at once if there was one already. */
void sp_catalog_on_change(sp_catalog *c, void (*fn)(void *ctx), void *ctx);
bool sp_catalog_ready(const sp_catalog *c);
/* Valid until the next change; the gvrs in it as long as the manager. */
const sp_served_kinds *sp_catalog_kinds(const sp_catalog *c);
