/* Which IPv4 address of this machine others would use. Blocking, but no packet is sent. */
#pragma once
#include "base/util.h"

/* The source address of the default route, else the first one that is neither loopback nor of a
 * bridge of ours. own_bridge: a bridge that is not called sampan…; NULL = none. False, and
 * 127.0.0.1, when this machine has no other address. */
bool sp_own_address(const char *own_bridge, char ret[46]);
