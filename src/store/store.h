/* The store: a revisioned key-value map with watch. This is the contract; SQLite fulfils it on one
 * machine (database.c, on the thread of writer.c).
 *
 * Revisions are one rising integer for the whole store. A write is decided on the loop thread
 * against the newest state (committed or on its way), gets its revision there, is committed in a
 * group by the writer thread, and only then becomes visible to get, range and watch, and only then
 * its done callback runs: acknowledged means durable. If a commit fails the store stops taking
 * writes and says so (SP_UNAVAILABLE), for ever or, when only space was missing, until there is
 * some; nothing half-written is ever visible.
 *
 * Values are the bytes clients read. They carry their own revision: the writer leaves it out and
 * says where it belongs (rev_at), the store puts the decimal digits there.
 *
 * All functions: loop thread. All callbacks: loop thread, never from inside the call. */
#pragma once
#include "base/arena.h"
#include "base/blob.h"
#include "base/err.h"

#include <uv.h>

typedef struct sp_store sp_store;

typedef struct sp_store_config {
    const char *path;        /* SQLite file; NULL = memory only (tests) */
    size_t history_events;   /* how many changes stay watchable; 0 = 10,000 */
    size_t history_bytes;    /* superseded values kept for that, in memory; 0 = 16 MiB */
    size_t max_value_bytes;  /* 0 = 1.5 MiB; more is SP_TOO_LARGE */
    uint64_t relaxed_ms;     /* the longest a relaxed write waits for the disk; 0 = 60,000 */
    uint64_t first_revision; /* where an empty file begins to count */
    /* etcd in place of the file (sp_store_open_etcd) */
    const struct sp_etcd_config *etcd;
    const char *etcd_prefix;   /* before every key; NULL = none */
    uint32_t etcd_wait_ms;     /* for the first answer; 0 = 10 s */
    uint32_t compact_every_ms; /* history that etcd keeps; 0 = 5 min, as kube-apiserver; or never */
    bool etcd_look;            /* only read, as it is now: no watch follows, an empty prefix is
                                  SP_NOT_FOUND */
    uint64_t etcd_revision;    /* with etcd_look: as it was then (SP_EXPIRED: compacted); 0 = now */
} sp_store_config;

#define SP_STORE_NEVER UINT32_MAX

/* Reads the whole file. SP_INVALID: not a data file, or one of a newer Sampan; SP_UNAVAILABLE: in
 * use by another process, damaged, unreadable. */
SP_MUST_USE bool sp_store_open(uv_loop_t *loop, const sp_store_config *c, sp_store **ret,
                               sp_err *err);
/* The same on an etcd cluster (etcd_client.h), which any number of servers may share under one
 * prefix. Runs the loop until everything is loaded. SP_UNAVAILABLE: nobody answers, or no quorum;
 * SP_INVALID: the prefix holds something else; others as etcd says. relaxed is not used. */
SP_MUST_USE bool sp_store_open_etcd(uv_loop_t *loop, const sp_store_config *c, sp_store **ret,
                                    sp_err *err);
/* Commits what is on its way, then closes and calls done. Watches get nothing more but must still
 * be stopped by their owners, before or after. */
void sp_store_close(sp_store *s, void (*done)(void *ctx), void *ctx);

/* One version of one key; immutable, referenced. */
typedef struct sp_store_value {
    uint32_t refs;
    uint64_t rev;             /* of this version */
    uint64_t create_rev;      /* of the first version since the key last appeared */
    uint32_t rev_at, rev_len; /* the digits of rev inside bytes */
    sp_blob *bytes;
    void *user; /* what the layer above computed from the bytes (labels …); may be NULL */
    void (*user_free)(void *user);
} sp_store_value;
sp_store_value *sp_store_value_ref(sp_store_value *v);
sp_store_value *sp_store_value_unref(sp_store_value *v); /* takes NULL, returns NULL */
/* The bytes with another revision in place of their own (a DELETED event carries the revision of
 * the deletion). New reference. */
sp_blob *sp_store_value_bytes_at(const sp_store_value *v, uint64_t rev);

uint64_t sp_store_revision(const sp_store *s);  /* the newest visible */
bool sp_store_is_writable(const sp_store *s);   /* no: a commit has failed */
uint64_t sp_store_compacted(const sp_store *s); /* history starts after this one */

/* The newest committed version, lent until control returns to the loop; NULL if missing. */
sp_store_value *sp_store_get(sp_store *s, sp_str key);
/* The newest version including writes that are on their way: what the next write must build on. */
sp_store_value *sp_store_get_latest(sp_store *s, sp_str key);

/* Ordered walk over keys starting with prefix, after start_after (exclusive, may be empty), as the
 * store was at rev (0 = now). fn returns false to stop. SP_EXPIRED when rev is compacted,
 * SP_TIMEOUT when it lies in the future. */
typedef bool sp_store_range_fn(void *ctx, sp_str key, sp_store_value *v);
SP_MUST_USE bool sp_store_range(sp_store *s, sp_str prefix, sp_str start_after, uint64_t rev,
                                sp_store_range_fn *fn, void *ctx, sp_err *err);
size_t sp_store_count(sp_store *s, sp_str prefix);

/* --- writing --- */
#define SP_STORE_ANY UINT64_MAX /* expect: whatever is there */
#define SP_STORE_ABSENT 0       /* expect: the key does not exist */

/* What a write was decided on besides the newest version of its own key. Where others write, too,
 * it is made only if all of that still holds; else it fails with SP_CONFLICT, and by the time of
 * the answer the change that was missed is visible. On one machine a write is decided and submitted
 * in one turn of the loop, so that nothing can have changed: guards are not looked at there.
 *
 * A guard is either a document (SP_GUARD_SAME: it is still the version `rev`), or a name that is no
 * document and moves only where a write with SP_GUARD_CLAIM says so: of writers that claim one name
 * each has seen the writes of all before it; SP_GUARD_SEEN only asks for that. There, rev is the
 * revision that was visible when the write was decided. */
typedef enum sp_store_guard_kind {
    SP_GUARD_SAME,
    SP_GUARD_SEEN, /* nobody has claimed it after rev */
    SP_GUARD_CLAIM /* the same, and this write claims it */
} sp_store_guard_kind;
typedef struct sp_store_guard {
    sp_store_guard_kind kind;
    sp_str key; /* a key as above, or SP_STORE_GUARDS and a name */
    uint64_t rev;
} sp_store_guard;
#define SP_STORE_GUARDS "/sampan.guard/"
enum { SP_STORE_GUARDS_MAX = 4 };

typedef struct sp_store_write {
    sp_str key;
    bool remove;     /* else put */
    sp_str value;    /* put: bytes without the revision; copied */
    uint32_t rev_at; /* put: offset in value where the digits go */
    uint64_t expect; /* revision of the latest version, or one of the above */
    bool relaxed;    /* may be lost by a crash within the next seconds: heartbeats only. Visible and
                        acknowledged at once, written with the next durable group or after 60 s */
    const sp_store_guard *guards; /* copied */
    size_t guard_count;           /* at most SP_STORE_GUARDS_MAX */
} sp_store_write;

/* value: the new version (put) or the removed one (remove), lent; rev: of this change; err: NULL.
 * On failure rev is 0 and err is SP_CONFLICT (expect does not hold; value = what is there, may be
 * NULL), SP_ALREADY_EXISTS, SP_NOT_FOUND, SP_TOO_LARGE, SP_UNAVAILABLE (not done), SP_TIMEOUT
 * (nobody knows whether it was, or will be, done). */
typedef void sp_store_done(void *ctx, uint64_t rev, sp_store_value *value, const sp_err *err);
void sp_store_submit(sp_store *s, const sp_store_write *w, sp_store_done *done, void *ctx);

/* Calls done (rev 0, value NULL) when everything submitted before is committed; err: SP_UNAVAILABLE
 * if some of it could not be. For answers that tell of what sp_store_get_latest has shown. */
void sp_store_after(sp_store *s, sp_store_done *done, void *ctx);

/* Calls done (rev 0, value NULL) when everything that was acknowledged anywhere before this call is
 * visible here: what a consistent read waits for. At once on one machine; a round trip to the
 * quorum where several servers share the store. err: SP_UNAVAILABLE. */
void sp_store_sync(sp_store *s, sp_store_done *done, void *ctx);
bool sp_store_is_shared(const sp_store *s); /* other servers write to it: syncing means something */
/* For so long it has not been known that nothing is missing here: 0 on one machine, seldom more
 * than 2 s where others write, rising while we are cut off from them. */
uint64_t sp_store_silent_ms(const sp_store *s);

/* --- watching --- */
typedef enum sp_store_event_type {
    SP_STORE_CREATED,
    SP_STORE_UPDATED,
    SP_STORE_REMOVED
} sp_store_event_type;
typedef struct sp_store_event {
    uint32_t refs;
    sp_store_event_type type;
    uint64_t rev;
    sp_str key;
    sp_store_value *value; /* NULL when removed */
    sp_store_value *prev;  /* NULL when created */
    void *user;            /* for the layer above: the encoded frame, shared by all watchers */
    void (*user_free)(void *user);
} sp_store_event;
sp_store_event *sp_store_event_unref(sp_store_event *e);

typedef struct sp_store_watch sp_store_watch;
/* Events with rev > after under prefix, in order, first those of the history, then live ones.
 * SP_GONE when `after` is older than the history (list again), SP_TIMEOUT when it lies in the
 * future. */
typedef void sp_store_watch_fn(void *ctx, sp_store_event *e);
SP_MUST_USE bool sp_store_watch_start(sp_store *s, sp_str prefix, uint64_t after,
                                      sp_store_watch_fn *fn, void *ctx, sp_store_watch **ret,
                                      sp_err *err);
/* Every watch has had every event of the newest visible revision. */
bool sp_store_watches_caught_up(const sp_store *s);
/* No callback after this. Safe inside the callback. Returns NULL. */
sp_store_watch *sp_store_watch_stop(sp_store_watch *w);

typedef struct sp_store_stats {
    uint64_t revision, commits, commit_us_total, writes, keys, history, db_bytes;
} sp_store_stats;
sp_store_stats sp_store_get_stats(const sp_store *s);
