/* keepalived.conf as statements: a keyword, its words, and what its braces hold. */
#pragma once
#include "gateway/vip/keepalived.h"

typedef struct sp_kstatement {
    uint32_t line;
    sp_str keyword;
    sp_str *words; /* behind the keyword */
    size_t count;
    bool quoted; /* the first word behind the keyword was in quotes */
    bool has_block;
    struct sp_kstatement *first, *last; /* inside the braces */
    struct sp_kstatement *next;
} sp_kstatement;

enum { SP_KWORDS_MAX = 64, SP_KDEPTH_MAX = 8 };

/* The root, whose children are the file's statements; NULL and line and text of what is wrong. */
sp_kstatement *sp_kstatement_parse(sp_arena *a, sp_str text, sp_vip_problem *ret_problem);
