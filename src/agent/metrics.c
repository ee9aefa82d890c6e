/* Read from the cgroups at the moment of asking: nothing is collected in between. The names of
 * container metrics are those of cAdvisor, so that dashboards fit. */
#include "agent/metrics.h"

#include "base/file.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

static bool read_number(const char *fmt, const char *cgroup, const char *key, uint64_t *ret) {
    char path[PATH_MAX];
    sp_auto(sp_buf) text = {0};
    snprintf(path, sizeof path, fmt, cgroup);
    if (!sp_file_read(path, 65536, &text, NULL)) return false;
    for (sp_str line, rest = sp_buf_str(&text); sp_str_cut(&rest, '\n', &line);) {
        if (!key) return sp_str_u64(line, ret);
        size_t n = strlen(key);
        if (sp_str_starts(line, sp_str_z(key)) && line.n > n && line.p[n] == ' ')
            return sp_str_u64(sp_str_from(line, n + 1), ret);
    }
    return false;
}

static bool cpu_seconds(const char *cgroup, double *ret) {
    uint64_t v;
    if (read_number("/sys/fs/cgroup/cpuacct%s/cpuacct.usage", cgroup, NULL, &v))
        *ret = (double)v / 1e9;
    else if (read_number("/sys/fs/cgroup%s/cpu.stat", cgroup, "usage_usec", &v))
        *ret = (double)v / 1e6;
    else
        return false;
    return true;
}

/* What cannot be taken back without hurting: usage without the file cache that nobody touched. */
static bool memory_bytes(const char *cgroup, uint64_t *ret) {
    uint64_t used, idle = 0;
    if (read_number("/sys/fs/cgroup/memory%s/memory.usage_in_bytes", cgroup, NULL, &used))
        (void)!read_number("/sys/fs/cgroup/memory%s/memory.stat", cgroup, "total_inactive_file",
                           &idle);
    else if (read_number("/sys/fs/cgroup%s/memory.current", cgroup, NULL, &used))
        (void)!read_number("/sys/fs/cgroup%s/memory.stat", cgroup, "inactive_file", &idle);
    else
        return false;
    *ret = used > idle ? used - idle : 0;
    return true;
}

static void labels(const sp_ctr *c, sp_buf *out) {
    sp_buf_printf(out, "{namespace=\"%.*s\",pod=\"%.*s\",container=\"%s\"}", SP_ARG(c->pod->ns),
                  SP_ARG(c->pod->name), c->name);
}

typedef void one_fn(sp_ctr *c, sp_buf *out);

static void put_cpu(sp_ctr *c, sp_buf *out) {
    sp_auto(sp_buf) cgroup = {0};
    double v;
    sp_ctr_cgroup(c, &cgroup);
    if (!cpu_seconds(cgroup.p, &v)) return;
    sp_buf_addz(out, "container_cpu_usage_seconds_total");
    labels(c, out);
    sp_buf_printf(out, " %.6f\n", v);
}

static void put_memory(sp_ctr *c, sp_buf *out) {
    sp_auto(sp_buf) cgroup = {0};
    uint64_t v;
    sp_ctr_cgroup(c, &cgroup);
    if (!memory_bytes(cgroup.p, &v)) return;
    sp_buf_addz(out, "container_memory_working_set_bytes");
    labels(c, out);
    sp_buf_printf(out, " %" PRIu64 "\n", v);
}

static void put_restarts(sp_ctr *c, sp_buf *out) {
    sp_buf_addz(out, "sampan_container_restarts_total");
    labels(c, out);
    sp_buf_printf(out, " %u\n", sp_ctr_state(c)->restarts);
}

static void family(sp_agent *g, sp_buf *out, const char *name, const char *type, const char *help,
                   bool running_only, one_fn *fn) {
    void *value;
    sp_buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
    for (size_t at = 0; sp_map_next(&g->pods, &at, NULL, &value);) {
        sp_pod *p = value;
        sp_vec_each(&p->containers, c) {
            if (!running_only || sp_ctr_state(*c)->phase == SP_CTR_RUNNING) fn(*c, out);
        }
    }
}

static size_t count_running(sp_agent *g) {
    size_t n = 0;
    void *value;
    for (size_t at = 0; sp_map_next(&g->pods, &at, NULL, &value);) {
        sp_pod *p = value;
        sp_vec_each(&p->containers, c) n += sp_ctr_state(*c)->phase == SP_CTR_RUNNING;
    }
    return n;
}

static uint64_t own_memory(void) {
    sp_auto(sp_buf) text = {0};
    sp_str first;
    uint64_t pages = 0;
    if (!sp_file_read("/proc/self/statm", 256, &text, NULL)) return 0;
    sp_str rest = sp_buf_str(&text);
    if (!sp_str_cut(&rest, ' ', &first) || !sp_str_cut(&rest, ' ', &first)) return 0;
    return sp_str_u64(first, &pages) ? pages * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

void sp_metrics_write(sp_agent *g, sp_buf *out) {
    sp_buf_printf(
        out,
        "# HELP sampan_agent_pods Pods this agent holds.\n# TYPE sampan_agent_pods gauge\n"
        "sampan_agent_pods %zu\n",
        g->pods.n);
    sp_buf_printf(
        out,
        "# HELP sampan_agent_containers_running Containers that run now.\n"
        "# TYPE sampan_agent_containers_running gauge\nsampan_agent_containers_running %zu\n",
        count_running(g));
    sp_buf_printf(
        out,
        "# HELP process_resident_memory_bytes Memory of the agent itself.\n"
        "# TYPE process_resident_memory_bytes gauge\nprocess_resident_memory_bytes %" PRIu64 "\n",
        own_memory());
    family(g, out, "container_cpu_usage_seconds_total", "counter", "CPU time used.", true, put_cpu);
    family(g, out, "container_memory_working_set_bytes", "gauge", "Memory in use.", true,
           put_memory);
    family(g, out, "sampan_container_restarts_total", "counter", "Runs after the first.", false,
           put_restarts);
}
