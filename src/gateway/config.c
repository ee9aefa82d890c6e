#include "gateway/config.h"

sp_gateway_config *sp_gateway_config_new(void) {
    sp_arena *a = sp_arena_new();
    sp_gateway_config *c = SP_NEW(a, sp_gateway_config);
    c->refs = 1;
    c->arena = a;
    return c;
}

sp_gateway_config *sp_gateway_config_ref(sp_gateway_config *c) {
    __atomic_add_fetch(&c->refs, 1, __ATOMIC_RELAXED);
    return c;
}

sp_gateway_config *sp_gateway_config_unref(sp_gateway_config *c) {
    if (c && __atomic_sub_fetch(&c->refs, 1, __ATOMIC_ACQ_REL) == 0) sp_arena_free(c->arena);
    return NULL;
}
