/* RFC 4648, standard and URL alphabets. Decoding is strict: right padding, unused bits zero, no
 * blanks, with one exception: the standard alphabet skips CR and LF, because Secrets in the wild
 * hold folded base64 and Kubernetes takes them. On failure the buffer is as before. */
#pragma once
#include "base/str.h"

void sp_base64_encode(sp_buf *b, sp_str bytes);
void sp_base64url_encode(sp_buf *b, sp_str bytes); /* no padding */
SP_MUST_USE bool sp_base64_decode(sp_buf *b, sp_str text);
SP_MUST_USE bool sp_base64url_decode(sp_buf *b, sp_str text);
