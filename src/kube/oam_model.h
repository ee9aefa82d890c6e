/* What the OAM files share: an ApplicationConfiguration taken apart, and the trait types this
 * version carries out. Everything borrows from the documents or lives in the arena. */
#pragma once
#include "kube/oam.h"

typedef enum sp_oam_effect {
    SP_OAM_UNKNOWN_TRAIT,
    SP_OAM_AUTO_SCALER,
    SP_OAM_MANUAL_SCALER,
    SP_OAM_SECURITY_POLICY,
    SP_OAM_CRON_HPA
} sp_oam_effect;

typedef struct sp_oam_trait_type {
    sp_oam_effect effect;
    const char *definition;        /* name of the TraitDefinition the platform ships */
    const char *kind, *other_kind; /* other_kind may be NULL */
    const char *plural, *group, *version;
    const char *owns; /* the field of the workload it decides, or NULL */
} sp_oam_trait_type;

typedef struct sp_oam_trait {
    const sp_oam_trait_type *type; /* NULL: none of ours */
    const sp_json *object;         /* the trait document; NULL in v1alpha1's shape */
    const sp_json *props;          /* its spec (or properties); may be NULL */
    sp_str name;                   /* what people call it: its kind, or v1alpha1's name */
    sp_str api_version, group;     /* group: aliases resolved; both "" in v1alpha1's shape */
    sp_str path, props_path;       /* "spec.components[0].traits[1].trait", "….spec" */
    const sp_json *definition;     /* its TraitDefinition; NULL if there is none */
} sp_oam_trait;
typedef SP_VEC(sp_oam_trait) sp_oam_traits;

/* One entry of spec.components. */
typedef struct sp_oam_part {
    const sp_json *entry;
    sp_str path;                         /* "spec.components[0]" */
    sp_str component_name;               /* "" if none is given */
    const sp_json *component, *workload; /* NULL: no such Component (yet) */
    sp_str instance;                     /* the name of its workload */
    sp_oam_traits traits;
} sp_oam_part;
typedef SP_VEC(sp_oam_part) sp_oam_parts;

void sp_oam_take_apart(sp_arena *a, const sp_json *app, const sp_oam_lookup *lookup,
                       sp_oam_parts *ret);
void sp_oam_parts_free(sp_oam_parts *parts);

/* --- names and aliases (oam_names.c) --- */
sp_str sp_oam_group_of(sp_str api_version); /* "" for core */
/* The group an alias stands for, else the group itself. */
sp_str sp_oam_real_group(sp_str group);
bool sp_oam_is_misspelt_group(sp_str group);
const sp_oam_trait_type *sp_oam_trait_type_of(sp_str group, sp_str kind);
const sp_oam_trait_type *sp_oam_trait_type_named(sp_str definition);
/* Does "plural.group" name this kind of this group? Plurals of ours are known, others are formed.
 */
bool sp_oam_names_kind(sp_str plural_group, sp_str group, sp_str kind);

typedef enum sp_oam_workload_type {
    SP_OAM_UNKNOWN_WORKLOAD,
    SP_OAM_CONTAINERIZED,
    SP_OAM_DEPLOYMENT
} sp_oam_workload_type;
sp_oam_workload_type sp_oam_workload_type_of(const sp_json *workload);

/* --- parameters (oam_param.c) --- */
void sp_oam_check_parameters(const sp_oam_part *part, sp_causes *causes);
/* Writes the part's parameterValues into workload, a clone. They were checked before. */
SP_MUST_USE bool sp_oam_set_parameters(sp_arena *a, const sp_oam_part *part, sp_json *workload,
                                       sp_err *err);
bool sp_oam_is_type_name(sp_str type);

/* --- traits (oam_trait.c) --- */
void sp_oam_check_trait(const sp_oam_trait *t, sp_causes *causes, sp_strs *warnings);
/* CronHPA: the spec of an object or of a trait. */
void sp_oam_check_cron(const sp_json *spec, sp_str path, sp_causes *causes, sp_strs *warnings);
/* The trait's own object for the Deployment called target; NULL if it has none. */
sp_json *sp_oam_trait_object(sp_arena *a, const sp_oam_trait *t, sp_str target, const sp_gvr **ret);
/* What it changes in a Deployment. */
void sp_oam_trait_apply(sp_arena *a, const sp_oam_trait *t, sp_json *deployment);

/* --- workloads (oam_workload.c) --- */
void sp_oam_check_workload(const sp_json *workload, sp_str path, sp_causes *causes,
                           sp_strs *warnings);
/* Appends the objects a workload consists of, without the metadata every child gets: the Deployment
 * first. labels: those that select its pods. */
SP_MUST_USE bool sp_oam_render_workload(sp_arena *a, const sp_json *workload, sp_str name,
                                        const sp_json *labels, sp_oam_children *ret, sp_err *err);

/* --- definitions (oam_definition.c) --- */
const sp_json *sp_oam_find_definition(sp_arena *a, const sp_oam_lookup *lookup,
                                      const sp_oam_trait *t);
bool sp_oam_applies_to(sp_arena *a, const sp_json *definition, const sp_json *workload,
                       const sp_oam_lookup *lookup);
/* One-sided: does the definition of t declare a conflict with other? */
bool sp_oam_declares_conflict(sp_arena *a, const sp_oam_trait *t, const sp_oam_trait *other);
void sp_oam_check_definition(const sp_json *obj, sp_causes *causes);
