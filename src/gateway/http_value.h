/* Values of header edits with parts that are filled in for each request: "%[src]:%[src_port]", by
 * haproxy's names (its configuration manual, section 7.3); "%%" is a percent sign. Compiled once,
 * written without memory of their own. Pure. */
#pragma once
#include "gateway/http_head.h"

/* The names that are known, for messages. */
#define SP_VALUE_NAMES                                                                    \
    "src, src_port, dst, dst_port, ssl_fc, ssl_fc_sni, method, path, query, pathq, url, " \
    "unique-id, req.hdr(NAME), req.fhdr(NAME), ssl_fc,iif(YES,NO)"

/* False: text is not of that form, err tells what is wrong with it. *ret is in the arena, or text
 * itself where nothing is to be filled in; *ret_varies: something is. */
SP_MUST_USE bool sp_value_compile(sp_arena *a, sp_str text, sp_str *ret, bool *ret_varies,
                                  sp_err *err);
/* Appends the value that a compiled one has for this request. */
void sp_value_write(sp_buf *b, sp_str compiled, const sp_h1_head *h, const sp_http_hop *hop);
/* A compiled value looks at this field (lower case) of the request. */
bool sp_value_reads(sp_str compiled, sp_str field);
/* ... at the request's path. */
bool sp_value_reads_path(sp_str compiled);
