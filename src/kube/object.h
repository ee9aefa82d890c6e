/* Kubernetes objects as documents: names of kinds, metadata access, labels and selectors, owner
 * references, conditions. Everything borrows from the document. */
#pragma once
#include "data/cause.h"
#include "data/json.h"

/* Which collection: group "" is core. plural is what the URL says. */
typedef struct sp_gvr {
    const char *group, *version, *plural, *kind;
    bool cluster; /* not namespaced */
} sp_gvr;

/* "apps/v1", "v1". */
sp_str sp_gvr_api_version(sp_arena *a, const sp_gvr *g);
/* /api/v1/namespaces/NS/pods/NAME/SUB; ns, name, sub may be empty. */
sp_str sp_gvr_path(sp_arena *a, const sp_gvr *g, sp_str ns, sp_str name, const char *sub);

sp_str sp_obj_name(const sp_json *o);
sp_str sp_obj_namespace(const sp_json *o);
sp_str sp_obj_uid(const sp_json *o);
sp_str sp_obj_kind(const sp_json *o);
uint64_t sp_obj_rv(const sp_json *o);
int64_t sp_obj_generation(const sp_json *o);
bool sp_obj_deleting(const sp_json *o);
sp_str sp_obj_label(const sp_json *o, const char *key);
sp_str sp_obj_annotation(const sp_json *o, const char *key);
/* "ns/name", or "name" for cluster-scoped objects. */
sp_str sp_obj_key(sp_arena *a, const sp_json *o);
void sp_key_split(sp_str key, sp_str *ret_ns, sp_str *ret_name);
/* The ownerReference with controller: true, or NULL. */
const sp_json *sp_obj_controller(const sp_json *o);
bool sp_obj_controlled_by(const sp_json *o, const sp_json *owner); /* by UID */
/* A new controller reference to owner (apiVersion, kind, name, uid, controller,
 * blockOwnerDeletion). */
sp_json *sp_owner_ref(sp_arena *a, const sp_json *owner);
bool sp_obj_has_finalizer(const sp_json *o, const char *finalizer);

/* status.conditions: sets type to status/reason/message, moving lastTransitionTime only when the
 * status changes. True when anything changed. */
/* reason and message may be NULL: left as they are. conditions is the ARRAY. */
bool sp_condition_set(sp_arena *a, sp_json *conditions, const char *type, const char *status,
                      const char *reason, const char *message, int64_t now_wall_ms);
const sp_json *sp_condition_get(const sp_json *obj, const char *type);
bool sp_condition_is_true(const sp_json *obj, const char *type);

/* --- selectors --- */
typedef struct sp_selector sp_selector;
/* "app=x,tier!=y,env in (a,b),!gone". */
SP_MUST_USE bool sp_selector_parse(sp_arena *a, sp_str text, sp_selector **ret, sp_err *err);
/* A LabelSelector object (matchLabels, matchExpressions) or a plain map. NULL or {} selects all. */
SP_MUST_USE bool sp_selector_from_json(sp_arena *a, const sp_json *j, sp_selector **ret,
                                       sp_err *err);
/* labels: the metadata.labels object or NULL. */
bool sp_selector_matches(const sp_selector *s, const sp_json *labels);
bool sp_selector_is_empty(const sp_selector *s);

/* Field selectors: "metadata.name=x,status.phase!=Running". Values compared as text. */
typedef struct sp_field_selector sp_field_selector;
SP_MUST_USE bool sp_field_selector_parse(sp_arena *a, sp_str text, sp_field_selector **ret,
                                         sp_err *err);
bool sp_field_selector_matches(const sp_field_selector *s, const sp_json *obj);
/* Calls fn for each path used, so that the server can refuse unsupported ones. */
void sp_field_selector_paths(const sp_field_selector *s, void (*fn)(void *ctx, sp_str path),
                             void *ctx);

/* --- the Status object --- */
/* Renders {"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",…}. causes, group,
 * kind may be NULL, name empty. The message is err's text; for SP_INVALID with causes it is
 * composed of them: `Deployment.apps "web" is invalid: spec.x: …`. */
sp_json *sp_status_from_err(sp_arena *a, const sp_err *err, const sp_causes *causes,
                            const char *group, const char *kind, sp_str name);
/* The reverse: fills err from a Status document (or from the HTTP status alone). Returns false. */
bool sp_err_from_status(sp_err *err, int http, const sp_json *status);

/* DNS-1123 names. max 253 / 63. */
bool sp_name_is_subdomain(sp_str s);
bool sp_name_is_label(sp_str s);
/* Label (and annotation) keys: [prefix/]name; label values: empty or like a name, up to 63. */
bool sp_label_is_key(sp_str s);
bool sp_label_is_value(sp_str s);
