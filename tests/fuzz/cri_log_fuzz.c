/* Any bytes of a container become lines that parse back to the same bytes; any line is parsed
 * without harm. */
#include "agent/cri_log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    sp_str bytes = {(const char *)data, size};
    sp_cri_entry e;
    sp_cri_stream s = {.name = "stdout"};
    sp_auto(sp_buf) lines = {0};
    sp_auto(sp_buf) back = {0};
    (void)!sp_cri_parse(bytes, &e);
    size_t half = size / 2;
    sp_cri_feed(&s, sp_str_sub(bytes, 0, half), 1, &lines);
    sp_cri_feed(&s, sp_str_from(bytes, half), 2, &lines);
    sp_cri_finish(&s, 3, &lines);
    sp_str line, rest = sp_buf_str(&lines);
    while (rest.n && sp_str_cut(&rest, '\n', &line)) {
        sp_assert(sp_cri_parse(line, &e));
        sp_buf_add(&back, e.text);
        if (!e.partial) sp_buf_addc(&back, '\n');
    }
    sp_assert(sp_str_eq(sp_buf_str(&back), bytes));
    return 0;
}
