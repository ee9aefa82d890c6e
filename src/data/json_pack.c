/* A tree in one block: first its nodes, then its strings. Two passes over the original, the first
 * one to measure. */
#include "data/json.h"

typedef struct room {
    sp_json *node; /* next free node */
    char *text;    /* next free byte */
} room;

static void measure(const sp_json *j, size_t *nodes, size_t *bytes) {
    ++*nodes;
    if (j->key.p) *bytes += j->key.n + 1;
    if (j->text.p) *bytes += j->text.n + 1;
    sp_json_each(j, c) measure(c, nodes, bytes);
}

static sp_str put_str(room *r, sp_str s) {
    if (!s.p) return s;
    char *p = memcpy(r->text, s.p, s.n);
    p[s.n] = 0;
    r->text += s.n + 1;
    return (sp_str){p, s.n};
}

static sp_json *put_node(room *r, const sp_json *j) {
    sp_json *copy = r->node++;
    *copy = *j;
    copy->key = put_str(r, j->key);
    copy->text = put_str(r, j->text);
    copy->first = copy->last = copy->next = NULL;
    sp_json_each(j, c) {
        sp_json *child = put_node(r, c);
        if (copy->last)
            copy->last->next = child;
        else
            copy->first = child;
        copy->last = child;
    }
    return copy;
}

sp_json *sp_json_pack(const sp_json *j) {
    size_t nodes = 0, bytes = 0;
    if (!j) return NULL;
    measure(j, &nodes, &bytes);
    sp_json *block = sp_malloc(nodes * sizeof *block + bytes);
    return put_node(&(room){block, (char *)(block + nodes)}, j);
}
