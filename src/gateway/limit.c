/* See limit.h. A bucket remembers tat, the time at which it will be full again: a request may come
 * while tat - now is at most (burst - 1) intervals, and moves tat one interval on. */
#include "gateway/limit.h"

#include <pthread.h>

enum { WAYS = 8, SHARDS = 16, SHARED_BUCKETS = 65536 };

typedef struct bucket {
    uint64_t key; /* 0 = unused */
    int64_t tat_us;
} bucket;

struct sp_limiter {
    bucket *buckets;
    size_t sets; /* a power of two */
    pthread_mutex_t locks[SHARDS];
};

sp_limiter *sp_limiter_new(size_t buckets) {
    sp_limiter *l = sp_zalloc(1, sizeof *l);
    for (l->sets = 1024 / WAYS; l->sets * WAYS < buckets;) l->sets *= 2;
    l->buckets = sp_zalloc(l->sets * WAYS, sizeof *l->buckets);
    for (size_t i = 0; i < SHARDS; i++) pthread_mutex_init(&l->locks[i], NULL);
    return l;
}

sp_limiter *sp_limiter_free(sp_limiter *l) {
    if (!l) return NULL;
    for (size_t i = 0; i < SHARDS; i++) pthread_mutex_destroy(&l->locks[i]);
    free(l->buckets);
    free(l);
    return NULL;
}

static sp_limiter *shared;
static void make_shared(void) {
    shared = sp_limiter_new(SHARED_BUCKETS);
}

sp_limiter *sp_limiter_shared(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_shared);
    return shared;
}

/* The bucket of this key, or the one to give up: unused, then the one nearest to being full. */
static bucket *find(bucket *set, uint64_t key) {
    bucket *victim = &set[0];
    for (size_t i = 0; i < WAYS; i++) {
        if (set[i].key == key) return &set[i];
        if (!set[i].key || (victim->key && set[i].tat_us < victim->tat_us)) victim = &set[i];
    }
    *victim = (bucket){key, INT64_MIN};
    return victim;
}

static bool take(bucket *b, int64_t interval_us, int64_t slack_us, int64_t now_us,
                 int64_t *ret_wait_us) {
    int64_t tat = SP_MAX(b->tat_us, now_us);
    *ret_wait_us = tat - now_us - slack_us;
    if (*ret_wait_us > 0) return false;
    b->tat_us = tat + interval_us;
    return true;
}

bool sp_limiter_take(sp_limiter *l, uint64_t key, uint32_t requests, uint32_t period_ms,
                     uint32_t burst, int64_t now_us, int64_t *ret_wait_ms) {
    if (!requests || !period_ms) return true;
    int64_t interval = SP_MAX((int64_t)period_ms * 1000 / requests, 1), wait = 0;
    int64_t slack = interval * ((burst ? burst : requests) - 1);
    if (!key) key = 1;
    size_t set = (size_t)(key >> 7) & (l->sets - 1);
    pthread_mutex_t *lock = &l->locks[set % SHARDS];
    pthread_mutex_lock(lock);
    bool ok = take(find(l->buckets + set * WAYS, key), interval, slack, now_us, &wait);
    pthread_mutex_unlock(lock);
    *ret_wait_ms = ok ? 0 : (wait + 999) / 1000;
    return ok;
}
