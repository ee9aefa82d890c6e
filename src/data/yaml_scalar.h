/* What a YAML scalar means (see data/yaml.h), shared by reading and writing. */
#pragma once
#include "data/json.h"

#include <yaml.h>

/* Type and value of a scalar event into *j. Returns NULL, or what is wrong with it. */
const char *sp_yaml_scalar(sp_arena *a, const yaml_event_t *event, sp_json *j);
/* The same for a scalar in the place of a field name: numbers and booleans become their text. */
const char *sp_yaml_key(sp_arena *a, const yaml_event_t *event, sp_str *ret);
bool sp_yaml_is_merge_key(const yaml_event_t *event); /* a plain "<<" */
/* Written plain, this text would be read as a string again (its characters are not looked at). */
bool sp_yaml_plain_is_string(sp_str text);
