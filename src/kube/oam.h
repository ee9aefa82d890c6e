/* The Open Application Model, v1alpha1 and v1alpha2 (github.com/oam-dev/spec v0.2.1): what its
 * kinds mean, apart from all I/O. The API server asks sp_oam_admit before it stores an object; the
 * controller asks the same question again and then sp_oam_render for the objects an application
 * consists of. Aliases are understood where they are read and never rewritten, so an object is
 * stored as it was applied:
 *
 *   spec.components[].name             componentName
 *   spec.appliesTo (TraitDefinition)   appliesToWorkloads; also GROUP/VERSION.KIND entries
 *   app.alibabacloud.com, app.aliaba.com   the group app.alibaba.com (the last one with a warning)
 *   traits[] {name, properties}        traits[] {trait: {kind, spec}} (v1alpha1's shape)
 *
 * What this version does not do is refused: revisionName, dataInputs, dataOutputs. */
#pragma once
#include "base/vec.h"
#include "data/cause.h"
#include "data/json.h"
#include "kube/object.h"

/* Reading other objects as they are stored now. The signatures are those of sp_admit, so that an
 * admission hook passes its own on. Answers are lent for the call to sp_oam_…. */
typedef struct sp_oam_lookup {
    void *ctx;
    const sp_json *(*get)(void *ctx, sp_arena *a, const char *group, const char *plural, sp_str ns,
                          sp_str name);
    void (*each)(void *ctx, sp_arena *a, const char *group, const char *plural, sp_str ns,
                 bool (*fn)(void *fn_ctx, const sp_json *obj), void *fn_ctx);
} sp_oam_lookup;

/* The objects the platform brings along: WorkloadDefinitions and TraitDefinitions, complete with
 * apiVersion, kind and metadata.name. The API server creates those that are missing. The vector is
 * the caller's to free; the documents belong to the arena. */
typedef SP_VEC(sp_json *) sp_oam_objects;
void sp_oam_builtin(sp_arena *a, sp_oam_objects *ret);

/* Everything wrong with obj (ApplicationConfiguration, Component, TraitDefinition,
 * WorkloadDefinition, CronHPA), in the order in which it is written there, one cause each with its
 * JSON path. True when no cause was added. A Component that does not exist is a warning: it may be
 * applied later. warnings: texts in the causes' arena; may be NULL. */
bool sp_oam_admit(const sp_json *obj, const sp_oam_lookup *lookup, sp_causes *causes,
                  sp_strs *warnings);

/* --- rendering --- */

/* One object an application consists of. */
typedef struct sp_oam_child {
    const sp_gvr *gvr;
    sp_json *object; /* apiVersion, kind, metadata (name, namespace, labels, ownerReferences), … */
    /* Who changes spec.replicas from now on: somebody else when true. Then object has the number to
     * start with, and an update leaves the number that is there. */
    bool foreign_replicas;
    size_t component; /* index in spec.components */
    bool is_workload; /* the workload of its component; else what belongs to it */
    ptrdiff_t trait;  /* index in traits of the trait that asked for it; -1 = none */
} sp_oam_child;
typedef SP_VEC(sp_oam_child) sp_oam_children;

/* The children of an ApplicationConfiguration, workloads before what points at them. SP_NOT_FOUND
 * when a Component is missing, SP_INVALID when sp_oam_admit would refuse it; err.field says where.
 * Nothing is rendered then. The vector is the caller's to free; documents belong to the arena. */
SP_MUST_USE bool sp_oam_render(sp_arena *a, const sp_json *app, const sp_oam_lookup *lookup,
                               sp_oam_children *ret, sp_err *err);

/* The Component's name in one entry of spec.components (componentName or its alias); "" if none. */
sp_str sp_oam_component_name(const sp_json *entry);

/* CronHPA under the group that stores it. */
extern const sp_gvr sp_oam_cronhpas;
