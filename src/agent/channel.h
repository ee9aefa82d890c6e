/* The channel protocols of Kubernetes over WebSocket, v4.channel.k8s.io and v5.channel.k8s.io: the
 * first byte of a message names the channel, the rest is for it. v5 adds channel 255, whose one
 * byte names a channel that the client has ended. A machine of bytes: messages come in pieces. */
#pragma once
#include "base/str.h"

enum { SP_CHANNEL_CLOSE = 255 };

typedef struct sp_channel_in {
    bool v5;
    int channel; /* of the message under way; -1: its first byte has not come */
} sp_channel_in;

typedef struct sp_channel_sink {
    void (*data)(void *ctx, unsigned channel, sp_str bytes);
    void (*end)(void *ctx, unsigned channel);
} sp_channel_sink;

/* One piece of a binary message; at most one call of the sink. */
void sp_channel_feed(sp_channel_in *c, sp_str piece, bool first, const sp_channel_sink *sink,
                     void *ctx);
