/* The `format` of strings: wire forms of Kubernetes and the common names of JSON schema. Private to
 * data/schema_*. */
#pragma once
#include "data/schema.h"

/* NULL if the string has the schema's format, else what it must be ("a date and time such as …").
 * Formats nobody here knows are not checked, as in Kubernetes. */
const char *sp_schema_format_problem(const sp_schema *s, const sp_json *j);
sp_schema_format sp_schema_format_from_name(sp_str name);
const char *sp_schema_format_name(sp_schema_format f); /* NULL for none */
