#include "agent/archive_lib.h"

#include <dlfcn.h>

static bool resolve(void *so, const char *name, void **ret, sp_err *err) {
    *ret = dlsym(so, name);
    return *ret || sp_fail(err, SP_UNAVAILABLE, "libarchive has no function %s", name);
}

const sp_archive_lib *sp_archive_lib_load(sp_err *err) {
    static sp_archive_lib lib;
    static bool loaded;
    if (loaded) return &lib;
    void *so = dlopen("libarchive.so.13", RTLD_NOW | RTLD_LOCAL);
    if (!so) {
        sp_fail(err, SP_UNAVAILABLE, "images cannot be unpacked: %s (package libarchive13)",
                dlerror());
        return NULL;
    }
#define X(name) \
    if (!resolve(so, #name, (void **)&lib.name, err)) return NULL;
    SP_ARCHIVE_FUNCTIONS(X)
#undef X
    loaded = true;
    return &lib;
}
