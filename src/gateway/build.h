/* From documents to traffic, as one step that can be repeated at any time: view → translate →
 * overlay → apply. Whoever has the documents (control.c: informers of an API server; or files read
 * once) says where they are and calls sp_build_soon when something is different. There is no
 * bookkeeping of changes that could go wrong: the whole is made anew, and the data path finds out
 * by itself what is different. Loop thread only. */
#pragma once
#include "gateway/fleet.h"
#include "gateway/health.h"
#include "gateway/translate.h"

typedef struct sp_build sp_build;

/* What is known beyond the documents. */
typedef struct sp_build_beyond {
    /* Commands: changes a configuration that nobody has seen yet; may be NULL. */
    void (*overlay)(void *ctx, sp_gateway_config *config);
    void *overlay_ctx;
    const sp_json
        *checks; /* what sp_health_tell said in a predecessor; NULL; read by sp_build_new */
} sp_build_beyond;

typedef struct sp_build_config {
    uv_loop_t *loop;
    sp_fleet *fleet;
    sp_translate_options options; /* previous is set by the build itself */
    /* The documents of now, borrowed until the next return to the loop; the lists are freed by the
     * build. */
    void (*view)(void *ctx, sp_cluster_view *ret);
    void (*ready)(void *ctx);   /* once: the first configuration is carried out; may be NULL */
    void (*changed)(void *ctx); /* sp_build_failures says something else; may be NULL */
    void *ctx;
    sp_build_beyond beyond;
} sp_build_config;

sp_build *sp_build_new(const sp_build_config *c);
/* Before the fleet; takes NULL, returns NULL. */
sp_build *sp_build_free(sp_build *b);

/* A burst of calls is one pass, some milliseconds later. */
void sp_build_soon(sp_build *b);
void sp_build_now(sp_build *b);

const sp_health *sp_build_health(const sp_build *b); /* the checks of all pools */
bool sp_build_is_ready(const sp_build *b);
const sp_translate_options *sp_build_options(const sp_build *b);
/* NULL before the first pass; lent until the next one. */
const sp_translation *sp_build_current(const sp_build *b);
/* Ports that are not served, by the translation's decision or because a socket could not be bound.
 * Lent until the next pass. */
const sp_refusal *sp_build_failures(const sp_build *b, size_t *ret_count);
