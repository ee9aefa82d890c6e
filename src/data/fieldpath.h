/* Field paths as crossplane and OAM write them: a.b[0].c, a[key.with.dots], a['k']. Leading,
 * trailing and double dots, "[]" and ".[" are errors. Setting creates missing objects and pads
 * arrays with null up to a cap of 1,000. */
#pragma once
#include "data/json.h"

SP_MUST_USE bool sp_fieldpath_get(const sp_json *j, sp_str path, sp_json **ret, sp_err *err);
SP_MUST_USE bool sp_fieldpath_set(sp_arena *a, sp_json *j, sp_str path, const sp_json *value,
                                  sp_err *err);
SP_MUST_USE bool sp_fieldpath_check(sp_str path, sp_err *err);
