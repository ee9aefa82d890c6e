/* The words of keepalived.conf. '#' and '!' begin a comment outside quotes; a quoted string may
 * hold anything but a line's end, also braces and comment signs; braces are words of their own. */
#pragma once
#include "base/arena.h"
#include "base/str.h"

typedef enum sp_kword_type {
    SP_KWORD_TEXT,
    SP_KWORD_QUOTED, /* without its quotes; escapes are left to who reads it */
    SP_KWORD_OPEN,
    SP_KWORD_CLOSE,
    SP_KWORD_LINE, /* the end of a line that held words */
    SP_KWORD_END,
    SP_KWORD_BAD /* text says why */
} sp_kword_type;

typedef struct sp_kword {
    sp_kword_type type;
    uint32_t line;
    sp_str text; /* lent from the input */
} sp_kword;

typedef struct sp_klexer {
    sp_str rest;
    uint32_t line; /* 1 at first */
    bool in_line;  /* words since the last LINE */
} sp_klexer;

sp_kword sp_klexer_next(sp_klexer *l);
