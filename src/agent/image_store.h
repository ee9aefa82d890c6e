/* The images of this machine: an OCI image layout under DATA/images, plus every layer unpacked
 * once.
 *
 *   DATA/images/oci-layout, index.json     names → manifest digests (io.containerd.image.name)
 *   DATA/images/blobs/sha256/HEX           manifests, configurations, compressed layers
 *   DATA/images/layers/HEX                 the unpacked layer with that diffID, ready for overlayfs
 *   DATA/images/lock                       flock: shared while images are added or containers are
 *                                          made from them, exclusive while things are removed
 *
 * Several processes use it at once (agent, `sampan image …`); everything appears by rename.
 * Blocking; any thread. */
#pragma once
#include "agent/image_doc.h"
#include "agent/image_ref.h"

typedef struct sp_image_store sp_image_store;

/* Creates the directories where they are missing. */
SP_MUST_USE bool sp_image_store_open(const char *data_dir, sp_image_store **ret, sp_err *err);
sp_image_store *sp_image_store_free(sp_image_store *s);
SP_DEFINE_CLEANUP_PTR(sp_image_store, sp_image_store_free)
const char *sp_image_store_dir(const sp_image_store *s); /* DATA/images */

/* Waits; close the descriptor to unlock. -1 on failure. */
int sp_image_store_lock(sp_image_store *s, bool exclusive, sp_err *err);
/* Shared, for the loop thread: does not wait. SP_UNAVAILABLE while unused images are removed. */
int sp_image_store_lock_now(sp_image_store *s, sp_err *err);

/* Whether `bytes` more fit on the disk and leave it usable (256 MiB, 4096 files). */
SP_MUST_USE bool sp_image_store_room(const sp_image_store *s, int64_t bytes, sp_err *err);

/* --- blobs --- */
typedef struct sp_blob_writer sp_blob_writer;
SP_MUST_USE bool sp_blob_writer_new(sp_image_store *s, sp_blob_writer **ret, sp_err *err);
SP_MUST_USE bool sp_blob_writer_add(sp_blob_writer *w, const void *p, size_t n, sp_err *err);
/* Publishes under the digest of what was written; expected may be {0}. Frees w in every case. */
SP_MUST_USE bool sp_blob_writer_commit(sp_blob_writer *w, sp_str expected, char ret_digest[72],
                                       sp_err *err);
sp_blob_writer *sp_blob_writer_free(sp_blob_writer *w); /* drops what was written */

SP_MUST_USE bool sp_image_blob_put(sp_image_store *s, sp_str bytes, char ret_digest[72],
                                   sp_err *err);
/* A document of at most SP_IMAGE_MAX_DOC bytes, its digest checked; appended to *out. */
SP_MUST_USE bool sp_image_blob_read(sp_image_store *s, sp_str digest, sp_buf *out, sp_err *err);
bool sp_image_blob_has(sp_image_store *s, sp_str digest);
void sp_image_blob_path(const sp_image_store *s, sp_str digest, sp_buf *out);
void sp_image_layer_path(const sp_image_store *s, sp_str diff_id, sp_buf *out);

/* --- images --- */
typedef struct sp_image {
    sp_str name;        /* docker.io/library/nginx:latest */
    sp_str digest;      /* of the manifest */
    int64_t size_bytes; /* of manifest, configuration and layers as stored */
    sp_image_config config;
} sp_image;
typedef SP_VEC(sp_image) sp_images;

/* text: any reference. SP_NOT_FOUND when it is not here. Lives in the arena. */
SP_MUST_USE bool sp_image_find(sp_image_store *s, sp_arena *a, sp_str text, sp_image *ret,
                               sp_err *err);
SP_MUST_USE bool sp_image_list(sp_image_store *s, sp_arena *a, sp_images *ret, sp_err *err);
/* Points the name at a manifest whose blobs and layers are here. Replaces an older entry. */
SP_MUST_USE bool sp_image_tag(sp_image_store *s, sp_str name, sp_str digest, sp_err *err);
/* The name only; sp_image_gc frees the space. */
SP_MUST_USE bool sp_image_untag(sp_image_store *s, sp_str text, sp_err *err);

/* Removes blobs and layers that neither a name nor a container of DATA/pods uses. */
typedef struct sp_image_gc_result {
    size_t blobs, layers;
    int64_t bytes;
} sp_image_gc_result;
SP_MUST_USE bool sp_image_gc(sp_image_store *s, sp_image_gc_result *ret, sp_err *err);

/* --- adding images --- */
/* Called now and then; total 0 = unknown. */
typedef void sp_image_progress(void *ctx, const char *what, int64_t done, int64_t total);

/* Unpacks what is missing of a manifest whose blobs are here, then tags it. */
SP_MUST_USE bool sp_image_install(sp_image_store *s, sp_str name, sp_str manifest_digest,
                                  sp_image_progress *progress, void *ctx, sp_err *err);
/* docker-archive, oci-archive (plain or compressed) or the directory of an OCI layout. name: {0}
 * takes the names the archive gives. Appends one line per image added ("NAME DIGEST\n"). */
SP_MUST_USE bool sp_image_import(sp_image_store *s, const char *path, sp_str name,
                                 sp_image_progress *progress, void *ctx, sp_buf *ret_added,
                                 sp_err *err);
/* From a registry by the OCI distribution protocol. Blocking network: only in a process of its
 * own (`sampan image pull`). */
SP_MUST_USE bool sp_image_pull(sp_image_store *s, sp_str reference, sp_image_progress *progress,
                               void *ctx, char ret_digest[72], sp_err *err);
