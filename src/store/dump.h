/* A backup as lines of JSON, one per object, in the order of their last changes:
 *
 *   {"sampan":"backup","version":1,"revision":812,"objects":2,"created":"2026-11-22T20:00:00Z"}
 *   {"key":"/registry/core/configmaps/default/a","rev":7,"createRev":7,"value":{…}}
 *   {"key":…}
 *   {"end":true,"objects":2,"sha256":"…"}        of all bytes before this line
 *
 * A value is what clients read, with an empty resourceVersion: its revision stands beside it. A
 * file without its last line is not a backup. Any thread. */
#pragma once
#include "base/arena.h"
#include "base/err.h"
#include "store/store.h"

/* --- writing: each appends to b --- */
typedef struct sp_dump_writer {
    void *hash;
    uint64_t objects;
} sp_dump_writer;
void sp_dump_begin(sp_dump_writer *w, sp_buf *b, uint64_t revision, uint64_t objects,
                   int64_t wall_ms);
void sp_dump_object(sp_dump_writer *w, sp_buf *b, sp_str key, const sp_store_value *v);
void sp_dump_end(sp_dump_writer *w, sp_buf *b); /* frees what the writer holds */
void sp_dump_drop(sp_dump_writer *w);           /* without an end */

/* --- reading, line by line --- */
typedef struct sp_dump_head {
    uint64_t revision, objects;
    char created[40];
} sp_dump_head;

typedef struct sp_dump_item {
    sp_str key, value; /* slices of the line; value without revision */
    uint32_t rev_at;
    uint64_t rev, create_rev;
} sp_dump_item;

typedef struct sp_dump_reader {
    void *hash;
    sp_dump_head head;
    uint64_t lines, objects, last_rev;
    bool complete; /* the last line was there and right */
} sp_dump_reader;
/* line: with its newline. *ret_item: true when it held an object. SP_INVALID names the line. */
SP_MUST_USE bool sp_dump_read(sp_dump_reader *r, sp_str line, bool *ret_item, sp_dump_item *ret,
                              sp_err *err);
/* After the last line; SP_INVALID when something is missing. Frees what the reader holds. */
SP_MUST_USE bool sp_dump_finish(sp_dump_reader *r, sp_err *err);
