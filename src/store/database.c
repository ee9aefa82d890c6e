#include "store/database.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdio.h>
#include <unistd.h>

enum { SCHEMA = 1, OPEN_WAIT_MS = 1000 };

enum { INSERT, DELETE, GET_NUMBER, SET_NUMBER, STATEMENTS };
static const char *const statement_sql[STATEMENTS] = {
    [INSERT] = "INSERT INTO log(rev,create_rev,key,op,rev_at,value) VALUES(?,?,?,?,?,?)",
    [DELETE] = "DELETE FROM log WHERE rev=?",
    [GET_NUMBER] = "SELECT value FROM meta WHERE name=?",
    [SET_NUMBER] = "REPLACE INTO meta(name,value) VALUES(?,?)",
};

static const char *const settings_sql[] = {
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA cache_size=-512",
    "PRAGMA mmap_size=0",
    "PRAGMA temp_store=MEMORY",
    "PRAGMA wal_autocheckpoint=1000",
    "PRAGMA journal_size_limit=8388608",
};

static const char create_sql[] =
    "BEGIN IMMEDIATE;"
    "CREATE TABLE log(rev INTEGER PRIMARY KEY, create_rev INTEGER NOT NULL, key TEXT NOT NULL,"
    " op INTEGER NOT NULL, rev_at INTEGER NOT NULL, value BLOB);"
    "CREATE TABLE meta(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;"
    "INSERT INTO meta VALUES('schema',1);"
    "COMMIT;";

struct sp_database {
    sqlite3 *db;
    sqlite3_stmt *st[STATEMENTS];
    char path[PATH_MAX];
};

/* --- errors --- */

static bool failed(sp_database *d, sp_err *err) {
    int rc = sqlite3_extended_errcode(d->db), sys = sqlite3_system_errno(d->db);
    bool full =
        rc == SQLITE_FULL || ((rc & 0xff) == SQLITE_IOERR && (sys == ENOSPC || sys == EDQUOT));
    switch (rc & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return sp_fail(err, SP_UNAVAILABLE, "%s is in use by another process", d->path);
    case SQLITE_NOTADB: return sp_fail(err, SP_INVALID, "%s is not a data file of Sampan", d->path);
    case SQLITE_CORRUPT:
        return sp_fail(err, SP_UNAVAILABLE, "%s is damaged (%s): restore it from a backup", d->path,
                       sqlite3_errmsg(d->db));
    case SQLITE_READONLY: return sp_fail(err, SP_UNAVAILABLE, "%s cannot be written", d->path);
    default: break;
    }
    if (full) {
        sp_fail(err, SP_UNAVAILABLE,
                "no space left for %s: free some on its file system, writing goes on by itself",
                d->path);
        if (err) err->errnum = ENOSPC;
        return false;
    }
    sp_fail(err, SP_UNAVAILABLE, "%s: %s%s%s", d->path, sqlite3_errmsg(d->db), sys ? ": " : "",
            sys ? strerror(sys) : "");
    if (err) err->errnum = sys;
    return false;
}

static bool exec(sp_database *d, const char *sql, sp_err *err) {
    return sqlite3_exec(d->db, sql, NULL, NULL, NULL) == SQLITE_OK || failed(d, err);
}

/* --- opening --- */

/* SQLite would create it readable by everyone; it holds secrets. Not opened when it is there:
 * closing any descriptor of a file drops the POSIX locks this process holds on it. */
static bool create_file(const char *path, sp_err *err) {
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) return errno == EEXIST || sp_fail_errno(err, errno, "create %s", path);
    close(fd);
    return sp_sync_parent(path, err);
}

static bool query_number(sp_database *d, const char *sql, int64_t *ret, sp_err *err) {
    sqlite3_stmt *st = NULL;
    if (sqlite3_prepare_v2(d->db, sql, -1, &st, NULL) != SQLITE_OK) return failed(d, err);
    int rc = sqlite3_step(st);
    if (rc == SQLITE_ROW) *ret = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    return rc == SQLITE_ROW || rc == SQLITE_DONE || failed(d, err);
}

/* Before anything is changed in it. */
static bool inspect(sp_database *d, bool *ret_empty, sp_err *err) {
    int64_t tables = 0, ours = 0, schema = 0;
    if (!query_number(d, "SELECT count(*) FROM sqlite_master", &tables, err) ||
        !query_number(d, "SELECT count(*) FROM sqlite_master WHERE name IN ('log','meta')", &ours,
                      err))
        return false;
    *ret_empty = tables == 0;
    if (tables == 0) return true;
    if (ours == 2 && !query_number(d, "SELECT value FROM meta WHERE name='schema'", &schema, err))
        return false;
    if (schema < 1) return sp_fail(err, SP_INVALID, "%s is not a data file of Sampan", d->path);
    if (schema > SCHEMA)
        return sp_fail(err, SP_INVALID,
                       "%s was written by a newer Sampan (data version %" PRId64
                       ", this one knows %d): start that version, or use another data directory",
                       d->path, schema, SCHEMA);
    return true;
}

static bool prepare(sp_database *d, sp_err *err) {
    for (int i = 0; i < STATEMENTS; i++)
        if (sqlite3_prepare_v3(d->db, statement_sql[i], -1, SQLITE_PREPARE_PERSISTENT, &d->st[i],
                               NULL) != SQLITE_OK)
            return failed(d, err);
    return true;
}

static bool set_up(sp_database *d, sp_err *err) {
    bool empty;
    sqlite3_busy_timeout(d->db, OPEN_WAIT_MS);
    if (!exec(d, "PRAGMA locking_mode=EXCLUSIVE", err) || !inspect(d, &empty, err)) return false;
    for (size_t i = 0; i < SP_COUNT(settings_sql); i++)
        if (!exec(d, settings_sql[i], err)) return false;
    if (empty && !exec(d, create_sql, err)) return false;
    return prepare(d, err);
}

bool sp_database_open(const char *path, sp_database **ret, sp_err *err) {
    if (!create_file(path, err)) return false;
    sp_database *d = sp_zalloc(1, sizeof *d);
    snprintf(d->path, sizeof d->path, "%s", path);
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    bool ok = sqlite3_open_v2(path, &d->db, flags, NULL) == SQLITE_OK || failed(d, err);
    if (!ok || !set_up(d, err)) {
        sp_database_close(d);
        return false;
    }
    *ret = d;
    return true;
}

sp_database *sp_database_close(sp_database *d) {
    if (!d) return NULL;
    for (int i = 0; i < STATEMENTS; i++) sqlite3_finalize(d->st[i]);
    sqlite3_close(d->db);
    free(d);
    return NULL;
}

/* --- reading --- */

static sp_str column_bytes(sqlite3_stmt *st, int i) {
    const char *p = sqlite3_column_blob(st, i); /* the pointer before the length, says SQLite */
    return (sp_str){p, (size_t)sqlite3_column_bytes(st, i)};
}

bool sp_database_load(sp_database *d, sp_database_row_fn *fn, void *ctx, sp_err *err) {
    static const char sql[] = "SELECT rev,create_rev,key,op,rev_at,value FROM log ORDER BY rev";
    sqlite3_stmt *st = NULL;
    if (sqlite3_prepare_v2(d->db, sql, -1, &st, NULL) != SQLITE_OK) return failed(d, err);
    bool ok = true;
    int rc = SQLITE_DONE;
    while (ok && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        sp_row row = {
            .rev = (uint64_t)sqlite3_column_int64(st, 0),
            .create_rev = (uint64_t)sqlite3_column_int64(st, 1),
            .key = column_bytes(st, 2),
            .removed = sqlite3_column_int(st, 3) != 0,
            .rev_at = (uint32_t)sqlite3_column_int(st, 4),
            .value = column_bytes(st, 5),
        };
        ok = fn(ctx, &row, err) || sp_err_wrap(err, "%s is damaged", d->path);
    }
    if (ok && rc != SQLITE_DONE) ok = failed(d, err);
    sqlite3_finalize(st);
    return ok;
}

bool sp_database_number(sp_database *d, const char *name, uint64_t *ret, sp_err *err) {
    sqlite3_stmt *st = d->st[GET_NUMBER];
    sqlite3_bind_text(st, 1, name, -1, SQLITE_STATIC);
    int rc = sqlite3_step(st);
    bool ok = rc == SQLITE_ROW || rc == SQLITE_DONE || failed(d, err);
    if (ok) *ret = rc == SQLITE_ROW ? (uint64_t)sqlite3_column_int64(st, 0) : 0;
    sqlite3_reset(st);
    return ok;
}

/* --- writing --- */

static bool run(sp_database *d, int which, sp_err *err) {
    sqlite3_stmt *st = d->st[which];
    bool ok = sqlite3_step(st) == SQLITE_DONE || failed(d, err);
    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
    return ok;
}

bool sp_database_begin(sp_database *d, sp_err *err) {
    return exec(d, "BEGIN IMMEDIATE", err);
}
bool sp_database_commit(sp_database *d, sp_err *err) {
    return exec(d, "COMMIT", err);
}
void sp_database_rollback(sp_database *d) {
    sqlite3_exec(d->db, "ROLLBACK", NULL, NULL, NULL);
}

bool sp_database_insert(sp_database *d, const sp_row *row, sp_err *err) {
    sqlite3_stmt *st = d->st[INSERT];
    sqlite3_bind_int64(st, 1, (sqlite3_int64)row->rev);
    sqlite3_bind_int64(st, 2, (sqlite3_int64)row->create_rev);
    sqlite3_bind_text64(st, 3, row->key.p ? row->key.p : "", row->key.n, SQLITE_STATIC,
                        SQLITE_UTF8);
    sqlite3_bind_int(st, 4, row->removed);
    sqlite3_bind_int64(st, 5, row->rev_at);
    if (!row->removed) sqlite3_bind_blob64(st, 6, row->value.p, row->value.n, SQLITE_STATIC);
    return run(d, INSERT, err);
}

bool sp_database_delete(sp_database *d, uint64_t rev, sp_err *err) {
    sqlite3_bind_int64(d->st[DELETE], 1, (sqlite3_int64)rev);
    return run(d, DELETE, err);
}

bool sp_database_set_number(sp_database *d, const char *name, uint64_t value, sp_err *err) {
    sqlite3_bind_text(d->st[SET_NUMBER], 1, name, -1, SQLITE_STATIC);
    sqlite3_bind_int64(d->st[SET_NUMBER], 2, (sqlite3_int64)value);
    return run(d, SET_NUMBER, err);
}
