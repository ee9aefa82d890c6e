/* CustomResourceDefinitions: what the server adds to one before it is stored, and the serving and
 * clean-up that follow from the stored ones. Loop thread only. */
#pragma once
#include "apiserver/op.h"

bool sp_is_crd_row(const sp_resource *row);
/* Checks, and fills in names, status and the clean-up finalizer. Errors go to op->causes. */
void sp_crd_admit(sp_op *op, const sp_json *old, sp_json *crd);
/* Objects of a CRD that is being deleted cannot be created any more. */
SP_MUST_USE bool sp_crd_allows_create(sp_op *op, sp_err *err);
