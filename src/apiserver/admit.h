/* What happens to an object between the client's bytes and the store: type, names and metadata,
 * unknown fields, defaults, the row's hooks, validation. No I/O but looking up other objects. Loop
 * thread only. */
#pragma once
#include "apiserver/op.h"

/* Changes obj into what is stored. On failure err is set (and op->causes for SP_INVALID). */
SP_MUST_USE bool sp_admit_create(sp_op *op, sp_json *obj, sp_err *err);
/* obj: what the client wants in place of old; becomes what is stored. */
SP_MUST_USE bool sp_admit_update(sp_op *op, const sp_json *old, sp_json *obj, sp_err *err);
SP_MUST_USE bool sp_admit_delete(const sp_op *op, const sp_json *old, sp_err *err);

/* Nothing keeps a deleted object any longer: no finalizers, no grace to wait for. */
bool sp_may_vanish(const sp_json *obj);
