/* kubectl's JSONPath: what printer columns, --sort-by and -o jsonpath use.
 *
 * Paths: .a.b, a.b, $.a, {.a.b}, ['k'], [0], [-1], [1:5:2], [*], .*, ..name, ['a','b'], [0,2],
 * [?(@.x=="y")] with == != < <= > >= or none of them (the field exists), \. inside a name.
 * Templates: text and {actions}: a path, {"text"}, {range .items[*]} … {end}.
 *
 * Compiled forms are immutable, live in the arena and may be used by any thread. What a path may
 * visit is capped. Errors: SP_INVALID with the place in the text. */
#pragma once
#include "base/vec.h"
#include "data/json.h"

typedef struct sp_jsonpath sp_jsonpath;
typedef struct sp_jsonpath_template sp_jsonpath_template;
typedef SP_VEC(const sp_json *) sp_json_nodes;

SP_MUST_USE bool sp_jsonpath_compile(sp_arena *a, sp_str path, const sp_jsonpath **ret,
                                     sp_err *err);
/* Appends the nodes the path leads to, in document order; missing ones are no error. The nodes
 * belong to j, the caller frees the vector. */
SP_MUST_USE bool sp_jsonpath_find(const sp_jsonpath *p, const sp_json *j, sp_json_nodes *ret,
                                  sp_err *err);
/* The first of them, NULL if there is none: a cell of a table. */
const sp_json *sp_jsonpath_first(const sp_jsonpath *p, const sp_json *j);

SP_MUST_USE bool sp_jsonpath_template_compile(sp_arena *a, sp_str text,
                                              const sp_jsonpath_template **ret, sp_err *err);
/* As kubectl prints: strings bare, several results with a blank between, objects and lists as JSON.
 * A path that leads nowhere prints nothing, or is SP_NOT_FOUND unless allow_missing; an index
 * outside its list is always an error. */
SP_MUST_USE bool sp_jsonpath_print(const sp_jsonpath_template *t, const sp_json *j,
                                   bool allow_missing, sp_buf *b, sp_err *err);
void sp_jsonpath_write_node(sp_buf *b, const sp_json *j); /* one result, so printed */
