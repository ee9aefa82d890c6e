/* A ClientHello, whole and in every shorter form: a prefix never says more than "more" or what the
 * whole says, and what was found are a name and protocols that fit their places. */
#include "gateway/hello.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static char scratch[SP_HELLO_MAX_BYTES];
    sp_hello whole = {0}, part = {0};
    sp_str bytes = {(const char *)data, size};
    sp_hello_result r = sp_hello_parse(bytes, scratch, &whole);
    if (r == SP_HELLO_OK) {
        sp_assert(strlen(whole.sni) < sizeof whole.sni && !strchr(whole.sni, '/'));
        sp_assert(strlen(whole.alpn) < sizeof whole.alpn);
    }
    size_t step = size / 64 + 1;
    for (size_t n = 0; n < size; n += step) {
        sp_hello_result p = sp_hello_parse(sp_str_sub(bytes, 0, n), scratch, &part);
        sp_assert(p == SP_HELLO_MORE || p == r || r == SP_HELLO_BAD);
    }
    return 0;
}
