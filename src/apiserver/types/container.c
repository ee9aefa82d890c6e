/* A container of a pod: what runs, with which environment, resources, probes and rights. */
#include "apiserver/types/types.h"

FIELDS(container_port) = {
    {"name", 1, STRING},
    {"hostPort", 2, INT32},
    {"containerPort", 3, INT32, NULL, REQUIRED},
    {"protocol", 4, ENUM_DEFAULT("TCP", "UDP", "SCTP")},
    {"hostIP", 5, STRING},
};
SHARED_TYPE(container_port, "ContainerPort", NULL);

FIELDS(config_map_env_source) = {
    {"name", VIA(1, 1), STRING},
    {"optional", 2, BOOL, NULL, POINTER},
};
TYPE(config_map_env_source, "ConfigMapEnvSource", NULL);

FIELDS(secret_env_source) = {
    {"name", VIA(1, 1), STRING},
    {"optional", 2, BOOL, NULL, POINTER},
};
TYPE(secret_env_source, "SecretEnvSource", NULL);

FIELDS(env_from_source) = {
    {"prefix", 1, STRING},
    {"configMapRef", 2, T(config_map_env_source), NULL, POINTER},
    {"secretRef", 3, T(secret_env_source), NULL, POINTER},
};
SHARED_TYPE(env_from_source, "EnvFromSource", NULL);

FIELDS(config_map_key_selector) = {
    {"name", VIA(1, 1), STRING},
    {"key", 2, STRING, NULL, REQUIRED},
    {"optional", 3, BOOL, NULL, POINTER},
};
TYPE(config_map_key_selector, "ConfigMapKeySelector", NULL);

FIELDS(secret_key_selector) = {
    {"name", VIA(1, 1), STRING},
    {"key", 2, STRING, NULL, REQUIRED},
    {"optional", 3, BOOL, NULL, POINTER},
};
TYPE(secret_key_selector, "SecretKeySelector", NULL);

FIELDS(file_key_selector) = {
    {"volumeName", 1, STRING, NULL, REQUIRED},
    {"path", 2, STRING, NULL, REQUIRED},
    {"key", 3, STRING, NULL, REQUIRED},
    {"optional", 4, BOOL, NULL, POINTER},
};
TYPE(file_key_selector, "FileKeySelector", NULL);

FIELDS(env_var_source) = {
    {"fieldRef", 1, T(object_field_selector), NULL, POINTER},
    {"resourceFieldRef", 2, T(resource_field_selector), NULL, POINTER},
    {"configMapKeyRef", 3, T(config_map_key_selector), NULL, POINTER},
    {"secretKeyRef", 4, T(secret_key_selector), NULL, POINTER},
    {"fileKeyRef", 5, T(file_key_selector), NULL, POINTER},
};
TYPE(env_var_source, "EnvVarSource", NULL);

FIELDS(env_var) = {
    {"name", 1, STRING, NULL, REQUIRED},
    {"value", 2, STRING},
    {"valueFrom", 3, T(env_var_source), NULL, POINTER},
};
SHARED_TYPE(env_var, "EnvVar", NULL);

FIELDS(resource_claim) = {
    {"name", 1, STRING, NULL, REQUIRED},
    {"request", 2, STRING},
};
TYPE(resource_claim, "ResourceClaim", NULL);

FIELDS(resource_requirements) = {
    {"limits", 1, MAP(QUANTITY)},
    {"requests", 2, MAP(QUANTITY)},
    {"claims", 3, LIST(T(resource_claim))},
};
SHARED_TYPE(resource_requirements, "ResourceRequirements", NULL);

FIELDS(container_resize_policy) = {
    {"resourceName", 1, STRING, NULL, REQUIRED},
    {"restartPolicy", 2, STRING, NULL, REQUIRED},
};
SHARED_TYPE(container_resize_policy, "ContainerResizePolicy", NULL);

FIELDS(container_restart_rule_on_exit_codes) = {
    {"operator", 1, STRING},
    {"values", 2, LIST(INT32)},
};
TYPE(container_restart_rule_on_exit_codes, "ContainerRestartRuleOnExitCodes", NULL);

FIELDS(container_restart_rule) = {
    {"action", 1, STRING},
    {"exitCodes", 2, T(container_restart_rule_on_exit_codes), NULL, POINTER},
};
SHARED_TYPE(container_restart_rule, "ContainerRestartRule", NULL);

FIELDS(exec_action) = {
    {"command", 1, STRINGS},
};
TYPE(exec_action, "ExecAction", NULL);

FIELDS(http_header) = {
    {"name", 1, STRING, NULL, REQUIRED},
    {"value", 2, STRING, NULL, REQUIRED},
};
TYPE(http_header, "HTTPHeader", NULL);

FIELDS(http_get_action) = {
    {"path", 1, STRING_DEFAULT("/")},
    {"port", 2, INT_OR_STRING, NULL, REQUIRED},
    {"host", 3, STRING},
    {"scheme", 4, ENUM_DEFAULT("HTTP", "HTTPS")},
    {"httpHeaders", 5, LIST(T(http_header))},
    {"protocol", 6, STRING, NULL, POINTER},
};
TYPE(http_get_action, "HTTPGetAction", NULL);

FIELDS(tcp_socket_action) = {
    {"port", 1, INT_OR_STRING, NULL, REQUIRED},
    {"host", 2, STRING},
};
TYPE(tcp_socket_action, "TCPSocketAction", NULL);

FIELDS(grpc_action) = {
    {"port", 1, INT32, NULL, REQUIRED},
    {"service", 2, STRING, NULL, POINTER},
    {"mode", 3, STRING, NULL, POINTER},
};
TYPE(grpc_action, "GRPCAction", NULL);

FIELDS(probe) = {
    {"exec", VIA(1, 1), T(exec_action), NULL, POINTER},
    {"httpGet", VIA(1, 2), T(http_get_action), NULL, POINTER},
    {"tcpSocket", VIA(1, 3), T(tcp_socket_action), NULL, POINTER},
    {"grpc", VIA(1, 4), T(grpc_action), NULL, POINTER},
    {"initialDelaySeconds", 2, INT32},
    {"timeoutSeconds", 3, INT32_DEFAULT("1")},
    {"periodSeconds", 4, INT32_DEFAULT("10")},
    {"successThreshold", 5, INT32_DEFAULT("1")},
    {"failureThreshold", 6, INT32_DEFAULT("3")},
    {"terminationGracePeriodSeconds", 7, INT64, NULL, POINTER},
};
SHARED_TYPE(probe, "Probe", NULL);

FIELDS(sleep_action) = {
    {"seconds", 1, INT64, NULL, REQUIRED},
};
TYPE(sleep_action, "SleepAction", NULL);

FIELDS(lifecycle_handler) = {
    {"exec", 1, T(exec_action), NULL, POINTER},
    {"httpGet", 2, T(http_get_action), NULL, POINTER},
    {"tcpSocket", 3, T(tcp_socket_action), NULL, POINTER},
    {"sleep", 4, T(sleep_action), NULL, POINTER},
};
TYPE(lifecycle_handler, "LifecycleHandler", NULL);

FIELDS(lifecycle) = {
    {"postStart", 1, T(lifecycle_handler), NULL, POINTER},
    {"preStop", 2, T(lifecycle_handler), NULL, POINTER},
    {"stopSignal", 3, STRING, NULL, POINTER},
};
SHARED_TYPE(lifecycle, "Lifecycle", NULL);

FIELDS(capabilities) = {
    {"add", 1, STRINGS},
    {"drop", 2, STRINGS},
};
TYPE(capabilities, "Capabilities", NULL);

FIELDS(se_linux_options) = {
    {"user", 1, STRING},
    {"role", 2, STRING},
    {"type", 3, STRING},
    {"level", 4, STRING},
};
SHARED_TYPE(se_linux_options, "SELinuxOptions", NULL);

FIELDS(windows_security_context_options) = {
    {"gmsaCredentialSpecName", 1, STRING, NULL, POINTER},
    {"gmsaCredentialSpec", 2, STRING, NULL, POINTER},
    {"runAsUserName", 3, STRING, NULL, POINTER},
    {"hostProcess", 4, BOOL, NULL, POINTER},
};
SHARED_TYPE(windows_security_context_options, "WindowsSecurityContextOptions", NULL);

FIELDS(seccomp_profile) = {
    {"type", 1, ENUM("Localhost", "RuntimeDefault", "Unconfined"), NULL, REQUIRED},
    {"localhostProfile", 2, STRING, NULL, POINTER},
};
SHARED_TYPE(seccomp_profile, "SeccompProfile", NULL);

FIELDS(app_armor_profile) = {
    {"type", 1, STRING, NULL, REQUIRED},
    {"localhostProfile", 2, STRING, NULL, POINTER},
};
SHARED_TYPE(app_armor_profile, "AppArmorProfile", NULL);

FIELDS(security_context) = {
    {"capabilities", 1, T(capabilities), NULL, POINTER},
    {"privileged", 2, BOOL, NULL, POINTER},
    {"seLinuxOptions", 3, T(se_linux_options), NULL, POINTER},
    {"windowsOptions", 10, T(windows_security_context_options), NULL, POINTER},
    {"runAsUser", 4, INT64, NULL, POINTER},
    {"runAsGroup", 8, INT64, NULL, POINTER},
    {"runAsNonRoot", 5, BOOL, NULL, POINTER},
    {"readOnlyRootFilesystem", 6, BOOL, NULL, POINTER},
    {"allowPrivilegeEscalation", 7, BOOL, NULL, POINTER},
    {"procMount", 9, STRING, NULL, POINTER},
    {"seccompProfile", 11, T(seccomp_profile), NULL, POINTER},
    {"appArmorProfile", 12, T(app_armor_profile), NULL, POINTER},
};
SHARED_TYPE(security_context, "SecurityContext", NULL);

FIELDS(container) = {
    {"name", 1, STRING, NULL, REQUIRED},
    {"image", 2, STRING},
    {"command", 3, STRINGS},
    {"args", 4, STRINGS},
    {"workingDir", 5, STRING},
    {"ports", 6, LIST(T(container_port)), NULL, MERGE("containerPort")},
    {"envFrom", 19, LIST(T(env_from_source))},
    {"env", 7, LIST(T(env_var)), NULL, MERGE("name")},
    {"resources", 8, T(resource_requirements)},
    {"resizePolicy", 23, LIST(T(container_resize_policy))},
    {"restartPolicy", 24, STRING, NULL, POINTER},
    {"restartPolicyRules", 25, LIST(T(container_restart_rule))},
    {"volumeMounts", 9, LIST(T(volume_mount)), NULL, MERGE("mountPath")},
    {"volumeDevices", 21, LIST(T(volume_device)), NULL, MERGE("devicePath")},
    {"livenessProbe", 10, T(probe), NULL, POINTER},
    {"readinessProbe", 11, T(probe), NULL, POINTER},
    {"startupProbe", 22, T(probe), NULL, POINTER},
    {"lifecycle", 12, T(lifecycle), NULL, POINTER},
    {"terminationMessagePath", 13, STRING_DEFAULT("/dev/termination-log")},
    {"terminationMessagePolicy", 20, ENUM_DEFAULT("File", "FallbackToLogsOnError")},
    {"imagePullPolicy", 14, ENUM("Always", "IfNotPresent", "Never")},
    {"securityContext", 15, T(security_context), NULL, POINTER},
    {"stdin", 16, BOOL},
    {"stdinOnce", 17, BOOL},
    {"tty", 18, BOOL},
};
SHARED_TYPE(container, "Container", NULL);
