/* See command.h. Everything goes over the control socket (admin.h) and comes back as one document
 * (report.h), which is printed as tables. */
#include "gateway/command.h"
#include "base/clock.h"
#include "base/flags.h"
#include "gateway/admin.h"

#include <ctype.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ANSWER_MS = 10000 };

typedef struct options {
    const char *socket, *pool, *output, *interval;
    int64_t count;
} options;

/* --- asking --- */

/* The socket that `sampan up` makes in its data directory, where that is usual. */
static const char *find_socket(const options *o) {
    static const char *const usual[] = {"/var/lib/sampan/gateway.sock", "./data/gateway.sock"};
    struct stat st;
    if (o->socket) return o->socket;
    if (getenv("SAMPAN_GATEWAY_SOCKET")) return getenv("SAMPAN_GATEWAY_SOCKET");
    for (size_t i = 0; i < SP_COUNT(usual); i++)
        if (stat(usual[i], &st) == 0) return usual[i];
    return NULL;
}

static bool ask(const options *o, sp_arena *a, const sp_json *request, sp_json **ret) {
    sp_err err = {0};
    int fd;
    const char *path = find_socket(o);
    if (!path) {
        fprintf(stderr, "sampan gateway: no control socket is known; name it by --control-socket "
                        "or $SAMPAN_GATEWAY_SOCKET (`sampan up` makes DATA-DIR/gateway.sock)\n");
        return false;
    }
    bool ok = sp_admin_connect(path, &fd, &err);
    if (ok) {
        ok = sp_admin_ask(fd, a, request, ANSWER_MS, ret, NULL, &err);
        close(fd);
    }
    if (!ok) fprintf(stderr, "sampan gateway: %s\n", err.text);
    return ok;
}

static sp_json *request_of(sp_arena *a, const char *verb) {
    sp_json *r = sp_json_object(a);
    sp_json_set_z(a, r, "do", verb);
    return r;
}

/* --- tables --- */

enum { MAX_COLUMNS = 12, CELL = 64 };

typedef struct table {
    const char *const *heads; /* a head that begins with '>' is for numbers */
    size_t columns;
    SP_VEC(char *) cells;
} table;

static void cell(table *t, const char *fmt, ...) SP_PRINTF(2, 3);
static void cell(table *t, const char *fmt, ...) {
    char text[CELL];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    for (char *c = text; *c; c++)
        if (iscntrl((unsigned char)*c)) *c = '?';
    sp_vec_push(&t->cells, sp_strdup(text));
}

static void human(table *t, double n) {
    static const char units[] = " kMGT";
    size_t i = 0;
    while (n >= 10000 && i < sizeof units - 2) n /= 1000, i++;
    if (i)
        cell(t, "%.1f%c", n, units[i]);
    else
        cell(t, "%.*f", n < 100 && n != (double)(int64_t)n ? 1 : 0, n);
}

static void print_cell(const table *t, size_t column, const char *text, int width) {
    bool right = t->heads[column][0] == '>', last = column + 1 == t->columns;
    if (right)
        printf("%*s", width, text);
    else
        printf("%-*s", last ? 0 : width, text);
    if (!last) printf("   ");
}

static void print_table(table *t) {
    int widths[MAX_COLUMNS] = {0};
    size_t rows = t->cells.n / t->columns;
    for (size_t c = 0; c < t->columns; c++) {
        widths[c] = (int)strlen(t->heads[c] + (t->heads[c][0] == '>'));
        for (size_t r = 0; r < rows; r++)
            widths[c] = SP_MAX(widths[c], (int)strlen(t->cells.p[r * t->columns + c]));
    }
    for (size_t c = 0; c < t->columns; c++)
        print_cell(t, c, t->heads[c] + (t->heads[c][0] == '>'), widths[c]);
    printf("\n");
    for (size_t i = 0; i < t->cells.n; i++) {
        print_cell(t, i % t->columns, t->cells.p[i], widths[i % t->columns]);
        if (i % t->columns == t->columns - 1) printf("\n");
        free(t->cells.p[i]);
    }
    sp_vec_free(&t->cells);
}

static int64_t number(const sp_json *o, const char *key) {
    return sp_json_int(sp_json_get(o, key), 0);
}

/* --- status --- */

static void print_head(const sp_json *s) {
    const sp_json *t = sp_json_get(s, "totals");
    int64_t up = number(s, "uptimeSeconds");
    printf("gateway %s, process %lld, %lld loop%s, up %lldh%02lldm\n", sp_json_get_z(s, "version"),
           (long long)number(s, "pid"), (long long)number(s, "loops"),
           number(s, "loops") == 1 ? "" : "s", (long long)(up / 3600), (long long)(up / 60 % 60));
    printf("connections: %lld open, %lld so far; requests: %lld (%lld server errors, %lld own "
           "errors, %lld retries)\n",
           (long long)number(t, "open"), (long long)number(t, "connections"),
           (long long)number(t, "requests"), (long long)number(t, "status_5xx"),
           (long long)number(t, "own_errors"), (long long)number(t, "retries"));
}

static void print_listeners(const sp_json *s) {
    static const char *const heads[] = {"ADDRESS", "STATE", ">OPEN", ">TOTAL", "OWNER"};
    table t = {heads, SP_COUNT(heads), {0}};
    sp_json_each(sp_json_get(s, "listeners"), l) {
        cell(&t, "%s", sp_json_get_z(l, "address"));
        cell(&t, "%s", sp_json_bool(sp_json_get(l, "bound"), false) ? "served" : "not served");
        cell(&t, "%lld", (long long)number(l, "open"));
        cell(&t, "%lld", (long long)number(l, "total"));
        cell(&t, "%s", sp_json_get_z(l, "owner"));
    }
    print_table(&t);
}

static void add_server(table *t, const sp_json *pool, const sp_json *s) {
    const char *check = sp_json_get_z(s, "check"), *failure = sp_json_get_z(s, "lastFailure");
    cell(t, "%s", sp_json_get_z(pool, "pool"));
    cell(t, "%s", sp_json_get_z(s, "server"));
    cell(t, "%s", sp_json_get_z(s, "state"));
    cell(t, "%lld", (long long)number(s, "weight"));
    cell(t, "%lld", (long long)number(s, "open"));
    human(t, (double)number(s, "connections"));
    human(t, (double)number(s, "requests"));
    cell(t, "%lld", (long long)number(sp_json_get(s, "status"), "5xx"));
    cell(t, "%lld", (long long)number(s, "failures"));
    cell(t, "%.1fms", sp_json_double(sp_json_get(s, "meanMs"), 0));
    cell(t, "%s", *check ? check : failure);
}

static void print_servers(const sp_json *s) {
    static const char *const heads[] = {"POOL",    "SERVER",   "STATE",     ">WEIGHT",
                                        ">OPEN",   ">CONNS",   ">REQUESTS", ">5XX",
                                        ">FAILED", ">LATENCY", "LAST WORD"};
    table t = {heads, SP_COUNT(heads), {0}};
    sp_json_each(sp_json_get(s, "pools"), p) {
        sp_json_each(sp_json_get(p, "servers"), it) add_server(&t, p, it);
    }
    print_table(&t);
}

static void print_addresses(const sp_json *s) {
    const sp_json *list = sp_json_get(s, "addresses");
    if (!list || !list->count) return;
    printf("\nVIRTUAL ADDRESSES\n");
    sp_json_each(list, v) {
        sp_auto(sp_buf) b = {0};
        sp_json_write(&b, v);
        printf("%s\n", sp_buf_z(&b));
    }
}

static int status(const options *o, int argc, char **argv) {
    (void)argc, (void)argv;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_json *s;
    if (!ask(o, a, request_of(a, "status"), &s)) return 1;
    if (strcmp(o->output, "json") == 0) {
        sp_auto(sp_buf) b = {0};
        sp_json_write_pretty(&b, s);
        printf("%s\n", sp_buf_z(&b));
        return 0;
    }
    print_head(s);
    printf("\n");
    print_listeners(s);
    printf("\n");
    print_servers(s);
    print_addresses(s);
    return 0;
}

/* --- top: what changed since the last look, per second --- */

static const sp_json *find_in(const sp_json *list, const char *key, const char *value) {
    sp_json_each(list, it) if (strcmp(sp_json_get_z(it, key), value) == 0) return it;
    return NULL;
}

static double rate(const sp_json *now, const sp_json *before, const char *key, double seconds) {
    return before && seconds > 0 ? (double)(number(now, key) - number(before, key)) / seconds : 0;
}

static void print_rates(const sp_json *now, const sp_json *before, double seconds) {
    const sp_json *t = sp_json_get(now, "totals"), *b = sp_json_get(before, "totals");
    printf("%.0f requests/s   %.0f connections/s   %.1f MB/s in   %.1f MB/s out   %lld open   %.0f "
           "server errors/s\n\n",
           rate(t, b, "requests", seconds), rate(t, b, "connections", seconds),
           rate(t, b, "bytes_in", seconds) / 1e6, rate(t, b, "bytes_out", seconds) / 1e6,
           (long long)number(t, "open"), rate(t, b, "status_5xx", seconds));
}

static void print_route_rates(const sp_json *now, const sp_json *before, double seconds) {
    static const char *const heads[] = {"ROUTE", ">REQ/S", ">REQUESTS", ">4XX", ">5XX", ">LATENCY"};
    table t = {heads, SP_COUNT(heads), {0}};
    sp_json_each(sp_json_get(now, "routes"), r) {
        const sp_json *old =
            find_in(sp_json_get(before, "routes"), "route", sp_json_get_z(r, "route"));
        cell(&t, "%s", sp_json_get_z(r, "route"));
        human(&t, rate(r, old, "requests", seconds));
        human(&t, (double)number(r, "requests"));
        cell(&t, "%lld", (long long)number(sp_json_get(r, "status"), "4xx"));
        cell(&t, "%lld", (long long)number(sp_json_get(r, "status"), "5xx"));
        cell(&t, "%.1fms", sp_json_double(sp_json_get(r, "meanMs"), 0));
    }
    print_table(&t);
}

static void print_server_rates(const sp_json *now, const sp_json *before, double seconds) {
    static const char *const heads[] = {"POOL",  "SERVER", "STATE", ">REQ/S",  ">CONN/S",
                                        ">OPEN", ">MB/S",  ">5XX",  ">LATENCY"};
    table t = {heads, SP_COUNT(heads), {0}};
    sp_json_each(sp_json_get(now, "pools"), p) {
        const sp_json *old =
            find_in(sp_json_get(before, "pools"), "pool", sp_json_get_z(p, "pool"));
        sp_json_each(sp_json_get(p, "servers"), s) {
            const sp_json *was =
                find_in(sp_json_get(old, "servers"), "address", sp_json_get_z(s, "address"));
            cell(&t, "%s", sp_json_get_z(p, "pool"));
            cell(&t, "%s", sp_json_get_z(s, "server"));
            cell(&t, "%s", sp_json_get_z(s, "state"));
            human(&t, rate(s, was, "requests", seconds));
            human(&t, rate(s, was, "connections", seconds));
            cell(&t, "%lld", (long long)number(s, "open"));
            cell(&t, "%.1f", rate(s, was, "bytesOut", seconds) / 1e6);
            cell(&t, "%lld", (long long)number(sp_json_get(s, "status"), "5xx"));
            cell(&t, "%.1fms", sp_json_double(sp_json_get(s, "meanMs"), 0));
        }
    }
    print_table(&t);
}

static int top(const options *o, int argc, char **argv) {
    (void)argc, (void)argv;
    double seconds = strtod(o->interval, NULL);
    sp_arena *last = NULL;
    sp_json *before = NULL;
    int64_t at = 0;
    if (!(seconds >= 0.1 && seconds <= 3600)) {
        fprintf(stderr, "sampan gateway top: --interval %s: seconds from 0.1 to 3600\n",
                o->interval);
        return 2;
    }
    for (int64_t i = 0; !o->count || i <= o->count; i++) {
        sp_arena *a = sp_arena_new();
        sp_json *now;
        if (!ask(o, a, request_of(a, "status"), &now)) {
            sp_arena_free(a);
            sp_arena_free(last);
            return 1;
        }
        int64_t ms = sp_clock_mono_ms();
        if (before) {
            if (isatty(STDOUT_FILENO)) printf("\x1b[H\x1b[2J");
            print_rates(now, before, (double)(ms - at) / 1000);
            print_route_rates(now, before, (double)(ms - at) / 1000);
            printf("\n");
            print_server_rates(now, before, (double)(ms - at) / 1000);
            fflush(stdout);
        }
        sp_arena_free(last);
        last = a;
        before = now;
        at = ms;
        if (!o->count || i < o->count) usleep((useconds_t)(seconds * 1e6));
    }
    sp_arena_free(last);
    return 0;
}

/* --- steering --- */

static int steer(const options *o, const char *state, const char *server, int64_t weight) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_json *r = request_of(a, "steer"), *answer;
    sp_json_set_z(a, r, "server", server);
    if (o->pool) sp_json_set_z(a, r, "pool", o->pool);
    if (state) sp_json_set_z(a, r, "state", state);
    if (weight >= 0) sp_json_set_int(a, r, "weight", weight);
    if (!ask(o, a, r, &answer)) return 1;
    int64_t n = number(answer, "servers");
    if (state)
        printf("%s: %s", server, state);
    else
        printf("%s: weight %lld", server, (long long)weight);
    printf(n == 1 ? "\n" : " (in %lld pools)\n", (long long)n);
    return 0;
}

static int state_command(const options *o, int argc, char **argv) {
    int code = 0;
    if (argc < 2) {
        fprintf(stderr, "sampan gateway %s: name a server; see sampan gateway status\n", argv[0]);
        return 2;
    }
    for (int i = 1; i < argc; i++) code |= steer(o, argv[0], argv[i], -1);
    return code;
}

static int weight_command(const options *o, int argc, char **argv) {
    uint64_t weight;
    if (argc != 3 || !sp_str_u64(sp_str_z(argv[2]), &weight) || weight > 256) {
        fprintf(stderr, "sampan gateway weight: a server and a weight from 0 to 256 (0 drains)\n");
        return 2;
    }
    return steer(o, NULL, argv[1], (int64_t)weight);
}

static int reload(const options *o, int argc, char **argv) {
    (void)argc, (void)argv;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_json *s;
    if (!ask(o, a, request_of(a, "status"), &s)) return 1;
    if (kill((pid_t)number(s, "pid"), SIGUSR2) < 0) {
        perror("sampan gateway reload");
        return 1;
    }
    printf("process %lld was asked to start its successor; its log says how it went\n",
           (long long)number(s, "pid"));
    return 0;
}

/* --- the table --- */

static const struct {
    const char *name, *own_flags, *synopsis, *about; /* own_flags: keys of rows below */
    int (*run)(const options *o, int argc, char **argv);
} commands[] = {
    {"status", "o", "[flags]",
     "Shows listeners, servers and virtual addresses of a running gateway.", status},
    {"top", "in", "[flags]", "Shows rates per route and server, again and again.", top},
    {"drain", "p", "SERVER... [flags]",
     "Gives a server nothing new; what is open goes on. SERVER: a name or an address, as status\n"
     "shows it. Lasts until enable, or until the gateway's process ends.",
     state_command},
    {"disable", "p", "SERVER... [flags]", "Takes a server out, also for sticky clients.",
     state_command},
    {"enable", "p", "SERVER... [flags]", "Takes drain, disable and weight back.", state_command},
    {"weight", "p", "SERVER N [flags]", "Gives a server another weight, 0 to 256; 0 drains it.",
     weight_command},
    {"reload", "", "[flags]",
     "Starts the program anew (its file as it is now) and hands the ports over: no connection is\n"
     "refused or reset.",
     reload},
};

bool sp_gateway_is_command(const char *word) {
    for (size_t i = 0; word && i < SP_COUNT(commands); i++)
        if (strcmp(commands[i].name, word) == 0) return true;
    return false;
}

int sp_gateway_command(int argc, char **argv) {
    options o = {.output = "table", .interval = "2"};
    const struct {
        char key;
        sp_flag flag;
    } rows[] = {
        {0,
         {"control-socket", 0, SP_FLAG_STR, &o.socket, "FILE",
          "of the gateway (default $SAMPAN_GATEWAY_SOCKET,\n"
          "/var/lib/sampan/gateway.sock, ./data/gateway.sock)"}},
        {'p', {"pool", 0, SP_FLAG_STR, &o.pool, "NAME", "only in this pool, as default/web:80"}},
        {'o', {"output", 'o', SP_FLAG_STR, &o.output, "table|json", "how it is shown (table)"}},
        {'i', {"interval", 'i', SP_FLAG_STR, &o.interval, "SECONDS", "between two looks (2)"}},
        {'n', {"count", 'n', SP_FLAG_INT, &o.count, "N", "so many times; 0 = for ever (0)"}},
    };
    sp_flag flags[SP_COUNT(rows)];
    size_t i = 0, n = 0;
    while (strcmp(commands[i].name, argv[0]) != 0) i++;
    for (size_t k = 0; k < SP_COUNT(rows); k++)
        if (!rows[k].key || strchr(commands[i].own_flags, rows[k].key)) flags[n++] = rows[k].flag;
    char name[40];
    snprintf(name, sizeof name, "sampan gateway %s", argv[0]);
    const sp_usage u = {.command = name,
                        .synopsis = commands[i].synopsis,
                        .about = commands[i].about,
                        .flags = flags,
                        .flag_count = n};
    int code = sp_flags_parse(&u, &argc, argv);
    if (code != SP_FLAGS_GO_ON) return code;
    if (strcmp(o.output, "table") != 0 && strcmp(o.output, "json") != 0) {
        fprintf(stderr, "%s: --output %s: table or json\n", name, o.output);
        return 2;
    }
    return commands[i].run(&o, argc, argv);
}
