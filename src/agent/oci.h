/* From a Pod's container to what the OCI runtime reads (opencontainers/runtime-spec 1.0,
 * config.json). Pure: everything it depends on comes in, one document comes out. */
#pragma once
#include "base/vec.h"
#include "data/json.h"

typedef struct sp_oci_mount {
    sp_str source, destination;
    sp_str sub; /* path inside the source, to be opened by the shim; "" = the source itself */
    bool readonly;
    bool propagate; /* mountPropagation HostToContainer or Bidirectional */
} sp_oci_mount;

/* What this machine and this process allow. */
typedef struct sp_oci_host {
    uint64_t caps;        /* bounding set: bit n = capability n */
    uint64_t nofile_hard; /* our own hard limit: raising it needs CAP_SYS_RESOURCE */
    bool sys_resource;    /* we have CAP_SYS_RESOURCE */
    int oom_score_adj;    /* our own: going lower needs CAP_SYS_RESOURCE */
    int64_t memory_bytes; /* of the machine */
} sp_oci_host;

typedef struct sp_oci_input {
    const sp_json *pod;       /* the Pod */
    const sp_json *container; /* its row in spec.containers or spec.initContainers */
    const sp_json *image;     /* "config" of the image configuration, may be NULL */
    const sp_json *env;       /* resolved: array of {"name","value"} */
    sp_str passwd, group;     /* /etc/passwd and /etc/group of the image, may be empty */
    const char *rootfs;       /* "rootfs" */
    const char *cgroup;       /* "/sampan/UID/NAME-0" */
    const char *ns_dir;       /* where the pod's namespaces are named */
    const sp_json *devices;   /* for privileged containers: array of device nodes, may be NULL */
    SP_VEC(sp_oci_mount) mounts;
    sp_oci_host host;
} sp_oci_input;

SP_MUST_USE bool sp_oci_config(sp_arena *a, const sp_oci_input *in, sp_json **ret, sp_err *err);
void sp_oci_host_read(sp_oci_host *ret);
sp_json *sp_oci_devices(sp_arena *a); /* all of this machine */

/* --- parts, each tested by itself --- */

/* A reference to another object's key, as the environment needs it. NULL = missing. */
typedef struct sp_env_source {
    /* kind: "ConfigMap" or "Secret"; the object, or NULL. */
    const sp_json *(*object)(void *ctx, const char *kind, sp_str name);
    /* fieldRef paths that only the node knows: status.podIP, status.hostIP, spec.nodeName. */
    sp_str pod_ip, host_ip;
    void *ctx;
} sp_env_source;

/* container.envFrom and env, later ones winning, $(NAME) expanded. Missing objects or keys that are
 * not optional are errors naming them. */
SP_MUST_USE bool sp_env_resolve(sp_arena *a, const sp_json *pod, const sp_json *container,
                                const sp_env_source *source, sp_json **ret, sp_err *err);
/* $(NAME) by env (array of name/value), $$ is $; unknown names stay as they are. */
sp_str sp_env_expand(sp_arena *a, sp_str text, const sp_json *env);
/* metadata.name, metadata.labels['k'], …; limits.cpu and the like for resourceFieldRef. */
SP_MUST_USE bool sp_env_field(sp_arena *a, const sp_json *pod, const sp_env_source *source,
                              sp_str path, sp_str *ret, sp_err *err);
SP_MUST_USE bool sp_env_resource(sp_arena *a, const sp_json *pod, const sp_json *container,
                                 const sp_json *ref, sp_str *ret, sp_err *err);

typedef struct sp_oci_user {
    int64_t uid, gid;
    SP_VEC(int64_t) extra; /* supplementary groups */
    sp_str home;           /* "" = unknown */
} sp_oci_user;
/* "name", "1000", "name:group", "1000:1000" or "" (root) as an image says it. */
SP_MUST_USE bool sp_oci_user_find(sp_str spec, sp_str passwd, sp_str group, sp_oci_user *ret,
                                  sp_err *err);

/* "Guaranteed", "Burstable", "BestEffort" (kubernetes.io/docs/concepts/workloads/pods/pod-qos). */
const char *sp_pod_qos(const sp_json *pod);
