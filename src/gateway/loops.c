/* How many loops a machine is worth: the CPUs this process may run on, or what its cgroup pays for
 * when that is less (cpu.max of cgroup v2, of every level up to the root). */
#include "gateway/fleet.h"

#include <limits.h>
#include <sched.h>
#include <stdio.h>

enum { MOST_LOOPS = 64 };

/* "200000 100000": 2; SIZE_MAX: no limit. */
static size_t quota_of(const char *path) {
    unsigned long long quota, period;
    size_t cpus = SIZE_MAX;
    FILE *f = fopen(path, "re");
    if (!f) return cpus;
    if (fscanf(f, "%llu %llu", &quota, &period) == 2 && period)
        cpus = (size_t)SP_MAX((quota + period - 1) / period, 1);
    fclose(f);
    return cpus;
}

static size_t cgroup_quota(void) {
    char line[PATH_MAX] = "", path[PATH_MAX + 64];
    size_t least = SIZE_MAX;
    FILE *f = fopen("/proc/self/cgroup", "re");
    bool found = false;
    while (f && !found && fgets(line, sizeof line, f)) found = strncmp(line, "0::", 3) == 0;
    if (f) fclose(f);
    if (!found) return least;
    line[strcspn(line, "\n")] = 0;
    for (char *end; (end = strrchr(line, '/')); *end = 0) {
        snprintf(path, sizeof path, "/sys/fs/cgroup%s/cpu.max", line + 3);
        least = SP_MIN(least, quota_of(path));
    }
    return least;
}

size_t sp_fleet_default_loops(void) {
    cpu_set_t set;
    size_t cpus = 1;
    if (sched_getaffinity(0, sizeof set, &set) == 0) cpus = (size_t)CPU_COUNT(&set);
    cpus = SP_MIN(cpus, cgroup_quota());
    return SP_MAX(SP_MIN(cpus, (size_t)MOST_LOOPS), (size_t)1);
}
