/* The Open Application Model, core.oam.dev/v1alpha2: what developers declare (Component), what
 * operators bind (ApplicationConfiguration) and what the platform can do (definitions). v1alpha1
 * serves the same objects under the older name. Shapes that the articles about OAM print are
 * accepted beside the specification's: `name` for componentName, `appliesTo` for
 * appliesToWorkloads, any scalar as parameter value. Custom resources upstream, so without protobuf
 * numbers. */
#include "kube/oam.h"
#include "apiserver/types/types.h"

/* --- shared by all --- */

FIELDS(oam_ref) = {
    {"apiVersion", 0, STRING, "Group and version of the object.", REQUIRED},
    {"kind", 0, STRING, "Kind of the object.", REQUIRED},
    {"name", 0, STRING, "Name of the object.", REQUIRED},
    {"uid", 0, STRING, "UID of the object, when known."},
};
SHARED_TYPE(oam_ref, "oam.TypedReference", "Names one object of any kind in the same namespace.");

FIELDS(oam_status) = {
    {"conditions", 0, LIST(T(condition)), "What was last observed, by aspect."},
    {"observedGeneration", 0, INT64, "The generation this status is about."},
};
SHARED_TYPE(oam_status, "oam.ConditionedStatus", "What was last observed.");

FIELDS(oam_definition_ref) = {
    {"name", 0, STRING, "Plural and group of the kind, as cronhpas.app.alibaba.com.", REQUIRED},
    {"version", 0, STRING, "Version of the kind; the preferred one if empty."},
};
TYPE(oam_definition_ref, "oam.DefinitionReference", "The kind that does the work.");

/* --- definitions --- */

FIELDS(oam_child) = {
    {"apiVersion", 0, STRING, NULL, REQUIRED},
    {"kind", 0, STRING, NULL, REQUIRED},
    {"selector", 0, STRING_MAP},
};
TYPE(oam_child, "oam.ChildResourceKind", "A kind that the workload creates.");

FIELDS(oam_workload_definition_spec) = {
    {"definitionRef", 0, T(oam_definition_ref), "The kind of the workload.", REQUIRED},
    {"childResourceKinds", 0, LIST(T(oam_child)), "Kinds that the workload creates for itself."},
    {"revisionLabel", 0, STRING, "Label that tells revisions of the workload apart."},
    {"podSpecPath", 0, STRING, "Field path of the pod spec inside the workload."},
    {"extension", 0, ANY_OBJECT, "Anything else, kept as it is."},
};
TYPE(oam_workload_definition_spec, "oam.WorkloadDefinitionSpec",
     "Registers a kind as a workload that components may use.");

FIELDS(oam_workload_definition) = {
    TYPE_META,
    {"metadata", 0, T(object_meta), "Name, labels and other standard data."},
    {"spec", 0, T(oam_workload_definition_spec), "What the workload is."},
    {"status", 0, ANY_OBJECT, "What was last observed."},
};
TYPE(oam_workload_definition, "WorkloadDefinition",
     "Makes a kind known to the platform as something that runs.");

FIELDS(oam_trait_definition_spec) = {
    {"definitionRef", 0, T(oam_definition_ref), "The kind of the trait."},
    {"appliesToWorkloads", 0, STRINGS,
     "Workloads it may be bound to: definition names, plural.group, *.group or * for all; empty "
     "means "
     "all."},
    {"appliesTo", 0, STRINGS, "The same list under its name in v1alpha1."},
    {"conflictsWith", 0, STRINGS,
     "Traits that cannot be bound to the same component: definition names, plural.group, *.group "
     "or "
     "*."},
    {"revisionEnabled", 0, BOOL, "The trait works on one revision of the workload."},
    {"workloadRefPath", 0, STRING, "Field path where the reference to the workload is put."},
    {"extension", 0, ANY_OBJECT, "Anything else, kept as it is."},
};
TYPE(oam_trait_definition_spec, "oam.TraitDefinitionSpec",
     "Registers a kind as a trait that operators may bind to components.");

FIELDS(oam_trait_definition) = {
    TYPE_META,
    {"metadata", 0, T(object_meta), "Name, labels and other standard data."},
    {"spec", 0, T(oam_trait_definition_spec), "What the trait is and where it fits."},
    {"status", 0, ANY_OBJECT, "What was last observed."},
};
TYPE(oam_trait_definition, "TraitDefinition",
     "Makes a kind known to the platform as a capability that operators bind to components.");

FIELDS(oam_scope_definition_spec) = {
    {"definitionRef", 0, T(oam_definition_ref), "The kind of the scope.", REQUIRED},
    {"workloadRefsPath", 0, STRING, "Field path of the list of workloads in the scope."},
    {"allowComponentOverlap", 0, BOOL, "A component may be in several scopes of this kind."},
    {"extension", 0, ANY_OBJECT, "Anything else, kept as it is."},
};
TYPE(oam_scope_definition_spec, "oam.ScopeDefinitionSpec",
     "Registers a kind as a scope that groups components.");

FIELDS(oam_scope_definition) = {
    TYPE_META,
    {"metadata", 0, T(object_meta), "Name, labels and other standard data."},
    {"spec", 0, T(oam_scope_definition_spec), "What the scope is."},
};
TYPE(oam_scope_definition, "ScopeDefinition",
     "Makes a kind known to the platform as a grouping of components.");

/* --- Component --- */

FIELDS(oam_parameter) = {
    {"name", 0, STRING, "Name by which operators set it.", REQUIRED},
    {"fieldPaths", 0, STRINGS, "Where in the workload the value is written.", REQUIRED},
    {"required", 0, BOOL, "Operators must give a value."},
    {"description", 0, STRING, "What it does."},
    {"type", 0, ENUM("array", "boolean", "integer", "number", "object", "string"),
     "Type a value must have; if missing, the type of the value that is there now."},
};
TYPE(oam_parameter, "oam.ComponentParameter",
     "A part of the workload that operators may override.");

FIELDS(oam_component_spec) = {
    {"workload", 0, RAW, "The workload, a whole object with apiVersion and kind.", REQUIRED},
    {"parameters", 0, LIST(T(oam_parameter)), "What operators may override."},
};
TYPE(oam_component_spec, "oam.ComponentSpec", "The developer's part of an application.");

FIELDS(oam_revision) = {
    {"name", 0, STRING, "Name of the ControllerRevision."},
    {"revision", 0, INT64, "Its number."},
};
TYPE(oam_revision, "oam.Revision", "A stored state of a component.");

FIELDS(oam_component_status) = {
    {"conditions", 0, LIST(T(condition)), "What was last observed, by aspect."},
    {"observedGeneration", 0, INT64, "The generation this status is about."},
    {"latestRevision", 0, T(oam_revision), "The newest revision."},
};
TYPE(oam_component_status, "oam.ComponentStatus", "What was last observed.");

FIELDS(oam_component) = {
    TYPE_META,
    {"metadata", 0, T(object_meta), "Name, labels and other standard data."},
    {"spec", 0, T(oam_component_spec), "The workload and what may be overridden.", REQUIRED},
    {"status", 0, T(oam_component_status), "What was last observed."},
};
TYPE(oam_component, "Component",
     "A workload as its developer ships it, with the parameters that operators may override.");

/* --- ApplicationConfiguration --- */

FIELDS(oam_parameter_value) = {
    {"name", 0, STRING, "A parameter of the component.", REQUIRED},
    {"value", 0, ANY, "Its value, of the parameter's type.", REQUIRED},
};
TYPE(oam_parameter_value, "oam.ComponentParameterValue", "Overrides one parameter.");

FIELDS(oam_condition_from) = {
    {"fieldPath", 0, STRING, "Field path in the ApplicationConfiguration.", REQUIRED},
};
TYPE(oam_condition_from, "oam.ConditionValueFrom", NULL);

FIELDS(oam_data_condition) = {
    {"op", 0, ENUM("eq", "notEmpty", "notEq"), "How to compare.", REQUIRED},
    {"value", 0, STRING, "What to compare with."},
    {"valueFrom", 0, T(oam_condition_from), "Where to take it from."},
    {"fieldPath", 0, STRING, "What to compare; the value itself if empty."},
};
TYPE(oam_data_condition, "oam.ConditionRequirement", "When a value counts as ready.");

FIELDS(oam_data_output) = {
    {"name", 0, STRING, "Name by which inputs refer to it.", REQUIRED},
    {"fieldPath", 0, STRING, "Where in this object the value is found."},
    {"conditions", 0, LIST(T(oam_data_condition)), "When it is ready; not empty if missing."},
    {"outputStore", 0, ANY_OBJECT, "Where it is kept besides."},
};
TYPE(oam_data_output, "oam.DataOutput", "A value other parts may wait for.");

FIELDS(oam_data_from) = {
    {"dataOutputName", 0, STRING, "Name of the output.", REQUIRED},
};
TYPE(oam_data_from, "oam.DataInputValueFrom", NULL);

FIELDS(oam_data_input) = {
    {"valueFrom", 0, T(oam_data_from), "Which output to wait for."},
    {"toFieldPaths", 0, STRINGS, "Where in this object it is written."},
    {"conditions", 0, LIST(T(oam_data_condition)), "When it is good enough."},
    {"inputStore", 0, ANY_OBJECT, "Where it is read from besides."},
};
TYPE(oam_data_input, "oam.DataInput", "A value this part waits for.");

FIELDS(oam_component_trait) = {
    {"trait", 0, RAW, "The trait, a whole object with apiVersion and kind."},
    {"name", 0, STRING, "Name of a TraitDefinition instead: the shape of v1alpha1."},
    {"properties", 0, ANY_OBJECT, "With name: what would be the spec of the trait."},
    {"dataOutputs", 0, LIST(T(oam_data_output)), "Values it offers."},
    {"dataInputs", 0, LIST(T(oam_data_input)), "Values it waits for."},
};
TYPE(oam_component_trait, "oam.ComponentTrait", "A capability bound to a component.");

FIELDS(oam_component_scope) = {
    {"scopeRef", 0, T(oam_ref), "The scope.", REQUIRED},
};
TYPE(oam_component_scope, "oam.ComponentScope", "A group the component belongs to.");

FIELDS(oam_config_component) = {
    {"componentName", 0, STRING, "Name of the Component to run."},
    {"name", 0, STRING, "The same under the name that older texts print."},
    {"revisionName", 0, STRING, "A stored revision to run instead of the newest."},
    {"instanceName", 0, STRING, "Name of what is created; the component's name if empty."},
    {"parameterValues", 0, LIST(T(oam_parameter_value)), "Parameters to override."},
    {"traits", 0, LIST(T(oam_component_trait)), "Capabilities, applied in this order."},
    {"scopes", 0, LIST(T(oam_component_scope)), "Groups it belongs to."},
    {"dataOutputs", 0, LIST(T(oam_data_output)), "Values it offers."},
    {"dataInputs", 0, LIST(T(oam_data_input)), "Values it waits for."},
};
TYPE(oam_config_component, "oam.ApplicationConfigurationComponent",
     "One component of the application and how it is to run.");

FIELDS(oam_config_spec) = {
    {"components", 0, LIST(T(oam_config_component)), "What the application consists of.", REQUIRED},
};
TYPE(oam_config_spec, "oam.ApplicationConfigurationSpec", "The operator's part of an application.");

FIELDS(oam_workload_trait) = {
    {"traitRef", 0, T(oam_ref), "The trait.", REQUIRED},
    {"status", 0, STRING},
    {"message", 0, STRING},
};
TYPE(oam_workload_trait, "oam.WorkloadTrait", "A trait of a running workload.");

FIELDS(oam_workload_scope) = {
    {"scopeRef", 0, T(oam_ref), "The scope.", REQUIRED},
    {"status", 0, STRING},
};
TYPE(oam_workload_scope, "oam.WorkloadScope", "A scope of a running workload.");

FIELDS(oam_workload_status) = {
    {"componentName", 0, STRING, "The component it comes from."},
    {"componentRevisionName", 0, STRING, "The revision it comes from."},
    {"status", 0, STRING, "What is to say about it."},
    {"workloadRef", 0, T(oam_ref), "The object that runs."},
    {"traits", 0, LIST(T(oam_workload_trait)), "Its traits."},
    {"scopes", 0, LIST(T(oam_workload_scope)), "Its scopes."},
};
TYPE(oam_workload_status, "oam.WorkloadStatus", "What became of one component.");

FIELDS(oam_config_status) = {
    {"conditions", 0, LIST(T(condition)), "What was last observed, by aspect."},
    {"observedGeneration", 0, INT64, "The generation this status is about."},
    {"status", 0, STRING, "What is to say about the whole."},
    {"dependency", 0, ANY_OBJECT, "Data that is still waited for."},
    {"workloads", 0, LIST(T(oam_workload_status)), "What became of each component."},
    {"historyWorkloads", 0, LIST(ANY_OBJECT), "Workloads of older revisions that still run."},
};
TYPE(oam_config_status, "oam.ApplicationConfigurationStatus", "What was last observed.");

FIELDS(oam_config) = {
    TYPE_META,
    {"metadata", 0, T(object_meta), "Name, labels and other standard data."},
    {"spec", 0, T(oam_config_spec), "Components, their parameters and their traits.", REQUIRED},
    {"status", 0, T(oam_config_status), "What was last observed."},
};
TYPE(oam_config, "ApplicationConfiguration",
     "An application: components, the parameters operators set, and the traits bound to them.");

/* --- rows: each kind twice, the second an alias --- */

/* The rules between fields and objects: kube/oam. */
bool sp_validate_oam(sp_admit *a, sp_err *err) {
    (void)err;
    if (a->subresource.n) return true;
    const sp_oam_lookup lookup = {a->lookup_ctx, a->lookup, a->lookup_each};
    const sp_json *workload = sp_json_dig(a->obj, "spec", "workload", NULL);
    const sp_schema *schema = sp_builtin_schema(
        NULL, sp_json_str(sp_json_get(workload, "apiVersion")), sp_obj_kind(workload));
    if (workload && schema) {
        sp_json *copy = sp_json_clone(a->arena, workload);
        sp_schema_default(a->arena, schema, copy);
        sp_schema_prune(schema, copy, SP_STR("spec.workload"), a->causes);
        sp_schema_validate(schema, copy, SP_STR("spec.workload"), a->causes);
    }
    sp_oam_admit(a->obj, &lookup, a->causes, a->warnings);
    return true;
}

#define OAM_STORED .group = "core.oam.dev", .version = "v1alpha2", .counts_generation = true
#define OAM_ALIAS(id)                                                          \
    .group = "core.oam.dev", .version = "v1alpha1", .counts_generation = true, \
    .storage = &sp_row_##id

#define OAM_CONFIG_ROW                                                                 \
    .validate = sp_validate_oam, .plural = "applicationconfigurations",                \
    .singular = "applicationconfiguration", .kind = "ApplicationConfiguration",        \
    .short_names = NAMES("appconfig"), .categories = NAMES("oam"), .namespaced = true, \
    .schema = T(oam_config), .subresources = SP_SUB_STATUS, .status_is_subresource = true
ROW(oam_config, OAM_STORED, OAM_CONFIG_ROW);
ROW(oam_config_v1alpha1, OAM_ALIAS(oam_config), OAM_CONFIG_ROW);

#define OAM_COMPONENT_ROW                                                                 \
    .validate = sp_validate_oam, .plural = "components", .singular = "component",         \
    .kind = "Component", .short_names = NAMES("comp"), .categories = NAMES("oam"),        \
    .namespaced = true, .schema = T(oam_component), .subresources = SP_SUB_STATUS,        \
    .status_is_subresource = true,                                                        \
    COLUMNS(SP_COLUMN_NAME,                                                               \
            PATH_COLUMN("Workload-Kind", "Kind of the workload.", ".spec.workload.kind"), \
            SP_COLUMN_AGE)
ROW(oam_component, OAM_STORED, OAM_COMPONENT_ROW);
ROW(oam_component_v1alpha1, OAM_ALIAS(oam_component), OAM_COMPONENT_ROW);

#define OAM_WORKLOAD_DEFINITION_ROW                                                \
    .validate = sp_validate_oam, .plural = "workloaddefinitions",                  \
    .singular = "workloaddefinition", .kind = "WorkloadDefinition",                \
    .short_names = NAMES("workload"), .categories = NAMES("oam"),                  \
    .schema = T(oam_workload_definition),                                          \
    COLUMNS(SP_COLUMN_NAME, SP_COLUMN_AGE,                                         \
            WIDE_PATH("Definition-Name", "Its kind.", ".spec.definitionRef.name"), \
            WIDE_CELL("Description", "What it is for.", sp_cell_oam_description))
ROW(oam_workload_definition, OAM_STORED, OAM_WORKLOAD_DEFINITION_ROW);
ROW(oam_workload_definition_v1alpha1, OAM_ALIAS(oam_workload_definition),
    OAM_WORKLOAD_DEFINITION_ROW);

#define OAM_TRAIT_DEFINITION_ROW                                                              \
    .validate = sp_validate_oam, .plural = "traitdefinitions", .singular = "traitdefinition", \
    .kind = "TraitDefinition", .short_names = NAMES("trait"), .categories = NAMES("oam"),     \
    .schema = T(oam_trait_definition),                                                        \
    COLUMNS(SP_COLUMN_NAME, SP_COLUMN_AGE,                                                    \
            WIDE_PATH("Definition-Name", "Its kind.", ".spec.definitionRef.name"),            \
            WIDE_CELL("Applies-To", "Workloads it fits.", sp_cell_oam_applies_to),            \
            WIDE_CELL("Conflicts-With", "Traits it excludes.", sp_cell_oam_conflicts_with),   \
            WIDE_CELL("Description", "What it is for.", sp_cell_oam_description))
ROW(oam_trait_definition, OAM_STORED, OAM_TRAIT_DEFINITION_ROW);
ROW(oam_trait_definition_v1alpha1, OAM_ALIAS(oam_trait_definition), OAM_TRAIT_DEFINITION_ROW);

#define OAM_SCOPE_DEFINITION_ROW                                                            \
    .plural = "scopedefinitions", .singular = "scopedefinition", .kind = "ScopeDefinition", \
    .short_names = NAMES("scope"), .categories = NAMES("oam"), .schema = T(oam_scope_definition)
ROW(oam_scope_definition, OAM_STORED, OAM_SCOPE_DEFINITION_ROW);
ROW(oam_scope_definition_v1alpha1, OAM_ALIAS(oam_scope_definition), OAM_SCOPE_DEFINITION_ROW);
