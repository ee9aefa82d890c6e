#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static bool read_fd(int fd, const char *path, size_t max_bytes, sp_buf *out, sp_err *err) {
    for (size_t start = out->n;;) {
        sp_buf_reserve(out, 16384);
        ssize_t n = read(fd, out->p + out->n, 16384);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return sp_fail_errno(err, errno, "read %s", path);
        out->n += (size_t)n;
        out->p[out->n] = 0;
        if (n == 0) return true;
        if (out->n - start > max_bytes)
            return sp_fail(err, SP_TOO_LARGE, "%s is larger than %zu bytes", path, max_bytes);
    }
}

bool sp_file_read(const char *path, size_t max_bytes, sp_buf *out, sp_err *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return sp_fail_errno(err, errno, "open %s", path);
    size_t before = out->n;
    bool ok = read_fd(fd, path, max_bytes, out, err);
    close(fd);
    if (!ok && out->p) {
        out->n = before;
        out->p[before] = 0;
    }
    return ok;
}

static bool write_fd(int fd, sp_str bytes) {
    while (bytes.n) {
        ssize_t n = write(fd, bytes.p, bytes.n);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return false;
        bytes = sp_str_from(bytes, (size_t)n);
    }
    return true;
}

bool sp_sync_parent(const char *path, sp_err *err) {
    char dir[PATH_MAX];
    if (snprintf(dir, sizeof dir, "%s", path) >= (int)sizeof dir)
        return sp_fail_errno(err, ENAMETOOLONG, "sync %s", path);
    char *slash = strrchr(dir, '/');
    if (slash) slash[slash == dir] = 0;
    int fd = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return sp_fail_errno(err, errno, "open the directory of %s", path);
    int rc = fsync(fd), saved = errno;
    close(fd);
    return rc == 0 || sp_fail_errno(err, saved, "sync the directory of %s", path);
}

static bool replace(const char *path, sp_str bytes, unsigned mode, bool durable, sp_err *err) {
    char tmp[PATH_MAX];
    if (snprintf(tmp, sizeof tmp, "%s.XXXXXX", path) >= (int)sizeof tmp)
        return sp_fail_errno(err, ENAMETOOLONG, "write %s", path);
    int fd = mkostemp(tmp, O_CLOEXEC);
    if (fd < 0) return sp_fail_errno(err, errno, "create a temporary file for %s", path);
    bool ok = fchmod(fd, mode) == 0 && write_fd(fd, bytes) && (!durable || fsync(fd) == 0);
    int saved = errno;
    if (close(fd) != 0 && ok) ok = false, saved = errno;
    if (ok && rename(tmp, path) != 0) ok = false, saved = errno;
    if (!ok) {
        unlink(tmp);
        return sp_fail_errno(err, saved, "write %s", path);
    }
    return !durable || sp_sync_parent(path, err);
}

bool sp_file_write(const char *path, sp_str bytes, unsigned mode, sp_err *err) {
    return replace(path, bytes, mode, true, err);
}

bool sp_file_replace(const char *path, sp_str bytes, unsigned mode, sp_err *err) {
    return replace(path, bytes, mode, false, err);
}

bool sp_mkdir_all(const char *path, unsigned mode, sp_err *err) {
    char part[PATH_MAX];
    size_t n = strlen(path);
    if (n >= sizeof part) return sp_fail_errno(err, ENAMETOOLONG, "mkdir %s", path);
    memcpy(part, path, n + 1);
    for (size_t i = 1; i <= n; i++) {
        if (part[i] != '/' && part[i] != 0) continue;
        char c = part[i];
        part[i] = 0;
        if (mkdir(part, mode) != 0 && errno != EEXIST)
            return sp_fail_errno(err, errno, "mkdir %s", part);
        part[i] = c;
    }
    struct stat st;
    if (stat(path, &st) != 0) return sp_fail_errno(err, errno, "mkdir %s", path);
    if (!S_ISDIR(st.st_mode)) return sp_fail_errno(err, ENOTDIR, "mkdir %s", path);
    return true;
}

/* A directory tree may be deeper than any path can be long, and deeper than there are descriptors:
 * what lies too deep is moved up to the top and removed from there. Symbolic links are never
 * followed; what is mounted somewhere inside is left alone (and makes the removal fail). */
enum { MAX_REMOVE_DEPTH = 64 };

typedef struct remover {
    int top;
    dev_t device;
    unsigned moved;
    int errnum; /* of the first failure, 0 = none */
} remover;

static void remove_failed(remover *r) {
    if (errno != ENOENT && !r->errnum) r->errnum = errno;
}

static void remove_entry(remover *r, int dir, const char *name, int depth);

static void remove_entries(remover *r, int fd, int depth) {
    DIR *d = fdopendir(fd);
    if (!d) {
        remove_failed(r);
        close(fd);
        return;
    }
    for (struct dirent *e; (e = readdir(d));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            remove_entry(r, dirfd(d), e->d_name, depth);
    closedir(d);
}

static bool move_up(remover *r, int dir, const char *name) {
    char to[64];
    struct timespec now; /* so that nobody can have taken all the names */
    clock_gettime(CLOCK_MONOTONIC, &now);
    snprintf(to, sizeof to, ".removing.%u.%ld", r->moved++, now.tv_nsec);
    return renameat(dir, name, r->top, to) == 0;
}

static void remove_entry(remover *r, int dir, const char *name, int depth) {
    struct stat st;
    if (unlinkat(dir, name, 0) == 0 || errno == ENOENT) return;
    int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0 || st.st_dev != r->device) {
        if (fd >= 0) errno = EBUSY;
        remove_failed(r);
        if (fd >= 0) close(fd);
        return;
    }
    if (depth >= MAX_REMOVE_DEPTH && move_up(r, dir, name)) {
        close(fd);
        return;
    }
    remove_entries(r, fd, depth + 1);
    if (unlinkat(dir, name, AT_REMOVEDIR) != 0) remove_failed(r);
}

/* One pass removes all that is not too deep; what it moved up is there for the next. */
static int remove_tree(int fd) {
    struct stat st;
    if (fstat(fd, &st) != 0) return errno;
    remover r = {.top = fd, .device = st.st_dev};
    for (unsigned before;;) {
        before = r.moved;
        int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (copy < 0) return errno;
        remove_entries(&r, copy, 1);
        if (r.moved == before || r.errnum) return r.errnum;
    }
}

bool sp_remove_all(const char *path, sp_err *err) {
    if (unlink(path) == 0 || errno == ENOENT) return true;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return sp_fail_errno(err, errno, "remove %s", path);
    int why = remove_tree(fd);
    close(fd);
    if (why) return sp_fail_errno(err, why, "remove %s", path);
    return rmdir(path) == 0 || errno == ENOENT || sp_fail_errno(err, errno, "remove %s", path);
}

bool sp_file_exists(const char *path) {
    return access(path, F_OK) == 0;
}
