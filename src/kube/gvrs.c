#include "kube/gvrs.h"

#define X(id, group, version, plural, kind, cluster) \
    const sp_gvr sp_gvr_##id = {group, version, plural, kind, cluster};
SP_GVRS(X)
#undef X
