/* A store opened by hand, for commands: sqlite:FILE, a bare path, or etcd://HOST:PORT…/PREFIX with
 * the API server's --etcd-* flags. Blocking. */
#pragma once
#include "apiserver/store_flags.h"
#include "store/store.h"

typedef struct sp_store_at {
    uv_loop_t loop;
    sp_store_flags flags;
    sp_store *store;
} sp_store_at;

typedef struct sp_store_wish {
    const char *url;
    const sp_store_flags *login; /* SP_STORE_LOGIN_FLAGS, where it is an etcd; NULL = none */
    bool fill;                   /* else it is read, and must be there */
    uint64_t first_revision;     /* with fill: where an empty file begins to count */
    uint64_t revision;           /* else, of an etcd: as it was then; 0 = now */
} sp_store_wish;
SP_MUST_USE bool sp_store_at_open(sp_store_at *s, const sp_store_wish *w, sp_err *err);
void sp_store_at_close(sp_store_at *s);
/* Everything, in the order of the last changes. */
typedef struct sp_store_entry {
    char *key;
    sp_store_value *value;
} sp_store_entry;
typedef SP_VEC(sp_store_entry) sp_store_entries;
void sp_store_entries_read(sp_store *s, sp_store_entries *ret);
void sp_store_entries_free(sp_store_entries *list);

/* Puts objects as fast as the store takes them. expect: as for sp_store_write. */
typedef struct sp_store_filler sp_store_filler;
sp_store_filler *sp_store_filler_new(sp_store_at *s);
SP_MUST_USE bool sp_store_filler_put(sp_store_filler *f, sp_str key, sp_str value, uint32_t rev_at,
                                     uint64_t expect, sp_err *err);
SP_MUST_USE bool sp_store_filler_remove(sp_store_filler *f, sp_str key, uint64_t expect,
                                        sp_err *err);
/* Waits until everything is durable. Frees it. */
SP_MUST_USE bool sp_store_filler_finish(sp_store_filler *f, sp_err *err);
