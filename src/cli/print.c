#include "cli/print.h"

#include "base/vec.h"
#include "kube/object.h"

struct sp_grid {
    sp_arena *arena;
    SP_VEC(sp_strs) rows;
    sp_strs current;
};

sp_grid *sp_grid_new(void) {
    sp_grid *g = sp_zalloc(1, sizeof *g);
    g->arena = sp_arena_new();
    return g;
}

void sp_grid_cell(sp_grid *g, sp_str text) {
    sp_vec_push(&g->current, sp_arena_str(g->arena, text));
}

void sp_grid_end_row(sp_grid *g) {
    sp_vec_push(&g->rows, g->current);
    g->current = (sp_strs){0};
}

/* Characters, not bytes. */
static size_t width(sp_str s) {
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) n += (s.p[i] & 0xc0) != 0x80;
    return n;
}

void sp_grid_print(sp_grid *g, FILE *out, const char *indent) {
    size_t columns = 0;
    sp_vec_each(&g->rows, row) columns = SP_MAX(columns, row->n);
    size_t *widths = sp_zalloc(columns, sizeof *widths);
    sp_vec_each(&g->rows, row) for (size_t i = 0; i < row->n; i++) widths[i] =
        SP_MAX(widths[i], width(row->p[i]));
    sp_vec_each(&g->rows, row) {
        fputs(indent, out);
        for (size_t i = 0; i < row->n; i++) {
            fprintf(out, "%.*s", SP_ARG(row->p[i]));
            if (i + 1 == row->n) break;
            for (size_t pad = width(row->p[i]); pad < widths[i] + 3; pad++) fputc(' ', out);
        }
        fputc('\n', out);
        sp_vec_free(row);
    }
    free(widths);
    sp_vec_free(&g->rows);
    sp_vec_free(&g->current);
    sp_arena_free(g->arena);
    free(g);
}

static void upper_cell(sp_grid *g, sp_str s) {
    sp_auto(sp_buf) b = {0};
    for (size_t i = 0; i < s.n; i++)
        sp_buf_addc(&b, (char)(s.p[i] >= 'a' && s.p[i] <= 'z' ? s.p[i] - 'a' + 'A' : s.p[i]));
    sp_grid_cell(g, sp_buf_str(&b));
}

static bool shown(const sp_json *column, const sp_print_table_options *o) {
    return o->wide || sp_json_int(sp_json_get(column, "priority"), 0) == 0;
}

static void value_cell(sp_grid *g, const sp_json *cell, sp_str prefix) {
    sp_auto(sp_buf) b = {0};
    sp_buf_add(&b, prefix);
    if (!cell || cell->type == SP_JSON_NULL)
        sp_buf_addz(&b, "<none>");
    else if (cell->type == SP_JSON_STRING)
        sp_buf_add(&b, cell->text);
    else
        sp_json_write(&b, cell);
    sp_grid_cell(g, sp_buf_str(&b));
}

static void labels_cell(sp_grid *g, const sp_json *object) {
    sp_auto(sp_buf) b = {0};
    sp_json_each(sp_json_dig(object, "metadata", "labels", NULL), l)
        sp_buf_printf(&b, "%s%.*s=%s", b.n ? "," : "", SP_ARG(l->key), sp_json_z(l));
    sp_grid_cell(g, b.n ? sp_buf_str(&b) : SP_STR("<none>"));
}

static void header(sp_grid *g, const sp_json *columns, const sp_print_table_options *o) {
    if (o->namespaces) sp_grid_cell(g, SP_STR("NAMESPACE"));
    sp_json_each(columns, c) if (shown(c, o)) upper_cell(g, sp_json_str(sp_json_get(c, "name")));
    if (o->labels) sp_grid_cell(g, SP_STR("LABELS"));
    sp_grid_end_row(g);
}

static void body_row(sp_grid *g, const sp_json *columns, const sp_json *row,
                     const sp_print_table_options *o) {
    const sp_json *object = sp_json_get(row, "object");
    if (o->namespaces) sp_grid_cell(g, sp_obj_namespace(object));
    const sp_json *column = sp_json_is(columns, SP_JSON_ARRAY) ? columns->first : NULL;
    bool first = true;
    sp_json_each(sp_json_get(row, "cells"), cell) {
        if (!column || shown(column, o)) value_cell(g, cell, first ? o->prefix : SP_STR(""));
        if (column) column = column->next;
        first = false;
    }
    if (o->labels) labels_cell(g, object);
    sp_grid_end_row(g);
}

void sp_print_table(FILE *out, const sp_json *table, const sp_print_table_options *o) {
    const sp_json *columns = sp_json_get(table, "columnDefinitions");
    if (!sp_json_is(columns, SP_JSON_ARRAY)) columns = o->columns;
    sp_grid *g = sp_grid_new();
    if (!o->no_headers && sp_json_is(columns, SP_JSON_ARRAY)) header(g, columns, o);
    sp_json_each(sp_json_get(table, "rows"), row) body_row(g, columns, row, o);
    sp_grid_print(g, out, "");
}
