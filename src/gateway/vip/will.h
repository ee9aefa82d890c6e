/* The last will: what a helper process does when the gateway is gone in whatever way. The gateway
 * writes it down again at each transition; the helper learns of the end because its pipe closes. */
#pragma once
#include "base/err.h"
#include "gateway/addr.h"

/* A will is a list of pieces, made with these. */
void sp_vip_will_packet(sp_buf *will, uint8_t family, unsigned index, const sp_addr *src,
                        const sp_addr *dst, sp_str message);
void sp_vip_will_netlink(sp_buf *will, sp_str message);

typedef struct sp_vip_will sp_vip_will; /* the gateway's end */
SP_MUST_USE bool sp_vip_will_start(sp_vip_will **ret, sp_err *err);
void sp_vip_will_write(sp_vip_will *w, sp_str will); /* replaces the one before */
sp_vip_will *sp_vip_will_free(sp_vip_will *w);       /* nothing is left to do; NULL in and out */
/* The helper's main: reads wills from descriptor 3 until that closes, then does the last one. */
int sp_vip_will_main(void);
