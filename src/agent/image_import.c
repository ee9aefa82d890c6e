/* Image archives into the store. One pass over the file: documents are kept in memory, everything
 * else goes into blobs as it comes, remembered under its path. Then the documents tell which of
 * those are images: index.json (OCI layout), else manifest.json (docker save). */
#include "agent/archive_lib.h"
#include "agent/digest.h"
#include "agent/image_store.h"
#include "base/file.h"
#include "base/map.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_ENTRIES = 20000, MAX_INDEX_DEPTH = 3 };

typedef struct importer {
    sp_image_store *store;
    sp_arena *arena;
    sp_map files;         /* path → char digest[] in the arena; symbolic links → "@target" */
    sp_str index, docker; /* the documents, {0} if missing */
    sp_str name;          /* wanted by the caller, may be {0} */
    sp_image_progress *progress;
    void *ctx;
    int64_t total;
    sp_buf *added;
} importer;

static bool is_document(const char *path, importer *im, sp_str **ret) {
    *ret = strcmp(path, "index.json") == 0      ? &im->index
           : strcmp(path, "manifest.json") == 0 ? &im->docker
                                                : NULL;
    return *ret != NULL;
}

/* What the file is called says its digest: blobs/sha256/HEX. */
static bool expected_digest(const char *path, char ret[SP_DIGEST_TEXT + 1]) {
    if (strncmp(path, "blobs/sha256/", 13) != 0) return false;
    snprintf(ret, SP_DIGEST_TEXT + 1, "sha256:%s", path + 13);
    return strlen(path + 13) == SP_DIGEST_HEX && sp_digest_valid(sp_str_z(ret));
}

static void remember(importer *im, const char *path, const char *what) {
    sp_map_put(&im->files, sp_str_z(path), sp_arena_strz(im->arena, sp_str_z(what)));
}

typedef la_ssize_t read_fn(void *ctx, const void **ret, sp_err *err); /* 0 = end, < 0 = err */

static bool take_document(importer *im, read_fn *next, void *ctx, sp_str *ret, sp_err *err) {
    sp_auto(sp_buf) text = {0};
    const void *p;
    la_ssize_t n;
    while ((n = next(ctx, &p, err)) > 0) {
        sp_buf_add(&text, (sp_str){p, (size_t)n});
        if (text.n > SP_IMAGE_MAX_DOC)
            return sp_fail(err, SP_TOO_LARGE, "a document of the archive is over 4 MiB");
    }
    *ret = sp_arena_str(im->arena, sp_buf_str(&text));
    return n == 0;
}

static bool take_blob(importer *im, const char *path, read_fn *next, void *ctx, sp_err *err) {
    char expected[SP_DIGEST_TEXT + 1] = "", have[72];
    sp_blob_writer *w = NULL;
    const void *p;
    la_ssize_t n = 0;
    bool named = expected_digest(path, expected);
    if (!sp_blob_writer_new(im->store, &w, err)) return false;
    bool written = true;
    while (written && (n = next(ctx, &p, err)) > 0)
        written = sp_blob_writer_add(w, p, (size_t)n, err);
    if (!written || n < 0) {
        sp_blob_writer_free(w);
        return false;
    }
    sp_str want = named ? sp_str_z(expected) : (sp_str){0};
    if (!sp_blob_writer_commit(w, want, have, err)) return sp_err_wrap(err, "%s", path);
    remember(im, path, have);
    return true;
}

static bool take_file(importer *im, const char *path, read_fn *next, void *ctx, sp_err *err) {
    sp_str *doc;
    if (is_document(path, im, &doc)) return take_document(im, next, ctx, doc, err);
    if (strcmp(path, "oci-layout") == 0 || strcmp(path, "repositories") == 0) return true;
    return take_blob(im, path, next, ctx, err);
}

/* ---------- from an archive ---------- */

typedef struct tar_reader {
    const sp_archive_lib *lib;
    struct archive *ar;
} tar_reader;

static la_ssize_t next_of_tar(void *ctx, const void **ret, sp_err *err) {
    tar_reader *t = ctx;
    size_t n = 0;
    la_int64_t offset;
    int rc = t->lib->archive_read_data_block(t->ar, ret, &n, &offset);
    if (rc == ARCHIVE_EOF) return 0;
    if (rc >= ARCHIVE_WARN) return (la_ssize_t)n;
    sp_fail(err, SP_INVALID, "the archive is damaged: %s", t->lib->archive_error_string(t->ar));
    return -1;
}

/* "./a/b" → "a/b". */
static const char *plain(const char *path) {
    while (path[0] == '.' && path[1] == '/') path += 2;
    return path;
}

/* docker save writes HEX/layer.tar as a link to ../HEX/layer.tar when layers repeat. */
static void remember_link(importer *im, const char *path, const char *target) {
    sp_auto(sp_buf) full = {0};
    const char *slash = strrchr(path, '/');
    while (strncmp(target, "../", 3) == 0 && slash) {
        target += 3;
        const char *up = slash;
        while (up > path && up[-1] != '/') up--;
        slash = up > path ? up - 1 : NULL;
    }
    sp_buf_addc(&full, '@');
    if (slash) sp_buf_add(&full, (sp_str){path, (size_t)(slash - path) + 1});
    sp_buf_addz(&full, target);
    remember(im, path, full.p);
}

static bool take_entry(importer *im, tar_reader *t, struct archive_entry *e, sp_err *err) {
    const char *raw = t->lib->archive_entry_pathname(e);
    if (!raw) return true;
    const char *path = plain(raw);
    const char *link = t->lib->archive_entry_symlink(e);
    if (!link) link = t->lib->archive_entry_hardlink(e);
    if (link) {
        remember_link(im, path, link);
        return true;
    }
    if (t->lib->archive_entry_filetype(e) != AE_IFREG) return true;
    if (im->progress)
        im->progress(im->ctx, "reading the archive", t->lib->archive_filter_bytes(t->ar, -1),
                     im->total);
    return take_file(im, path, next_of_tar, t, err);
}

static bool read_archive(importer *im, const char *path, sp_err *err) {
    tar_reader t = {.lib = sp_archive_lib_load(err)};
    if (!t.lib) return false;
    t.ar = t.lib->archive_read_new();
    t.lib->archive_read_support_filter_all(t.ar);
    t.lib->archive_read_support_format_tar(t.ar);
    bool ok = t.lib->archive_read_open_filename(t.ar, path, 1 << 20) == ARCHIVE_OK;
    int rc = ARCHIVE_OK;
    struct archive_entry *e;
    for (size_t n = 0; ok && (rc = t.lib->archive_read_next_header(t.ar, &e)) >= ARCHIVE_WARN &&
                       rc != ARCHIVE_EOF;
         n++)
        ok = n < MAX_ENTRIES ? take_entry(im, &t, e, err)
                             : sp_fail(err, SP_TOO_LARGE, "the archive has too many entries");
    if ((ok && rc < ARCHIVE_WARN) || (!ok && err && err->code == SP_OK))
        ok =
            sp_fail(err, SP_INVALID, "not an image archive: %s", t.lib->archive_error_string(t.ar));
    t.lib->archive_read_free(t.ar);
    return ok;
}

/* ---------- from a directory ---------- */

typedef struct file_reader {
    int fd;
    const char *path;
    char bytes[65536];
} file_reader;

static la_ssize_t next_of_file(void *ctx, const void **ret, sp_err *err) {
    file_reader *f = ctx;
    ssize_t n;
    while ((n = read(f->fd, f->bytes, sizeof f->bytes)) < 0 && errno == EINTR) {
    }
    if (n < 0) sp_fail_errno(err, errno, "read %s", f->path);
    *ret = f->bytes;
    return n;
}

static bool read_file(importer *im, const char *dir, const char *path, sp_err *err) {
    sp_auto(sp_buf) full = {0};
    sp_buf_printf(&full, "%s/%s", dir, path);
    file_reader f = {.fd = open(full.p, O_RDONLY | O_CLOEXEC), .path = full.p};
    if (f.fd < 0) return sp_fail_errno(err, errno, "open %s", full.p);
    bool ok = take_file(im, path, next_of_file, &f, err);
    close(f.fd);
    return ok;
}

static bool read_layout(importer *im, const char *dir, sp_err *err) {
    if (!read_file(im, dir, "index.json", err)) return false;
    sp_auto(sp_buf) blobs = {0};
    sp_buf_printf(&blobs, "%s/blobs/sha256", dir);
    DIR *d = opendir(blobs.p);
    if (!d) return sp_fail_errno(err, errno, "open %s", blobs.p);
    bool ok = true;
    for (struct dirent *e; ok && (e = readdir(d));) {
        char path[PATH_MAX];
        snprintf(path, sizeof path, "blobs/sha256/%s", e->d_name);
        if (e->d_name[0] != '.') ok = read_file(im, dir, path, err);
    }
    closedir(d);
    return ok;
}

/* ---------- what the documents say ---------- */

static bool add_image(importer *im, sp_str name, sp_str digest, sp_err *err) {
    sp_image_ref ref;
    if (im->name.n) name = im->name;
    if (!name.n)
        return sp_fail(err, SP_INVALID,
                       "the archive does not name its image; give a name: "
                       "sampan image import FILE NAME");
    if (!sp_image_ref_parse(im->arena, name, &ref, err)) return false;
    name = sp_image_ref_text(im->arena, &ref);
    if (!sp_image_install(im->store, name, digest, im->progress, im->ctx, err)) return false;
    sp_buf_printf(im->added, "%.*s %.*s\n", SP_ARG(name), SP_ARG(digest));
    return true;
}

/* Down through nested indexes to the manifest for this machine. */
static bool resolve_platform(importer *im, sp_str *digest, sp_err *err) {
    for (int depth = 0; depth < MAX_INDEX_DEPTH; depth++) {
        sp_auto(sp_buf) text = {0};
        sp_json *doc = NULL;
        sp_image_desc picked;
        if (!sp_image_blob_read(im->store, *digest, &text, err) ||
            !sp_json_parse(im->arena, sp_buf_str(&text), &doc, err))
            return false;
        if (!sp_image_is_index(doc)) return true;
        if (!sp_image_index_pick(doc, sp_image_platform_host(), &picked, err)) return false;
        *digest = picked.digest;
    }
    return sp_fail(err, SP_INVALID, "image indexes are nested too deeply");
}

static sp_str oci_name(const sp_json *entry) {
    const sp_json *notes = sp_json_get(entry, "annotations");
    sp_str full = sp_json_str(sp_json_get(notes, "io.containerd.image.name"));
    sp_str tag = sp_json_str(sp_json_get(notes, "org.opencontainers.image.ref.name"));
    /* A bare "latest" there is a tag without its image. */
    if (full.n) return full;
    return sp_str_chr(tag, '/') >= 0 || sp_str_chr(tag, ':') >= 0 ? tag : SP_STR("");
}

static bool add_oci(importer *im, sp_err *err) {
    sp_json *index = NULL;
    if (!sp_json_parse(im->arena, im->index, &index, err)) return sp_err_wrap(err, "index.json");
    const sp_json *manifests = sp_json_get(index, "manifests");
    if (!sp_json_is(manifests, SP_JSON_ARRAY) || !manifests->first)
        return sp_fail(err, SP_INVALID, "index.json lists no images");
    bool platforms = true; /* one image in several variants, or several images? */
    sp_json_each(manifests, m) platforms =
        platforms && !oci_name(m).n && sp_json_get(m, "platform");
    if (platforms && manifests->count > 1) {
        sp_image_desc d;
        return sp_image_index_pick(index, sp_image_platform_host(), &d, err) &&
               add_image(im, SP_STR(""), d.digest, err);
    }
    if (im->name.n && manifests->count > 1)
        return sp_fail(err, SP_INVALID, "the archive holds %zu images; import it without a name",
                       manifests->count);
    sp_json_each(manifests, m) {
        sp_image_desc d;
        if (!sp_image_desc_parse(m, "index.json", &d, err)) return false;
        if (!resolve_platform(im, &d.digest, err) || !add_image(im, oci_name(m), d.digest, err))
            return false;
    }
    return true;
}

static sp_str digest_of_path(importer *im, sp_str path) {
    for (int hops = 0; hops < 8; hops++) {
        const char *to = sp_map_get(&im->files, path);
        if (!to) return (sp_str){0};
        if (to[0] != '@') return sp_str_z(to);
        path = sp_str_z(to + 1);
    }
    return (sp_str){0};
}

static bool push_desc(importer *im, sp_json *parent, const char *key, const char *media,
                      sp_str path, sp_err *err) {
    sp_str digest = digest_of_path(im, path);
    sp_auto(sp_buf) file = {0};
    struct stat st;
    if (!digest.n)
        return sp_fail(err, SP_INVALID, "manifest.json names %.*s, which the archive lacks",
                       SP_ARG(path));
    sp_image_blob_path(im->store, digest, &file);
    if (stat(file.p, &st) != 0) return sp_fail_errno(err, errno, "stat %s", file.p);
    sp_json *d = sp_json_object(im->arena);
    sp_json_set_z(im->arena, d, "mediaType", media);
    sp_json_set(im->arena, d, "digest", sp_json_new_str(im->arena, digest));
    sp_json_set_int(im->arena, d, "size", st.st_size);
    if (key)
        sp_json_set(im->arena, parent, key, d);
    else
        sp_json_push(parent, d);
    return true;
}

/* docker save knows no manifest: one is made from its list of files. */
static bool make_manifest(importer *im, const sp_json *entry, char ret[72], sp_err *err) {
    sp_json *m = sp_json_object(im->arena);
    sp_json_set_int(im->arena, m, "schemaVersion", 2);
    sp_json_set_z(im->arena, m, "mediaType", SP_MEDIA_MANIFEST);
    if (!push_desc(im, m, "config", SP_MEDIA_CONFIG, sp_json_str(sp_json_get(entry, "Config")),
                   err))
        return false;
    sp_json *layers = sp_json_set(im->arena, m, "layers", sp_json_array(im->arena));
    sp_json_each(sp_json_get(entry, "Layers"), l) {
        if (!push_desc(im, layers, NULL, SP_MEDIA_LAYER, sp_json_str(l), err)) return false;
    }
    sp_auto(sp_buf) text = {0};
    sp_json_write(&text, m);
    return sp_image_blob_put(im->store, sp_buf_str(&text), ret, err);
}

static bool add_docker(importer *im, sp_err *err) {
    sp_json *list = NULL;
    if (!sp_json_parse(im->arena, im->docker, &list, err)) return sp_err_wrap(err, "manifest.json");
    if (!sp_json_is(list, SP_JSON_ARRAY) || !list->first)
        return sp_fail(err, SP_INVALID, "manifest.json lists no images");
    sp_json_each(list, entry) {
        char digest[72];
        const sp_json *tags = sp_json_get(entry, "RepoTags");
        if (!make_manifest(im, entry, digest, err)) return false;
        if (!tags || !tags->first || im->name.n) {
            if (!add_image(im, SP_STR(""), sp_str_z(digest), err)) return false;
            continue;
        }
        sp_json_each(tags, tag) {
            if (!add_image(im, sp_json_str(tag), sp_str_z(digest), err)) return false;
        }
    }
    return true;
}

static bool add_all(importer *im, sp_err *err) {
    if (im->index.n) return add_oci(im, err);
    if (im->docker.n) return add_docker(im, err);
    return sp_fail(err, SP_INVALID,
                   "neither index.json (OCI) nor manifest.json (docker save) is in "
                   "it, so it is no image archive");
}

bool sp_image_import(sp_image_store *s, const char *path, sp_str name, sp_image_progress *progress,
                     void *ctx, sp_buf *ret_added, sp_err *err) {
    struct stat st;
    if (stat(path, &st) != 0) return sp_fail_errno(err, errno, "%s", path);
    sp_auto_ptr(sp_arena) arena = sp_arena_new();
    sp_err local = {0};
    importer im = {.store = s,
                   .arena = arena,
                   .name = name,
                   .progress = progress,
                   .ctx = ctx,
                   .total = st.st_size,
                   .added = ret_added};
    int lock = sp_image_store_lock(s, false, err);
    if (lock < 0) return false;
    bool ok = (S_ISDIR(st.st_mode) ? read_layout : read_archive)(&im, path, &local) &&
              add_all(&im, &local);
    sp_map_free(&im.files);
    close(lock);
    if (!ok && err) *err = local;
    return ok || sp_err_wrap(err, "%s", path);
}
