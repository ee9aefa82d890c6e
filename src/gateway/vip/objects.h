/* VirtualAddress objects (sampan.dev/v1alpha1) to what one node carries out. Pure. */
#pragma once
#include "gateway/vip/config.h"
#include "kube/object.h"

typedef struct sp_vip_node {
    sp_str name; /* of this node */
    /* The password of a Secret; false when it is not there. */
    bool (*secret)(void *ctx, sp_str ns, sp_str name, sp_str key, sp_str *ret);
    void *ctx;
} sp_vip_node;

/* Adds an instance named after the object, when this node takes part and nothing is wrong. What is
 * wrong comes back in err, for the object's condition. *ret_part: this node is one of its nodes.
 * All that is kept is copied. */
SP_MUST_USE bool sp_vip_object_read(sp_vip_config *c, const sp_json *object,
                                    const sp_vip_node *node, bool *ret_part, sp_err *err);
/* Nodes of one object with the same priority: texts of warnings, in the arena. */
void sp_vip_object_lint(sp_arena *a, const sp_json *object, sp_strs *ret);
