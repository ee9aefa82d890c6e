/* The table of resources. Built-in kinds and CRDs are rows of the same table and run through the
 * same code; adding a kind is adding a row. Loop thread only. */
#pragma once
#include "base/vec.h"
#include "data/schema.h"
#include "kube/object.h"

typedef struct sp_resource sp_resource;

/* How one column of `kubectl get` is made: a path, or a function for computed cells. */
typedef struct sp_column {
    const char *name;   /* "READY" prints as "Ready" in the Table definition: give "Ready" */
    const char *type;   /* "string", "integer", "date" … */
    const char *format; /* "name" for the name column, else "" */
    const char *doc;
    int priority;          /* 0 = always, 1 = with -o wide */
    const char *json_path; /* ".spec.replicas"; or NULL with: */
    sp_json *(*cell)(sp_arena *a, const sp_json *obj, int64_t now_wall_ms);
} sp_column;

enum {
    SP_SUB_STATUS = 1,
    SP_SUB_SCALE = 2,
    SP_SUB_LOG = 4,
    SP_SUB_BINDING = 8,
    SP_SUB_EVICTION = 16,
    SP_SUB_FINALIZE = 32 /* namespaces: PUT or POST with other spec.finalizers */
};

/* What the hooks of a kind may see and change before an object is stored. */
typedef struct sp_admit {
    sp_arena *arena;
    const sp_resource *resource;
    const sp_json *old; /* NULL on create */
    sp_json *obj;       /* may be changed */
    sp_str subresource; /* "" or "status" … */
    sp_str user;
    bool dry_run;
    bool claims;       /* set by a hook: it chose what no other object of the kind may have, too */
    sp_causes *causes; /* add to refuse with 422 */
    sp_strs *warnings; /* Warning: 299 headers */
    void *lookup_ctx;  /* read other objects as they are stored now: */
    const sp_json *(*lookup)(void *ctx, sp_arena *a, const char *group, const char *plural,
                             sp_str ns, sp_str name);
    void (*lookup_each)(void *ctx, sp_arena *a, const char *group, const char *plural, sp_str ns,
                        bool (*fn)(void *fn_ctx, const sp_json *obj), void *fn_ctx);
} sp_admit;

struct sp_resource {
    const char *group, *version, *plural, *singular, *kind;
    const char *const *short_names; /* NULL-ended, may be NULL */
    const char *const *categories;  /* "all" …, may be NULL */
    bool namespaced;
    unsigned subresources;   /* SP_SUB_… */
    const sp_schema *schema; /* of the whole object */
    /* All of them, Name first (SP_COLUMN_NAME, SP_COLUMN_AGE below); NULL = Name and Age. */
    const sp_column *columns;
    size_t column_count;
    /* The row that stores: this one serves the same objects under another group or version
     * (extensions/v1beta1 deployments → apps/v1). NULL = stores itself. */
    const sp_resource *storage;
    bool is_crd;
    bool status_is_subresource; /* a plain update leaves status alone, and the reverse */
    bool counts_generation;     /* metadata.generation rises when spec changes */
    /* In this order, each may be NULL. Errors are returned, field errors go to admit->causes. */
    bool (*prepare)(sp_admit *a, sp_err *err); /* defaulting beyond the schema, allocation */
    bool (*validate)(sp_admit *a, sp_err *err);
    const char *const *selectable_fields; /* besides metadata.name and .namespace */
    const struct sp_scale_paths {         /* SP_SUB_SCALE: JSON paths, ".spec.replicas" … */
        const char *spec_replicas, *status_replicas, *selector;
    } * scale;
};

/* Ready-made columns: .columns = (const sp_column[]){SP_COLUMN_NAME, …, SP_COLUMN_AGE} */
#define SP_COLUMN_NAME                                                                           \
    {                                                                                            \
        "Name", "string", "name", "Name of the object, unique among its kind in the namespace.", \
            0, ".metadata.name", NULL                                                            \
    }
#define SP_COLUMN_AGE \
    { "Age", "string", "", "Time since the object was created.", 0, NULL, sp_cell_age }
sp_json *sp_cell_age(sp_arena *a, const sp_json *obj, int64_t now_wall_ms);

/* All built-in rows (src/apiserver/types). */
const sp_resource *const *sp_builtin_resources(size_t *ret_count);
/* The schema of a built-in kind, also of those that are no resources: Scale, Binding, Eviction,
 * DeleteOptions, Status. NULL if there is none. ctx is unused: it fits sp_protobuf_lookup. */
const sp_schema *sp_builtin_schema(void *ctx, sp_str api_version, sp_str kind);
/* The names and hooks every object shares, run before the row's own: metadata.name and
 * generateName by the rules of the kind, labels, annotations, ownerReferences, finalizers. */
bool sp_validate_meta(sp_admit *a, sp_err *err);

/* --- the live table: the built-in rows, then one row per served version of each CRD --- */
typedef struct sp_registry sp_registry;
sp_registry *sp_registry_new(void);
sp_registry *sp_registry_free(sp_registry *r); /* takes NULL, returns NULL */

size_t sp_registry_count(const sp_registry *r);
/* Lent until the table changes. Built-in rows in their order, then CRD rows by age. */
const sp_resource *const *sp_registry_rows(const sp_registry *r);
/* NULL if not served. group "" is core. */
const sp_resource *sp_registry_find(const sp_registry *r, sp_str group, sp_str version,
                                    sp_str plural);
/* Rises with every change: the tag of whatever is computed from the table. */
uint64_t sp_registry_generation(const sp_registry *r);

/* Rows of one CRD live in one arena, which is taken; it is freed when the rows have left the table
 * and the last sp_served of them is given back. Replaces what `owner` had before. */
void sp_registry_put_crd(sp_registry *r, sp_str owner, const sp_resource *const *rows, size_t n,
                         sp_arena *taken);
void sp_registry_remove_crd(sp_registry *r, sp_str owner);

/* A row with the strings every request needs, reference counted. */
typedef struct sp_served {
    const sp_resource *row;
    const sp_resource *storage; /* the row that stores: row itself, or what it is an alias of */
    sp_str api_version;         /* "apps/v1" */
    sp_str head;                /* {"apiVersion":"apps/v1","kind":"Deployment" */
    sp_str stored_head;         /* the same of the storage row: how stored bytes begin */
    sp_str prefix;              /* where the objects are: /registry/apps/deployments/ */
    struct sp_rowset *set;      /* whose arena everything above lives in */
} sp_served;
/* Lent until the table changes; sp_served_ref keeps it. */
sp_served *sp_registry_served(const sp_registry *r, sp_str group, sp_str version, sp_str plural);
sp_served *sp_served_ref(sp_served *s);
sp_served *sp_served_unref(sp_served *s); /* takes NULL, returns NULL */
