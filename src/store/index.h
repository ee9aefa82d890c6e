/* The keys of the store in order, each with its newest visible value. A skip list whose links know
 * how many keys they jump over, so that the number of keys under a prefix costs two descents
 * (W. Pugh, "A Skip List Cookbook", 1990, section 3.4). Loop thread. */
#pragma once
#include "store/store.h"

typedef struct sp_index sp_index;
typedef struct sp_index_node sp_index_node; /* valid until its key is removed */

sp_index *sp_index_new(void);
sp_index *sp_index_free(sp_index *x); /* takes NULL, returns NULL */

sp_store_value *sp_index_get(const sp_index *x, sp_str key); /* borrowed; NULL if missing */
void sp_index_put(sp_index *x, sp_str key,
                  sp_store_value *value);      /* key copied, value referenced */
bool sp_index_remove(sp_index *x, sp_str key); /* false if it was not there */

size_t sp_index_size(const sp_index *x);
size_t sp_index_count(const sp_index *x, sp_str prefix);

/* The first key that starts with prefix and is greater than start_after (which may be empty). */
sp_index_node *sp_index_first(const sp_index *x, sp_str prefix, sp_str start_after);
sp_index_node *sp_index_next(const sp_index_node *n, sp_str prefix);
sp_str sp_index_key(const sp_index_node *n);
sp_store_value *sp_index_value(const sp_index_node *n); /* borrowed */
