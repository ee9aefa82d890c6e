/* One line per request, and per TCP connection, in the format people already have tools for. Pure:
 * a record in, text out (without the newline). */
#pragma once
#include "gateway/addr.h"
#include "net/http.h"

typedef enum sp_access_format {
    SP_ACCESS_TEXT,     /* ours: short, for eyes */
    SP_ACCESS_JSON,     /* one object, durations in microseconds */
    SP_ACCESS_COMMON,   /* NCSA common log */
    SP_ACCESS_COMBINED, /* … with referer and user agent: nginx's and Apache's default */
    SP_ACCESS_HAPROXY   /* option httplog and option tcplog */
} sp_access_format;
bool sp_access_format_parse(const char *name, sp_access_format *ret);

typedef struct sp_access {
    const char *protocol; /* "HTTP/1.1", "HTTP/2.0"; NULL = a TCP connection */
    sp_addr client, local;
    sp_str server_name; /* of TLS; "" = plain or not named */
    bool tls;
    sp_str method, host, target;
    const sp_header *headers; /* of the request */
    size_t header_count;
    int status;
    uint64_t in, out; /* bytes from and to the client */
    int64_t wall_ms;  /* when it began */
    /* Microseconds since then; -1 = it did not come so far. */
    int64_t connected_us, answered_us, total_us;
    sp_str listener, route, pool, server; /* whose; "" = none */
    sp_addr endpoint;                     /* family 0 = none */
    unsigned attempts;
    sp_str request_id, trace_id;
    bool cut;            /* the answer did not get to its end */
    const char *refused; /* why the connection was not served at all; NULL = it was */
} sp_access;

void sp_access_write(sp_buf *b, sp_access_format format, const sp_access *a);
