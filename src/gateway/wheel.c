/* Level 0 has a slot for each of the next 64 ticks, level 1 for each of the next 64 × 64 in groups
 * of 64, and so on. An alarm lies in the lowest level that reaches its tick; when the wheel comes
 * to a group, the group's alarms move one level down. Stopping an alarm only unlinks it: its slot's
 * bit is cleared when somebody looks for the next one. */
#include "gateway/wheel.h"

enum { BITS = 6, MASK = SP_WHEEL_SLOTS - 1 };

static const int64_t farthest = ((int64_t)1 << (BITS * SP_WHEEL_LEVELS)) - SP_WHEEL_SLOTS;

void sp_wheel_init(sp_wheel *w, int64_t now_ms) {
    *w = (sp_wheel){.tick = now_ms >> SP_WHEEL_TICK_SHIFT};
    for (int level = 0; level < SP_WHEEL_LEVELS; level++)
        for (int i = 0; i < SP_WHEEL_SLOTS; i++) sp_list_init(&w->slots[level][i]);
}

/* from: the first tick that has not been called yet. */
static void place(sp_wheel *w, sp_alarm *a, int64_t from) {
    int64_t at = (a->deadline_ms + (1 << SP_WHEEL_TICK_SHIFT) - 1) >> SP_WHEEL_TICK_SHIFT;
    int level = 0;
    at = SP_MIN(SP_MAX(at, from), from + farthest);
    while ((at - from) >> (BITS * (level + 1))) level++;
    unsigned slot = (unsigned)(at >> (BITS * level)) & MASK;
    sp_list_append(&w->slots[level][slot], &a->link);
    w->maybe[level] |= (uint64_t)1 << slot;
}

void sp_wheel_start(sp_wheel *w, sp_alarm *a, int64_t deadline_ms) {
    sp_list_remove(&a->link);
    a->deadline_ms = deadline_ms;
    place(w, a, w->tick + 1);
}

/* The first slot of the level after the current one that holds something, as a distance of 1 to 64;
 * 0 when there is none. */
static int64_t next_slot(sp_wheel *w, int level) {
    unsigned now = (unsigned)(w->tick >> (BITS * level)) & MASK;
    while (w->maybe[level]) {
        unsigned turn = (now + 1) & MASK;
        uint64_t turned = w->maybe[level] >> turn;
        if (turn) turned |= w->maybe[level] << (SP_WHEEL_SLOTS - turn);
        unsigned distance = (unsigned)__builtin_ctzll(turned) + 1;
        unsigned slot = (now + distance) & MASK;
        if (!sp_list_empty(&w->slots[level][slot])) return distance;
        w->maybe[level] &= ~((uint64_t)1 << slot);
    }
    return 0;
}

static int64_t next_tick(sp_wheel *w) {
    int64_t next = INT64_MAX;
    for (int level = 0; level < SP_WHEEL_LEVELS; level++) {
        int64_t distance = next_slot(w, level);
        if (!distance) continue;
        int64_t at = ((w->tick >> (BITS * level)) + distance) << (BITS * level);
        next = SP_MIN(next, at);
    }
    return next;
}

int64_t sp_wheel_next_ms(sp_wheel *w) {
    int64_t tick = next_tick(w);
    return tick == INT64_MAX ? tick : tick << SP_WHEEL_TICK_SHIFT;
}

static void take_slot(sp_wheel *w, int level, sp_list *ret) {
    unsigned slot = (unsigned)(w->tick >> (BITS * level)) & MASK;
    sp_list *from = &w->slots[level][slot];
    sp_list_init(ret);
    if (sp_list_empty(from)) return;
    *ret = *from;
    ret->next->prev = ret->prev->next = ret;
    sp_list_init(from);
}

/* The groups that begin with this tick move down. */
static void sort_groups(sp_wheel *w) {
    for (int level = 1; level < SP_WHEEL_LEVELS; level++) {
        if (w->tick & (((int64_t)1 << (BITS * level)) - 1)) return;
        sp_list group;
        take_slot(w, level, &group);
        sp_list_each(&group, l) {
            sp_list_remove(l);
            place(w, SP_CONTAINER(l, sp_alarm, link), w->tick);
        }
    }
}

static void ring(sp_wheel *w) {
    sp_list due;
    take_slot(w, 0, &due);
    while (!sp_list_empty(&due)) {
        sp_alarm *a = SP_CONTAINER(due.next, sp_alarm, link);
        sp_list_remove(&a->link);
        a->fn(a);
    }
}

void sp_wheel_run(sp_wheel *w, int64_t now_ms) {
    int64_t now = now_ms >> SP_WHEEL_TICK_SHIFT;
    while (w->tick < now) {
        w->tick = SP_MIN(next_tick(w), now);
        sort_groups(w);
        ring(w);
    }
}
