/* See counts.h. */
#include "gateway/counts.h"
#include "base/map.h"

#include <pthread.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static sp_map by_name; /* sp_shared_count; guarded by lock */

sp_shared_count *sp_counts_get(sp_str name) {
    pthread_mutex_lock(&lock);
    sp_shared_count *c = sp_map_get(&by_name, name);
    if (!c) {
        c = sp_zalloc(1, sizeof *c);
        c->name = (sp_str){sp_str_dup(name), name.n};
        sp_map_put(&by_name, name, c);
    }
    c->refs++;
    pthread_mutex_unlock(&lock);
    return c;
}

sp_shared_count *sp_counts_ref(sp_shared_count *c) {
    pthread_mutex_lock(&lock);
    c->refs++;
    pthread_mutex_unlock(&lock);
    return c;
}

sp_shared_count *sp_counts_put(sp_shared_count *c) {
    if (!c) return NULL;
    pthread_mutex_lock(&lock);
    if (--c->refs == 0) {
        sp_map_del(&by_name, c->name);
        if (!by_name.n) sp_map_free(&by_name);
        free((char *)(uintptr_t)c->name.p);
        free(c);
    }
    pthread_mutex_unlock(&lock);
    return NULL;
}
