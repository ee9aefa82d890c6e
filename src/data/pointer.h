/* The steps of RFC 6901 pointers, for those who change what a pointer leads to (data/patch_json).
 * Reading is sp_json_pointer in data/patch.h. */
#pragma once
#include "data/json.h"

/* Unescapes ~0 and ~1 into the buffer, which is cleared first. */
SP_MUST_USE bool sp_pointer_step(sp_buf *b, sp_str raw);
/* An array index: digits without leading zero. */
SP_MUST_USE bool sp_pointer_index(sp_str step, size_t *ret);
sp_json *sp_pointer_child(const sp_json *j, sp_str step);
