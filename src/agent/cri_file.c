#include "agent/cri_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static bool reopen(sp_cri_file *f, sp_err *err) {
    struct stat st;
    f->fd = open(f->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    if (f->fd < 0) return sp_fail_errno(err, errno, "open %s", f->path);
    f->size = fstat(f->fd, &st) == 0 ? (int64_t)st.st_size : 0;
    return true;
}

bool sp_cri_file_open(sp_cri_file *f, const char *path, int64_t max_size, int max_files,
                      sp_err *err) {
    *f = (sp_cri_file){.path = sp_strdup(path), .max_size = max_size, .max_files = max_files};
    return reopen(f, err);
}

static void rotate(sp_cri_file *f) {
    char from[PATH_MAX], to[PATH_MAX];
    for (int i = f->max_files - 1; i >= 1; i--) {
        snprintf(to, sizeof to, "%s.%d", f->path, i);
        snprintf(from, sizeof from, i == 1 ? "%s" : "%s.%d", f->path, i - 1);
        if (rename(from, to) != 0 && errno != ENOENT) return;
    }
    close(f->fd);
    if (f->max_files <= 1) unlink(f->path);
    (void)!reopen(f, NULL);
}

void sp_cri_file_write(sp_cri_file *f, sp_str lines) {
    if (f->fd >= 0 && f->size > 0 && f->size + (int64_t)lines.n > f->max_size) rotate(f);
    while (lines.n && f->fd >= 0) {
        ssize_t n = write(f->fd, lines.p, lines.n);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return;
        f->size += n;
        lines = sp_str_from(lines, (size_t)n);
    }
}

void sp_cri_file_close(sp_cri_file *f) {
    if (f->fd >= 0) close(f->fd);
    free(f->path);
    *f = (sp_cri_file){.fd = -1};
}
