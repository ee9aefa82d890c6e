/* Reading a container's log files, oldest to newest, as the API shows them. Blocking reads of local
 * files; loop thread. */
#pragma once
#include "base/err.h"
#include "base/str.h"

typedef struct sp_log_options {
    int64_t tail_lines;  /* -1 = all */
    int64_t since_ms;    /* wall clock; 0 = all */
    int64_t limit_bytes; /* -1 = no limit */
    bool timestamps;
    const char
        *stream; /* "stdout" or "stderr" alone; NULL = both; borrowed for the reader's life */
} sp_log_options;

/* Where reading goes on: through rotation, since the open file stays the same file. */
typedef struct sp_log_reader sp_log_reader;

/* path: of the current file; the rotated ones lie beside it. SP_NOT_FOUND when there is none. */
SP_MUST_USE bool sp_log_reader_open(const char *path, const sp_log_options *o, sp_log_reader **ret,
                                    sp_err *err);
sp_log_reader *sp_log_reader_free(sp_log_reader *r); /* takes NULL, returns NULL */
/* Appends up to about 256 KiB of what is there to *out. True when there may be more right now. */
bool sp_log_reader_next(sp_log_reader *r, sp_buf *out);
bool sp_log_reader_full(const sp_log_reader *r); /* limit_bytes reached */
