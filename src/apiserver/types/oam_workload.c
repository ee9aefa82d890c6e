/* The workloads, traits and scopes that come with OAM: ContainerizedWorkload, ManualScalerTrait,
 * AutoScaler, HealthScope, and the two kinds of app.alibabacloud.com that its articles bind as
 * traits. Sizes may be written as OAM writes them (100MB), therefore they are no Kubernetes
 * quantities. */
#include "apiserver/types/types.h"

/* --- ContainerizedWorkload --- */

FIELDS(cw_amount) = {
    {"required", 0, INT_OR_STRING, "What must be there.", REQUIRED},
};
TYPE(cw_amount, "oam.ResourceAmount", "An amount of something.");

FIELDS(cw_disk) = {
    {"required", 0, INT_OR_STRING, "Size.", REQUIRED},
    {"ephemeral", 0, BOOL, "Lives and dies with the workload."},
};
TYPE(cw_disk, "oam.DiskResource", "A disk.");

FIELDS(cw_volume) = {
    {"name", 0, STRING, "Name of the volume.", REQUIRED},
    {"mountPath", 0, STRING, "Where the container sees it.", REQUIRED},
    {"accessMode", 0, ENUM("RO", "RW"), "Read only, or also written."},
    {"sharingPolicy", 0, ENUM("Exclusive", "Shared"), "Whether others may use it too."},
    {"disk", 0, T(cw_disk), "The disk behind it."},
};
TYPE(cw_volume, "oam.VolumeResource", "A volume the container needs.");

FIELDS(cw_extended) = {
    {"name", 0, STRING, "Name of the resource.", REQUIRED},
    {"required", 0, INT_OR_STRING, "How much of it.", REQUIRED},
};
TYPE(cw_extended, "oam.ExtendedResource", "Another resource the container needs.");

FIELDS(cw_resources) = {
    {"cpu", 0, T(cw_amount), "Processor time, in cores."},
    {"memory", 0, T(cw_amount), "Memory."},
    {"gpu", 0, T(cw_amount), "Graphics processors."},
    {"volumes", 0, LIST(T(cw_volume)), "Volumes."},
    {"extended", 0, LIST(T(cw_extended)), "Other resources."},
};
TYPE(cw_resources, "oam.ContainerResources", "What the container needs.");

FIELDS(cw_secret_key) = {
    {"name", 0, STRING, "Name of the Secret.", REQUIRED},
    {"key", 0, STRING, "Key in it.", REQUIRED},
};
TYPE(cw_secret_key, "oam.SecretKeySelector", "One entry of a Secret.");

FIELDS(cw_env) = {
    {"name", 0, STRING, "Name of the variable.", REQUIRED},
    {"value", 0, STRING, "Its value."},
    {"fromSecret", 0, T(cw_secret_key), "Where to take the value from."},
};
TYPE(cw_env, "oam.ContainerEnvVar", "A variable in the environment.");

FIELDS(cw_config) = {
    {"path", 0, STRING, "Path of the file in the container.", REQUIRED},
    {"value", 0, STRING, "What is in it."},
    {"fromSecret", 0, T(cw_secret_key), "Where to take the content from."},
};
TYPE(cw_config, "oam.ContainerConfigFile", "A configuration file put into the container.");

FIELDS(cw_port) = {
    {"name", 0, STRING, "Name of the port."},
    {"containerPort", 0, INT32, "Its number."},
    {"value", 0, INT32, "The number under the name the specification's examples use."},
    {"protocol", 0, ENUM("TCP", "UDP"), "TCP if missing."},
};
TYPE(cw_port, "oam.ContainerPort", "A port the container listens on.");

FIELDS(cw_exec) = {
    {"command", 0, STRINGS, "Program and arguments; 0 is success.", REQUIRED},
};
TYPE(cw_exec, "oam.ExecProbe", "Runs a program.");

FIELDS(cw_header) = {
    {"name", 0, STRING, NULL, REQUIRED},
    {"value", 0, STRING, NULL, REQUIRED},
};
TYPE(cw_header, "oam.HTTPHeader", "A header of the request.");

FIELDS(cw_http_get) = {
    {"path", 0, STRING, "Path to ask for.", REQUIRED},
    {"port", 0, INT32, "Port to ask.", REQUIRED},
    {"httpHeaders", 0, LIST(T(cw_header)), "Headers to send."},
};
TYPE(cw_http_get, "oam.HTTPGetProbe", "Asks over HTTP.");

FIELDS(cw_tcp) = {
    {"port", 0, INT32, "Port to connect to.", REQUIRED},
};
TYPE(cw_tcp, "oam.TCPSocketProbe", "Opens a connection.");

FIELDS(cw_probe) = {
    {"exec", 0, T(cw_exec), "Success is exit code 0."},
    {"httpGet", 0, T(cw_http_get), "Success is a status below 400."},
    {"tcpSocket", 0, T(cw_tcp), "Success is a connection."},
    {"initialDelaySeconds", 0, INT32, "Seconds before the first try."},
    {"periodSeconds", 0, INT32, "Seconds between tries."},
    {"timeoutSeconds", 0, INT32, "Seconds one try may take."},
    {"successThreshold", 0, INT32, "Successes in a row that make it good."},
    {"failureThreshold", 0, INT32, "Failures in a row that make it bad."},
};
TYPE(cw_probe, "oam.ContainerHealthProbe", "How to see whether the container is well.");

FIELDS(cw_container) = {
    {"name", 0, STRING, "Name of the container.", REQUIRED},
    {"image", 0, STRING, "Image to run.", REQUIRED},
    {"resources", 0, T(cw_resources), "What it needs."},
    {"command", 0, STRINGS, "Program to run instead of the image's."},
    {"cmd", 0, STRINGS, "The same under the name the specification's examples use."},
    {"args", 0, STRINGS, "Arguments."},
    {"env", 0, LIST(T(cw_env)), "Environment."},
    {"config", 0, LIST(T(cw_config)), "Configuration files."},
    {"ports", 0, LIST(T(cw_port)), "Ports; the first becomes a Service."},
    {"livenessProbe", 0, T(cw_probe), "Restarted when this fails."},
    {"readinessProbe", 0, T(cw_probe), "Gets no traffic while this fails."},
    {"imagePullSecret", 0, STRING, "Secret with the registry's credentials."},
};
TYPE(cw_container, "oam.Container", "A container of the workload.");

FIELDS(cw_spec) = {
    {"osType", 0, ENUM("linux", "windows"), "Operating system it needs."},
    {"arch", 0, ENUM("amd64", "arm", "arm64", "i386"), "Processor it needs."},
    {"containers", 0, LIST(T(cw_container)), "Containers that run side by side.", REQUIRED},
};
TYPE(cw_spec, "oam.ContainerizedWorkloadSpec", "What runs.");

FIELDS(cw_status) = {
    {"conditions", 0, LIST(T(condition)), "What was last observed, by aspect."},
    {"resources", 0, LIST(T(oam_ref)), "Objects that were created for it."},
};
TYPE(cw_status, "oam.ContainerizedWorkloadStatus", "What was last observed.");

FIELDS(containerized_workload) = {
    TYPE_META,
    {"metadata", 0, T(object_meta), "Name, labels and other standard data."},
    {"spec", 0, T(cw_spec), "What runs.", REQUIRED},
    {"status", 0, T(cw_status), "What was last observed."},
};
TYPE(containerized_workload, "ContainerizedWorkload",
     "Containers that run for ever; becomes a Deployment and a Service.");

/* --- ManualScalerTrait --- */

FIELDS(manual_scaler_spec) = {
    {"replicaCount", 0, INT32, "How many copies run.", REQUIRED},
    {"workloadRef", 0, T(oam_ref), "The workload; filled in by the platform."},
};
TYPE(manual_scaler_spec, "oam.ManualScalerTraitSpec", "How many copies run.");

FIELDS(manual_scaler) = {
    TYPE_META,
    {"metadata", 0, T(object_meta), "Name, labels and other standard data."},
    {"spec", 0, T(manual_scaler_spec), "How many copies run.", REQUIRED},
    {"status", 0, T(oam_status), "What was last observed."},
};
TYPE(manual_scaler, "ManualScalerTrait", "Runs a workload in a fixed number of copies.");

/* --- AutoScaler --- */

FIELDS(auto_scaler_spec) = {
    {"minimum", 0, INT32, "Fewest copies; 1 if missing."},
    {"maximum", 0, INT32, "Most copies; minimum + 10 if missing."},
    {"cpu", 0, INT32, "Processor use to aim for, in percent of what is requested."},
    {"memory", 0, INT32, "Memory use to aim for, in percent of what is requested."},
    {"workloadRef", 0, T(oam_ref), "The workload; filled in by the platform."},
};
TYPE(auto_scaler_spec, "oam.AutoScalerSpec", "Bounds and aims.");

FIELDS(auto_scaler) = {
    TYPE_META,
    {"metadata", 0, T(object_meta), "Name, labels and other standard data."},
    {"spec", 0, T(auto_scaler_spec), "Bounds and aims.", REQUIRED},
    {"status", 0, T(oam_status), "What was last observed."},
};
TYPE(auto_scaler, "AutoScaler",
     "Runs a workload in as many copies as its load asks for; becomes a HorizontalPodAutoscaler.");

/* --- HealthScope --- */

FIELDS(health_scope_spec) = {
    {"probe-timeout", 0, INT32, "Seconds one look may take."},
    {"probe-interval", 0, INT32, "Seconds between looks."},
    {"workloadRefs", 0, LIST(T(oam_ref)), "Workloads in the scope; filled in by the platform."},
};
TYPE(health_scope_spec, "oam.HealthScopeSpec", "What belongs to the scope.");

FIELDS(health_scope) = {
    TYPE_META,
    {"metadata", 0, T(object_meta), "Name, labels and other standard data."},
    {"spec", 0, T(health_scope_spec), "What belongs to the scope."},
    {"status", 0, ANY_OBJECT, "Health of the scope and of each workload."},
};
TYPE(health_scope, "HealthScope", "Sums up the health of the components in it.");

/* --- SecurityPolicy --- */

FIELDS(security_policy_spec) = {
    {"allowPrivilegeEscalation", 0, BOOL, "Whether processes may gain rights after they started."},
    {"workloadRef", 0, T(oam_ref), "The workload; filled in by the platform."},
};
TYPE(security_policy_spec, "oam.SecurityPolicySpec", "Rights of the processes.");

FIELDS(security_policy) = {
    TYPE_META,
    {"metadata", 0, T(object_meta), "Name, labels and other standard data."},
    {"spec", 0, T(security_policy_spec), "Rights of the processes.", REQUIRED},
    {"status", 0, T(oam_status), "What was last observed."},
};
TYPE(security_policy, "SecurityPolicy", "Limits what the processes of a workload may do.");

/* --- CronHPA --- */

FIELDS(cron_hpa_target) = {
    {"apiVersion", 0, STRING, "Group and version of the object."},
    {"kind", 0, STRING_DEFAULT("Deployment"), "Kind of the object."},
    {"name", 0, STRING, "Name of the object.", REQUIRED},
};
TYPE(cron_hpa_target, "oam.CronHPATarget", "What is scaled.");

FIELDS(cron_hpa_template_spec) = {
    {"scaleTargetRef", 0, T(cron_hpa_target), "What is scaled."},
    {"metrics", 0, LIST(T(metric_spec)), "What is measured between the bounds."},
    {"behavior", 0, T(horizontal_pod_autoscaler_behavior), "How fast it scales."},
};
TYPE(cron_hpa_template_spec, "oam.CronHPATemplateSpec", NULL);

FIELDS(cron_hpa_template) = {
    {"metadata", 0, T(object_meta), "Labels and annotations of the autoscaler."},
    {"spec", 0, T(cron_hpa_template_spec), "The autoscaler, less its bounds."},
};
TYPE(cron_hpa_template, "oam.CronHPATemplate", "The autoscaler whose bounds move.");

FIELDS(cron_hpa_spec) = {
    {"timezone", 0, STRING, "Time zone of the schedule, as Europe/Berlin; UTC if missing."},
    {"schedule", 0, ANY,
     "A list of {cron, minReplicas, maxReplicas}, or one cron line. Six fields: second, minute, "
     "hour, "
     "day, month, weekday."},
    {"cpu", 0, INT32, "Processor use to aim for, in percent, where there is no template."},
    {"template", 0, T(cron_hpa_template), "The autoscaler whose bounds move."},
    {"workloadRef", 0, T(oam_ref), "The workload; filled in by the platform."},
};
TYPE(cron_hpa_spec, "oam.CronHPASpec", "When which bounds hold.");

FIELDS(cron_hpa) = {
    TYPE_META,
    {"metadata", 0, T(object_meta), "Name, labels and other standard data."},
    {"spec", 0, T(cron_hpa_spec), "When which bounds hold.", REQUIRED},
    {"status", 0, ANY_OBJECT, "Which bounds hold now."},
};
TYPE(cron_hpa, "CronHPA", "Moves the bounds of an autoscaler by the clock.");

/* --- rows --- */

#define WITH_STATUS                                                                   \
    .namespaced = true, .subresources = SP_SUB_STATUS, .status_is_subresource = true, \
    .counts_generation = true
#define CORE_OAM(version_, id, ...)                                     \
    ROW(id##_##version_, .group = "core.oam.dev", .version = #version_, \
        .categories = NAMES("oam"), WITH_STATUS, __VA_ARGS__)

#define CW_ROW                                                               \
    .plural = "containerizedworkloads", .singular = "containerizedworkload", \
    .kind = "ContainerizedWorkload", .schema = T(containerized_workload)
CORE_OAM(v1alpha2, containerized_workload, CW_ROW);
CORE_OAM(v1alpha1, containerized_workload, CW_ROW,
         .storage = &sp_row_containerized_workload_v1alpha2);

#define MANUAL_SCALER_ROW                                                                         \
    .plural = "manualscalertraits", .singular = "manualscalertrait", .kind = "ManualScalerTrait", \
    .schema = T(manual_scaler)
CORE_OAM(v1alpha2, manual_scaler, MANUAL_SCALER_ROW);
CORE_OAM(v1alpha1, manual_scaler, MANUAL_SCALER_ROW, .storage = &sp_row_manual_scaler_v1alpha2);

#define AUTO_SCALER_ROW                                                                \
    .plural = "autoscalers", .singular = "autoscaler", .kind = "AutoScaler",           \
    .schema = T(auto_scaler),                                                          \
    COLUMNS(SP_COLUMN_NAME, PATH_COLUMN("Minimum", "Fewest copies.", ".spec.minimum"), \
            PATH_COLUMN("Maximum", "Most copies.", ".spec.maximum"), SP_COLUMN_AGE)
CORE_OAM(v1alpha2, auto_scaler, AUTO_SCALER_ROW);
CORE_OAM(v1alpha1, auto_scaler, AUTO_SCALER_ROW, .storage = &sp_row_auto_scaler_v1alpha2);

#define HEALTH_SCOPE_ROW                                                        \
    .plural = "healthscopes", .singular = "healthscope", .kind = "HealthScope", \
    .schema = T(health_scope),                                                  \
    COLUMNS(SP_COLUMN_NAME,                                                     \
            PATH_COLUMN("Health", "Health of the whole scope.",                 \
                        ".status.scopeHealthCondition.healthStatus"),           \
            SP_COLUMN_AGE)
CORE_OAM(v1alpha2, health_scope, HEALTH_SCOPE_ROW);
CORE_OAM(v1alpha1, health_scope, HEALTH_SCOPE_ROW, .storage = &sp_row_health_scope_v1alpha2);

/* Three groups: the one that stores, the one the articles print, and its misprint. */
#define ALIBABA(id, group_, ...) ROW(id, .group = group_, .version = "v1", WITH_STATUS, __VA_ARGS__)

#define SECURITY_POLICY_ROW                                                               \
    .plural = "securitypolicies", .singular = "securitypolicy", .kind = "SecurityPolicy", \
    .schema = T(security_policy)
ALIBABA(security_policy, "app.alibabacloud.com", SECURITY_POLICY_ROW);
ALIBABA(security_policy_alibaba, "app.alibaba.com", SECURITY_POLICY_ROW,
        .storage = &sp_row_security_policy);
ALIBABA(security_policy_aliaba, "app.aliaba.com", SECURITY_POLICY_ROW,
        .storage = &sp_row_security_policy);

#define CRON_HPA_ROW                                                                             \
    .validate = sp_validate_oam, .plural = "cronhpas", .singular = "cronhpa", .kind = "CronHPA", \
    .schema = T(cron_hpa),                                                                       \
    COLUMNS(SP_COLUMN_NAME,                                                                      \
            PATH_COLUMN("Timezone", "Time zone of the schedule.", ".spec.timezone"),             \
            SP_COLUMN_AGE)
ALIBABA(cron_hpa, "app.alibabacloud.com", CRON_HPA_ROW);
ALIBABA(cron_hpa_alibaba, "app.alibaba.com", CRON_HPA_ROW, .storage = &sp_row_cron_hpa);
ALIBABA(cron_hpa_aliaba, "app.aliaba.com", CRON_HPA_ROW, .storage = &sp_row_cron_hpa);
