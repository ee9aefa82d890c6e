#include "data/cause.h"

#include <stdarg.h>
#include <stdio.h>

void sp_causes_add(sp_causes *c, const char *reason, sp_str field, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    char *text = NULL;
    int n = vasprintf(&text, fmt, ap);
    va_end(ap);
    sp_assert(n >= 0);
    sp_cause cause = {reason, sp_arena_str(c->arena, field),
                      sp_arena_str(c->arena, (sp_str){text, (size_t)n})};
    free(text);
    sp_vec_push(&c->list, cause);
}
