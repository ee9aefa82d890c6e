/* Writes v1 Events. The same thing said again about the same object is counted up on the Event that
 * is already there (its name is remembered for the 512 most recent ones), not stored again.
 * Failures are dropped: an Event is a courtesy. Loop thread only. */
#pragma once
#include "kube/client.h"

typedef struct sp_events sp_events;

/* component: source.component ("replicaset-controller"), copied. host: source.host, may be NULL. */
sp_events *sp_events_new(sp_kube *k, const char *component, const char *host);
sp_events *sp_events_free(sp_events *e); /* takes NULL, returns NULL */

/* The involvedObject of an Event about obj. field_path: "spec.containers{web}", may be NULL. */
sp_json *sp_event_ref(sp_arena *a, const sp_json *obj, const char *field_path);
/* type: "Normal" or "Warning". component NULL = the recorder's own. ref as from sp_event_ref. */
void sp_events_post(sp_events *e, const sp_json *ref, const char *component, const char *type,
                    const char *reason, sp_str message);
