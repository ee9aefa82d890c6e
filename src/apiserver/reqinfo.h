/* What a URL means: the group, version, resource, namespace, name and subresource, and with the
 * method the verb. A pure function of its arguments. Any thread. */
#pragma once
#include "base/arena.h"
#include "base/err.h"

typedef enum sp_req_verb {
    SP_REQ_NONE, /* not a resource, or a method that means nothing here */
    SP_REQ_GET,
    SP_REQ_LIST,
    SP_REQ_WATCH,
    SP_REQ_CREATE,
    SP_REQ_UPDATE,
    SP_REQ_PATCH,
    SP_REQ_DELETE,
    SP_REQ_DELETE_COLLECTION,
    SP_REQ_VERB_MAX
} sp_req_verb;

typedef struct sp_reqinfo {
    bool is_resource; /* /api/VERSION/… or /apis/GROUP/VERSION/… with a resource in it */
    sp_req_verb verb;
    sp_str group, version, plural;
    sp_str ns;   /* "" = all namespaces, or a cluster-scoped resource */
    sp_str name; /* "" = the collection */
    sp_str sub;  /* subresource, "" = none */
    sp_str rest; /* what follows the subresource, "" = nothing (proxy paths) */
} sp_reqinfo;

/* path is percent-encoded, as sent; results are decoded slices in the arena. A path that is no
 * resource is no error (is_resource false); a broken escape or an empty segment is. watch: the
 * query says watch=true. */
SP_MUST_USE bool sp_reqinfo_parse(sp_arena *a, sp_str method, sp_str path, bool watch,
                                  sp_reqinfo *ret, sp_err *err);
/* "list", "deletecollection" … as metrics and logs say it. */
const char *sp_req_verb_name(sp_req_verb v);
