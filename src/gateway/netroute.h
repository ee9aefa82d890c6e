/* Routes of this machine, by netlink. Blocking; any thread. */
#pragma once
#include "base/err.h"
#include "base/str.h"
#include "gateway/addr.h"

/* Makes every address of the network one of this machine's own (a route of type local on lo), so
 * that it can be bound and that packets to it end here. Already there is success. Routes of
 * different metrics (not 0) live beside each other: who ends takes away its own, not another's. */
SP_MUST_USE bool sp_route_add_local(const sp_cidr *net, uint32_t metric, sp_err *err);
bool sp_route_del_local(const sp_cidr *net, uint32_t metric, sp_err *err);
