#include "base/map.h"

struct sp_map_slot {
    uint64_t hash;
    char *key; /* NULL: never used; TOMB: deleted */
    size_t key_n;
    void *value;
};

static char tomb[1];
#define TOMB tomb

static struct sp_map_slot *find(const sp_map *m, sp_str key, uint64_t hash) {
    if (!m->cap) return NULL;
    for (size_t i = hash & (m->cap - 1);; i = (i + 1) & (m->cap - 1)) {
        struct sp_map_slot *s = &m->slots[i];
        if (!s->key) return NULL;
        if (s->key != TOMB && s->hash == hash && sp_str_eq((sp_str){s->key, s->key_n}, key))
            return s;
    }
}

static struct sp_map_slot *free_slot(sp_map *m, uint64_t hash) {
    size_t i = hash & (m->cap - 1);
    while (m->slots[i].key) i = (i + 1) & (m->cap - 1);
    m->used++;
    return &m->slots[i];
}

static void rehash(sp_map *m) {
    sp_map old = *m;
    m->cap = SP_MAX((size_t)8, old.cap);
    while (m->cap < old.n * 2 + 2) m->cap *= 2;
    m->slots = sp_zalloc(m->cap, sizeof *m->slots);
    m->used = 0;
    for (size_t i = 0; i < old.cap; i++)
        if (old.slots[i].key && old.slots[i].key != TOMB)
            *free_slot(m, old.slots[i].hash) = old.slots[i];
    free(old.slots);
}

void *sp_map_get(const sp_map *m, sp_str key) {
    struct sp_map_slot *s = find(m, key, sp_str_hash(key));
    return s ? s->value : NULL;
}

bool sp_map_has(const sp_map *m, sp_str key) {
    return find(m, key, sp_str_hash(key)) != NULL;
}

void *sp_map_put(sp_map *m, sp_str key, void *value) {
    sp_assert(value);
    uint64_t hash = sp_str_hash(key);
    struct sp_map_slot *s = find(m, key, hash);
    if (s) {
        void *before = s->value;
        s->value = value;
        return before;
    }
    if ((m->used + 1) * 4 > m->cap * 3) rehash(m);
    *free_slot(m, hash) = (struct sp_map_slot){hash, sp_str_dup(key), key.n, value};
    m->n++;
    return NULL;
}

void *sp_map_del(sp_map *m, sp_str key) {
    struct sp_map_slot *s = find(m, key, sp_str_hash(key));
    if (!s) return NULL;
    void *value = s->value;
    free(s->key);
    *s = (struct sp_map_slot){.key = TOMB};
    m->n--;
    return value;
}

void sp_map_free(sp_map *m) {
    for (size_t i = 0; i < m->cap; i++)
        if (m->slots[i].key != TOMB) free(m->slots[i].key);
    free(m->slots);
    *m = (sp_map){0};
}

bool sp_map_next(const sp_map *m, size_t *at, sp_str *ret_key, void **ret_value) {
    for (; *at < m->cap; (*at)++) {
        const struct sp_map_slot *s = &m->slots[*at];
        if (!s->key || s->key == TOMB) continue;
        if (ret_key) *ret_key = (sp_str){s->key, s->key_n};
        if (ret_value) *ret_value = s->value;
        (*at)++;
        return true;
    }
    return false;
}
