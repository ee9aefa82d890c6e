/* Checks that all kinds of routes share. Private to src/apiserver/types. */
#pragma once
#include "apiserver/types/admit.h"

void sp_gw_check_parents(const sp_at *spec_at, const sp_json *spec);
void sp_gw_check_hostnames(const sp_at *spec_at, const sp_json *spec);
void sp_gw_check_rule_names(const sp_at *spec_at, const sp_json *spec);
void sp_gw_check_backend(const sp_at *at, const sp_json *ref);
