/* Inside of the store: what all engines share, and what makes them different. An engine decides
 * writes and makes them durable; index, history and watches are the same for all, and fed by
 * sp_store_show. SQLite (sqlite.c) on one machine, etcd (etcd_*.c) beyond it. Loop thread. */
#pragma once
#include "store/past.h"
#include "store/value.h"
#include "store/watchers.h"

typedef struct sp_store_engine {
    void (*submit)(sp_store *s, const sp_store_write *w, sp_store_done *done, void *ctx);
    void (*after)(sp_store *s, sp_store_done *done, void *ctx);
    void (*sync)(sp_store *s, sp_store_done *done, void *ctx);
    sp_store_value *(*latest)(sp_store *s, sp_str key);
    bool (*is_writable)(const sp_store *s);
    void (*close)(sp_store *s); /* ends with sp_store_finish */
    void (*turn)(sp_store *s);  /* after each wake-up; watches have been served */
    void (*stats)(const sp_store *s, sp_store_stats *ret); /* adds its own; may be NULL */
    bool shared;                                           /* others write, too */
    /* See sp_store_silent_ms; NULL = never. */
    uint64_t (*silent_ms)(const sp_store *s);
    void (*free)(sp_store *s); /* its own memory and s; the loop has let go of s->wake */
} sp_store_engine;

struct sp_store {
    const sp_store_engine *engine;
    sp_store_config cfg; /* with the defaults filled in */
    uv_async_t wake;
    sp_index *index;
    sp_history history;
    sp_watchers watchers;
    uint64_t visible; /* the newest visible revision */
    uint64_t writes;
    uint64_t lost_from, lost_to; /* revisions above from, up to to, may never have been */
    bool closing;
    void (*closed)(void *ctx);
    void *closed_ctx;
};

/* s: zeroed, the engine's own struct begins with it. */
void sp_store_init(sp_store *s, const sp_store_engine *e, uv_loop_t *loop,
                   const sp_store_config *c);
/* Index, history, visible: no watch is told yet. value NULL: removed. For loading. */
void sp_store_apply(sp_store *s, sp_str key, uint64_t rev, sp_store_value *value,
                    sp_store_value *prev);
/* The same as one change that everybody sees now. Returns what was there (referenced). */
sp_store_value *sp_store_show(sp_store *s, sp_str key, uint64_t rev, sp_store_value *value);
void sp_store_wake(sp_store *s);
/* After close: everything is done, nothing calls any more. */
void sp_store_finish(sp_store *s);
