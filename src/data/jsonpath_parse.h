/* The compiled form of data/jsonpath. Private to data/jsonpath*. */
#pragma once
#include "data/jsonpath.h"

typedef enum step_kind {
    STEP_FIELD,   /* name */
    STEP_SLICE,   /* start:end:stride; a single index is a slice of one */
    STEP_ALL,     /* every child */
    STEP_DESCEND, /* the node and everything below it */
    STEP_UNION,   /* the results of each alternative, which are single FIELD or SLICE steps */
    STEP_FILTER   /* the children for which it holds */
} step_kind;

typedef enum compare {
    COMPARE_EXISTS,
    COMPARE_EQ,
    COMPARE_NE,
    COMPARE_LT,
    COMPARE_LE,
    COMPARE_GT,
    COMPARE_GE
} compare;

typedef struct operand {
    const sp_jsonpath *path; /* NULL: the value */
    const sp_json *value;
} operand;

typedef struct step {
    step_kind kind;
    sp_str name;
    bool single, has_start, has_end; /* of a slice */
    int64_t start, end, stride;
    const struct step *alternatives; /* chained by next */
    compare op;
    operand left, right;
    const struct step *next;
} step;

struct sp_jsonpath {
    bool from_root; /* "$…"; else from the current node */
    sp_str text;    /* as written, for messages */
    const step *first;
};

typedef enum action_kind { ACTION_TEXT, ACTION_PATH, ACTION_RANGE } action_kind;

typedef struct action {
    action_kind kind;
    sp_str text;               /* TEXT */
    const sp_jsonpath *path;   /* PATH, RANGE */
    const struct action *body; /* RANGE */
    const struct action *next;
} action;

struct sp_jsonpath_template {
    const action *first;
};
