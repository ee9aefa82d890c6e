/* Kubernetes quantities: "250m", "64Mi", "1e3", "0.5". Exact to one milli-unit within 64 bits;
 * what is finer is rounded away from zero. */
#pragma once
#include "base/err.h"
#include "data/json.h"

/* STRING or NUMBER node; value in thousandths. false when it is no quantity or out of range. */
SP_MUST_USE bool sp_quantity_milli(const sp_json *j, int64_t *ret);
SP_MUST_USE bool sp_quantity_parse_milli(sp_str s, int64_t *ret);
/* Written as a quantity, however large. */
bool sp_quantity_check(const sp_json *j);
