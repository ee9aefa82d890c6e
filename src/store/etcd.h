/* Inside of the etcd engine, shared by its files only.
 *
 *   etcd.c       writes: transactions with preconditions, answers once they are visible here
 *   etcd_feed.c  reads: the first load, the watch that feeds the index, catching up, compaction
 *   etcd_client, etcd_key  calls, and how keys and values are laid out */
#pragma once
#include "base/list.h"
#include "base/map.h"
#include "store/engine.h"
#include "store/etcd.pb-c.h"
#include "store/etcd_client.h"
#include "store/etcd_key.h"

/* Somebody who waits until a revision is visible here. */
typedef struct sp_etcd_waiter {
    sp_list link;
    uint64_t rev;
    void (*fn)(struct sp_etcd_waiter *w); /* frees it, or keeps it; visible >= rev, or closing */
} sp_etcd_waiter;

typedef struct sp_etcd_store {
    sp_store base; /* first */
    uv_loop_t *loop;
    sp_etcd *etcd;
    char *prefix;
    sp_buf head_key, compact_key, data_key, data_end;
    uint64_t head; /* the newest change that we have heard of, visible or not */
    /* writes */
    sp_map keys;     /* key → the sp_etcd_write that is under way; others queue behind it */
    sp_list waiters; /* by rev, lowest first */
    sp_list ready;   /* sp_etcd_ready: told in the next turn */
    size_t flying;   /* calls under way that must end before the store may go */
    /* consistent reads: one question at a time, for everybody who asked before it was sent */
    SP_VEC(struct sp_etcd_asker) asking, asked;
    sp_etcd_call *question;
    /* the feed */
    sp_etcd_call *watch, *load;
    uv_timer_t retry, pulse, compact;
    int open_handles;
    bool loaded, reload;     /* once; the watch's place is gone */
    bool lost;               /* no quorum, or no endpoint */
    int64_t behind_since_ms; /* something newer than what is visible is known: behind_head */
    uint64_t behind_head;
    uint64_t load_rev;
    sp_buf load_from;
    sp_index *fresh;  /* a load after the watch had fallen too far behind */
    int64_t heard_ms; /* when the quorum last answered */
    int64_t fed_ms;   /* what had been written anywhere until then is visible here */
    int64_t asked_ms; /* when the question under way was sent */
    sp_err trouble;   /* why it is lost */
    uint64_t compact_rev;
    int64_t compact_version;
    sp_err refused; /* at the start: what cannot be mended by waiting */
} sp_etcd_store;

typedef struct sp_etcd_asker {
    sp_store_done *done;
    void *ctx;
} sp_etcd_asker;

static inline sp_etcd_store *sp_etcd_of(sp_store *s) {
    return (sp_etcd_store *)(void *)s;
}
static inline ProtobufCBinaryData sp_etcd_bytes(sp_str s) {
    return (ProtobufCBinaryData){s.n, (uint8_t *)(uintptr_t)s.p};
}
static inline sp_str sp_etcd_str(ProtobufCBinaryData b) {
    return (sp_str){(const char *)b.data, b.len};
}

/* A version from its key and value; NULL when it is not ours. Referenced. */
sp_store_value *sp_etcd_value(const Etcd__KeyValue *kv);
/* Calls fn once rev is visible (perhaps in the next turn). */
void sp_etcd_wait(sp_etcd_store *s, sp_etcd_waiter *w, uint64_t rev);

/* Asks the quorum how far it is, when nobody else does. */
void sp_etcd_probe(sp_etcd_store *s);

/* --- etcd_feed.c --- */
void sp_etcd_feed_start(sp_etcd_store *s);
void sp_etcd_feed_stop(sp_etcd_store *s);
/* What had been written anywhere until `ms` is visible here. */
void sp_etcd_fed(sp_etcd_store *s, int64_t ms);
/* Those who wait for a consistent read learn that there is none. */
void sp_etcd_fail_waiting(sp_etcd_store *s);
/* A call failed or went well: what that says about the cluster. */
void sp_etcd_heard(sp_etcd_store *s, const sp_err *err);
