/* One line of a haproxy.cfg as words (manual, section 2.2: quoting and escaping; 2.3: environment
 * variables, expanded inside double quotes only). */
#pragma once
#include "gateway/haproxy/haproxy.h"

enum { SP_HAP_MAX_WORDS = 1024, SP_HAP_MAX_LINE = 1 << 20 };

typedef struct sp_hap_line {
    unsigned number;
    size_t n;
    sp_str *words; /* in the arena */
} sp_hap_line;

/* line: without its end. Errors say at which character. A comment or an empty line has no words. */
SP_MUST_USE bool sp_hap_lex(sp_arena *a, sp_str line, const sp_haproxy_options *o, sp_hap_line *ret,
                            sp_err *err);
