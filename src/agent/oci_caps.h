/* Linux capabilities by name, and the set a container starts with. */
#pragma once
#include "data/json.h"

uint64_t sp_caps_default(void);                    /* what containers get when nothing is said */
bool sp_caps_find(sp_str name, uint64_t *ret);     /* "NET_ADMIN", "CAP_NET_ADMIN"; "ALL" */
sp_json *sp_caps_list(sp_arena *a, uint64_t caps); /* array of "CAP_…" */
