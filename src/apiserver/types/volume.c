/* Volumes of a pod: where they come from (VolumeSource, inlined into Volume) and where they are
 * mounted. */
#include "apiserver/types/types.h"

FIELDS(host_path_volume_source) = {
    {"path", 1, STRING, "Path on the node.", REQUIRED},
    {"type", 2, STRING_DEFAULT(""),
     "What must be there: Directory, File, DirectoryOrCreate …; empty = anything.", POINTER},
};
TYPE(host_path_volume_source, "HostPathVolumeSource", NULL);

FIELDS(empty_dir_volume_source) = {
    {"medium", 1, STRING, "Memory keeps it in RAM; empty = disk."},
    {"sizeLimit", 2, QUANTITY, "Most it may hold.", POINTER},
    {"mode", 3, INT32, NULL, POINTER},
};
TYPE(empty_dir_volume_source, "EmptyDirVolumeSource", NULL);

FIELDS(gce_persistent_disk_volume_source) = {
    {"pdName", 1, STRING, NULL, REQUIRED},
    {"fsType", 2, STRING},
    {"partition", 3, INT32},
    {"readOnly", 4, BOOL},
};
TYPE(gce_persistent_disk_volume_source, "GCEPersistentDiskVolumeSource", NULL);

FIELDS(aws_elastic_block_store_volume_source) = {
    {"volumeID", 1, STRING, NULL, REQUIRED},
    {"fsType", 2, STRING},
    {"partition", 3, INT32},
    {"readOnly", 4, BOOL},
};
TYPE(aws_elastic_block_store_volume_source, "AWSElasticBlockStoreVolumeSource", NULL);

FIELDS(git_repo_volume_source) = {
    {"repository", 1, STRING, NULL, REQUIRED},
    {"revision", 2, STRING},
    {"directory", 3, STRING},
};
TYPE(git_repo_volume_source, "GitRepoVolumeSource", NULL);

FIELDS(key_to_path) = {
    {"key", 1, STRING, "Which entry.", REQUIRED},
    {"path", 2, STRING, "File name below the mount.", REQUIRED},
    {"mode", 3, INT32, "Permission bits of the file.", POINTER},
    {"user", 4, INT64, NULL, POINTER},
};
TYPE(key_to_path, "KeyToPath", NULL);

FIELDS(secret_volume_source) = {
    {"secretName", 1, STRING, "Name of the Secret."},
    {"items", 2, LIST(T(key_to_path)), "Which entries, and under which file names; all if empty."},
    {"defaultMode", 3, INT32_DEFAULT("420"), "Permission bits of files; 0644 if missing.", POINTER},
    {"optional", 4, BOOL, "Start even if the Secret is not there.", POINTER},
    {"defaultUser", 5, INT64, NULL, POINTER},
};
TYPE(secret_volume_source, "SecretVolumeSource", NULL);

FIELDS(nfs_volume_source) = {
    {"server", 1, STRING, "Host that exports.", REQUIRED},
    {"path", 2, STRING, "Path it exports.", REQUIRED},
    {"readOnly", 3, BOOL, "Mount without the right to write."},
};
TYPE(nfs_volume_source, "NFSVolumeSource", NULL);

FIELDS(local_object_reference) = {
    {"name", 1, STRING, "Name of the object, in the same namespace."},
};
SHARED_TYPE(local_object_reference, "LocalObjectReference", NULL);

FIELDS(iscsi_volume_source) = {
    {"targetPortal", 1, STRING, NULL, REQUIRED},
    {"iqn", 2, STRING, NULL, REQUIRED},
    {"lun", 3, INT32, NULL, REQUIRED},
    {"iscsiInterface", 4, STRING},
    {"fsType", 5, STRING},
    {"readOnly", 6, BOOL},
    {"portals", 7, STRINGS},
    {"chapAuthDiscovery", 8, BOOL},
    {"chapAuthSession", 11, BOOL},
    {"secretRef", 10, T(local_object_reference), NULL, POINTER},
    {"initiatorName", 12, STRING, NULL, POINTER},
};
TYPE(iscsi_volume_source, "ISCSIVolumeSource", NULL);

FIELDS(glusterfs_volume_source) = {
    {"endpoints", 1, STRING, NULL, REQUIRED},
    {"path", 2, STRING, NULL, REQUIRED},
    {"readOnly", 3, BOOL},
};
TYPE(glusterfs_volume_source, "GlusterfsVolumeSource", NULL);

FIELDS(persistent_volume_claim_volume_source) = {
    {"claimName", 1, STRING, "Name of the claim.", REQUIRED},
    {"readOnly", 2, BOOL, "Mount without the right to write."},
};
TYPE(persistent_volume_claim_volume_source, "PersistentVolumeClaimVolumeSource", NULL);

FIELDS(rbd_volume_source) = {
    {"monitors", 1, STRINGS, NULL, REQUIRED},
    {"image", 2, STRING, NULL, REQUIRED},
    {"fsType", 3, STRING},
    {"pool", 4, STRING},
    {"user", 5, STRING},
    {"keyring", 6, STRING},
    {"secretRef", 7, T(local_object_reference), NULL, POINTER},
    {"readOnly", 8, BOOL},
};
TYPE(rbd_volume_source, "RBDVolumeSource", NULL);

FIELDS(flex_volume_source) = {
    {"driver", 1, STRING, NULL, REQUIRED},
    {"fsType", 2, STRING},
    {"secretRef", 3, T(local_object_reference), NULL, POINTER},
    {"readOnly", 4, BOOL},
    {"options", 5, STRING_MAP},
};
TYPE(flex_volume_source, "FlexVolumeSource", NULL);

FIELDS(cinder_volume_source) = {
    {"volumeID", 1, STRING, NULL, REQUIRED},
    {"fsType", 2, STRING},
    {"readOnly", 3, BOOL},
    {"secretRef", 4, T(local_object_reference), NULL, POINTER},
};
TYPE(cinder_volume_source, "CinderVolumeSource", NULL);

FIELDS(ceph_fs_volume_source) = {
    {"monitors", 1, STRINGS, NULL, REQUIRED},
    {"path", 2, STRING},
    {"user", 3, STRING},
    {"secretFile", 4, STRING},
    {"secretRef", 5, T(local_object_reference), NULL, POINTER},
    {"readOnly", 6, BOOL},
};
TYPE(ceph_fs_volume_source, "CephFSVolumeSource", NULL);

FIELDS(flocker_volume_source) = {
    {"datasetName", 1, STRING},
    {"datasetUUID", 2, STRING},
};
TYPE(flocker_volume_source, "FlockerVolumeSource", NULL);

FIELDS(object_field_selector) = {
    {"apiVersion", 1, STRING_DEFAULT("v1"), "Version the path is written for."},
    {"fieldPath", 2, STRING, "Field of the pod, as metadata.name or status.podIP.", REQUIRED},
};
SHARED_TYPE(object_field_selector, "ObjectFieldSelector", NULL);

FIELDS(resource_field_selector) = {
    {"containerName", 1, STRING, "Container whose resource is meant."},
    {"resource", 2, STRING, "As limits.cpu or requests.memory.", REQUIRED},
    {"divisor", 3, QUANTITY, "Unit the value is told in."},
};
SHARED_TYPE(resource_field_selector, "ResourceFieldSelector", NULL);

FIELDS(downward_api_volume_file) = {
    {"path", 1, STRING, "File name below the mount.", REQUIRED},
    {"fieldRef", 2, T(object_field_selector), "Field of the pod to write there.", POINTER},
    {"resourceFieldRef", 3, T(resource_field_selector), "Resource of a container to write there.",
     POINTER},
    {"mode", 4, INT32, NULL, POINTER},
    {"user", 5, INT64, NULL, POINTER},
};
TYPE(downward_api_volume_file, "DownwardAPIVolumeFile", NULL);

FIELDS(downward_api_volume_source) = {
    {"items", 1, LIST(T(downward_api_volume_file)), "Files to write."},
    {"defaultMode", 2, INT32_DEFAULT("420"), NULL, POINTER},
    {"defaultUser", 3, INT64, NULL, POINTER},
};
TYPE(downward_api_volume_source, "DownwardAPIVolumeSource", NULL);

FIELDS(fc_volume_source) = {
    {"targetWWNs", 1, STRINGS}, {"lun", 2, INT32, NULL, POINTER},
    {"fsType", 3, STRING},      {"readOnly", 4, BOOL},
    {"wwids", 5, STRINGS},
};
TYPE(fc_volume_source, "FCVolumeSource", NULL);

FIELDS(azure_file_volume_source) = {
    {"secretName", 1, STRING, NULL, REQUIRED},
    {"shareName", 2, STRING, NULL, REQUIRED},
    {"readOnly", 3, BOOL},
};
TYPE(azure_file_volume_source, "AzureFileVolumeSource", NULL);

FIELDS(config_map_volume_source) = {
    {"name", VIA(1, 1), STRING, "Name of the ConfigMap."},
    {"items", 2, LIST(T(key_to_path)), "Which entries, and under which file names; all if empty."},
    {"defaultMode", 3, INT32_DEFAULT("420"), "Permission bits of files; 0644 if missing.", POINTER},
    {"optional", 4, BOOL, "Start even if the ConfigMap is not there.", POINTER},
    {"defaultUser", 5, INT64, NULL, POINTER},
};
TYPE(config_map_volume_source, "ConfigMapVolumeSource", NULL);

FIELDS(vsphere_virtual_disk_volume_source) = {
    {"volumePath", 1, STRING, NULL, REQUIRED},
    {"fsType", 2, STRING},
    {"storagePolicyName", 3, STRING},
    {"storagePolicyID", 4, STRING},
};
TYPE(vsphere_virtual_disk_volume_source, "VsphereVirtualDiskVolumeSource", NULL);

FIELDS(quobyte_volume_source) = {
    {"registry", 1, STRING, NULL, REQUIRED},
    {"volume", 2, STRING, NULL, REQUIRED},
    {"readOnly", 3, BOOL},
    {"user", 4, STRING},
    {"group", 5, STRING},
    {"tenant", 6, STRING},
};
TYPE(quobyte_volume_source, "QuobyteVolumeSource", NULL);

FIELDS(azure_disk_volume_source) = {
    {"diskName", 1, STRING, NULL, REQUIRED},   {"diskURI", 2, STRING, NULL, REQUIRED},
    {"cachingMode", 3, STRING, NULL, POINTER}, {"fsType", 4, STRING, NULL, POINTER},
    {"readOnly", 5, BOOL, NULL, POINTER},      {"kind", 6, STRING, NULL, POINTER},
};
TYPE(azure_disk_volume_source, "AzureDiskVolumeSource", NULL);

FIELDS(photon_persistent_disk_volume_source) = {
    {"pdID", 1, STRING, NULL, REQUIRED},
    {"fsType", 2, STRING},
};
TYPE(photon_persistent_disk_volume_source, "PhotonPersistentDiskVolumeSource", NULL);

FIELDS(secret_projection) = {
    {"name", VIA(1, 1), STRING, "Name of the object, in the same namespace."},
    {"items", 2, LIST(T(key_to_path))},
    {"optional", 4, BOOL, NULL, POINTER},
};
TYPE(secret_projection, "SecretProjection", NULL);

FIELDS(downward_api_projection) = {
    {"items", 1, LIST(T(downward_api_volume_file))},
};
TYPE(downward_api_projection, "DownwardAPIProjection", NULL);

FIELDS(config_map_projection) = {
    {"name", VIA(1, 1), STRING, "Name of the object, in the same namespace."},
    {"items", 2, LIST(T(key_to_path))},
    {"optional", 4, BOOL, NULL, POINTER},
};
TYPE(config_map_projection, "ConfigMapProjection", NULL);

FIELDS(service_account_token_projection) = {
    {"audience", 1, STRING, "Who is to accept the token."},
    {"expirationSeconds", 2, INT64_DEFAULT("3600"), "Seconds until the token ends.", POINTER},
    {"path", 3, STRING, "File name below the mount.", REQUIRED},
    {"user", 4, INT64, NULL, POINTER},
};
TYPE(service_account_token_projection, "ServiceAccountTokenProjection", NULL);

FIELDS(cluster_trust_bundle_projection) = {
    {"name", 1, STRING, NULL, POINTER},
    {"signerName", 2, STRING, NULL, POINTER},
    {"labelSelector", 3, T(label_selector), NULL, POINTER},
    {"optional", 5, BOOL, NULL, POINTER},
    {"path", 4, STRING, NULL, REQUIRED},
    {"user", 6, INT64, NULL, POINTER},
};
TYPE(cluster_trust_bundle_projection, "ClusterTrustBundleProjection", NULL);

FIELDS(pod_certificate_projection) = {
    {"signerName", 1, STRING},
    {"keyType", 2, STRING},
    {"maxExpirationSeconds", 3, INT32, NULL, POINTER},
    {"credentialBundlePath", 4, STRING},
    {"keyPath", 5, STRING},
    {"certificateChainPath", 6, STRING},
    {"userAnnotations", 7, STRING_MAP},
    {"user", 8, INT64, NULL, POINTER},
};
TYPE(pod_certificate_projection, "PodCertificateProjection", NULL);

FIELDS(volume_projection) = {
    {"secret", 1, T(secret_projection), "Entries of a Secret.", POINTER},
    {"downwardAPI", 2, T(downward_api_projection), "Facts about the pod.", POINTER},
    {"configMap", 3, T(config_map_projection), "Entries of a ConfigMap.", POINTER},
    {"serviceAccountToken", 4, T(service_account_token_projection),
     "A token of the pod's ServiceAccount.", POINTER},
    {"clusterTrustBundle", 5, T(cluster_trust_bundle_projection), NULL, POINTER},
    {"podCertificate", 6, T(pod_certificate_projection), NULL, POINTER},
};
TYPE(volume_projection, "VolumeProjection", NULL);

FIELDS(projected_volume_source) = {
    {"sources", 1, LIST(T(volume_projection)), "What is put together."},
    {"defaultMode", 2, INT32_DEFAULT("420"), "Permission bits of files; 0644 if missing.", POINTER},
    {"defaultUser", 3, INT64, NULL, POINTER},
};
TYPE(projected_volume_source, "ProjectedVolumeSource", NULL);

FIELDS(portworx_volume_source) = {
    {"volumeID", 1, STRING, NULL, REQUIRED},
    {"fsType", 2, STRING},
    {"readOnly", 3, BOOL},
};
TYPE(portworx_volume_source, "PortworxVolumeSource", NULL);

FIELDS(scale_io_volume_source) = {
    {"gateway", 1, STRING, NULL, REQUIRED},
    {"system", 2, STRING, NULL, REQUIRED},
    {"secretRef", 3, T(local_object_reference), NULL, POINTER},
    {"sslEnabled", 4, BOOL},
    {"protectionDomain", 5, STRING},
    {"storagePool", 6, STRING},
    {"storageMode", 7, STRING},
    {"volumeName", 8, STRING},
    {"fsType", 9, STRING},
    {"readOnly", 10, BOOL},
};
TYPE(scale_io_volume_source, "ScaleIOVolumeSource", NULL);

FIELDS(storage_os_volume_source) = {
    {"volumeName", 1, STRING},
    {"volumeNamespace", 2, STRING},
    {"fsType", 3, STRING},
    {"readOnly", 4, BOOL},
    {"secretRef", 5, T(local_object_reference), NULL, POINTER},
};
TYPE(storage_os_volume_source, "StorageOSVolumeSource", NULL);

FIELDS(csi_volume_source) = {
    {"driver", 1, STRING, NULL, REQUIRED},
    {"readOnly", 2, BOOL, NULL, POINTER},
    {"fsType", 3, STRING, NULL, POINTER},
    {"volumeAttributes", 4, STRING_MAP},
    {"nodePublishSecretRef", 5, T(local_object_reference), NULL, POINTER},
};
TYPE(csi_volume_source, "CSIVolumeSource", NULL);

FIELDS(volume_resource_requirements) = {
    {"limits", 1, MAP(QUANTITY)},
    {"requests", 2, MAP(QUANTITY)},
};
TYPE(volume_resource_requirements, "VolumeResourceRequirements", NULL);

FIELDS(typed_local_object_reference) = {
    {"apiGroup", 1, STRING, NULL, POINTER},
    {"kind", 2, STRING, NULL, REQUIRED},
    {"name", 3, STRING, NULL, REQUIRED},
};
SHARED_TYPE(typed_local_object_reference, "TypedLocalObjectReference", NULL);

FIELDS(typed_object_reference) = {
    {"apiGroup", 1, STRING, NULL, POINTER},
    {"kind", 2, STRING, NULL, REQUIRED},
    {"name", 3, STRING, NULL, REQUIRED},
    {"namespace", 4, STRING, NULL, POINTER},
};
TYPE(typed_object_reference, "TypedObjectReference", NULL);

FIELDS(persistent_volume_claim_spec) = {
    {"accessModes", 1, STRINGS},
    {"selector", 4, T(label_selector), NULL, POINTER},
    {"resources", 2, T(volume_resource_requirements)},
    {"volumeName", 3, STRING},
    {"storageClassName", 5, STRING, NULL, POINTER},
    {"volumeMode", 6, STRING, NULL, POINTER},
    {"dataSource", 7, T(typed_local_object_reference), NULL, POINTER},
    {"dataSourceRef", 8, T(typed_object_reference), NULL, POINTER},
    {"volumeAttributesClassName", 9, STRING, NULL, POINTER},
};
TYPE(persistent_volume_claim_spec, "PersistentVolumeClaimSpec", NULL);

FIELDS(persistent_volume_claim_template) = {
    {"metadata", 1, T(object_meta)},
    {"spec", 2, T(persistent_volume_claim_spec)},
};
TYPE(persistent_volume_claim_template, "PersistentVolumeClaimTemplate", NULL);

FIELDS(ephemeral_volume_source) = {
    {"volumeClaimTemplate", 1, T(persistent_volume_claim_template), NULL, POINTER},
};
TYPE(ephemeral_volume_source, "EphemeralVolumeSource", NULL);

FIELDS(image_volume_source) = {
    {"reference", 1, STRING},
    {"pullPolicy", 2, STRING},
};
TYPE(image_volume_source, "ImageVolumeSource", NULL);

FIELDS(volume) = {
    {"name", 1, STRING, "Name by which containers mount it.", REQUIRED},
    {"hostPath", VIA(2, 1), T(host_path_volume_source), "A file or directory of the node.",
     POINTER},
    {"emptyDir", VIA(2, 2), T(empty_dir_volume_source),
     "A directory that starts empty and lives as long as the pod.", POINTER},
    {"gcePersistentDisk", VIA(2, 3), T(gce_persistent_disk_volume_source), NULL, POINTER},
    {"awsElasticBlockStore", VIA(2, 4), T(aws_elastic_block_store_volume_source), NULL, POINTER},
    {"gitRepo", VIA(2, 5), T(git_repo_volume_source), NULL, POINTER},
    {"secret", VIA(2, 6), T(secret_volume_source), "Entries of a Secret as files.", POINTER},
    {"nfs", VIA(2, 7), T(nfs_volume_source), "A network file system.", POINTER},
    {"iscsi", VIA(2, 8), T(iscsi_volume_source), NULL, POINTER},
    {"glusterfs", VIA(2, 9), T(glusterfs_volume_source), NULL, POINTER},
    {"persistentVolumeClaim", VIA(2, 10), T(persistent_volume_claim_volume_source),
     "Storage that outlives the pod.", POINTER},
    {"rbd", VIA(2, 11), T(rbd_volume_source), NULL, POINTER},
    {"flexVolume", VIA(2, 12), T(flex_volume_source), NULL, POINTER},
    {"cinder", VIA(2, 13), T(cinder_volume_source), NULL, POINTER},
    {"cephfs", VIA(2, 14), T(ceph_fs_volume_source), NULL, POINTER},
    {"flocker", VIA(2, 15), T(flocker_volume_source), NULL, POINTER},
    {"downwardAPI", VIA(2, 16), T(downward_api_volume_source), "Facts about the pod as files.",
     POINTER},
    {"fc", VIA(2, 17), T(fc_volume_source), NULL, POINTER},
    {"azureFile", VIA(2, 18), T(azure_file_volume_source), NULL, POINTER},
    {"configMap", VIA(2, 19), T(config_map_volume_source), "Entries of a ConfigMap as files.",
     POINTER},
    {"vsphereVolume", VIA(2, 20), T(vsphere_virtual_disk_volume_source), NULL, POINTER},
    {"quobyte", VIA(2, 21), T(quobyte_volume_source), NULL, POINTER},
    {"azureDisk", VIA(2, 22), T(azure_disk_volume_source), NULL, POINTER},
    {"photonPersistentDisk", VIA(2, 23), T(photon_persistent_disk_volume_source), NULL, POINTER},
    {"projected", VIA(2, 26), T(projected_volume_source), "Several sources in one directory.",
     POINTER},
    {"portworxVolume", VIA(2, 24), T(portworx_volume_source), NULL, POINTER},
    {"scaleIO", VIA(2, 25), T(scale_io_volume_source), NULL, POINTER},
    {"storageos", VIA(2, 27), T(storage_os_volume_source), NULL, POINTER},
    {"csi", VIA(2, 28), T(csi_volume_source), "Storage of a CSI driver for the life of the pod.",
     POINTER},
    {"ephemeral", VIA(2, 29), T(ephemeral_volume_source), "A claim made for the life of the pod.",
     POINTER},
    {"image", VIA(2, 30), T(image_volume_source), "The content of an OCI image.", POINTER},
};
SHARED_TYPE(volume, "Volume", "A directory that containers of a pod may share.");

FIELDS(volume_mount) = {
    {"name", 1, STRING, "Which volume.", REQUIRED},
    {"readOnly", 2, BOOL, "Mount without the right to write."},
    {"recursiveReadOnly", 7, STRING, NULL, POINTER},
    {"mountPath", 3, STRING, "Where the container sees it.", REQUIRED},
    {"subPath", 4, STRING, "Only this path of the volume."},
    {"mountPropagation", 5, ENUM("Bidirectional", "HostToContainer", "None"),
     "Whether mounts made later are seen on the other side.", POINTER},
    {"subPathExpr", 6, STRING, "The same, with $(VARIABLES) of the environment."},
    {"bindMountOptions", 8, STRINGS},
};
SHARED_TYPE(volume_mount, "VolumeMount", "Where a container sees a volume.");

FIELDS(volume_device) = {
    {"name", 1, STRING, NULL, REQUIRED},
    {"devicePath", 2, STRING, NULL, REQUIRED},
};
SHARED_TYPE(volume_device, "VolumeDevice", NULL);
