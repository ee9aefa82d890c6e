/* The PROXY protocol: one header in front of a connection that says who the client really is.
 * Version 1 is a line of text, version 2 is binary (haproxy's proxy-protocol.txt, sections 2.1 and
 * 2.2). Pure. */
#pragma once
#include "gateway/addr.h"

enum { SP_PROXY_HEADER_MAX = 16 * 1024 }; /* a longer one is refused */

typedef enum sp_proxy_result { SP_PROXY_OK, SP_PROXY_MORE, SP_PROXY_BAD } sp_proxy_result;

typedef struct sp_proxy_header {
    size_t n;   /* bytes of the header; what follows is the connection's own */
    bool local; /* the proxy speaks for itself (LOCAL, UNKNOWN): addresses are its own */
    sp_addr source, target; /* family 0 when local */
} sp_proxy_header;

/* Strict: anything a sender may not write is BAD. TLVs of version 2 are skipped. */
sp_proxy_result sp_proxy_parse(sp_str bytes, sp_proxy_header *ret);

/* What is known about the client; empty = not said (version 1 says none of it). */
struct sp_proxy_facts {
    sp_addr source, target;
    sp_str alpn, server_name;
    bool tls;           /* it came by TLS that ended here */
    sp_str tls_version; /* "TLSv1.3" */
    bool client_cert;   /* and proved who it is by a certificate that was verified */
    sp_str common_name; /* of that certificate */
};
typedef struct sp_proxy_facts sp_proxy_facts;

/* Appends the header. version: 1 or 2. */
void sp_proxy_write(int version, const sp_proxy_facts *f, sp_buf *ret);
