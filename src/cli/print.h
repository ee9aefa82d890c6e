/* Tables and ages for a terminal. */
#pragma once
#include "data/json.h"

#include <stdio.h>

typedef struct sp_print_table_options {
    bool namespaces, wide, labels, no_headers;
    sp_str prefix;          /* "pod/" before each name, empty = none */
    const sp_json *columns; /* of an earlier table of the same watch, where this one has none */
} sp_print_table_options;

/* A meta.k8s.io/v1 Table, columns aligned with three blanks between, as kubectl prints. */
void sp_print_table(FILE *out, const sp_json *table, const sp_print_table_options *o);

/* Plain columns: rows of cells. widths are found by looking at all of them. */
typedef struct sp_grid sp_grid;
sp_grid *sp_grid_new(void);
void sp_grid_cell(sp_grid *g, sp_str text);
void sp_grid_end_row(sp_grid *g);
void sp_grid_print(sp_grid *g, FILE *out, const char *indent); /* and frees */
