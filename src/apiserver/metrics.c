#include "apiserver/metrics.h"

#include "base/clock.h"
#include "base/map.h"

#include <ctype.h>
#include <malloc.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

/* Upper bounds of apiserver_request_duration_seconds, in microseconds. */
static const int64_t bounds_us[] = {500,    1000,   2500,   5000,    10000,   25000,    50000,
                                    100000, 250000, 500000, 1000000, 2500000, 10000000, 60000000};

enum { BUCKETS = SP_COUNT(bounds_us), MAX_SERIES = 5000 };

typedef struct series {
    char *labels; /* without the code */
    int code;
    uint64_t count;
    uint64_t timed, sum_us, buckets[BUCKETS];
} series;

struct sp_api_metrics {
    sp_map requests; /* labels and code → series */
    int64_t inflight[2];
    int64_t started_ms;
};

sp_api_metrics *sp_api_metrics_new(void) {
    sp_api_metrics *m = sp_zalloc(1, sizeof *m);
    m->started_ms = sp_clock_wall_ms();
    return m;
}

sp_api_metrics *sp_api_metrics_free(sp_api_metrics *m) {
    if (!m) return NULL;
    void *value;
    for (size_t at = 0; sp_map_next(&m->requests, &at, NULL, &value);) {
        free(((series *)value)->labels);
        free(value);
    }
    sp_map_free(&m->requests);
    free(m);
    return NULL;
}

static sp_str join(char *buf, size_t size, const sp_str *parts, size_t n) {
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        size_t len = SP_MIN(parts[i].n, size - at);
        if (len) memcpy(buf + at, parts[i].p, len);
        at += len;
    }
    return (sp_str){buf, at};
}

static series *find(sp_api_metrics *m, const sp_request_figures *r) {
    char key[512], code[8];
    snprintf(code, sizeof code, "%d", r->code);
    const char *scope = r->named ? "resource" : r->namespaced_request ? "namespace" : "cluster";
    char verb[32];
    snprintf(verb, sizeof verb, "%s", r->verb);
    for (char *c = verb; *c; c++) *c = (char)toupper((unsigned char)*c);
    const sp_str parts[] = {SP_STR("verb=\""),
                            sp_str_z(verb),
                            SP_STR("\",group=\""),
                            r->group,
                            SP_STR("\",version=\""),
                            r->version,
                            SP_STR("\",resource=\""),
                            r->resource,
                            SP_STR("\",subresource=\""),
                            r->subresource,
                            SP_STR("\",scope=\""),
                            sp_str_z(scope),
                            SP_STR("\""),
                            sp_str_z(code)};
    sp_str whole = join(key, sizeof key, parts, SP_COUNT(parts));
    series *s = sp_map_get(&m->requests, whole);
    if (s || m->requests.n >= MAX_SERIES) return s;
    s = sp_zalloc(1, sizeof *s);
    s->code = r->code;
    s->labels = sp_malloc(whole.n + 1);
    memcpy(s->labels, whole.p, whole.n - strlen(code));
    s->labels[whole.n - strlen(code)] = 0;
    sp_map_put(&m->requests, whole, s);
    return s;
}

void sp_api_metrics_count(sp_api_metrics *m, const sp_request_figures *r) {
    series *s = find(m, r);
    if (!s) return;
    s->count++;
    if (r->took_us < 0) return;
    s->timed++;
    s->sum_us += (uint64_t)r->took_us;
    for (size_t i = 0; i < BUCKETS; i++)
        if (r->took_us <= bounds_us[i]) {
            s->buckets[i]++;
            break;
        }
}

void sp_api_metrics_inflight(sp_api_metrics *m, bool mutating, int by) {
    m->inflight[mutating] += by;
}

static void head(sp_buf *b, const char *name, const char *type, const char *help) {
    sp_buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void one(sp_buf *b, const char *name, const char *type, const char *help, double v) {
    head(b, name, type, help);
    sp_buf_printf(b, "%s %.17g\n", name, v);
}

static void write_histogram(sp_buf *b, const series *s) {
    const char *name = "apiserver_request_duration_seconds";
    uint64_t below = 0;
    for (size_t i = 0; i < BUCKETS; i++) {
        below += s->buckets[i];
        sp_buf_printf(b, "%s_bucket{%s,code=\"%d\",le=\"%g\"} %llu\n", name, s->labels, s->code,
                      (double)bounds_us[i] / 1e6, (unsigned long long)below);
    }
    sp_buf_printf(b, "%s_bucket{%s,code=\"%d\",le=\"+Inf\"} %llu\n", name, s->labels, s->code,
                  (unsigned long long)s->timed);
    sp_buf_printf(b, "%s_sum{%s,code=\"%d\"} %.6f\n", name, s->labels, s->code,
                  (double)s->sum_us / 1e6);
    sp_buf_printf(b, "%s_count{%s,code=\"%d\"} %llu\n", name, s->labels, s->code,
                  (unsigned long long)s->timed);
}

static void write_requests(const sp_api_metrics *m, sp_buf *b) {
    void *value;
    head(b, "apiserver_request_total", "counter", "Requests answered.");
    for (size_t at = 0; sp_map_next(&m->requests, &at, NULL, &value);) {
        const series *s = value;
        sp_buf_printf(b, "apiserver_request_total{%s,code=\"%d\"} %llu\n", s->labels, s->code,
                      (unsigned long long)s->count);
    }
    head(b, "apiserver_request_duration_seconds", "histogram",
         "Time from the request to its answer; watches and logs are not in it.");
    for (size_t at = 0; sp_map_next(&m->requests, &at, NULL, &value);)
        if (((series *)value)->timed) write_histogram(b, value);
    head(b, "apiserver_current_inflight_requests", "gauge", "Requests that wait for their answer.");
    sp_buf_printf(b, "apiserver_current_inflight_requests{request_kind=\"readOnly\"} %lld\n",
                  (long long)m->inflight[0]);
    sp_buf_printf(b, "apiserver_current_inflight_requests{request_kind=\"mutating\"} %lld\n",
                  (long long)m->inflight[1]);
}

static double resident_bytes(void) {
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (!f) return 0;
    if (fscanf(f, "%*u %lu", &pages) != 1) pages = 0;
    fclose(f);
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

static void write_process(const sp_api_metrics *m, sp_buf *b) {
    struct timespec cpu;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    one(b, "process_cpu_seconds_total", "counter", "User and system CPU time.",
        (double)cpu.tv_sec + (double)cpu.tv_nsec / 1e9);
    one(b, "process_resident_memory_bytes", "gauge", "Resident memory.", resident_bytes());
    one(b, "process_start_time_seconds", "gauge", "When the process started, since 1970.",
        (double)m->started_ms / 1000);
}

void sp_api_metrics_write(const sp_api_metrics *m, const sp_request_gauges *g, sp_buf *b) {
    write_requests(m, b);
    one(b, "apiserver_longrunning_requests", "gauge", "Open watches.", (double)g->watches);
    one(b, "sampan_store_revision", "gauge", "Newest revision of the store.", (double)g->revision);
    one(b, "sampan_store_keys", "gauge", "Objects in the store.", (double)g->keys);
    one(b, "sampan_store_commits_total", "counter", "Groups of writes made durable.",
        (double)g->commits);
    one(b, "sampan_store_commit_seconds_total", "counter", "Time spent making them durable.",
        (double)g->commit_us_total / 1e6);
    one(b, "sampan_store_writes_total", "counter", "Single writes in those groups.",
        (double)g->writes);
    one(b, "sampan_store_history_events", "gauge", "Changes a watch can still resume from.",
        (double)g->history);
    one(b, "sampan_store_size_bytes", "gauge", "Size of the store's file.", (double)g->db_bytes);
    write_process(m, b);
}
