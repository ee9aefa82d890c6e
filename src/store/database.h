/* The SQLite file: a log of rows, one per change, and a few numbers. Nothing here knows threads:
 * the store opens and loads it, then the writer thread alone uses it until it closes it.
 *
 *   log(rev INTEGER PRIMARY KEY, create_rev, key, op, rev_at, value)   op 0 = put, 1 = remove
 *   meta(name, value)   schema, floor, reserved, lost_from, lost_to
 *
 * A row is inserted once and never changed: one append at the right edge of one B-tree. Rows that
 * no reader can ask for any more are deleted together with the move of `floor`. WAL with
 * synchronous=FULL: COMMIT returns when the bytes are on the disk (sqlite.org/wal.html). The file
 * is locked exclusively, so a second process is refused and no shared-memory file is needed. */
#pragma once
#include "base/err.h"
#include "base/str.h"

typedef struct sp_database sp_database;

typedef struct sp_row {
    uint64_t rev, create_rev;
    sp_str key, value; /* value empty when removed */
    bool removed;
    uint32_t rev_at;
} sp_row;

/* SP_INVALID: not our file, or written by a newer Sampan. SP_UNAVAILABLE: in use, or I/O. */
SP_MUST_USE bool sp_database_open(const char *path, sp_database **ret, sp_err *err);
sp_database *sp_database_close(sp_database *d); /* folds the WAL into the file; takes NULL */

/* Every row in the order of revisions; what row points to is lent for the call. */
typedef bool sp_database_row_fn(void *ctx, const sp_row *row, sp_err *err);
SP_MUST_USE bool sp_database_load(sp_database *d, sp_database_row_fn *fn, void *ctx, sp_err *err);
/* 0 if it was never set. */
SP_MUST_USE bool sp_database_number(sp_database *d, const char *name, uint64_t *ret, sp_err *err);

/* One transaction. After a failure only rollback. All errors are SP_UNAVAILABLE. */
SP_MUST_USE bool sp_database_begin(sp_database *d, sp_err *err);
SP_MUST_USE bool sp_database_insert(sp_database *d, const sp_row *row, sp_err *err);
SP_MUST_USE bool sp_database_delete(sp_database *d, uint64_t rev, sp_err *err);
SP_MUST_USE bool sp_database_set_number(sp_database *d, const char *name, uint64_t value,
                                        sp_err *err);
SP_MUST_USE bool sp_database_commit(sp_database *d, sp_err *err);
void sp_database_rollback(sp_database *d);
