#include "data/schema.h"

const sp_field *sp_schema_field(const sp_schema *s, sp_str name) {
    for (size_t i = 0; s && i < s->field_count; i++) {
        const char *known = s->fields[i].name;
        if (strncmp(known, name.p ? name.p : "", name.n) == 0 && !known[name.n])
            return &s->fields[i];
    }
    return NULL;
}
