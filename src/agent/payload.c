/* kubelet's layout: DIR/..HASH/path holds the files, DIR/..data points to the current ..HASH, and
 * DIR/first-part points to ..data/first-part. Swapping ..data by rename changes all at once. */
#include "agent/volumes.h"

#include "agent/digest.h"
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static void name_of(const sp_payload *files, int64_t gid, char ret[24]) {
    char digest[SP_DIGEST_TEXT + 1];
    sp_auto_ptr(sp_digest) d = sp_digest_new();
    sp_digest_add(d, &gid, sizeof gid);
    sp_vec_each(files, f) {
        sp_digest_add(d, &f->path.n, sizeof f->path.n);
        sp_digest_add(d, f->path.p, f->path.n);
        sp_digest_add(d, &f->mode, sizeof f->mode);
        sp_digest_add(d, &f->bytes.n, sizeof f->bytes.n);
        sp_digest_add(d, f->bytes.p, f->bytes.n);
    }
    sp_digest_end(d, digest);
    snprintf(ret, 24, "..%.16s", digest + 7);
}

static bool path_ok(sp_str path) {
    if (!path.n || path.p[0] == '/' || sp_str_chr(path, 0) >= 0) return false;
    sp_str first = {0};
    for (sp_str part, rest = path; sp_str_cut(&rest, '/', &part);) {
        if (!part.n || sp_str_eqz(part, "..") || sp_str_eqz(part, ".")) return false;
        if (!first.n) first = part;
    }
    return !sp_str_starts(first, SP_STR(".."));
}

static bool write_one(const char *dir, const sp_payload_file *f, int64_t gid, sp_err *err) {
    char path[PATH_MAX];
    if (!path_ok(f->path))
        return sp_fail(err, SP_INVALID, "\"%.*s\" is no path inside a volume", SP_ARG(f->path));
    if (snprintf(path, sizeof path, "%s/%.*s", dir, SP_ARG(f->path)) >= (int)sizeof path)
        return sp_fail_errno(err, ENAMETOOLONG, "%s/%.*s", dir, SP_ARG(f->path));
    char *slash = strrchr(path, '/');
    *slash = 0;
    if (!sp_mkdir_all(path, 0755, err)) return false;
    *slash = '/';
    if (!sp_file_replace(path, f->bytes, gid >= 0 ? f->mode | 0040 : f->mode, err)) return false;
    return gid < 0 || chown(path, 0, (gid_t)gid) == 0 ||
           sp_fail_errno(err, errno, "chown %s", path);
}

static bool swap_link(const char *dir, const char *name, sp_err *err) {
    char tmp[PATH_MAX], data[PATH_MAX];
    snprintf(tmp, sizeof tmp, "%s/..data_tmp", dir);
    snprintf(data, sizeof data, "%s/..data", dir);
    unlink(tmp);
    if (symlink(name, tmp) != 0 || rename(tmp, data) != 0)
        return sp_fail_errno(err, errno, "swap %s", data);
    return true;
}

static bool link_names(const char *dir, const sp_payload *files, sp_err *err) {
    sp_vec_each(files, f) {
        char from[PATH_MAX], to[NAME_MAX + 16];
        sp_str first, rest = f->path;
        if (!sp_str_cut(&rest, '/', &first)) continue;
        snprintf(from, sizeof from, "%s/%.*s", dir, SP_ARG(first));
        snprintf(to, sizeof to, "..data/%.*s", (int)SP_MIN(first.n, (size_t)NAME_MAX), first.p);
        if (symlink(to, from) != 0 && errno != EEXIST)
            return sp_fail_errno(err, errno, "link %s", from);
    }
    return true;
}

/* Old sets, and names that the current set no longer has. */
static void sweep(const char *dir, const char *current) {
    DIR *d = opendir(dir);
    if (!d) return;
    for (struct dirent *e; (e = readdir(d));) {
        char path[PATH_MAX];
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        if (strcmp(e->d_name, current) == 0 || strcmp(e->d_name, "..data") == 0) continue;
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        struct stat st;
        bool dangling = stat(path, &st) != 0;
        bool old_set = strncmp(e->d_name, "..", 2) == 0;
        if (dangling || old_set) (void)!sp_remove_all(path, NULL);
    }
    closedir(d);
}

bool sp_payload_write(const char *dir, const sp_payload *files, int64_t gid, sp_err *err) {
    char name[24], data[PATH_MAX], now[64] = "", set[PATH_MAX];
    name_of(files, gid, name);
    snprintf(data, sizeof data, "%s/..data", dir);
    snprintf(set, sizeof set, "%s/%s", dir, name);
    if (readlink(data, now, sizeof now - 1) > 0 && strcmp(now, name) == 0) return true;
    if (!sp_remove_all(set, err) || !sp_mkdir_all(set, 0755, err)) return false;
    sp_vec_each(files, f) {
        if (!write_one(set, f, gid, err)) return false;
    }
    if (!swap_link(dir, name, err) || !link_names(dir, files, err)) return false;
    sweep(dir, name);
    return true;
}
