/* RFC 4648, standard and URL alphabets; decoding is strict (no blanks, right padding). */
#pragma once
#include "base/str.h"

void sp_base64_encode(sp_buf *b, sp_str bytes);
void sp_base64url_encode(sp_buf *b, sp_str bytes); /* no padding */
SP_MUST_USE bool sp_base64_decode(sp_buf *b, sp_str text);
SP_MUST_USE bool sp_base64url_decode(sp_buf *b, sp_str text);
