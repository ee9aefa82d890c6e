/* Routes of this machine, by netlink. Blocking; any thread. */
#pragma once
#include "base/err.h"
#include "base/str.h"
#include "gateway/addr.h"

/* "10.96.0.0/16". */
SP_MUST_USE bool sp_cidr_parse(sp_str text, sp_addr *ret_net, uint8_t *ret_bits);
/* Makes every address of the network one of this machine's own (a route of type local on lo), so
 * that it can be bound and that packets to it end here. Already there is success. */
SP_MUST_USE bool sp_route_add_local(const sp_addr *net, uint8_t bits, sp_err *err);
bool sp_route_del_local(const sp_addr *net, uint8_t bits, sp_err *err);
