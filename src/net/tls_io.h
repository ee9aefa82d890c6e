/* One side of one TLS connection as a machine of bytes, without sockets: what came from the wire is
 * fed in, what shall go out is found in a buffer of the owner. Loop thread only. */
#pragma once
#include "net/tls.h"

typedef struct sp_tls_io sp_tls_io;
typedef struct ssl_session_st sp_tls_session;

/* c is referenced. server_name (clients, copied): what the certificate must be for, and SNI when it
 * is no IP address. wire: where bytes for the other side are appended; outlives the sp_tls_io. */
sp_tls_io *sp_tls_io_new(sp_tls_ctx *c, bool server, const char *server_name, sp_buf *wire);
sp_tls_io *sp_tls_io_free(sp_tls_io *t); /* takes NULL, returns NULL */

typedef enum sp_tls_result {
    SP_TLS_OK,
    SP_TLS_MORE,   /* needs more from the wire */
    SP_TLS_CLOSED, /* the other side said goodbye */
    SP_TLS_FAILED  /* err says why; an alert may be in wire */
} sp_tls_result;

/* Bytes from the wire, lent until the reads and handshakes that follow say MORE. */
void sp_tls_io_feed(sp_tls_io *t, sp_str bytes);
sp_str sp_tls_io_unread(const sp_tls_io *t); /* of them, what was not looked at yet */
/* A read may find something without more of the wire. */
bool sp_tls_io_ready(const sp_tls_io *t);
/* After the handshake, on a context made for it: from now on the records are sealed and opened by
 * tls_record.c, and what OpenSSL keeps for a connection (14 KiB) goes. Only TLS 1.3 servers can; of
 * others nothing changes. From then on reads leave an incomplete record unread: it is to be fed
 * again, with what follows. */
void sp_tls_io_lighten(sp_tls_io *t);
sp_tls_result sp_tls_io_handshake(sp_tls_io *t, sp_err *err);
sp_tls_result sp_tls_io_read(sp_tls_io *t, char *to, size_t max, size_t *ret_n, sp_err *err);
SP_MUST_USE bool sp_tls_io_write(sp_tls_io *t, sp_str plain, sp_err *err);
void sp_tls_io_goodbye(sp_tls_io *t); /* close_notify */

sp_str sp_tls_io_alpn(const sp_tls_io *t);         /* empty when nothing was agreed on */
sp_str sp_tls_io_sni(const sp_tls_io *t);          /* server: the name asked for, or empty */
const char *sp_tls_io_version(const sp_tls_io *t); /* "TLSv1.3" */
/* Clients, before the handshake: "h2,http/1.1", instead of what the context offers. */
void sp_tls_io_offer(sp_tls_io *t, const char *alpn);
bool sp_tls_io_resumed(const sp_tls_io *t);
/* Clients: where sessions are kept that may be resumed with the same server (the newest; the slot's
 * owner frees it). Before the handshake; outlives the sp_tls_io. */
void sp_tls_io_remember(sp_tls_io *t, sp_tls_session **slot);
sp_tls_session *sp_tls_session_free(sp_tls_session *s); /* takes NULL, returns NULL */
/* Servers: what the client's certificate says, for those behind: Hash=…;Subject="…";URI=…;DNS=…
 * (the form of X-Forwarded-Client-Cert). False: it has shown none, or one that was not accepted;
 * then ret_why (static, may be NULL) is what is wrong with it, NULL = there is none. Not known any
 * more once lightened. */
bool sp_tls_io_client_cert(const sp_tls_io *t, sp_buf *ret, const char **ret_why);
const sp_tls_peer *sp_tls_io_peer(const sp_tls_io *t); /* NULL: no verified certificate */
