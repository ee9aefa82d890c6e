#include "agent/channel.h"

void sp_channel_feed(sp_channel_in *c, sp_str piece, bool first, const sp_channel_sink *sink,
                     void *ctx) {
    if (first) c->channel = -1;
    if (!piece.n) return;
    if (c->channel < 0) {
        c->channel = (uint8_t)piece.p[0];
        piece = sp_str_from(piece, 1);
    }
    if (!piece.n) return;
    if (c->channel != SP_CHANNEL_CLOSE || !c->v5)
        sink->data(ctx, (unsigned)c->channel, piece);
    else
        sink->end(ctx, (uint8_t)piece.p[0]);
}
