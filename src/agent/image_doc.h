/* The three documents of an image (OCI image-spec 1.1 and Docker schema 2): index or manifest
 * list, manifest, configuration. All come from outside: sizes, digests and types are checked. */
#pragma once
#include "base/vec.h"
#include "data/json.h"

#define SP_MEDIA_INDEX "application/vnd.oci.image.index.v1+json"
#define SP_MEDIA_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define SP_MEDIA_CONFIG "application/vnd.oci.image.config.v1+json"
#define SP_MEDIA_LAYER "application/vnd.oci.image.layer.v1.tar"
#define SP_MEDIA_DOCKER_LIST "application/vnd.docker.distribution.manifest.list.v2+json"
#define SP_MEDIA_DOCKER_MANIFEST "application/vnd.docker.distribution.manifest.v2+json"

enum { SP_IMAGE_MAX_LAYERS = 127, SP_IMAGE_MAX_DOC = 4 << 20 };

typedef struct sp_image_desc {
    sp_str media_type, digest;
    int64_t size;
} sp_image_desc;

typedef struct sp_image_manifest {
    sp_image_desc config;
    SP_VEC(sp_image_desc) layers; /* lowest first */
} sp_image_manifest;
void sp_image_manifest_free(sp_image_manifest *m); /* the vector */

typedef struct sp_image_config {
    const sp_json *root, *config; /* the document and its "config" object (may be NULL) */
    const sp_json *diff_ids;      /* ARRAY of digests, lowest first */
} sp_image_config;

typedef struct sp_image_platform {
    const char *os, *arch, *variant; /* "linux", "amd64", "" */
} sp_image_platform;
sp_image_platform sp_image_platform_host(void);

/* Text lives in the arena. */
SP_MUST_USE bool sp_image_manifest_parse(sp_arena *a, sp_str text, sp_image_manifest *ret,
                                         sp_err *err);
SP_MUST_USE bool sp_image_config_parse(sp_arena *a, sp_str text, sp_image_config *ret, sp_err *err);
/* True when the text is an index or manifest list rather than a manifest. */
bool sp_image_is_index(const sp_json *doc);
/* The manifest for this platform; the error lists what there is. */
SP_MUST_USE bool sp_image_index_pick(const sp_json *index, sp_image_platform p, sp_image_desc *ret,
                                     sp_err *err);
SP_MUST_USE bool sp_image_desc_parse(const sp_json *j, const char *what, sp_image_desc *ret,
                                     sp_err *err);
