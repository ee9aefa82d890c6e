/* The writer thread and what passes between it and the loop.
 *
 * Operations go in and come out in one order. The thread takes everything that waits, commits it as
 * one transaction, hands it all back and wakes the loop: whatever arrives during a commit becomes
 * the next group, without any delay of our own. Operations without rows (answers that must not
 * overtake what they were decided on) pass through. After a failed commit nothing is written any
 * more and everything comes back failed, until an operation that is a probe can be committed.
 *
 * The thread only reads operations; reference counts belong to the loop. */
#pragma once
#include "base/list.h"
#include "base/vec.h"
#include "store/database.h"
#include "store/store.h"

typedef struct sp_purge {
    SP_VEC(uint64_t) revs; /* rows nobody can ask for any more */
    uint64_t floor;        /* the compaction floor once they are gone */
} sp_purge;

typedef struct sp_op {
    sp_list link;
    bool has_row; /* to be inserted */
    bool applies; /* becomes visible when it comes back */
    bool failed;  /* set by the writer */
    bool probe;   /* tries whether writing works again; nothing may be behind it */
    uint64_t rev, create_rev;
    sp_str key;
    sp_store_value *value; /* referenced; NULL with has_row: a removal */
    uint64_t reserve;      /* set the number "reserved" to this; 0 = leave it */
    sp_purge *purge;       /* owned; NULL = none */
    sp_err *answer;        /* owned; what to say instead of applying; NULL = none */
    sp_store_done *done;   /* may be NULL */
    void *ctx;
} sp_op;

sp_op *sp_op_new(sp_str key); /* copies key */
void sp_op_free(sp_op *op);

typedef struct sp_writer sp_writer;
/* Takes db. wake is sent whenever something comes out; borrowed until join. */
SP_MUST_USE bool sp_writer_start(sp_database *db, uv_async_t *wake, sp_writer **ret, sp_err *err);
/* Takes all operations of the list; they are committed together. */
void sp_writer_put(sp_writer *w, sp_list *ops);
/* Moves everything that came back to the end of list. False when the thread has ended: after that
 * nothing comes any more. */
bool sp_writer_take(sp_writer *w, sp_list *list);
/* Finishes what it has, closes the database, ends; then wakes. */
void sp_writer_stop(sp_writer *w);
void sp_writer_join(sp_writer *w); /* frees it */

typedef struct sp_writer_stats {
    uint64_t commits, commit_us_total;
} sp_writer_stats;
sp_writer_stats sp_writer_get_stats(sp_writer *w);
/* Why operations come back failed, once one did. */
void sp_writer_failure(sp_writer *w, sp_err *ret);
