/* WebSocket (RFC 6455): the handshake's arithmetic, a strict parser of frames as a machine of
 * bytes, and an endpoint on a connection. Loop thread only. */
#pragma once
#include "net/conn.h"
#include "net/http.h"

/* --- handshake --- */
enum { SP_WS_ACCEPT_SIZE = 29 };
void sp_ws_accept(sp_str key, char ret[SP_WS_ACCEPT_SIZE]); /* Sec-WebSocket-Accept */
/* Version and key of a request that offers "websocket"; the key is a slice of h. */
SP_MUST_USE bool sp_ws_check(const sp_header *h, size_t n, sp_str *ret_key, sp_err *err);
/* The first of ours (NULL-ended, in order of preference) that the client names; NULL if none. */
const char *sp_ws_choose(const sp_header *h, size_t n, const char *const *ours);

/* --- frames --- */
enum { SP_WS_CONTROL_MAX = 125, SP_WS_HEAD_MAX = 14 };
typedef enum sp_ws_op {
    SP_WS_CONTINUATION = 0,
    SP_WS_TEXT = 1,
    SP_WS_BINARY = 2,
    SP_WS_CLOSE = 8,
    SP_WS_PING = 9,
    SP_WS_PONG = 10
} sp_ws_op;

/* Why an endpoint closes (RFC 6455 section 7.4). */
enum {
    SP_WS_NORMAL = 1000,
    SP_WS_GOING_AWAY = 1001,
    SP_WS_PROTOCOL = 1002,
    SP_WS_NO_CODE = 1005,  /* never on the wire: the close frame was empty */
    SP_WS_ABNORMAL = 1006, /* never on the wire: the connection just ended */
    SP_WS_BAD_TEXT = 1007,
    SP_WS_INTERNAL = 1011
};

/* What the parser finds. Bytes are lent for the call, unmasked in place. Return false to stop. */
typedef struct sp_ws_sink {
    /* A piece of a message, of whatever size: nothing is gathered. */
    bool (*piece)(void *ctx, sp_str bytes, bool text, bool first, bool last);
    bool (*control)(void *ctx, sp_ws_op op, sp_str payload); /* whole */
} sp_ws_sink;

typedef struct sp_ws_parser {
    bool server; /* the other side masks (section 5.1) */
    uint8_t head[SP_WS_HEAD_MAX];
    uint8_t head_n, control_n;
    bool in_payload, in_message, text, fresh; /* fresh: no piece of the message was given yet */
    uint64_t left;                            /* of the payload */
    uint64_t at;                              /* of the payload, for the mask */
    char control[SP_WS_CONTROL_MAX];
    uint8_t utf8_need; /* continuation bytes still due */
    uint8_t utf8_low, utf8_high;
} sp_ws_parser;

/* SP_WS_NORMAL, or the code to close with; nothing may be fed after that. */
unsigned sp_ws_parse(sp_ws_parser *p, char *bytes, size_t n, const sp_ws_sink *sink, void *ctx);
/* Code and reason of a close frame's payload; SP_WS_NO_CODE when empty; false when broken. */
bool sp_ws_close_code(sp_str payload, unsigned *ret_code, sp_str *ret_reason);
/* The head of a frame; returns its size. mask NULL: none. */
size_t sp_ws_frame_head(char ret[SP_WS_HEAD_MAX], sp_ws_op op, bool fin, uint64_t n,
                        const uint8_t mask[4]);

/* --- an endpoint --- */
typedef struct sp_ws sp_ws;

typedef struct sp_ws_events {
    void (*piece)(void *ctx, sp_str bytes, bool text, bool first, bool last);
    void (*drain)(void *ctx); /* less than SP_CONN_WINDOW waits; may be NULL */
    /* Once, unless sp_ws_close or sp_ws_free came first; the endpoint is gone then. */
    void (*closed)(void *ctx, unsigned code);
} sp_ws_events;

/* io is taken. early: what came behind the handshake; events may come before this returns only
 * for that, so *ret is set first. */
void sp_ws_start(sp_conn *io, bool server, sp_str early, const sp_ws_events *ev, void *ctx,
                 sp_ws **ret);
void sp_ws_feed(sp_ws *w, sp_str bytes);              /* as if they had come just now */
void sp_ws_send(sp_ws *w, sp_str head, sp_str bytes); /* one binary message of both */
size_t sp_ws_pending(const sp_ws *w);
void sp_ws_pause(sp_ws *w, bool paused);                       /* take no more for a while */
void sp_ws_close(sp_ws *w, unsigned code, const char *reason); /* after what is queued; w is gone */
void sp_ws_free(sp_ws *w);                                     /* at once; takes NULL */
