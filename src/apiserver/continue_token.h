/* The continue token of paged lists: where the next page starts and which revision all pages show.
 * base64url of {"v":"meta.k8s.io/v1","rv":N,"start":"KEY"}, KEY relative to the collection's
 * prefix, exclusive. Any thread. */
#pragma once
#include "base/arena.h"
#include "base/err.h"

sp_str sp_continue_make(sp_arena *a, uint64_t rev, sp_str start);
SP_MUST_USE bool sp_continue_parse(sp_arena *a, sp_str token, uint64_t *ret_rev, sp_str *ret_start,
                                   sp_err *err);
