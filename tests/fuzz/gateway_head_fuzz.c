/* A request's head, or an answer's ('A' in front), through the proxy: what is accepted is written
 * anew, and what was written must parse again, as one message, with the same framing and none of
 * the fields that end at a hop. */
#include "gateway/http_head.h"

static const sp_route_action action = {.path_edit = SP_PATH_KEEP};
static const sp_route_entry entry = {.path = SP_STR_INIT("/"), .action = &action};

static bool scan(sp_str bytes, bool response) {
    sp_h1_scan s = {0};
    sp_h1_error err;
    size_t n = 0;
    return sp_h1_scan_head(&s, bytes, response, &n, &err) == SP_H1_OK && n == bytes.n;
}

static void check_fields(const sp_h1_head *h, bool upgraded) {
    static const char *const gone[] = {"keep-alive", "te", "proxy-connection", "trailer"};
    for (size_t i = 0; i < SP_COUNT(gone); i++)
        sp_assert(!sp_headers_get(h->headers.p, h->headers.n, gone[i]).p);
    if (!upgraded) sp_assert(!sp_headers_get(h->headers.p, h->headers.n, "upgrade").p);
}

static void request(char *head, size_t n) {
    sp_h1_head h = {0}, again = {0};
    sp_h1_error err;
    sp_auto(sp_buf) b = {0};
    sp_http_hop hop = {.client_ip = SP_STR("192.0.2.1"), .entry = &entry};
    char host_scratch[256], path_scratch[2048];
    sp_str host, path;
    bool ok = sp_h1_parse_request(head, n, &h, &err) && sp_http_split_target(&h, &hop.target) &&
              sp_route_host(hop.target.host, host_scratch, sizeof host_scratch, &host) &&
              sp_route_path(hop.target.path, path_scratch, sizeof path_scratch, &path);
    if (ok) {
        hop.upgrade = sp_http_upgrade(&h);
        sp_http_write_request(&b, &h, &hop);
        sp_assert(scan(sp_buf_str(&b), false));
        sp_assert(sp_h1_parse_request(b.p, b.n, &again, &err));
        sp_assert(again.framing == h.framing && again.length == h.length && again.minor == 1);
        sp_assert(sp_str_eq(again.method, h.method));
        check_fields(&again, hop.upgrade.n > 0);
    }
    sp_vec_free(&h.headers);
    sp_vec_free(&again.headers);
}

static void answer(char *head, size_t n) {
    sp_h1_head h = {0}, again = {0};
    sp_h1_error err;
    sp_auto(sp_buf) b = {0};
    if (sp_h1_parse_response(head, n, false, false, &h, &err) && h.status != 101) {
        sp_http_body_as as = sp_http_answer_body(&h, 1);
        sp_http_write_answer(&b, &h, NULL, as, 1, true);
        sp_assert(scan(sp_buf_str(&b), true));
        sp_assert(sp_h1_parse_response(b.p, b.n, false, false, &again, &err));
        sp_assert(again.status == h.status);
        sp_h1_framing want = as == SP_BODY_CHUNKED ? SP_H1_CHUNKED : h.framing;
        bool unsaid = h.framing == SP_H1_NO_BODY && again.framing == SP_H1_UNTIL_CLOSE;
        sp_assert(again.framing == want && !unsaid);
        check_fields(&again, false);
    }
    sp_vec_free(&h.headers);
    sp_vec_free(&again.headers);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    bool response = size && data[0] == 'A';
    sp_h1_scan s = {0};
    sp_h1_error err;
    size_t n = 0;
    sp_str bytes = {(const char *)data + response, size - response};
    if (sp_h1_scan_head(&s, bytes, response, &n, &err) != SP_H1_OK) return 0;
    char *head = sp_malloc(n);
    memcpy(head, bytes.p, n);
    if (response)
        answer(head, n);
    else
        request(head, n);
    free(head);
    return 0;
}
