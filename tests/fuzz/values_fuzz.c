/* Small texts: times, durations, quantities, base64. What is read and written again is the same. */
#include "data/base64.h"
#include "data/quantity.h"
#include "data/time.h"

static void check_time(sp_str s) {
    int64_t ms, again;
    char text[SP_TIME_MAX];
    if (!sp_time_parse(s, &ms)) return;
    sp_time_format(ms, text);
    if (strlen(text) != 20) return; /* an offset moved it out of the years 0 to 9999 */
    sp_assert(sp_time_parse(sp_str_z(text), &again));
    sp_assert(again <= ms && ms - again < 1000);
    sp_time_format_micro(ms * 1000, text);
    sp_assert(sp_time_parse(sp_str_z(text), &again) && again == ms);
}

static void check_base64(sp_str s) {
    sp_auto(sp_buf) plain = {0};
    sp_auto(sp_buf) text = {0};
    if (sp_base64url_decode(&plain, s)) {
        sp_base64url_encode(&text, sp_buf_str(&plain));
        sp_assert(sp_str_eq(sp_buf_str(&text), s));
    }
    sp_buf_clear(&plain);
    sp_buf_clear(&text);
    bool folded = sp_str_chr(s, '\n') >= 0 || sp_str_chr(s, '\r') >= 0;
    if (sp_base64_decode(&plain, s)) {
        sp_base64_encode(&text, sp_buf_str(&plain));
        sp_assert(folded || sp_str_eq(sp_buf_str(&text), s));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    sp_str s = {(const char *)data, size};
    sp_json j = {.type = SP_JSON_STRING, .text = s};
    int64_t v;
    char text[SP_TIME_MAX];
    check_time(s);
    check_base64(s);
    if (sp_duration_parse(s, &v)) sp_duration_human(v, text);
    if (sp_quantity_milli(&j, &v)) sp_assert(sp_quantity_check(&j));
    return 0;
}
