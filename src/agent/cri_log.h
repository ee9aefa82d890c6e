/* Container logs in the CRI format, one line each:
 *   2026-11-22T16:03:29.123456789Z stdout F text
 * F ends a line of the container; P is a piece of one that was longer than SP_CRI_MAX_LINE. */
#pragma once
#include "base/str.h"

enum { SP_CRI_MAX_LINE = 16384, SP_CRI_TIME = 30 };

/* Bytes of one stream on their way into lines. */
typedef struct sp_cri_stream {
    const char *name; /* "stdout", "stderr" */
    sp_buf rest;      /* the begin of a line whose end has not come */
} sp_cri_stream;

/* Appends the lines that bytes complete to *out. */
void sp_cri_feed(sp_cri_stream *s, sp_str bytes, int64_t wall_ns, sp_buf *out);
/* What is left when the stream ends, as a last P line. */
void sp_cri_finish(sp_cri_stream *s, int64_t wall_ns, sp_buf *out);

typedef struct sp_cri_entry {
    sp_str time, stream, text; /* of the line given */
    int64_t wall_ms;
    bool partial;
} sp_cri_entry;
/* line without its '\n'; false when it is none of ours. */
SP_MUST_USE bool sp_cri_parse(sp_str line, sp_cri_entry *ret);
