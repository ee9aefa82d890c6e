/* Command-line flags by table: --name value, --name=value, -n value, -nvalue, --bool, --bool=false,
 * -ab for two bools;
 * "--" ends them; flags and words may be mixed. --help and errors print by themselves. */
#pragma once
#include "base/log.h"
#include "base/vec.h"

typedef enum sp_flag_type {
    SP_FLAG_STR,   /* const char **, borrowed from argv */
    SP_FLAG_INT,   /* int64_t * */
    SP_FLAG_PORT,  /* uint16_t *, 0 to 65535 */
    SP_FLAG_BOOL,  /* bool * */
    SP_FLAG_LEVEL, /* sp_log_level * */
    SP_FLAG_LIST,  /* sp_strs *, one more element each time it is given; the caller frees it */
    SP_FLAG_HEAD   /* no flag: a heading in the help, see SP_FLAG_GROUP */
} sp_flag_type;

typedef struct sp_flag {
    const char *name; /* without dashes */
    char letter;      /* 0 = none */
    sp_flag_type type;
    void *to;
    const char *value; /* what the value is called in the help: "DIR"; NULL for BOOL */
    const char *help;  /* NULL hides the flag */
} sp_flag;

typedef struct sp_usage {
    const char *command;  /* "sampan up" */
    const char *synopsis; /* "[flags]" */
    const char *about;    /* a paragraph */
    const char *examples; /* lines, may be NULL */
    const sp_flag *flags;
    size_t flag_count;
    bool only_flags; /* a word that is no flag is an error */
} sp_usage;

/* The same row for every role. */
#define SP_LOG_LEVEL_FLAG(level) \
    { "log-level", 0, SP_FLAG_LEVEL, (level), "LEVEL", "debug, info, warn or error (info)" }

/* A heading above the rows that follow. */
#define SP_FLAG_GROUP(title) \
    { "", 0, SP_FLAG_HEAD, NULL, NULL, (title) }

enum { SP_FLAGS_GO_ON = -1 };

/* For commands whose verbs take some flags of one table each: " kubeconfig ttl " has "ttl". */
bool sp_flag_is_among(const char *names, const char *name);

/* argv[0] is the command; afterwards argv[1..*argc) are the words that are no flags.
 * Returns SP_FLAGS_GO_ON, or the exit code: 0 after --help, 2 after an error (printed). */
int sp_flags_parse(const sp_usage *u, int *argc, char **argv);
