/* Tells when this machine has lost an address for good: a virtual address that another node took,
 * whoever held it here (the gateway itself, keepalived, a person). Loop thread only. */
#pragma once
#include "base/err.h"
#include "gateway/addr.h"

#include <uv.h>

typedef struct sp_lost_address sp_lost_address;
/* lost: an address (its port is 0) that has been away for after_ms; once for each time it goes. */
SP_MUST_USE bool sp_lost_address_watch(uv_loop_t *loop, uint32_t after_ms,
                                       void (*lost)(void *ctx, const sp_addr *ip), void *ctx,
                                       sp_lost_address **ret, sp_err *err);
sp_lost_address *sp_lost_address_stop(sp_lost_address *l); /* takes NULL, returns NULL */
