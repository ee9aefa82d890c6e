/* From a CustomResourceDefinition to rows of the registry. No I/O. Any thread. */
#pragma once
#include "apiserver/registry.h"

typedef SP_VEC(const sp_resource *) sp_row_list;

/* One row for each served version, in the CRD's order. Everything lives in the arena; crd must live
 * in it too (strings are borrowed). The caller frees the vector. Fails when the schema of a version
 * is not structural: the field is spec.versions[i].schema…. */
SP_MUST_USE bool sp_crd_rows(sp_arena *a, const sp_json *crd, sp_row_list *ret, sp_err *err);

/* Adds a cause for everything about names, versions and schemas that is wrong. */
void sp_crd_check(sp_arena *a, const sp_json *crd, sp_causes *causes);
