/* Stored values on their way to one reader, as fast as it takes them: what waits costs a reference
 * each, no copy. Loop thread. */
#pragma once
#include "base/vec.h"
#include "net/server.h"
#include "store/store.h"

typedef struct sp_outflow {
    SP_VEC(sp_store_value *) values; /* referenced until written */
    size_t at;                       /* the next to be written */
    sp_http_res *res;
    sp_str head;             /* how each begins instead of its own apiVersion and kind; lent */
    sp_str between, after;   /* written between two values, after each; lent */
    void (*done)(void *ctx); /* all were written */
    void *ctx;
} sp_outflow;

void sp_outflow_add(sp_outflow *f, sp_store_value *v);
/* Bytes that the values will take, with head, between and after. */
size_t sp_outflow_size(const sp_outflow *f);
/* The answer must have begun. Writes what fits now and the rest when there is room; then calls
 * done, maybe before this returns. Takes the answer's on_drain. */
void sp_outflow_start(sp_outflow *f, sp_http_res *res);
/* Forgets what was not written; nothing is called any more. */
void sp_outflow_cleanup(sp_outflow *f);
