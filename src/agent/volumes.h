/* The volumes of a pod as directories on this machine, and how its containers see them.
 *
 * emptyDir lives in the pod's directory (medium Memory: a tmpfs); hostPath where it says;
 * configMap, secret, downwardAPI and projected are written out and replaced as a whole when their
 * objects change: readers see the old set of files or the new one (..data is one symbolic link that
 * is swapped, as kubelet does it). Secrets only ever touch a tmpfs. Blocking, small; loop thread.
 */
#pragma once
#include "agent/oci.h"

typedef struct sp_volume_input {
    const sp_json *pod;
    const char *pod_dir; /* DATA/pods/UID */
    const char *mem_dir; /* DATA/run/vol/UID, on a tmpfs */
    const sp_env_source *source;
} sp_volume_input;

typedef SP_VEC(sp_oci_mount) sp_oci_mounts;

/* Makes what is missing, rewrites what changed. Again and again is fine. The error names the volume
 * and says what is missing. */
SP_MUST_USE bool sp_volumes_set_up(const sp_volume_input *in, sp_err *err);
/* volumeMounts of one container, and /etc/hosts, /etc/hostname, /etc/resolv.conf, /dev/shm unless
 * the pod mounts something there itself. Appends; text lives in the arena. */
SP_MUST_USE bool sp_volumes_mounts(sp_arena *a, const sp_volume_input *in, const sp_json *container,
                                   const sp_json *env, sp_oci_mounts *ret, sp_err *err);
void sp_volumes_remove(const char *mem_dir); /* unmounts and removes mem_dir */

/* /etc files of the pod. ip "" = host network. */
SP_MUST_USE bool sp_volumes_write_etc(const sp_volume_input *in, const char *hostname,
                                      const char *ip, sp_err *err);

/* Every ConfigMap and Secret the pod names; may name one twice. */
typedef void sp_pod_ref_fn(void *ctx, const char *kind, sp_str name);
void sp_pod_refs(const sp_json *pod, sp_pod_ref_fn *fn, void *ctx);

/* --- a set of files that is replaced as a whole --- */
typedef struct sp_payload_file {
    sp_str path, bytes;
    unsigned mode;
} sp_payload_file;
typedef SP_VEC(sp_payload_file) sp_payload;
SP_MUST_USE bool sp_payload_write(const char *dir, const sp_payload *files, int64_t gid,
                                  sp_err *err);
