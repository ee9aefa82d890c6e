/* Cells of the OAM definitions. */
#include "apiserver/types/cells.h"

static void join_all(sp_buf *b, const sp_json *list) {
    sp_json_each(list, it) sp_cell_join(b, sp_json_str(it));
}

CELL(oam_applies_to) {
    const sp_json *spec = sp_json_get(obj, "spec");
    sp_buf b = {0};
    join_all(&b, sp_json_get(spec, "appliesToWorkloads"));
    join_all(&b, sp_json_get(spec, "appliesTo"));
    return b.n ? sp_cell_buf(a, &b) : sp_json_new_z(a, "*");
}

CELL(oam_conflicts_with) {
    sp_buf b = {0};
    join_all(&b, sp_json_dig(obj, "spec", "conflictsWith", NULL));
    return sp_cell_buf(a, &b);
}

CELL(oam_description) {
    return sp_json_new_str(a, sp_obj_annotation(obj, "definition.oam.dev/description"));
}
