/* Intrusive doubly linked ring. A head and its members are all sp_list; an unlinked member points
 * to itself, so sp_list_remove is always safe after sp_list_init. */
#pragma once
#include "base/util.h"

typedef struct sp_list {
    struct sp_list *prev, *next;
} sp_list;

static inline void sp_list_init(sp_list *l) {
    l->prev = l->next = l;
}
static inline bool sp_list_empty(const sp_list *l) {
    return l->next == l;
}
static inline void sp_list_append(sp_list *head, sp_list *item) {
    item->prev = head->prev;
    item->next = head;
    head->prev->next = item;
    head->prev = item;
}
static inline void sp_list_remove(sp_list *item) {
    item->prev->next = item->next;
    item->next->prev = item->prev;
    sp_list_init(item);
}
/* Safe when the body removes `it`. */
#define sp_list_each(head, it)                                            \
    for (sp_list *it = (head)->next, *next_##it = it->next; it != (head); \
         it = next_##it, next_##it = it->next)
