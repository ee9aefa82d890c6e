/* What a privileged container finds in /dev: every device of this machine, as nodes in a /dev of
 * its own. (The host's /dev itself would take whatever a container or its runtime puts there.) */
#include "agent/oci.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

enum { MAX_DEPTH = 4, MAX_DEVICES = 4096 };

/* crun makes these itself, or they belong to a terminal or file system of their own. */
static bool left_out(const char *path) {
    static const char *const not_these[] = {
        "/dev/pts", "/dev/shm",    "/dev/mqueue",  "/dev/null", "/dev/zero",    "/dev/full",
        "/dev/tty", "/dev/random", "/dev/urandom", "/dev/ptmx", "/dev/console", "/dev/hugepages"};
    for (size_t i = 0; i < SP_COUNT(not_these); i++)
        if (strcmp(path, not_these[i]) == 0) return true;
    return false;
}

static void add(sp_arena *a, sp_json *list, const char *path, const struct stat *st) {
    sp_json *d = sp_json_push(list, sp_json_object(a));
    sp_json_set_z(a, d, "path", path);
    sp_json_set_z(a, d, "type", S_ISBLK(st->st_mode) ? "b" : "c");
    sp_json_set_int(a, d, "major", major(st->st_rdev));
    sp_json_set_int(a, d, "minor", minor(st->st_rdev));
    sp_json_set_int(a, d, "fileMode", st->st_mode & 07777);
    sp_json_set_int(a, d, "uid", st->st_uid);
    sp_json_set_int(a, d, "gid", st->st_gid);
}

static void walk(sp_arena *a, sp_json *list, const char *dir, int depth) {
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d)) && list->count < MAX_DEVICES;) {
        char path[PATH_MAX];
        struct stat st;
        if (e->d_name[0] == '.') continue;
        if (snprintf(path, sizeof path, "%s/%s", dir, e->d_name) >= (int)sizeof path) continue;
        if (left_out(path) || lstat(path, &st) != 0) continue;
        if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode))
            add(a, list, path, &st);
        else if (S_ISDIR(st.st_mode) && depth < MAX_DEPTH)
            walk(a, list, path, depth + 1);
    }
    if (d) closedir(d);
}

sp_json *sp_oci_devices(sp_arena *a) {
    sp_json *list = sp_json_array(a);
    walk(a, list, "/dev", 1);
    return list;
}
