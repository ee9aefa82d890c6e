/* A container of a pod: what runs, with which environment, resources, probes and rights. */
#include "apiserver/types/types.h"

FIELDS(container_port) = {
    {"name", 1, STRING, "Name of the port, unique in the pod; services may refer to it."},
    {"hostPort", 2, INT32, "Port of the node that leads here."},
    {"containerPort", 3, INT32, "Port the container listens on.", REQUIRED},
    {"protocol", 4, ENUM_DEFAULT("TCP", "UDP", "SCTP"), "TCP, UDP or SCTP."},
    {"hostIP", 5, STRING, "Address of the node to bind hostPort to."},
};
SHARED_TYPE(container_port, "ContainerPort", "A port a container listens on.");

FIELDS(config_map_env_source) = {
    {"name", VIA(1, 1), STRING, "Name of the ConfigMap."},
    {"optional", 2, BOOL, "Start even if it is not there.", POINTER},
};
TYPE(config_map_env_source, "ConfigMapEnvSource", NULL);

FIELDS(secret_env_source) = {
    {"name", VIA(1, 1), STRING, "Name of the Secret."},
    {"optional", 2, BOOL, "Start even if it is not there.", POINTER},
};
TYPE(secret_env_source, "SecretEnvSource", NULL);

FIELDS(env_from_source) = {
    {"prefix", 1, STRING, "Put before each name."},
    {"configMapRef", 2, T(config_map_env_source), "Every entry of a ConfigMap.", POINTER},
    {"secretRef", 3, T(secret_env_source), "Every entry of a Secret.", POINTER},
};
SHARED_TYPE(env_from_source, "EnvFromSource", "Makes every entry of an object a variable.");

FIELDS(config_map_key_selector) = {
    {"name", VIA(1, 1), STRING, "Name of the ConfigMap."},
    {"key", 2, STRING, "Which entry.", REQUIRED},
    {"optional", 3, BOOL, "Start even if it is not there.", POINTER},
};
TYPE(config_map_key_selector, "ConfigMapKeySelector", NULL);

FIELDS(secret_key_selector) = {
    {"name", VIA(1, 1), STRING, "Name of the Secret."},
    {"key", 2, STRING, "Which entry.", REQUIRED},
    {"optional", 3, BOOL, "Start even if it is not there.", POINTER},
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
    {"fieldRef", 1, T(object_field_selector), "A field of the pod.", POINTER},
    {"resourceFieldRef", 2, T(resource_field_selector), "A resource of the container.", POINTER},
    {"configMapKeyRef", 3, T(config_map_key_selector), "An entry of a ConfigMap.", POINTER},
    {"secretKeyRef", 4, T(secret_key_selector), "An entry of a Secret.", POINTER},
    {"fileKeyRef", 5, T(file_key_selector), NULL, POINTER},
};
TYPE(env_var_source, "EnvVarSource", "Where the value of a variable comes from.");

FIELDS(env_var) = {
    {"name", 1, STRING, "Name of the variable.", REQUIRED},
    {"value", 2, STRING, "Its value; $(OTHER) stands for another variable."},
    {"valueFrom", 3, T(env_var_source), "Where to take the value from.", POINTER},
};
SHARED_TYPE(env_var, "EnvVar", "A variable of the environment.");

FIELDS(resource_claim) = {
    {"name", 1, STRING, NULL, REQUIRED},
    {"request", 2, STRING},
};
TYPE(resource_claim, "ResourceClaim", NULL);

FIELDS(resource_requirements) = {
    {"limits", 1, MAP(QUANTITY), "Most the container may use, by resource."},
    {"requests", 2, MAP(QUANTITY), "What is kept free for it, by resource; the limits if missing."},
    {"claims", 3, LIST(T(resource_claim))},
};
SHARED_TYPE(resource_requirements, "ResourceRequirements",
            "What a container needs and what it may use.");

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
    {"command", 1, STRINGS, "Program and arguments, without a shell; 0 is success."},
};
TYPE(exec_action, "ExecAction", "Runs a program in the container.");

FIELDS(http_header) = {
    {"name", 1, STRING, "Name of the header.", REQUIRED},
    {"value", 2, STRING, "Its value.", REQUIRED},
};
TYPE(http_header, "HTTPHeader", NULL);

FIELDS(http_get_action) = {
    {"path", 1, STRING_DEFAULT("/"), "Path to ask for."},
    {"port", 2, INT_OR_STRING, "Port of the container, by number or name.", REQUIRED},
    {"host", 3, STRING, "Host to ask instead of the pod."},
    {"scheme", 4, ENUM_DEFAULT("HTTP", "HTTPS"), "HTTP or HTTPS."},
    {"httpHeaders", 5, LIST(T(http_header)), "Headers to send."},
    {"protocol", 6, STRING, NULL, POINTER},
};
TYPE(http_get_action, "HTTPGetAction", "Sends an HTTP GET.");

FIELDS(tcp_socket_action) = {
    {"port", 1, INT_OR_STRING, "Port of the container, by number or name.", REQUIRED},
    {"host", 2, STRING, "Host to connect to instead of the pod."},
};
TYPE(tcp_socket_action, "TCPSocketAction", "Opens a TCP connection.");

FIELDS(grpc_action) = {
    {"port", 1, INT32, "Port of the container.", REQUIRED},
    {"service", 2, STRING, "Service name to ask about.", POINTER},
    {"mode", 3, STRING, NULL, POINTER},
};
TYPE(grpc_action, "GRPCAction", NULL);

FIELDS(probe) = {
    {"exec", VIA(1, 1), T(exec_action), "Run a program in the container.", POINTER},
    {"httpGet", VIA(1, 2), T(http_get_action), "Ask over HTTP; 200 to 399 is success.", POINTER},
    {"tcpSocket", VIA(1, 3), T(tcp_socket_action), "Open a TCP connection.", POINTER},
    {"grpc", VIA(1, 4), T(grpc_action), "Ask the gRPC health service.", POINTER},
    {"initialDelaySeconds", 2, INT32, "Seconds after the start before the first try."},
    {"timeoutSeconds", 3, INT32_DEFAULT("1"), "Seconds one try may take."},
    {"periodSeconds", 4, INT32_DEFAULT("10"), "Seconds between tries."},
    {"successThreshold", 5, INT32_DEFAULT("1"), "Successes in a row that make it good again."},
    {"failureThreshold", 6, INT32_DEFAULT("3"), "Failures in a row that make it bad."},
    {"terminationGracePeriodSeconds", 7, INT64, "Seconds to end when this probe failed.", POINTER},
};
SHARED_TYPE(probe, "Probe", "How to see whether a container is well.");

FIELDS(sleep_action) = {
    {"seconds", 1, INT64, "How long.", REQUIRED},
};
TYPE(sleep_action, "SleepAction", NULL);

FIELDS(lifecycle_handler) = {
    {"exec", 1, T(exec_action), "Run a program in the container.", POINTER},
    {"httpGet", 2, T(http_get_action), "Send an HTTP request.", POINTER},
    {"tcpSocket", 3, T(tcp_socket_action), NULL, POINTER},
    {"sleep", 4, T(sleep_action), "Wait.", POINTER},
};
TYPE(lifecycle_handler, "LifecycleHandler", NULL);

FIELDS(lifecycle) = {
    {"postStart", 1, T(lifecycle_handler), "Done right after the start.", POINTER},
    {"preStop", 2, T(lifecycle_handler), "Done before the container is told to end.", POINTER},
    {"stopSignal", 3, STRING, NULL, POINTER},
};
SHARED_TYPE(lifecycle, "Lifecycle", "What to do after the start and before the end.");

FIELDS(capabilities) = {
    {"add", 1, STRINGS, "Capabilities to give."},
    {"drop", 2, STRINGS, "Capabilities to take away; ALL for every one."},
};
TYPE(capabilities, "Capabilities", "Linux capabilities to add and to drop.");

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
    {"type", 1, ENUM("Localhost", "RuntimeDefault", "Unconfined"),
     "RuntimeDefault, Localhost or Unconfined.", REQUIRED},
    {"localhostProfile", 2, STRING, "File of the profile on the node.", POINTER},
};
SHARED_TYPE(seccomp_profile, "SeccompProfile", NULL);

FIELDS(app_armor_profile) = {
    {"type", 1, STRING, NULL, REQUIRED},
    {"localhostProfile", 2, STRING, NULL, POINTER},
};
SHARED_TYPE(app_armor_profile, "AppArmorProfile", NULL);

FIELDS(security_context) = {
    {"capabilities", 1, T(capabilities), "Linux capabilities beside the usual ones.", POINTER},
    {"privileged", 2, BOOL, "Run as root on the host would.", POINTER},
    {"seLinuxOptions", 3, T(se_linux_options), NULL, POINTER},
    {"windowsOptions", 10, T(windows_security_context_options), NULL, POINTER},
    {"runAsUser", 4, INT64, "User ID of the process.", POINTER},
    {"runAsGroup", 8, INT64, "Group ID of the process.", POINTER},
    {"runAsNonRoot", 5, BOOL, "Refuse to start as user 0.", POINTER},
    {"readOnlyRootFilesystem", 6, BOOL, "The container cannot write outside its volumes.", POINTER},
    {"allowPrivilegeEscalation", 7, BOOL,
     "Whether a process may gain more rights than its parent has.", POINTER},
    {"procMount", 9, STRING, NULL, POINTER},
    {"seccompProfile", 11, T(seccomp_profile), "System calls that are allowed.", POINTER},
    {"appArmorProfile", 12, T(app_armor_profile), NULL, POINTER},
};
SHARED_TYPE(security_context, "SecurityContext",
            "Rights of the processes of a container; wins over those of the pod.");

FIELDS(container) = {
    {"name", 1, STRING, "Name of the container, unique in the pod.", REQUIRED},
    {"image", 2, STRING, "Image to run."},
    {"command", 3, STRINGS, "Program to run instead of the image's entry point."},
    {"args", 4, STRINGS, "Arguments instead of the image's."},
    {"workingDir", 5, STRING, "Directory to start in."},
    {"ports", 6, LIST(T(container_port)), "Ports it listens on; others are reachable all the same.",
     MERGE("containerPort")},
    {"envFrom", 19, LIST(T(env_from_source)), "Sources of many variables at once."},
    {"env", 7, LIST(T(env_var)), "Variables of the environment.", MERGE("name")},
    {"resources", 8, T(resource_requirements), "What it needs and what it may use."},
    {"resizePolicy", 23, LIST(T(container_resize_policy))},
    {"restartPolicy", 24, STRING,
     "Always makes an init container a sidecar that runs beside the others.", POINTER},
    {"restartPolicyRules", 25, LIST(T(container_restart_rule))},
    {"volumeMounts", 9, LIST(T(volume_mount)), "Volumes and where they are seen.",
     MERGE("mountPath")},
    {"volumeDevices", 21, LIST(T(volume_device)), NULL, MERGE("devicePath")},
    {"livenessProbe", 10, T(probe), "Restarted when this fails.", POINTER},
    {"readinessProbe", 11, T(probe), "Gets no traffic while this fails.", POINTER},
    {"startupProbe", 22, T(probe), "The other probes wait for this one.", POINTER},
    {"lifecycle", 12, T(lifecycle), "What to do after the start and before the end.", POINTER},
    {"terminationMessagePath", 13, STRING_DEFAULT("/dev/termination-log"),
     "File whose content is shown when the container has ended."},
    {"terminationMessagePolicy", 20, ENUM_DEFAULT("File", "FallbackToLogsOnError"),
     "Whether the end of the log may stand in for that file."},
    {"imagePullPolicy", 14, ENUM("Always", "IfNotPresent", "Never"),
     "Always, IfNotPresent or Never; Always if the tag is latest or missing."},
    {"securityContext", 15, T(security_context), "Rights of its processes.", POINTER},
    {"stdin", 16, BOOL, "Keep standard input open."},
    {"stdinOnce", 17, BOOL, "Close it after the first client."},
    {"tty", 18, BOOL, "Give it a terminal."},
};
SHARED_TYPE(container, "Container",
            "One program of a pod, from an image, with its environment, resources and rights.");
