/* Inside of the translation: what the rules of one HTTPRoute mean. */
#pragma once
#include "gateway/translate.h"

/* What of the route this gateway cannot do, with its path; "" when it can do all of it. */
sp_str sp_httproute_fault(sp_arena *a, const sp_json *route);
/* Adds the route's rules to a table, for each of the hosts. */
void sp_httproute_entries(sp_translator *t, uint32_t table, const sp_json *route,
                          const sp_strs *hosts);
