/* The WebSocket parser. First byte: bit 0 which side, the rest how the bytes are split. Any split
 * gives the same messages and the same verdict; payload never exceeds what came; text is UTF-8 as
 * far as the verdict says so. */
#include "net/websocket.h"

typedef struct outcome {
    sp_buf all;
    unsigned code, messages;
    size_t bytes;
    bool open;
} outcome;

static bool on_piece(void *ctx, sp_str s, bool text, bool first, bool last) {
    outcome *o = ctx;
    sp_assert(first == !o->open);
    (void)text;
    o->open = !last;
    o->messages += last;
    o->bytes += s.n;
    sp_buf_add(&o->all, s);
    if (last) sp_buf_addc(&o->all, '|');
    return true;
}

static bool on_control(void *ctx, sp_ws_op op, sp_str s) {
    outcome *o = ctx;
    unsigned code;
    sp_str reason;
    sp_assert(s.n <= SP_WS_CONTROL_MAX && op >= SP_WS_CLOSE && op <= SP_WS_PONG);
    if (op == SP_WS_CLOSE && sp_ws_close_code(s, &code, &reason))
        sp_assert(reason.n + 2 <= s.n || !s.n);
    o->bytes += s.n;
    o->messages++;
    return true;
}

static void run(sp_str in, bool server, size_t step, outcome *o) {
    static const sp_ws_sink sink = {on_piece, on_control};
    sp_ws_parser p = {.server = server};
    sp_auto(sp_buf) copy = {0};
    sp_buf_add(&copy, in);
    o->code = SP_WS_NORMAL;
    for (size_t at = 0; at < copy.n && o->code == SP_WS_NORMAL; at += step)
        o->code = sp_ws_parse(&p, copy.p + at, SP_MIN(step, copy.n - at), &sink, o);
    sp_assert(o->bytes <= in.n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1) return 0;
    sp_str in = {(const char *)data + 1, size - 1};
    bool server = data[0] & 1;
    outcome whole = {0}, split = {0};
    run(in, server, in.n + 1, &whole);
    run(in, server, 1 + data[0] / 2 % 17u, &split);
    sp_assert(whole.code == split.code);
    /* Broken text is given up to the piece that shows it. */
    if (whole.code != SP_WS_BAD_TEXT)
        sp_assert(whole.messages == split.messages &&
                  sp_str_eq(sp_buf_str(&whole.all), sp_buf_str(&split.all)));
    sp_buf_free(&whole.all);
    sp_buf_free(&split.all);
    return 0;
}
