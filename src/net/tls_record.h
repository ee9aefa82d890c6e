/* The record layer of TLS 1.3 (RFC 8446 5) for one connection after its handshake: seals, opens,
 * changes keys. The cryptography is OpenSSL's; what is saved is its connection object, 11 KiB
 * of 14. Loop thread only. */
#pragma once
#include "base/str.h"

typedef struct sp_tls_record sp_tls_record;

enum {
    SP_RECORD_PLAIN_MAX = 1 << 14,
    SP_RECORD_HEAD = 5,
    SP_RECORD_MAX = SP_RECORD_HEAD + SP_RECORD_PLAIN_MAX + 256 /* with its head */
};
enum { SP_RECORD_ALERT = 21, SP_RECORD_HANDSHAKE = 22, SP_RECORD_DATA = 23 };

/* suite: 0x1301 to 0x1303; secrets: the application traffic secrets, n bytes each (the length of
 * the suite's hash); sealed: records already sent under it. NULL: no such suite. */
sp_tls_record *sp_tls_record_new(unsigned suite, const uint8_t *read_secret,
                                 const uint8_t *write_secret, size_t n, uint64_t sealed);
sp_tls_record *sp_tls_record_free(sp_tls_record *r); /* takes NULL, returns NULL */

/* Appends as many records as it takes. False: OpenSSL failed. */
SP_MUST_USE bool sp_tls_record_seal(sp_tls_record *r, uint8_t type, sp_str plain, sp_buf *wire);

typedef enum sp_record_result {
    SP_RECORD_OK,
    SP_RECORD_MORE, /* the record is not complete */
    SP_RECORD_FULL, /* max is too small for it; SP_RECORD_PLAIN_MAX + 256 never is */
    /* The connection is lost: the alert to say so is bad_record_mac, record_overflow,
     * unexpected_message. */
    SP_RECORD_BAD,  /* forged, or damaged on its way */
    SP_RECORD_LONG, /* larger than 5.2 and 5.4 allow */
    SP_RECORD_ODD   /* not encrypted, or nothing but padding */
} sp_record_result;
/* A complete record is at the start of in. */
bool sp_tls_record_is_whole(sp_str in);
/* Opens the first record of *in and moves *in behind it. */
sp_record_result sp_tls_record_open(sp_tls_record *r, sp_str *in, char *to, size_t max,
                                    uint8_t *ret_type, size_t *ret_n);
/* The next generation of keys (7.2). */
SP_MUST_USE bool sp_tls_record_next_read(sp_tls_record *r);
/* Says KeyUpdate under the old keys, then changes. ask: the other side shall do so too. */
SP_MUST_USE bool sp_tls_record_next_write(sp_tls_record *r, bool ask, sp_buf *wire);
/* So many records were sealed that the keys should change (5.5). */
bool sp_tls_record_is_worn(const sp_tls_record *r);
