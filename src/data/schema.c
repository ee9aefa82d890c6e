#include "data/schema.h"

const sp_schema sp_schema_undeclared = {.type = SP_SCHEMA_ANY, .preserve_unknown = true};

const sp_field *sp_schema_field(const sp_schema *s, sp_str name) {
    for (size_t i = 0; s && i < s->field_count; i++)
        if (sp_str_eqz(name, s->fields[i].name)) return &s->fields[i];
    return NULL;
}
