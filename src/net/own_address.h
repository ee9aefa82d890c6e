/* Which IPv4 address of this machine others would use. Blocking, but no packet is sent. */
#pragma once
#include "base/util.h"

#include <net/if.h>

/* The best one (sp_own_address_choose) of those that are neither loopback nor of a bridge of ours.
 * own_bridge: a bridge that is not called sampan…; NULL = none. False, and 127.0.0.1, when this
 * machine has no other address. ret_interface: where it was found, "" for lo; NULL = not wanted. */
bool sp_own_address(const char *own_bridge, char ret[46], char ret_interface[IF_NAMESIZE]);
/* This machine has that address just now, IPv4 or IPv6 in its shortest form. */
bool sp_own_address_is_here(const char *address);

/* --- pure --- */
typedef struct sp_own_candidate {
    bool running;  /* its interface is up and has a carrier */
    bool routed;   /* the kernel would send from it to the rest of the world: the default route */
    bool physical; /* no bridge, no end of a pair, no tunnel */
} sp_own_candidate;
/* Running counts most, then routed, then physical; of equals it is the first one. n must not be 0.
 */
size_t sp_own_address_choose(const sp_own_candidate *list, size_t n);
/* 127.0.0.0/8 or ::1, also as IPv4 in IPv6: others cannot use it. False for names. */
bool sp_address_is_loopback(const char *address);
