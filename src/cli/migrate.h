/* Moving everything from one store into another, neither of which anybody serves. Blocking. */
#pragma once
#include "cli/store_url.h"

typedef struct sp_migration {
    const char *from, *to;       /* URLs */
    const sp_store_flags *login; /* for an etcd among them */
    bool catch_up;               /* `to` holds an earlier state of `from`; else it must be empty */
    void (*progress)(const char *what, uint64_t n, uint64_t of, bool last);
    /* the outcome */
    size_t objects, written, removed;
} sp_migration;

/* Done when both hold the same objects with the same UIDs in the same order, which is compared one
 * by one. SP_CONFLICT: `to` is not empty, or with catch_up not an earlier state. */
SP_MUST_USE bool sp_migrate(sp_migration *m, sp_err *err);
