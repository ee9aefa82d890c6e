/* The channel protocol. First byte: bit 0 v5, the rest how messages are split. However a message is
 * split, the same bytes go to the same channels, and nothing goes to the close channel of v5. */
#include "agent/channel.h"

typedef struct outcome {
    sp_buf all;
    bool v5;
} outcome;

static void on_data(void *ctx, unsigned channel, sp_str bytes) {
    outcome *o = ctx;
    sp_assert(channel < 256 && bytes.n && !(o->v5 && channel == SP_CHANNEL_CLOSE));
    for (size_t i = 0; i < bytes.n; i++)
        sp_buf_printf(&o->all, "%u:%u ", channel, (uint8_t)bytes.p[i]);
}

static void on_end(void *ctx, unsigned channel) {
    outcome *o = ctx;
    sp_assert(o->v5 && channel < 256);
    sp_buf_printf(&o->all, "end %u ", channel);
}

/* Each line of the input is a message. */
static void run(sp_str in, bool v5, size_t step, outcome *o) {
    static const sp_channel_sink sink = {on_data, on_end};
    sp_channel_in c = {.v5 = v5};
    o->v5 = v5;
    for (sp_str message; sp_str_cut(&in, '\n', &message);)
        for (size_t at = 0; at < message.n || at == 0; at += step)
            sp_channel_feed(&c, sp_str_sub(message, at, step), at == 0, &sink, o);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1 || size > 4096) return 0;
    sp_str in = {(const char *)data + 1, size - 1};
    bool v5 = data[0] & 1;
    outcome whole = {0}, split = {0};
    run(in, v5, in.n + 1, &whole);
    run(in, v5, 2 + data[0] / 2 % 7u, &split); /* a close message of two bytes stays in one piece */
    if (!v5) sp_assert(sp_str_eq(sp_buf_str(&whole.all), sp_buf_str(&split.all)));
    sp_buf_free(&whole.all);
    sp_buf_free(&split.all);
    return 0;
}
