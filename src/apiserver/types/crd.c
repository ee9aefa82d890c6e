/* CustomResourceDefinition, apiextensions.k8s.io/v1: how a kind is added at run time. */
#include "apiserver/types/types.h"

FIELDS(custom_resource_definition_names) = {
    {"plural", 1, STRING, "Name in the URL.", REQUIRED},
    {"singular", 2, STRING, "Name for one; the kind in small letters if missing."},
    {"shortNames", 3, STRINGS, "Short forms for the command line."},
    {"kind", 4, STRING, "Kind, in CamelCase.", REQUIRED},
    {"listKind", 5, STRING, "Kind of lists; the kind and List if missing."},
    {"categories", 6, STRINGS, "Groups of kinds it belongs to, as all."},
};
TYPE(custom_resource_definition_names, "CustomResourceDefinitionNames", "What the kind is called.");

FIELDS(external_documentation) = {
    {"description", 1, STRING},
    {"url", 2, STRING},
};
TYPE(external_documentation, "ExternalDocumentation", NULL);

FIELDS(validation_rule) = {
    {"rule", 1, STRING, NULL, REQUIRED},
    {"message", 2, STRING},
    {"messageExpression", 3, STRING},
    {"reason", 4, STRING, NULL, POINTER},
    {"fieldPath", 5, STRING},
    {"optionalOldSelf", 6, BOOL, NULL, POINTER},
};
TYPE(validation_rule, "ValidationRule", NULL);

FIELDS(json_schema_props) = {
    {"id", 1, STRING},
    {"$schema", 2, STRING},
    {"$ref", 3, STRING, NULL, POINTER},
    {"description", 4, STRING},
    {"type", 5, STRING},
    {"format", 6, STRING},
    {"title", 7, STRING},
    {"default", 8, RAW_VALUE, NULL, POINTER},
    {"maximum", 9, DOUBLE, NULL, POINTER},
    {"exclusiveMaximum", 10, BOOL},
    {"minimum", 11, DOUBLE, NULL, POINTER},
    {"exclusiveMinimum", 12, BOOL},
    {"maxLength", 13, INT64, NULL, POINTER},
    {"minLength", 14, INT64, NULL, POINTER},
    {"pattern", 15, STRING},
    {"maxItems", 16, INT64, NULL, POINTER},
    {"minItems", 17, INT64, NULL, POINTER},
    {"uniqueItems", 18, BOOL},
    {"multipleOf", 19, DOUBLE, NULL, POINTER},
    {"enum", 20, LIST(RAW_VALUE)},
    {"maxProperties", 21, INT64, NULL, POINTER},
    {"minProperties", 22, INT64, NULL, POINTER},
    {"required", 23, STRINGS},
    {"items", 24, ANY, NULL, POINTER},
    {"allOf", 25, LIST(T(json_schema_props))},
    {"oneOf", 26, LIST(T(json_schema_props))},
    {"anyOf", 27, LIST(T(json_schema_props))},
    {"not", 28, T(json_schema_props), NULL, POINTER},
    {"properties", 29, MAP(T(json_schema_props))},
    {"additionalProperties", 30, ANY, NULL, POINTER},
    {"patternProperties", 31, MAP(T(json_schema_props))},
    {"dependencies", 32, MAP(ANY)},
    {"additionalItems", 33, ANY, NULL, POINTER},
    {"definitions", 34, MAP(T(json_schema_props))},
    {"externalDocs", 35, T(external_documentation), NULL, POINTER},
    {"example", 36, RAW_VALUE, NULL, POINTER},
    {"nullable", 37, BOOL},
    {"x-kubernetes-preserve-unknown-fields", 38, BOOL, NULL, POINTER},
    {"x-kubernetes-embedded-resource", 39, BOOL},
    {"x-kubernetes-int-or-string", 40, BOOL},
    {"x-kubernetes-list-map-keys", 41, STRINGS},
    {"x-kubernetes-list-type", 42, STRING, NULL, POINTER},
    {"x-kubernetes-map-type", 43, STRING, NULL, POINTER},
    {"x-kubernetes-validations", 44, LIST(T(validation_rule)), NULL, MERGE("rule")},
};
SHARED_TYPE(json_schema_props, "JSONSchemaProps", "A structural OpenAPI v3 schema.");

FIELDS(custom_resource_validation) = {
    {"openAPIV3Schema", 1, T(json_schema_props), "Structure of the objects.", POINTER},
};
TYPE(custom_resource_validation, "CustomResourceValidation", NULL);

FIELDS(custom_resource_subresource_scale) = {
    {"specReplicasPath", 1, STRING, "Where the wanted number is.", REQUIRED},
    {"statusReplicasPath", 2, STRING, "Where the present number is.", REQUIRED},
    {"labelSelectorPath", 3, STRING, "Where the selector is, as text.", POINTER},
};
TYPE(custom_resource_subresource_scale, "CustomResourceSubresourceScale", NULL);

FIELDS(custom_resource_subresources) = {
    {"status", 1, ANY_OBJECT, "Serve /status, written apart from the rest.", POINTER},
    {"scale", 2, T(custom_resource_subresource_scale), "Serve /scale.", POINTER},
};
TYPE(custom_resource_subresources, "CustomResourceSubresources", NULL);

FIELDS(custom_resource_column_definition) = {
    {"name", 1, STRING, "Heading.", REQUIRED},
    {"type", 2, STRING, "string, integer, number, boolean or date.", REQUIRED},
    {"format", 3, STRING, "Refines the type."},
    {"description", 4, STRING, "What it shows."},
    {"priority", 5, INT32, "0 = always shown, more = with -o wide."},
    {"jsonPath", 6, STRING, "Where the value is.", REQUIRED},
};
TYPE(custom_resource_column_definition, "CustomResourceColumnDefinition", NULL);

FIELDS(selectable_field) = {
    {"jsonPath", 1, STRING, "Field by which objects may be selected.", REQUIRED},
};
TYPE(selectable_field, "SelectableField", NULL);

FIELDS(custom_resource_definition_version) = {
    {"name", 1, STRING, "As v1 or v1beta1.", REQUIRED},
    {"served", 2, BOOL, "Whether it is served."},
    {"storage", 3, BOOL, "Whether objects are stored in it; exactly one is."},
    {"deprecated", 7, BOOL, "Clients are warned."},
    {"deprecationWarning", 8, STRING, "With these words.", POINTER},
    {"schema", 4, T(custom_resource_validation), "Structure of the objects.", POINTER},
    {"subresources", 5, T(custom_resource_subresources), "What is served beside the object.",
     POINTER},
    {"additionalPrinterColumns", 6, LIST(T(custom_resource_column_definition)),
     "Columns of kubectl get."},
    {"selectableFields", 9, LIST(T(selectable_field)), "Fields by which objects may be selected."},
};
TYPE(custom_resource_definition_version, "CustomResourceDefinitionVersion",
     "One version of the kind.");

FIELDS(service_reference) = {
    {"namespace", 1, STRING, NULL, REQUIRED},
    {"name", 2, STRING, NULL, REQUIRED},
    {"path", 3, STRING, NULL, POINTER},
    {"port", 4, INT32, NULL, POINTER},
};
TYPE(service_reference, "ServiceReference", NULL);

FIELDS(webhook_client_config) = {
    {"url", 3, STRING, NULL, POINTER},
    {"service", 1, T(service_reference), NULL, POINTER},
    {"caBundle", 2, BYTES},
};
TYPE(webhook_client_config, "WebhookClientConfig", NULL);

FIELDS(webhook_conversion) = {
    {"clientConfig", 2, T(webhook_client_config), NULL, POINTER},
    {"conversionReviewVersions", 3, STRINGS, NULL, REQUIRED},
};
TYPE(webhook_conversion, "WebhookConversion", NULL);

FIELDS(custom_resource_conversion) = {
    {"strategy", 1, ENUM_DEFAULT("None", "Webhook"), "None, or Webhook.", REQUIRED},
    {"webhook", 2, T(webhook_conversion), NULL, POINTER},
};
TYPE(custom_resource_conversion, "CustomResourceConversion", NULL);

FIELDS(custom_resource_definition_spec) = {
    {"group", 1, STRING, "Group of the kind.", REQUIRED},
    {"names", 3, T(custom_resource_definition_names), "Names of the kind.", REQUIRED},
    {"scope", 4, ENUM("Cluster", "Namespaced"), "Namespaced or Cluster.", REQUIRED},
    {"versions", 7, LIST(T(custom_resource_definition_version)), "Versions and their structure.",
     REQUIRED},
    {"conversion", 9, T(custom_resource_conversion), "How one version becomes another.", POINTER},
    {"preserveUnknownFields", 10, BOOL},
};
TYPE(custom_resource_definition_spec, "CustomResourceDefinitionSpec",
     "Names and versions of the kind.");

FIELDS(custom_resource_definition_condition) = {
    {"type", 1, STRING, NULL, REQUIRED},
    {"status", 2, STRING},
    {"lastTransitionTime", 3, TIME},
    {"reason", 4, STRING},
    {"message", 5, STRING},
    {"observedGeneration", 6, INT64},
};
TYPE(custom_resource_definition_condition, "CustomResourceDefinitionCondition", NULL);

FIELDS(custom_resource_definition_status) = {
    {"conditions", 1, LIST(T(custom_resource_definition_condition)), "Whether it is established."},
    {"acceptedNames", 2, T(custom_resource_definition_names), "Names it is served under."},
    {"storedVersions", 3, STRINGS, "Versions in which objects were ever stored."},
    {"observedGeneration", 4, INT64},
};
TYPE(custom_resource_definition_status, "CustomResourceDefinitionStatus", NULL);

FIELDS(custom_resource_definition) = {
    TYPE_META,
    {"metadata", 1, T(object_meta), "Name, labels and other standard data."},
    {"spec", 2, T(custom_resource_definition_spec), "What should be.", REQUIRED},
    {"status", 3, T(custom_resource_definition_status), "What was last observed."},
};
SHARED_TYPE(custom_resource_definition, "CustomResourceDefinition",
            "Adds a kind of object to the API.");

ROW(custom_resource_definition, .group = "apiextensions.k8s.io", .version = "v1",
    .plural = "customresourcedefinitions", .singular = "customresourcedefinition",
    .kind = "CustomResourceDefinition", .short_names = NAMES("crd", "crds"),
    .categories = NAMES("api-extensions"), .subresources = SP_SUB_STATUS,
    .schema = T(custom_resource_definition), .status_is_subresource = true,
    .counts_generation = true,
    COLUMNS(SP_COLUMN_NAME,
            {"Created At", "date", "", "When it was created.", 0, NULL, sp_cell_created_at}));
