/* YAML (libyaml events) into JSON documents, scalars resolved as Kubernetes does (sigs.k8s.io/yaml:
 * YAML 1.1 booleans yes/no/on/off for plain scalars, integers, floats, null, quoted = string).
 * Aliases are expanded under a cap; duplicate keys, tabs and broken text are errors with line and
 * column. */
#pragma once
#include "base/vec.h"
#include "data/json.h"

typedef SP_VEC(sp_json *) sp_json_docs;

/* All documents of a stream, empty ones left out. JSON text is valid input too. The caller frees
 * the vector; the documents belong to the arena. */
SP_MUST_USE bool sp_yaml_parse_all(sp_arena *a, sp_str text, sp_json_docs *ret, sp_err *err);
/* Exactly one document. */
SP_MUST_USE bool sp_yaml_parse(sp_arena *a, sp_str text, sp_json **ret, sp_err *err);
/* Block style as kubectl -o yaml prints it: sorted keys are not forced, order is kept. */
void sp_yaml_write(sp_buf *b, const sp_json *j);
