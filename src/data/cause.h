/* The list of everything wrong with one object: Status.details.causes of a 422. */
#pragma once
#include "base/arena.h"
#include "base/err.h"
#include "base/vec.h"

typedef struct sp_cause {
    const char *reason; /* FieldValueInvalid, FieldValueRequired, FieldValueDuplicate, … (static) */
    sp_str field;       /* spec.template.spec.containers[0].image */
    sp_str message;     /* Invalid value: "x": must be … */
} sp_cause;

typedef struct sp_causes {
    sp_arena *arena; /* where fields and messages live */
    SP_VEC(sp_cause) list;
} sp_causes;

void sp_causes_add(sp_causes *c, const char *reason, sp_str field, const char *fmt, ...)
    SP_PRINTF(4, 5);
static inline void sp_causes_cleanup(sp_causes *c) {
    sp_vec_free(&c->list);
}
