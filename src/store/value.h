/* Making values and events; what store.h lets others only share. Loop thread. */
#pragma once
#include "store/store.h"

/* bytes without the revision; its digits are put at rev_at. */
sp_store_value *sp_store_value_new(sp_str bytes, uint32_t rev_at, uint64_t rev,
                                   uint64_t create_rev);
/* bytes that carry the digits at rev_at already (as they were stored); SP_INTERNAL if they do not.
 */
SP_MUST_USE bool sp_store_value_load(sp_str bytes, uint32_t rev_at, uint64_t rev,
                                     uint64_t create_rev, sp_store_value **ret, sp_err *err);
/* value and prev are referenced, key is copied. */
sp_store_event *sp_store_event_new(uint64_t rev, sp_str key, sp_store_value *value,
                                   sp_store_value *prev);
