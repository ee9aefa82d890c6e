/* Inputs of two documents: what stands before the first line end, and the rest. */
#pragma once
#include "base/str.h"

static inline void split_input(const uint8_t *data, size_t size, sp_str *ret_first,
                               sp_str *ret_rest) {
    sp_str text = {(const char *)data, size};
    ptrdiff_t end = sp_str_chr(text, '\n');
    *ret_first = end < 0 ? text : sp_str_sub(text, 0, (size_t)end);
    *ret_rest = end < 0 ? (sp_str){0} : sp_str_from(text, (size_t)end + 1);
}
