/* haproxy.cfg, read as haproxy 2.6 reads it and said again in Kubernetes objects, which the gateway
 * then serves like those of an API server. What an object cannot say is a problem with its line,
 * never left out in silence.
 *
 *   lex.c       a line into words: quotes, escapes, variables
 *   file.c      lines into sections
 *   keywords.c  the table of keywords: carried out, noted or refused; proxy.c, bind.c, server.c,
 *               checks.c carry out
 *   acl.c       conditions as formulas over atoms that a route can ask; rules.c: the steps that
 *               depend on them
 *   tree.c      steps with conditions into rules tried in order
 *   objects*.c  everything into documents
 *
 * Source: HAProxy Configuration Manual 2.6 (sections 2 to 7). Pure but for the functions given in
 * the options; nothing is kept between calls. */
#pragma once
#include "base/vec.h"
#include "data/json.h"
#include "data/yaml.h"

typedef enum sp_config_severity {
    SP_CONFIG_NOTE,    /* read, and done otherwise here: what is done instead */
    SP_CONFIG_WARNING, /* probably not what is wanted */
    SP_CONFIG_ERROR    /* the file is not taken */
} sp_config_severity;

typedef struct sp_config_problem {
    sp_config_severity severity;
    unsigned line; /* from 1; 0 = the whole file */
    sp_str text;
} sp_config_problem;
typedef SP_VEC(sp_config_problem) sp_config_problems;

typedef struct sp_haproxy_options {
    void *ctx;
    /* A variable of the environment; {0} when it is not set. NULL: none is. */
    sp_str (*variable)(void *ctx, sp_str name);
    /* The content of a file (certificates, pattern lists), or of all files of a directory one after
     * the other with form feeds between; lives in the arena. NULL: files are refused. */
    bool (*read_file)(void *ctx, sp_arena *a, sp_str path, sp_str *ret, sp_err *err);
    /* All addresses of a name, as text, appended to ret, in the arena. NULL: names are refused. */
    bool (*resolve)(void *ctx, sp_arena *a, sp_str name, sp_strs *ret, sp_err *err);
} sp_haproxy_options;

typedef struct sp_haproxy_config {
    sp_json_docs objects;        /* of the arena */
    sp_config_problems problems; /* by line */
    size_t errors;
    uint32_t max_connections;  /* of the whole process; 0 = not said */
    uint32_t resolve_every_ms; /* 0 = no names of servers to follow */
    uint32_t grace_ms;         /* hard-stop-after; 0 = not said */
} sp_haproxy_config;

/* Never fails as a whole: look at errors. */
void sp_haproxy_read(sp_arena *a, sp_str text, const sp_haproxy_options *o, sp_haproxy_config *ret);
void sp_haproxy_config_free(sp_haproxy_config *c); /* the vectors; the rest is the arena's */

/* The table of keywords, for the documentation and its test. NULL past the end. */
typedef struct sp_haproxy_keyword {
    const char *words;   /* "option forwardfor" */
    const char *handled; /* "supported", "noted", "refused" */
    const char *text;    /* what is done instead */
} sp_haproxy_keyword;
const sp_haproxy_keyword *sp_haproxy_keyword_at(size_t index);
