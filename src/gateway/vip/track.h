/* From what is tracked to the priority a node has now, in keepalived's exact semantics. Pure. */
#pragma once
#include "base/util.h"

/* A check's answers, counted. */
typedef struct sp_vip_check {
    int rise, fall; /* at least 1 */
    int result;     /* 0 … rise + fall - 1; from rise on it is up */
    bool known;     /* has answered, or counts as failed before */
} sp_vip_check;
/* Without init_fail the first answer decides alone, whatever rise and fall say. */
void sp_vip_check_init(sp_vip_check *c, int rise, int fall, bool init_fail);
/* True when up or down (or known) changed. */
bool sp_vip_check_feed(sp_vip_check *c, bool success);
static inline bool sp_vip_check_is_up(const sp_vip_check *c) {
    return c->known && c->result >= c->rise;
}

typedef struct sp_vip_tracked {
    int weight; /* > 0: added while up; < 0: subtracted while down; 0: down is FAULT */
    bool reverse, known, up;
    bool is_value; /* a file: weight times value is added; weight 0: not zero is FAULT */
    int value;
} sp_vip_tracked;

typedef struct sp_vip_sum {
    int total; /* not yet clamped; grows by sp_vip_sum_add */
    bool fault, pending;
} sp_vip_sum;
void sp_vip_sum_add(sp_vip_sum *s, const sp_vip_tracked *t);
/* 1 to 254; an address owner (255) stays one. */
uint8_t sp_vip_effective(uint8_t base, const sp_vip_sum *s);
