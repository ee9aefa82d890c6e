/* Shared by balance.c (groups, reports), balance_pick.c (choosing) and balance_table.c (hashing).
 */
#pragma once
#include "gateway/balance.h"
#include "gateway/counts.h"

void sp_balance_build(sp_balance *b, int64_t now_ms);
void sp_balance_heapify(sp_balance *b);
void sp_balance_forget_clients(sp_balance *b);
sp_endpoint *sp_balance_by_id(const sp_balance *b, uint64_t id);
sp_endpoint *sp_balance_by_sticky(const sp_balance *b, uint64_t sticky);

/* --- balance_table.c --- */
uint64_t sp_balance_mix(uint64_t h); /* never 0 */
uint64_t sp_balance_addr_hash(const sp_addr *a);
/* The endpoint of a key on its nth try; NULL while the pool is empty. */
sp_endpoint *sp_balance_table_get(sp_balance *b, uint64_t hash, unsigned nth);
