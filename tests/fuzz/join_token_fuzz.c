/* A token as anybody may send it to an API server: what is taken for one is printed as it was. */
#include "iam/join_token.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    sp_str s = {(const char *)data, n};
    sp_join_token t;
    sp_err err;
    char text[SP_JOIN_TOKEN_MAX];
    if (!sp_join_token_parse(s, &t, &err)) return 0;
    sp_join_token_print(&t, text);
    sp_assert(sp_str_eqz(sp_str_trim(s), text));
    sp_assert(!sp_join_token_check(NULL, &t, 0, &err));
    return 0;
}
