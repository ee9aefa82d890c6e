/* A local, always current copy of one collection: LIST once, then WATCH, again from the last
 * revision after a broken connection, LIST again after 410. Objects are immutable documents, each
 * in its own arena. Handlers see every change once, in order; after a re-list they see the
 * differences. Loop thread only. */
#pragma once
#include "kube/client.h"

typedef struct sp_informer sp_informer;

typedef struct sp_informer_config {
    const sp_gvr *gvr;          /* borrowed for ever */
    const char *namespace_;     /* NULL = all */
    const char *label_selector; /* NULL = none */
    const char *field_selector;
    bool metadata_only; /* keep apiVersion, kind and metadata, drop the rest */
    /* May be NULL. Called with each failed LIST or WATCH, which is tried again by itself, and with
     * NULL when it works again. */
    void (*trouble)(void *ctx, const sp_gvr *gvr, const sp_err *err);
    void *trouble_ctx;
} sp_informer_config;

/* old == NULL: appeared; obj == NULL: gone (old is its last state). Lent for the call. */
typedef void sp_informer_handler(void *ctx, const sp_json *old, const sp_json *obj);

sp_informer *sp_informer_new(sp_kube *k, const sp_informer_config *c); /* starts at once */
sp_informer *sp_informer_free(sp_informer *i);
/* Objects already there are replayed to the new handler as appeared. */
void sp_informer_on_change(sp_informer *i, sp_informer_handler *fn, void *ctx);
bool sp_informer_synced(const sp_informer *i);       /* the first LIST is in */
uint64_t sp_informer_revision(const sp_informer *i); /* everything up to here was seen */
/* Called once when synced (at once, from the loop, if it is). */
void sp_informer_on_synced(sp_informer *i, void (*fn)(void *ctx), void *ctx);

/* Since when (sp_clock_mono_ms) the server has been followed without a break; now, while it is not:
 * what did not arrive before that may only be late. */
int64_t sp_informer_in_touch_since(const sp_informer *i);
/* Called whenever the revision may have moved. */
void sp_informer_on_progress(sp_informer *i, void (*fn)(void *ctx), void *ctx);

/* Lent until control returns to the loop. */
const sp_json *sp_informer_get(const sp_informer *i, sp_str ns, sp_str name);
size_t sp_informer_count(const sp_informer *i);
typedef bool sp_informer_visit(void *ctx, const sp_json *obj); /* false stops */
void sp_informer_each(const sp_informer *i, sp_informer_visit *fn, void *ctx);
/* Objects of one namespace ("" = all) as an array of borrowed pointers in name order. */
typedef SP_VEC(const sp_json *) sp_obj_list;
void sp_informer_list(const sp_informer *i, sp_str ns, sp_obj_list *ret);
/* Objects whose controller ownerReference has this UID (indexed). */
void sp_informer_owned(const sp_informer *i, sp_str owner_uid, sp_obj_list *ret);
