/* Which IPv4 address of this machine others would use. Blocking, but no packet is sent. */
#pragma once
#include "base/util.h"

/* The source address of the default route, else the first one that is neither loopback nor of a
 * bridge of ours. own_bridge: a bridge that is not called sampan…; NULL = none. False, and
 * 127.0.0.1, when this machine has no other address. */
bool sp_own_address(const char *own_bridge, char ret[46]);

/* --- pure --- */
/* 127.0.0.0/8 or ::1, also as IPv4 in IPv6: others cannot use it. False for names. */
bool sp_address_is_loopback(const char *address);
