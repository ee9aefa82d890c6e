/* SHA-256 as images write it: "sha256:" and 64 lower-case hex digits. Any thread. */
#pragma once
#include "base/str.h"

enum { SP_DIGEST_HEX = 64, SP_DIGEST_TEXT = 7 + SP_DIGEST_HEX };

typedef struct sp_digest sp_digest; /* one running hash */

sp_digest *sp_digest_new(void);
sp_digest *sp_digest_free(sp_digest *d); /* takes NULL, returns NULL */
void sp_digest_add(sp_digest *d, const void *p, size_t n);
void sp_digest_end(sp_digest *d, char ret[SP_DIGEST_TEXT + 1]);
SP_DEFINE_CLEANUP_PTR(sp_digest, sp_digest_free)

void sp_digest_of(sp_str bytes, char ret[SP_DIGEST_TEXT + 1]);
bool sp_digest_valid(sp_str text);
/* The hex part, NUL behind it where text has one. text must be valid. */
static inline sp_str sp_digest_hex(sp_str text) {
    return sp_str_from(text, 7);
}
