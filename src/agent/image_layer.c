/* Unpacking a layer for overlayfs, and installing an image whose blobs are here.
 *
 * Two libarchive readers in a row: the first takes gzip or zstd off, what comes out is hashed (that
 * hash is the diffID) and feeds the second, which reads tar. The writer's secure flags refuse
 * absolute paths, ".." and paths through symbolic links; links and attributes are checked here.
 * Whiteouts (image-spec, layer.md) become what overlayfs understands: a 0:0 character device, or
 * the attribute trusted.overlay.opaque on the directory. */
#include "agent/archive_lib.h"
#include "agent/digest.h"
#include "agent/image_store.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

/* One layer, against bombs. Before that the disk's room ends it. */
static const int64_t max_unpacked = 64LL << 30;
enum { MAX_LAYER_ENTRIES = 4 << 20, LOOK_BYTES = 16 << 20, LOOK_ENTRIES = 1024 };

typedef struct unpacker {
    const sp_archive_lib *lib;
    struct archive *packed, *tar, *disk;
    sp_digest *digest;
    int64_t unpacked, total; /* bytes out; bytes of the blob */
    int64_t looked_at;       /* unpacked, when we last looked for room */
    size_t entries;
    sp_image_store *store;
    const char *what;
    sp_image_progress *progress;
    void *ctx;
} unpacker;

static bool archive_fail(unpacker *u, struct archive *ar, const char *doing, sp_err *err) {
    const char *why = ar ? u->lib->archive_error_string(ar) : NULL;
    return sp_fail(err, SP_INVALID, "%s: %s", doing, why ? why : "broken data");
}

/* libarchive's read callback of the tar reader. */
static la_ssize_t pass_on(struct archive *tar, void *ctx, const void **ret) {
    unpacker *u = ctx;
    size_t n = 0;
    la_int64_t offset;
    int rc = u->lib->archive_read_data_block(u->packed, ret, &n, &offset);
    if (rc == ARCHIVE_EOF) return 0;
    if (rc < ARCHIVE_WARN) {
        u->lib->archive_set_error(tar, EIO, "%s", u->lib->archive_error_string(u->packed));
        return -1;
    }
    sp_digest_add(u->digest, *ret, n);
    u->unpacked += (int64_t)n;
    if (u->unpacked > max_unpacked) {
        u->lib->archive_set_error(tar, EFBIG, "more than 64 GiB unpacked");
        return -1;
    }
    if (u->progress)
        u->progress(u->ctx, u->what, u->lib->archive_filter_bytes(u->packed, -1), u->total);
    return (la_ssize_t)n;
}

static bool open_readers(unpacker *u, const char *blob, sp_err *err) {
    const sp_archive_lib *lib = u->lib;
    struct archive_entry *entry;
    u->packed = lib->archive_read_new();
    lib->archive_read_support_filter_gzip(u->packed);
    lib->archive_read_support_filter_zstd(u->packed);
    lib->archive_read_support_format_raw(u->packed);
    lib->archive_read_support_format_empty(u->packed);
    if (lib->archive_read_open_filename(u->packed, blob, 65536) != ARCHIVE_OK ||
        lib->archive_read_next_header(u->packed, &entry) < ARCHIVE_WARN)
        return archive_fail(u, u->packed, "read the layer", err);
    u->tar = lib->archive_read_new();
    lib->archive_read_support_format_tar(u->tar);
    lib->archive_read_support_format_empty(u->tar);
    if (lib->archive_read_open(u->tar, u, NULL, pass_on, NULL) != ARCHIVE_OK)
        return archive_fail(u, u->tar, "read the layer", err);
    u->disk = lib->archive_write_disk_new();
    lib->archive_write_disk_set_options(
        u->disk, ARCHIVE_EXTRACT_PERM | ARCHIVE_EXTRACT_TIME | ARCHIVE_EXTRACT_XATTR |
                     (geteuid() == 0 ? ARCHIVE_EXTRACT_OWNER : 0) |
                     ARCHIVE_EXTRACT_SECURE_SYMLINKS | ARCHIVE_EXTRACT_SECURE_NODOTDOT |
                     ARCHIVE_EXTRACT_SECURE_NOABSOLUTEPATHS);
    return true;
}

/* "./usr/bin/" and "/usr/bin" are both usr/bin; "" is the root itself. */
static const char *relative(const char *path) {
    for (;;) {
        while (*path == '/') path++;
        if (path[0] == '.' && (path[1] == '/' || !path[1]))
            path++;
        else
            return path;
    }
}

static bool has_dotdot(const char *path) {
    for (sp_str part, rest = sp_str_z(path); sp_str_cut(&rest, '/', &part);)
        if (sp_str_eqz(part, "..")) return true;
    return false;
}

/* Opens the directory part without following symbolic links, making what is missing. Returns the
 * descriptor, and the last part of the path. */
static int open_parent(const char *path, const char **ret_name, sp_err *err) {
    int dir = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const char *at = path;
    for (const char *slash; dir >= 0 && (slash = strchr(at, '/')); at = slash + 1) {
        char part[NAME_MAX + 1];
        size_t n = (size_t)(slash - at);
        if (!n) continue;
        if (n > NAME_MAX) break;
        memcpy(part, at, n);
        part[n] = 0;
        if (mkdirat(dir, part, 0755) != 0 && errno != EEXIST) break;
        int next = openat(dir, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        close(dir);
        dir = next;
    }
    if (dir < 0 || strchr(at, '/')) {
        sp_fail_errno(err, errno, "whiteout %s", path);
        if (dir >= 0) close(dir);
        return -1;
    }
    *ret_name = at;
    return dir;
}

static bool whiteout(const char *path, sp_err *err) {
    const char *name = NULL;
    int dir = open_parent(path, &name, err);
    if (dir < 0) return false;
    bool ok;
    if (strcmp(name, ".wh..wh..opq") == 0) {
        ok = fsetxattr(dir, "trusted.overlay.opaque", "y", 1, 0) == 0;
    } else if (!name[4] || strncmp(name, ".wh..wh.", 8) == 0) {
        ok = true; /* aufs bookkeeping means nothing here */
    } else {
        ok = mknodat(dir, name + 4, S_IFCHR, makedev(0, 0)) == 0 || errno == EEXIST;
    }
    int saved = errno;
    close(dir);
    return ok || sp_fail_errno(err, saved, "whiteout %s", path);
}

/* Attributes of overlayfs in an archive would redirect lookups out of the layer. */
static void keep_safe_attributes(unpacker *u, struct archive_entry *e) {
    const char *name;
    const void *value;
    size_t n;
    struct {
        char *name;
        void *value;
        size_t n;
    } kept[32];
    size_t count = 0;
    u->lib->archive_entry_xattr_reset(e);
    while (u->lib->archive_entry_xattr_next(e, &name, &value, &n) == ARCHIVE_OK) {
        bool safe = strcmp(name, "security.capability") == 0 ||
                    (strncmp(name, "user.", 5) == 0 && strncmp(name, "user.overlay.", 13) != 0);
        if (!safe || count == SP_COUNT(kept)) continue;
        kept[count].name = sp_strdup(name);
        kept[count].value = memcpy(sp_malloc(n + 1), value, n);
        kept[count++].n = n;
    }
    u->lib->archive_entry_xattr_clear(e);
    for (size_t i = 0; i < count; i++) {
        u->lib->archive_entry_xattr_add_entry(e, kept[i].name, kept[i].value, kept[i].n);
        free(kept[i].name);
        free(kept[i].value);
    }
}

static bool set_paths(unpacker *u, struct archive_entry *e, const char *path, sp_err *err) {
    sp_auto(sp_buf) copy = {0};
    sp_buf_addz(&copy, *path ? path : ".");
    if (has_dotdot(path))
        return sp_fail(err, SP_INVALID, "the layer has a path with \"..\": %.200s", path);
    u->lib->archive_entry_set_pathname(e, copy.p);
    const char *target = u->lib->archive_entry_hardlink(e);
    if (target) {
        sp_buf_clear(&copy);
        sp_buf_addz(&copy, relative(target));
        if (has_dotdot(copy.p))
            return sp_fail(err, SP_INVALID, "the layer has a hard link out of it: %.200s", target);
        u->lib->archive_entry_set_hardlink(e, copy.p);
    }
    u->lib->archive_entry_set_fflags(e, 0, 0);
    return true;
}

static bool room(unpacker *u, sp_err *err) {
    bool look = u->entries++ % LOOK_ENTRIES == 0 || u->unpacked - u->looked_at >= LOOK_BYTES;
    if (u->entries > MAX_LAYER_ENTRIES)
        return sp_fail(err, SP_TOO_LARGE, "the layer has more than %d entries", MAX_LAYER_ENTRIES);
    if (!look) return true;
    u->looked_at = u->unpacked;
    return sp_image_store_room(u->store, 0, err);
}

static bool copy_data(unpacker *u, sp_err *err) {
    const void *p;
    size_t n;
    la_int64_t offset;
    for (;;) {
        int rc = u->lib->archive_read_data_block(u->tar, &p, &n, &offset);
        if (rc == ARCHIVE_EOF) return true;
        if (rc < ARCHIVE_WARN) return archive_fail(u, u->tar, "read the layer", err);
        if (u->unpacked - u->looked_at >= LOOK_BYTES && !room(u, err)) return false;
        if (u->lib->archive_write_data_block(u->disk, p, n, offset) < ARCHIVE_WARN)
            return archive_fail(u, u->disk, "unpack the layer", err);
    }
}

static bool extract_one(unpacker *u, struct archive_entry *e, sp_err *err) {
    const char *raw = u->lib->archive_entry_pathname(e);
    if (!raw) return sp_fail(err, SP_INVALID, "the layer has an entry without a name");
    sp_auto(sp_buf) path = {0};
    sp_buf_addz(&path, relative(raw));
    const char *slash = strrchr(sp_buf_z(&path), '/');
    const char *name = slash ? slash + 1 : sp_buf_z(&path);
    if (strncmp(name, ".wh.", 4) == 0 && !has_dotdot(path.p)) return whiteout(path.p, err);
    keep_safe_attributes(u, e);
    if (!set_paths(u, e, sp_buf_z(&path), err)) return false;
    if (u->lib->archive_write_header(u->disk, e) < ARCHIVE_WARN)
        return archive_fail(u, u->disk, "unpack the layer", err);
    if (u->lib->archive_entry_size(e) > 0 && !copy_data(u, err)) return false;
    return u->lib->archive_write_finish_entry(u->disk) >= ARCHIVE_WARN ||
           archive_fail(u, u->disk, "unpack the layer", err);
}

static bool extract_all(unpacker *u, sp_err *err) {
    for (;;) {
        struct archive_entry *e;
        int rc = u->lib->archive_read_next_header(u->tar, &e);
        if (rc == ARCHIVE_EOF) break;
        if (rc < ARCHIVE_WARN) return archive_fail(u, u->tar, "read the layer", err);
        if (!room(u, err)) return false;
        if (!extract_one(u, e, err)) return false;
    }
    const void *p;
    for (la_ssize_t n; (n = pass_on(u->tar, u, &p)) != 0;) /* what follows the end mark counts */
        if (n < 0) return archive_fail(u, u->tar, "read the layer", err);
    return u->lib->archive_write_close(u->disk) >= ARCHIVE_WARN ||
           archive_fail(u, u->disk, "unpack the layer", err);
}

static void close_all(unpacker *u) {
    if (u->tar) u->lib->archive_read_free(u->tar);
    if (u->packed) u->lib->archive_read_free(u->packed);
    if (u->disk) u->lib->archive_write_free(u->disk);
    sp_digest_free(u->digest);
}

static bool unpack_here(unpacker *u, const char *blob, sp_str diff_id, sp_err *err) {
    char have[SP_DIGEST_TEXT + 1];
    if (!open_readers(u, blob, err) || !extract_all(u, err)) return false;
    sp_digest_end(u->digest, have);
    return sp_str_eqz(diff_id, have) ||
           sp_fail(err, SP_INVALID, "the layer's diffID is %s, the image says %.*s", have,
                   SP_ARG(diff_id));
}

/* Into tmp/, then renamed: a layer directory is complete or absent. */
static bool unpack_and_publish(sp_image_store *s, unpacker *u, const char *blob, sp_str diff_id,
                               const char *final, sp_err *err) {
    char tmp[PATH_MAX];
    snprintf(tmp, sizeof tmp, "%s/tmp/layer.XXXXXX", sp_image_store_dir(s));
    if (!mkdtemp(tmp)) return sp_fail_errno(err, errno, "create %s", tmp);
    int back = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = chmod(tmp, 0755) == 0 && chdir(tmp) == 0;
    if (!ok) sp_fail_errno(err, errno, "enter %s", tmp);
    mode_t mask = umask(022); /* of directories that the archive only implies */
    ok = ok && unpack_here(u, blob, diff_id, err);
    umask(mask);
    if (back >= 0) {
        if (fchdir(back) != 0 && ok) ok = sp_fail_errno(err, errno, "leave %s", tmp);
        close(back);
    }
    if (ok && rename(tmp, final) != 0 && errno != EEXIST && errno != ENOTEMPTY)
        ok = sp_fail_errno(err, errno, "rename %s", tmp);
    return sp_remove_all(tmp, ok ? err : NULL) && ok;
}

/* Verifies diff_id while unpacking. Changes the working directory during the call, so it belongs
 * into a process that does nothing else. */
static bool unpack_layer(sp_image_store *s, const sp_image_desc *layer, sp_str diff_id,
                         sp_image_progress *progress, void *ctx, sp_err *err) {
    sp_auto(sp_buf) final = {0};
    sp_auto(sp_buf) blob = {0};
    sp_image_layer_path(s, diff_id, &final);
    if (sp_file_exists(final.p)) return true;
    sp_image_blob_path(s, layer->digest, &blob);
    char what[40];
    snprintf(what, sizeof what, "unpacking %.12s", sp_digest_hex(layer->digest).p);
    unpacker u = {.lib = sp_archive_lib_load(err),
                  .store = s,
                  .total = layer->size,
                  .what = what,
                  .progress = progress,
                  .ctx = ctx};
    if (!u.lib) return false;
    u.digest = sp_digest_new();
    bool ok = unpack_and_publish(s, &u, blob.p, diff_id, final.p, err);
    close_all(&u);
    return ok || sp_err_wrap(err, "layer %.*s", SP_ARG(layer->digest));
}

static bool install_layers(sp_image_store *s, const sp_image_manifest *m, const sp_json *diff_ids,
                           sp_image_progress *progress, void *ctx, sp_err *err) {
    if (diff_ids->count != m->layers.n)
        return sp_fail(err, SP_INVALID, "the manifest has %zu layers, the configuration %zu",
                       m->layers.n, diff_ids->count);
    size_t i = 0;
    sp_json_each(diff_ids, id) {
        if (!unpack_layer(s, &m->layers.p[i++], sp_json_str(id), progress, ctx, err)) return false;
    }
    return true;
}

bool sp_image_install(sp_image_store *s, sp_str name, sp_str manifest_digest,
                      sp_image_progress *progress, void *ctx, sp_err *err) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_auto(sp_buf) text = {0};
    sp_image_manifest m = {0};
    sp_image_config config;
    if (!sp_image_blob_read(s, manifest_digest, &text, err) ||
        !sp_image_manifest_parse(a, sp_buf_str(&text), &m, err))
        return sp_err_wrap(err, "image %.*s", SP_ARG(name));
    sp_buf_clear(&text);
    bool ok = sp_image_blob_read(s, m.config.digest, &text, err) &&
              sp_image_config_parse(a, sp_buf_str(&text), &config, err) &&
              install_layers(s, &m, config.diff_ids, progress, ctx, err) &&
              sp_image_tag(s, name, manifest_digest, err);
    sp_image_manifest_free(&m);
    return ok || sp_err_wrap(err, "image %.*s", SP_ARG(name));
}
