/* What a server's agent says, and what a client sends as cookies ('C' in front). Saying the same
 * thing twice changes nothing the second time; a cookie's value lies inside of the field. */
#include "gateway/affinity.h"
#include "gateway/health_state.h"

static void agent(sp_str line) {
    sp_agent_words w;
    sp_agent_state s = {.percent = 100};
    sp_str bad = {0};
    bool passed, again;
    if (!sp_agent_parse(line, &w, &bad)) {
        sp_assert(bad.n && bad.p >= line.p && bad.p + bad.n <= line.p + line.n);
        return;
    }
    sp_assert(strlen(w.text) < sizeof w.text);
    sp_agent_apply(&s, &w, &passed);
    sp_assert(!sp_agent_apply(&s, &w, &again) && again == passed);
    sp_assert(s.percent <= 25600);
}

static void cookie(sp_str field) {
    sp_header h = {SP_STR("cookie"), field};
    sp_str v = sp_affinity_cookie(&h, 1, SP_STR("SRV"));
    sp_assert(!v.n || (v.p >= field.p + 4 && v.p + v.n <= field.p + field.n));
    sp_pool_spec p = {.sticky = {.cookie = SP_STR("SRV")}};
    sp_affinity_request r = {.headers = &h, .header_count = 1};
    if (sp_affinity_of(&p, &r).sticky) sp_assert(v.n == SP_STICKY_LENGTH);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    sp_str s = {(const char *)data, n};
    if (n && s.p[0] == 'C')
        cookie(sp_str_from(s, 1));
    else
        agent(s);
    return 0;
}
