/* RFC 6901: "/a/b~1c/0" to a node. A step is the unescaped text between two slashes; what it means
 * (member or index) is decided by the node it is applied to. */
#include "data/patch.h"

#include "data/pointer.h"

bool sp_pointer_step(sp_buf *b, sp_str raw) {
    sp_buf_clear(b);
    for (size_t i = 0; i < raw.n; i++) {
        char c = raw.p[i];
        if (c == '~') {
            char next = ++i < raw.n ? raw.p[i] : 0;
            if (next != '0' && next != '1') return false;
            c = next == '0' ? '~' : '/';
        }
        sp_buf_addc(b, c);
    }
    return true;
}

bool sp_pointer_index(sp_str step, size_t *ret) {
    uint64_t v;
    if (step.n > 1 && step.p[0] == '0') return false;
    if (step.n > 9 || !sp_str_u64(step, &v)) return false;
    *ret = (size_t)v;
    return true;
}

sp_json *sp_pointer_child(const sp_json *j, sp_str step) {
    size_t index;
    if (sp_json_is(j, SP_JSON_OBJECT)) return sp_json_get_str(j, step);
    if (sp_json_is(j, SP_JSON_ARRAY) && sp_pointer_index(step, &index)) return sp_json_at(j, index);
    return NULL;
}

sp_json *sp_json_pointer(const sp_json *j, sp_str pointer) {
    sp_json *at = (sp_json *)(uintptr_t)j;
    if (!pointer.n) return at;
    if (pointer.p[0] != '/') return NULL;
    sp_auto(sp_buf) step = {0};
    for (sp_str raw, rest = sp_str_from(pointer, 1); at && sp_str_cut(&rest, '/', &raw);)
        at = sp_pointer_step(&step, raw) ? sp_pointer_child(at, sp_buf_str(&step)) : NULL;
    return at;
}
