/* A PROXY header: what is understood can be written and read again, and a prefix of it wants
 * more. */
#include "gateway/proxy_header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    sp_str bytes = {(const char *)data, size};
    sp_proxy_header h = {0}, again = {0};
    if (sp_proxy_parse(bytes, &h) != SP_PROXY_OK) return 0;
    sp_assert(h.n <= size && h.n <= SP_PROXY_HEADER_MAX);
    for (size_t n = 0; n < h.n; n += h.n / 64 + 1)
        sp_assert(sp_proxy_parse(sp_str_sub(bytes, 0, n), &again) == SP_PROXY_MORE);
    sp_proxy_facts f = {.source = h.source, .target = h.target};
    for (int version = 1; version <= 2; version++) {
        sp_auto(sp_buf) b = {0};
        sp_proxy_write(version, &f, &b);
        sp_assert(sp_proxy_parse(sp_buf_str(&b), &again) == SP_PROXY_OK && again.n == b.n);
        sp_assert(again.local == h.local && sp_addr_eq(&again.source, &h.source));
    }
    return 0;
}
