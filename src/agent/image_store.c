/* Blobs and names. A blob is written to tmp/, hashed on the way and renamed to its digest, so a
 * reader never sees half of one; index.json is replaced whole under its own lock. */
#include "agent/image_store.h"

#include "agent/digest.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define NAME_KEY "io.containerd.image.name"

struct sp_image_store {
    char *dir;
};

const char *sp_image_store_dir(const sp_image_store *s) {
    return s->dir;
}

static bool make_dirs(sp_image_store *s, sp_err *err) {
    static const char *const sub[] = {"blobs/sha256", "layers", "tmp"};
    for (size_t i = 0; i < SP_COUNT(sub); i++) {
        char path[PATH_MAX];
        snprintf(path, sizeof path, "%s/%s", s->dir, sub[i]);
        if (!sp_mkdir_all(path, 0700, err)) return false;
    }
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/oci-layout", s->dir);
    return sp_file_exists(path) ||
           sp_file_write(path, SP_STR("{\"imageLayoutVersion\":\"1.0.0\"}\n"), 0644, err);
}

bool sp_image_store_open(const char *data_dir, sp_image_store **ret, sp_err *err) {
    sp_auto(sp_buf) dir = {0};
    sp_buf_printf(&dir, "%s/images", data_dir);
    sp_image_store *s = sp_zalloc(1, sizeof *s);
    s->dir = sp_strdup(dir.p);
    if (!make_dirs(s, err)) {
        sp_image_store_free(s);
        return sp_err_wrap(err, "image store");
    }
    char *full = realpath(s->dir, NULL);
    if (full) {
        free(s->dir);
        s->dir = full;
    }
    *ret = s;
    return true;
}

sp_image_store *sp_image_store_free(sp_image_store *s) {
    if (!s) return NULL;
    free(s->dir);
    free(s);
    return NULL;
}

static int lock_file(sp_image_store *s, const char *name, int how, sp_err *err) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", s->dir, name);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    int rc = -1;
    if (fd >= 0)
        while ((rc = flock(fd, how)) != 0 && errno == EINTR) {
        }
    if (rc == 0) return fd;
    sp_fail_errno(err, errno, "lock %s", path);
    if (fd >= 0) close(fd);
    return -1;
}

int sp_image_store_lock(sp_image_store *s, bool exclusive, sp_err *err) {
    return lock_file(s, "lock", exclusive ? LOCK_EX : LOCK_SH, err);
}

int sp_image_store_lock_now(sp_image_store *s, sp_err *err) {
    sp_err why = {0};
    int fd = lock_file(s, "lock", LOCK_SH | LOCK_NB, &why);
    if (fd < 0 && why.errnum == EWOULDBLOCK)
        sp_fail(err, SP_UNAVAILABLE, "unused images are being removed; tried again soon");
    else if (fd < 0 && err)
        *err = why;
    return fd;
}

/* ---------- room ---------- */

enum { SPARE_BYTES = 256 << 20, SPARE_FILES = 4096, LOOK_EVERY = 16 << 20 };

bool sp_image_store_room(const sp_image_store *s, int64_t bytes, sp_err *err) {
    struct statvfs fs;
    if (statvfs(s->dir, &fs) != 0) return sp_fail_errno(err, errno, "look at %s", s->dir);
    uint64_t left = (uint64_t)fs.f_bavail * fs.f_frsize, need = (uint64_t)bytes + SPARE_BYTES;
    if (left < need)
        return sp_fail(err, SP_TOO_LARGE,
                       "the disk of %s has no room for the image: %llu MiB are left, %llu are "
                       "needed; free some (sampan image rm, sampan image gc)",
                       s->dir, (unsigned long long)(left >> 20), (unsigned long long)(need >> 20));
    /* Some file systems count no inodes. */
    if (fs.f_files && fs.f_favail < SPARE_FILES)
        return sp_fail(err, SP_TOO_LARGE, "the disk of %s has no room for more files", s->dir);
    return true;
}

/* ---------- blobs ---------- */

struct sp_blob_writer {
    sp_image_store *store;
    size_t unlooked; /* bytes since we looked for room */
    sp_digest *digest;
    int fd;
    char path[PATH_MAX];
};

void sp_image_blob_path(const sp_image_store *s, sp_str digest, sp_buf *out) {
    sp_buf_printf(out, "%s/blobs/sha256/%.*s", s->dir, SP_ARG(sp_digest_hex(digest)));
}

void sp_image_layer_path(const sp_image_store *s, sp_str diff_id, sp_buf *out) {
    sp_buf_printf(out, "%s/layers/%.*s", s->dir, SP_ARG(sp_digest_hex(diff_id)));
}

bool sp_image_blob_has(sp_image_store *s, sp_str digest) {
    sp_auto(sp_buf) path = {0};
    sp_image_blob_path(s, digest, &path);
    return sp_file_exists(path.p);
}

bool sp_blob_writer_new(sp_image_store *s, sp_blob_writer **ret, sp_err *err) {
    sp_blob_writer *w = sp_zalloc(1, sizeof *w);
    w->store = s;
    w->digest = sp_digest_new();
    snprintf(w->path, sizeof w->path, "%s/tmp/blob.XXXXXX", s->dir);
    w->fd = mkostemp(w->path, O_CLOEXEC);
    if (w->fd < 0) {
        sp_fail_errno(err, errno, "create %s", w->path);
        w->path[0] = 0;
        sp_blob_writer_free(w);
        return false;
    }
    *ret = w;
    return true;
}

sp_blob_writer *sp_blob_writer_free(sp_blob_writer *w) {
    if (!w) return NULL;
    if (w->fd >= 0) close(w->fd);
    if (w->path[0]) unlink(w->path);
    sp_digest_free(w->digest);
    free(w);
    return NULL;
}

bool sp_blob_writer_add(sp_blob_writer *w, const void *p, size_t n, sp_err *err) {
    sp_digest_add(w->digest, p, n);
    w->unlooked += n;
    if (w->unlooked >= LOOK_EVERY) {
        w->unlooked = 0;
        if (!sp_image_store_room(w->store, 0, err)) return false;
    }
    for (const char *at = p; n;) {
        ssize_t done = write(w->fd, at, n);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) return sp_fail_errno(err, errno, "write %s", w->path);
        at += done;
        n -= (size_t)done;
    }
    return true;
}

static bool publish(sp_blob_writer *w, sp_str digest, sp_err *err) {
    sp_auto(sp_buf) path = {0};
    sp_image_blob_path(w->store, digest, &path);
    if (fchmod(w->fd, 0644) != 0 || fdatasync(w->fd) != 0 || rename(w->path, path.p) != 0)
        return sp_fail_errno(err, errno, "store blob %s", path.p);
    w->path[0] = 0;
    return true;
}

bool sp_blob_writer_commit(sp_blob_writer *w, sp_str expected, char ret_digest[72], sp_err *err) {
    char digest[SP_DIGEST_TEXT + 1];
    sp_digest_end(w->digest, digest);
    bool ok = !expected.n || sp_str_eqz(expected, digest) ||
              sp_fail(err, SP_INVALID, "the bytes of blob %.*s are damaged: their digest is %s",
                      SP_ARG(expected), digest);
    ok = ok && publish(w, sp_str_z(digest), err);
    sp_blob_writer_free(w);
    if (ok && ret_digest) memcpy(ret_digest, digest, sizeof digest);
    return ok;
}

bool sp_image_blob_put(sp_image_store *s, sp_str bytes, char ret_digest[72], sp_err *err) {
    sp_blob_writer *w = NULL;
    if (!sp_blob_writer_new(s, &w, err)) return false;
    if (sp_blob_writer_add(w, bytes.p, bytes.n, err))
        return sp_blob_writer_commit(w, (sp_str){0}, ret_digest, err);
    sp_blob_writer_free(w);
    return false;
}

bool sp_image_blob_read(sp_image_store *s, sp_str digest, sp_buf *out, sp_err *err) {
    sp_auto(sp_buf) path = {0};
    sp_image_blob_path(s, digest, &path);
    size_t before = out->n;
    if (!sp_file_read(path.p, SP_IMAGE_MAX_DOC, out, err)) return false;
    char have[SP_DIGEST_TEXT + 1];
    sp_digest_of(sp_str_from(sp_buf_str(out), before), have);
    if (sp_str_eqz(digest, have)) return true;
    return sp_fail(err, SP_INVALID,
                   "the stored blob %.*s is damaged; remove the image and add it "
                   "again",
                   SP_ARG(digest));
}

/* ---------- names ---------- */

static void index_path(sp_image_store *s, char ret[PATH_MAX]) {
    snprintf(ret, PATH_MAX, "%s/index.json", s->dir);
}

static bool read_index(sp_image_store *s, sp_arena *a, sp_json **ret, sp_err *err) {
    char path[PATH_MAX];
    index_path(s, path);
    sp_auto(sp_buf) text = {0};
    sp_err local = {0};
    if (!sp_file_read(path, SP_IMAGE_MAX_DOC, &text, &local)) {
        if (local.errnum != ENOENT) {
            if (err) *err = local;
            return false;
        }
        sp_json *fresh = sp_json_object(a);
        sp_json_set_int(a, fresh, "schemaVersion", 2);
        sp_json_set_z(a, fresh, "mediaType", SP_MEDIA_INDEX);
        sp_json_set(a, fresh, "manifests", sp_json_array(a));
        *ret = fresh;
        return true;
    }
    if (!sp_json_parse(a, sp_buf_str(&text), ret, err)) return sp_err_wrap(err, "%s", path);
    sp_json_ensure_array(a, *ret, "manifests");
    return true;
}

static bool write_index(sp_image_store *s, const sp_json *index, sp_err *err) {
    char path[PATH_MAX];
    index_path(s, path);
    sp_auto(sp_buf) text = {0};
    sp_json_write_pretty(&text, index);
    return sp_file_write(path, sp_buf_str(&text), 0644, err);
}

static sp_str entry_name(const sp_json *entry) {
    return sp_json_str(sp_json_get(sp_json_get(entry, "annotations"), NAME_KEY));
}

static ptrdiff_t entry_index(const sp_json *index, sp_str name) {
    ptrdiff_t i = 0;
    sp_json_each(sp_json_get(index, "manifests"), e) {
        if (sp_str_eq(entry_name(e), name)) return i;
        i++;
    }
    return -1;
}

static bool canonical(sp_arena *a, sp_str text, sp_str *ret, sp_err *err) {
    sp_image_ref ref;
    if (!sp_image_ref_parse(a, text, &ref, err)) return false;
    *ret = sp_image_ref_text(a, &ref);
    return true;
}

static bool load(sp_image_store *s, sp_arena *a, const sp_json *entry, sp_image *ret, sp_err *err) {
    sp_str digest = sp_json_str(sp_json_get(entry, "digest"));
    sp_auto(sp_buf) text = {0};
    sp_image_manifest m = {0};
    if (!sp_digest_valid(digest)) return sp_fail(err, SP_INVALID, "index.json is damaged");
    if (!sp_image_blob_read(s, digest, &text, err) ||
        !sp_image_manifest_parse(a, sp_buf_str(&text), &m, err))
        return false;
    sp_image image = {.name = entry_name(entry), .digest = digest};
    image.size_bytes = (int64_t)text.n + m.config.size;
    sp_vec_each(&m.layers, l) image.size_bytes += l->size;
    sp_image_manifest_free(&m);
    sp_buf_clear(&text);
    if (!sp_image_blob_read(s, m.config.digest, &text, err) ||
        !sp_image_config_parse(a, sp_buf_str(&text), &image.config, err))
        return false;
    *ret = image;
    return true;
}

bool sp_image_find(sp_image_store *s, sp_arena *a, sp_str text, sp_image *ret, sp_err *err) {
    sp_str name;
    sp_json *index = NULL;
    if (!canonical(a, text, &name, err) || !read_index(s, a, &index, err)) return false;
    ptrdiff_t at = entry_index(index, name);
    sp_json *manifests = sp_json_get(index, "manifests");
    sp_json *entry = at >= 0 ? sp_json_at(manifests, (size_t)at) : NULL;
    ptrdiff_t sharp = sp_str_chr(name, '@');
    if (!entry && sharp >= 0) {
        sp_str digest = sp_str_from(name, (size_t)sharp + 1);
        sp_json_each(manifests, e) {
            if (sp_str_eq(sp_json_str(sp_json_get(e, "digest")), digest)) entry = e;
        }
    }
    if (!entry)
        return sp_fail(err, SP_NOT_FOUND, "image %.*s is not on this machine", SP_ARG(name));
    return load(s, a, entry, ret, err) || sp_err_wrap(err, "image %.*s", SP_ARG(name));
}

bool sp_image_list(sp_image_store *s, sp_arena *a, sp_images *ret, sp_err *err) {
    sp_json *index = NULL;
    if (!read_index(s, a, &index, err)) return false;
    sp_json_each(sp_json_get(index, "manifests"), e) {
        sp_image image;
        if (load(s, a, e, &image, NULL)) sp_vec_push(ret, image);
    }
    return true;
}

static bool change_index(sp_image_store *s, sp_str name, sp_str digest, sp_err *err) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_json *index = NULL;
    if (!read_index(s, a, &index, err)) return false;
    sp_json *manifests = sp_json_get(index, "manifests");
    ptrdiff_t at = entry_index(index, name);
    if (at >= 0)
        sp_json_remove_at(manifests, (size_t)at);
    else if (!digest.n)
        return sp_fail(err, SP_NOT_FOUND, "image %.*s is not on this machine", SP_ARG(name));
    if (digest.n) {
        sp_auto(sp_buf) text = {0};
        if (!sp_image_blob_read(s, digest, &text, err)) return false;
        sp_json *entry = sp_json_push(manifests, sp_json_object(a));
        sp_json_set_z(a, entry, "mediaType", SP_MEDIA_MANIFEST);
        sp_json_set(a, entry, "digest", sp_json_new_str(a, digest));
        sp_json_set_int(a, entry, "size", (int64_t)text.n);
        sp_json_set(a, sp_json_ensure_object(a, entry, "annotations"), NAME_KEY,
                    sp_json_new_str(a, name));
    }
    return write_index(s, index, err);
}

static bool locked_change(sp_image_store *s, sp_str text, sp_str digest, sp_err *err) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_str name;
    if (!canonical(a, text, &name, err)) return false;
    int lock = lock_file(s, "index.lock", LOCK_EX, err);
    if (lock < 0) return false;
    bool ok = change_index(s, name, digest, err);
    close(lock);
    return ok;
}

bool sp_image_tag(sp_image_store *s, sp_str name, sp_str digest, sp_err *err) {
    return locked_change(s, name, digest, err);
}

bool sp_image_untag(sp_image_store *s, sp_str text, sp_err *err) {
    return locked_change(s, text, (sp_str){0}, err);
}
