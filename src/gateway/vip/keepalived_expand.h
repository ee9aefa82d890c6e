/* What comes before keepalived.conf is read: `include` puts other files in, `$NAME=value` lines say
 * what $NAME and ${NAME} stand for from there on. A name that nobody has given a value stays as it
 * is: scripts are full of them. */
#pragma once
#include "gateway/vip/config.h"

enum { SP_KEEPALIVED_MOST = 1024 * 1024, SP_KEEPALIVED_DEPTH = 8 };

/* path: of text, for messages and for relative names; NULL: nothing can be included. Every line of
 * ret is one of a file; lines "#\1NUMBER PATH" tell which, where it is not the one before. */
SP_MUST_USE bool sp_keepalived_expand(const char *path, sp_str text, sp_buf *ret, sp_err *err);
/* A line of what was expanded, as a file and its line; ret_file is lent from text, empty for the
 * first file. */
uint32_t sp_keepalived_line(sp_str text, uint32_t line, sp_str *ret_file);
