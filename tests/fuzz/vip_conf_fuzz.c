/* keepalived.conf of any bytes: never a crash, and what has no fatal problem holds what its users
 * rely on. */
#include "gateway/vip/keepalived.h"
#include "gateway/vip/keepalived_expand.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    sp_vip_problems problems = {0};
    sp_str text = {(const char *)data, size};
    sp_auto(sp_buf) expanded = {0};
    if (!sp_keepalived_expand(NULL, text, &expanded, NULL)) return 0;
    sp_vip_config *c = sp_keepalived_conf_parse(sp_buf_str(&expanded), "fuzz", NULL, &problems);
    bool fatal = false;
    sp_vec_each(&problems, p) {
        sp_assert(p->text.n > 0);
        fatal |= p->fatal;
    }
    sp_vec_each(&c->instances, i) {
        if (fatal) break;
        sp_assert(i->vrid > 0 && i->priority > 0 && i->addresses.n > 0);
        sp_assert(i->addresses.n <= SP_VRRP_ADDRESSES && i->options.advert_us >= 10000);
        sp_assert(i->interface.n > 0 && i->interface.n < 16);
        sp_vec_each(&i->addresses, a) sp_assert(a->ip.family == i->family);
    }
    sp_vec_each(&c->scripts, s) sp_assert(s->argv[0] && s->rise > 0 && s->fall > 0);
    sp_vec_free(&problems);
    sp_vip_config_free(c);
    return 0;
}
