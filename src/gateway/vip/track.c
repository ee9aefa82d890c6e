#include "gateway/vip/track.h"
#include "gateway/vip/machine.h"

void sp_vip_check_init(sp_vip_check *c, int rise, int fall, bool init_fail) {
    *c = (sp_vip_check){.rise = SP_MAX(rise, 1), .fall = SP_MAX(fall, 1), .known = init_fail};
    c->result = init_fail ? 0 : c->rise - 1; /* one success is enough */
}

bool sp_vip_check_feed(sp_vip_check *c, bool success) {
    bool was_up = sp_vip_check_is_up(c), was_known = c->known;
    c->known = true;
    if (success)
        c->result = c->result < c->rise - 1 ? c->result + 1 : c->rise + c->fall - 1;
    else
        c->result = c->result > c->rise ? c->result - 1 : 0;
    return was_up != sp_vip_check_is_up(c) || !was_known;
}

static void add_value(sp_vip_sum *s, const sp_vip_tracked *t) {
    enum { FAULT_AT = -254 };
    int sign = t->reverse ? -1 : 1;
    if (!t->known) return;
    if (t->weight == 0) {
        if ((t->value != 0) != t->reverse) s->fault = true;
        return;
    }
    int64_t change = (int64_t)t->value * t->weight * sign;
    if (change <= FAULT_AT) s->fault = true;
    change = SP_MAX(-255, SP_MIN(255, change));
    s->total += (int)change;
}

void sp_vip_sum_add(sp_vip_sum *s, const sp_vip_tracked *t) {
    if (t->is_value) {
        add_value(s, t);
        return;
    }
    if (t->weight == 0) {
        if (!t->known)
            s->pending = true;
        else if (t->up == t->reverse)
            s->fault = true;
        return;
    }
    if (!t->known || t->up != (t->weight > 0)) return;
    s->total += t->reverse ? -t->weight : t->weight;
}

uint8_t sp_vip_effective(uint8_t base, const sp_vip_sum *s) {
    if (base == SP_VRRP_OWNER) return base;
    int total = base + s->total;
    return (uint8_t)SP_MAX(1, SP_MIN(SP_VRRP_OWNER - 1, total));
}
