/* Header blocks of HTTP/2 as heads. The first byte says what it is ('A': an answer) and bit 0
 * whether the stream ends with it; then fields: name, TAB, value, LF. What is accepted as a request
 * must be, written as HTTP/1.1, one message with the same framing and method; lines that were
 * written from fields must read back as those fields. Frame headers are looked for in the same
 * bytes, cut at every place. */
#include "gateway/http_h2.h"

static const sp_route_action action = {.path_edit = SP_PATH_KEEP};
static const sp_route_entry entry = {.path = SP_STR_INIT("/"), .action = &action};

static void fill(sp_h2_block *b, sp_str text) {
    for (sp_str line; sp_str_cut(&text, '\n', &line);) {
        sp_str name;
        if (!sp_str_cut(&line, '\t', &name)) name = (sp_str){0};
        sp_h2_block_add(b, name, line.p ? line : SP_STR(""));
    }
}

static void check_h1(const sp_h1_head *h) {
    sp_http_hop hop = {.client_ip = SP_STR("192.0.2.1"), .entry = &entry};
    char host_scratch[256], path_scratch[2048];
    sp_str host, path;
    sp_auto(sp_buf) out = {0};
    sp_h1_head again = {0};
    sp_h1_scan s = {0};
    sp_h1_error err;
    size_t n = 0;
    if (!sp_http_split_target(h, &hop.target) ||
        !sp_route_host(hop.target.host, host_scratch, sizeof host_scratch, &host) ||
        !sp_route_path(hop.target.path, path_scratch, sizeof path_scratch, &path))
        return;
    sp_http_write_request(&out, h, &hop);
    if (out.n > SP_H1_MAX_LINE) return; /* longer than the parser below takes */
    sp_assert(sp_h1_scan_head(&s, sp_buf_str(&out), false, &n, &err) == SP_H1_OK && n == out.n);
    sp_assert(sp_h1_parse_request(out.p, out.n, &again, &err));
    sp_assert(again.framing == h->framing || (h->framing == SP_H1_LENGTH && !h->length));
    sp_assert(again.length == h->length && sp_str_eq(again.method, h->method));
    sp_vec_free(&again.headers);
}

static void check_lines(const sp_h1_head *h) {
    sp_auto(sp_buf) lines = {0};
    nghttp2_nv nv[SP_H2_MAX_NV];
    sp_http_write_answer_fields(&lines, h, NULL);
    size_t n = sp_h2_fields(sp_buf_str(&lines), nv, SP_COUNT(nv));
    for (size_t i = 0, at = 0; i < n; i++) {
        sp_str name = {(const char *)nv[i].name, nv[i].namelen};
        while (at < h->headers.n && !sp_str_eq(h->headers.p[at].name, name)) at++;
        sp_assert(at < h->headers.n && h->headers.p[at].value.n == nv[i].valuelen);
        at++;
    }
}

static void check_frames(sp_str bytes) {
    sp_h2_scan whole = {0}, pieces = {0};
    uint8_t type, type2;
    int32_t stream, stream2;
    size_t at = 0;
    for (sp_str rest = bytes; rest.n;) {
        size_t n = sp_h2_scan_frame(&whole, rest, &type, &stream);
        if (n == rest.n) break;
        rest = sp_str_from(rest, n);
        at = bytes.n - rest.n;
    }
    size_t last = 0;
    for (size_t i = 0; i < bytes.n; i++)
        if (sp_h2_scan_frame(&pieces, sp_str_sub(bytes, i, 1), &type2, &stream2) == 0) {
            last = i;
            (void)sp_h2_scan_frame(&pieces, sp_str_sub(bytes, i, 1), &type2, &stream2);
        }
    sp_assert(last == at);
    sp_assert(!at || (type == type2 && stream == stream2));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    sp_h2_block b = {0};
    sp_buf head = {0};
    sp_h1_head h = {0};
    sp_h2_request more;
    sp_h1_error err;
    if (!size) return 0;
    sp_str text = {(const char *)data + 1, size - 1};
    check_frames(text);
    fill(&b, text);
    bool end = data[0] & 1;
    if (data[0] >= 'A' && data[0] <= 'B') {
        if (sp_h2_parse_answer(&b, end, false, &h, &err)) check_lines(&h);
    } else if (sp_h2_parse_request(&b, end, &head, &h, &more, &err)) {
        bool connect = sp_str_eqz(h.method, "CONNECT");
        if (!connect) check_h1(&h);
    }
    sp_buf_free(&head);
    sp_h2_block_free(&b);
    sp_vec_free(&h.headers);
    return 0;
}
