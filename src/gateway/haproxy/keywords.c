/* Every keyword of haproxy 2.6 that people write, with what becomes of it. A line whose keyword is
 * not here is an error that names it. */
#include "gateway/haproxy/model.h"

enum {
    G = SP_HAP_GLOBAL,
    D = SP_HAP_DEFAULTS,
    F = SP_HAP_FRONTEND,
    B = SP_HAP_BACKEND,
    R = SP_HAP_RESOLVERS,
    L = SP_HAP_LISTEN,
    FL = F | L,
    BL = B | L,
    DFL = D | F | L,
    DBL = D | B | L,
    ALL = D | F | B | L
};

#define RUN(words, sections, fn) \
    { words, sections, fn, false, NULL }
#define NOTE(words, sections, text) \
    { words, sections, NULL, false, text }
#define SILENT(words, sections, text) \
    { words, sections, NULL, false, "=" text }
#define REFUSE(words, sections, text) \
    { words, sections, NULL, true, text }

/* Protocols that checks do not know by themselves. */
#define SPEAK                                                                                    \
    "check the connection with option tcp-check, and say what the server answers to a greeting " \
    "with tcp-check send-binary and tcp-check expect"

/* Longer words stand before their beginnings. A text that begins with = holds without being said.
 */
const sp_hap_row sp_hap_rows[] = {
    /* global */
    RUN("maxconn", G, sp_hap_global_maxconn),
    RUN("hard-stop-after", G, sp_hap_hard_stop),
    RUN("ca-base", G, sp_hap_ca_base),
    RUN("crt-base", G, sp_hap_crt_base),
    RUN("ssl-server-verify", G, sp_hap_server_verify),
    RUN("ssl-default-bind-options", G, sp_hap_bind_options),
    NOTE("log", G, "lines about connections and requests go to --access-log"),
    NOTE("log-send-hostname", G, "lines about connections and requests go to --access-log"),
    NOTE("log-tag", G, "lines about connections and requests go to --access-log"),
    NOTE("chroot", G, "the gateway stays in the file system; a unit or a container bounds it"),
    NOTE("user", G, "the gateway runs as who starts it"),
    NOTE("group", G, "the gateway runs as who starts it"),
    NOTE("uid", G, "the gateway runs as who starts it"),
    NOTE("gid", G, "the gateway runs as who starts it"),
    NOTE("daemon", G, "the gateway stays in the foreground; a unit or \"&\" puts it behind"),
    NOTE("master-worker", G, "one process with a thread per core; SIGHUP reads the files again"),
    NOTE("pidfile", G, "no file is written: who starts the gateway knows its process"),
    NOTE("stats socket", G, "ask with sampan gateway status, and /metrics at --metrics-port"),
    NOTE("stats timeout", G, "ask with sampan gateway status, and /metrics at --metrics-port"),
    NOTE("stats maxconn", G, "ask with sampan gateway status, and /metrics at --metrics-port"),
    NOTE("nbproc", G, "one process with a thread per core"),
    NOTE("nbthread", G, "one thread per core; --loops says otherwise"),
    NOTE("cpu-map", G, "one thread per core"),
    NOTE("numa-cpu-mapping", G, "one thread per core"),
    NOTE("thread-group", G, "one thread per core"),
    NOTE("thread-groups", G, "one thread per core"),
    NOTE("ulimit-n", G, "as many descriptors as the system gives"),
    NOTE("node", G, "names are not told"),
    NOTE("description", G | ALL, "names are not told"),
    NOTE("spread-checks", G, "checks are spread by themselves"),
    NOTE("max-spread-checks", G, "checks are spread by themselves"),
    NOTE("maxconnrate", G, "connections are taken as they come"),
    NOTE("maxsessrate", G, "connections are taken as they come"),
    NOTE("maxsslrate", G, "connections are taken as they come"),
    NOTE("maxsslconn", G, "maxconn counts all connections"),
    NOTE("maxpipes", G, "pipes are kept as they are needed"),
    NOTE("maxcompcpuusage", G, "nothing is compressed"),
    NOTE("maxcomprate", G, "nothing is compressed"),
    NOTE("maxzlibmem", G, "nothing is compressed"),
    NOTE("external-check", G, "checks run no programs but those of sampan.dev policies"),
    NOTE("server-state-file", G, "what servers were is kept while the process runs"),
    NOTE("server-state-base", G, "what servers were is kept while the process runs"),
    NOTE("ssl-default-bind-ciphers", G, "OpenSSL's own choice of ciphers holds"),
    NOTE("ssl-default-bind-ciphersuites", G, "OpenSSL's own choice of ciphers holds"),
    NOTE("ssl-default-bind-curves", G, "OpenSSL's own choice of curves holds"),
    NOTE("ssl-default-server-ciphers", G, "OpenSSL's own choice of ciphers holds"),
    NOTE("ssl-default-server-ciphersuites", G, "OpenSSL's own choice of ciphers holds"),
    NOTE("ssl-default-server-options", G, "TLS towards servers is 1.2 or 1.3"),
    NOTE("ssl-dh-param-file", G, "keys are agreed on elliptic curves"),
    NOTE("ssl-engine", G, "OpenSSL's own providers are used"),
    NOTE("ssl-mode-async", G, "OpenSSL's own providers are used"),
    NOTE("ssl-load-extra-files", G,
         "FILE.key and FILE.ocsp are taken beside crt FILE, not in directories"),
    NOTE("ssl-load-extra-del-ext", G, "the key of crt NAME.crt is looked for in NAME.key, too"),
    NOTE("ssl-skip-self-issued-ca", G, "chains are sent as they are in the file"),
    NOTE("noepoll", G, "the gateway chooses how it waits"),
    NOTE("nokqueue", G, "the gateway chooses how it waits"),
    NOTE("noevports", G, "the gateway chooses how it waits"),
    NOTE("nopoll", G, "the gateway chooses how it waits"),
    NOTE("nosplice", G, "bulk data is spliced"),
    NOTE("nogetaddrinfo", G, "names are looked up by the system"),
    NOTE("noreuseport", G, "each thread has its own socket"),
    NOTE("busy-polling", G, "the gateway chooses how it waits"),
    NOTE("quiet", G, "--log-level says what is told"),
    NOTE("debug", G, "--log-level says what is told"),
    NOTE("zero-warning", G, "warnings do not stop it; --check shows them"),
    NOTE("strict-limits", G, "the limits that the system gives are used"),
    NOTE("localpeer", G, "tables are not sent between gateways"),
    NOTE("unix-bind", G, "only IP addresses are bound"),
    NOTE("mworker-max-reloads", G, "no old processes stay behind"),
    NOTE("insecure-fork-wanted", G, "the gateway forks for check scripts and notify scripts only"),
    NOTE("insecure-setuid-wanted", G, "the gateway runs as who starts it"),
    NOTE("profiling.tasks", G, "look at /metrics"),
    NOTE("pp2-never-send-local", G, "checks send the PROXY header that traffic sends"),
    NOTE("cluster-secret", G, "cookies are keyed by the gateway"),
    NOTE("default-path", G, "files are named from where the gateway was started"),
    NOTE("tune.*", G, "buffers and limits follow the need"),
    NOTE("51degrees-*", G, "devices are not recognized"),
    NOTE("wurfl-*", G, "devices are not recognized"),
    REFUSE("lua-load", G, "no Lua runs here: say it with rules, or put a program behind"),
    REFUSE("lua-load-per-thread", G,
           "no Lua runs here: say it with rules, or put a program behind"),
    REFUSE("lua-prepend-path", G, "no Lua runs here: say it with rules, or put a program behind"),
    REFUSE("setenv", G, "set the variable where the gateway is started"),
    REFUSE("presetenv", G, "set the variable where the gateway is started"),
    REFUSE("resetenv", G, "set the variables where the gateway is started"),
    REFUSE("unsetenv", G, "unset the variable where the gateway is started"),
    REFUSE("set-var", G, "values are constants or \"${VARIABLE}\" of the environment"),
    REFUSE("set-var-fmt", G, "values are constants or \"${VARIABLE}\" of the environment"),
    REFUSE("h1-case-adjust", G, "names of headers are sent in lower case"),
    REFUSE("h1-case-adjust-file", G, "names of headers are sent in lower case"),
    REFUSE("issuers-chain-path", G, "put the whole chain into the crt file"),

    /* resolvers */
    RUN("hold", R, sp_hap_hold),
    SILENT("nameserver", R, "names are looked up by the system (/etc/resolv.conf)"),
    SILENT("parse-resolv-conf", R, "names are looked up by the system (/etc/resolv.conf)"),
    SILENT("resolve_retries", R, "names are looked up by the system (/etc/resolv.conf)"),
    SILENT("accepted_payload_size", R, "names are looked up by the system (/etc/resolv.conf)"),
    SILENT("timeout", R, "names are looked up by the system (/etc/resolv.conf)"),

    /* what a proxy is */
    RUN("mode", ALL, sp_hap_mode),
    RUN("bind", FL, sp_hap_bind_line),
    RUN("server", BL, sp_hap_server_line),
    RUN("default-server", DBL, sp_hap_default_server),
    RUN("server-template", BL, sp_hap_server_template),
    RUN("balance", DBL, sp_hap_balance_line),
    RUN("hash-type", DBL, sp_hap_hash_type),
    RUN("cookie", DBL, sp_hap_cookie),
    RUN("stick-table", F | B | L, sp_hap_stick_table),
    RUN("stick", BL, sp_hap_stick),
    RUN("timeout", ALL, sp_hap_timeout),
    RUN("maxconn", DFL, sp_hap_maxconn),
    RUN("retries", DBL, sp_hap_retries),
    RUN("disabled", ALL, sp_hap_disabled),
    RUN("enabled", ALL, sp_hap_disabled),
    RUN("default_backend", DFL, sp_hap_default_backend),
    RUN("acl", F | B | L, sp_hap_acl_line),
    RUN("use_backend", FL, sp_hap_use_backend),
    RUN("redirect", F | B | L, sp_hap_redirect),
    RUN("monitor-uri", FL, sp_hap_monitor_uri),

    /* http-request, http-response, tcp-request */
    RUN("http-request deny", F | B | L, sp_hap_http_deny),
    RUN("http-request tarpit", F | B | L, sp_hap_http_deny),
    RUN("http-request redirect", F | B | L, sp_hap_http_redirect),
    RUN("http-request return", F | B | L, sp_hap_http_return),
    RUN("http-request allow", F | B | L, sp_hap_http_allow),
    RUN("http-request set-header", F | B | L, sp_hap_set_header),
    RUN("http-request add-header", F | B | L, sp_hap_add_header),
    RUN("http-request del-header", F | B | L, sp_hap_del_header),
    RUN("http-request set-path", F | B | L, sp_hap_set_path),
    RUN("http-request replace-path", F | B | L, sp_hap_replace_path),
    NOTE("http-request capture", F | B | L, "--access-log has fields of its own"),
    NOTE("http-request set-log-level", F | B | L, "--access-log has fields of its own"),
    NOTE("http-request set-nice", F | B | L, "all requests have the same priority"),
    REFUSE("http-request auth", F | B | L, "passwords are not asked here: let the backend ask"),
    REFUSE("http-request replace-header", F | B | L, "set-header with a constant is"),
    REFUSE("http-request replace-value", F | B | L, "set-header with a constant is"),
    REFUSE("http-request replace-uri", F | B | L, "replace-path is"),
    REFUSE("http-request replace-pathq", F | B | L, "replace-path is"),
    REFUSE("http-request set-uri", F | B | L, "set-path is"),
    REFUSE("http-request set-pathq", F | B | L, "set-path is"),
    REFUSE("http-request set-query", F | B | L, "the query goes on as it came"),
    REFUSE("http-request set-method", F | B | L, "the method goes on as it came"),
    REFUSE("http-request set-var", F | B | L, "write the condition itself at each line"),
    REFUSE("http-request set-src", F | B | L, "the client's address comes by accept-proxy"),
    RUN("http-request track-sc*", FL, sp_hap_track_line),
    REFUSE("http-request track-sc*", B, "requests are counted in a frontend"),
    REFUSE("http-request silent-drop", F | B | L, "http-request deny is"),
    REFUSE("http-request reject", F | B | L, "http-request deny is"),
    REFUSE("http-request cache-use", F | B | L, "nothing is cached here"),
    REFUSE("http-request wait-for-body", F | B | L, "bodies are passed on as they come"),
    REFUSE("http-request use-service", F | B | L, "put a program behind"),
    REFUSE("http-request normalize-uri", F | B | L,
           "paths are compared in their normal form anyway"),
    REFUSE("http-request", F | B | L,
           "of the actions deny, tarpit, redirect, return, allow, set-header, add-header, "
           "del-header, set-path and replace-path are"),
    RUN("http-response set-header", F | B | L, sp_hap_resp_set),
    RUN("http-response add-header", F | B | L, sp_hap_resp_add),
    RUN("http-response del-header", F | B | L, sp_hap_resp_del),
    REFUSE("http-response", F | B | L, "of the actions set-header, add-header and del-header are"),
    REFUSE("http-after-response", F | B | L, "http-response is, for answers of servers"),
    NOTE("tcp-request inspect-delay", ALL,
         "the server name is waited for as long as for a request's head"),
    RUN("tcp-request connection accept", FL, sp_hap_tcp_connection),
    RUN("tcp-request connection reject", FL, sp_hap_tcp_connection),
    RUN("tcp-request connection track-sc*", FL, sp_hap_track_line),
    RUN("tcp-request content track-sc*", FL, sp_hap_track_line),
    RUN("tcp-request content accept", F | B | L, sp_hap_tcp_content),
    RUN("tcp-request content reject", F | B | L, sp_hap_tcp_content),
    REFUSE("tcp-request", ALL,
           "of the actions \"connection\" and \"content\" with accept or reject are; rates are "
           "limited with a TrafficPolicy (docs/gateway)"),
    REFUSE("tcp-response", BL, "answers are passed on as they come"),

    /* checks */
    RUN("option httpchk", DBL, sp_hap_httpchk),
    RUN("option tcp-check", DBL, sp_hap_tcpchk),
    RUN("option redis-check", DBL, sp_hap_redis_chk),
    RUN("option smtpchk", DBL, sp_hap_smtp_chk),
    RUN("option ssl-hello-chk", DBL, sp_hap_ssl_chk),
    RUN("http-check send", DBL, sp_hap_http_check_send),
    RUN("http-check expect", DBL, sp_hap_http_check_expect),
    RUN("http-check connect", DBL, sp_hap_http_check_connect),
    NOTE("http-check disable-on-404", DBL, "a 404 is a failed check"),
    REFUSE("http-check send-state", DBL, "the check says nothing of other servers"),
    REFUSE("http-check", DBL, "send, expect and connect are"),
    RUN("tcp-check connect", DBL, sp_hap_tcp_check_connect),
    RUN("tcp-check send", DBL, sp_hap_tcp_check_send),
    RUN("tcp-check send-binary", DBL, sp_hap_tcp_check_send_binary),
    RUN("tcp-check expect", DBL, sp_hap_tcp_check_expect),
    SILENT("tcp-check comment", DBL, "a check that fails tells the step and what came"),
    REFUSE("tcp-check", DBL, "connect, send, send-binary, expect and comment are"),
    REFUSE("option external-check", DBL, "a script is a check of a BackendPolicy (docs/gateway)"),
    REFUSE("external-check", DBL, "a script is a check of a BackendPolicy (docs/gateway)"),
    REFUSE("option mysql-check", DBL, SPEAK),
    REFUSE("option pgsql-check", DBL, SPEAK),
    REFUSE("option ldap-check", DBL, SPEAK),
    REFUSE("option spop-check", DBL, SPEAK),
    NOTE("option log-health-checks", ALL, "changes of servers are always logged"),

    /* options */
    RUN("option forwardfor", ALL, sp_hap_forwardfor),
    RUN("option redispatch", DBL, sp_hap_redispatch),
    SILENT("option httplog", ALL, "--access-log has a line for each request"),
    SILENT("option tcplog", ALL, "--access-log has a line for each connection"),
    SILENT("option dontlognull", ALL, "connections without a byte are counted, not logged"),
    SILENT("option dontlog-normal", ALL, "--access-log has a line for each request"),
    SILENT("option logasap", ALL, "lines are written when it is over"),
    SILENT("option log-separate-errors", ALL, "--access-log has a line for each request"),
    SILENT("option http-keep-alive", ALL, "connections are kept on both sides"),
    SILENT("option http-server-close", ALL,
           "kept for clients; connections to servers are kept too, as HTTP/1.1 has it"),
    SILENT("option prefer-last-server", ALL, "kept connections are used first"),
    SILENT("option splice-auto", ALL, "bulk data is spliced"),
    SILENT("option splice-request", ALL, "bulk data is spliced"),
    SILENT("option splice-response", ALL, "bulk data is spliced"),
    SILENT("option tcp-smart-accept", ALL, "the gateway chooses"),
    SILENT("option tcp-smart-connect", ALL, "the gateway chooses"),
    SILENT("option tcpka", ALL, "probes find dead peers on both sides"),
    SILENT("option clitcpka", ALL, "probes find dead peers on both sides"),
    SILENT("option srvtcpka", ALL, "probes find dead peers on both sides"),
    SILENT("option contstats", ALL, "counters are always current"),
    SILENT("option socket-stats", ALL, "counters are per listener"),
    RUN("option allbackups", DBL, sp_hap_all_backups),
    SILENT("option http-no-delay", ALL, "nothing is held back"),
    SILENT("option abortonclose", ALL,
           "a client that resets its connection frees its place in the queue; one that has only "
           "closed its half gets its answer"),
    SILENT("option checkcache", ALL, "nothing is cached"),
    SILENT("option idle-close-on-response", ALL, "idle connections are closed politely"),
    SILENT("option nolinger", ALL, "connections are closed politely"),
    SILENT("option http-buffer-request", ALL, "bodies are passed on as they come"),
    SILENT("option http-ignore-probes", ALL,
           "connections without a byte are closed without a word"),
    SILENT("option persist", ALL, "a server that is down is left for another one"),
    NOTE("option httpclose", ALL, "connections are kept on both sides, as HTTP/1.1 has it"),
    NOTE("option forceclose", ALL, "connections are kept on both sides, as HTTP/1.1 has it"),
    NOTE("option http-pretend-keepalive", ALL, "connections are kept on both sides"),
    NOTE("option http-use-proxy-header", ALL, "Proxy-Connection is not looked at"),
    NOTE("option disable-h2-upgrade", ALL, "HTTP/2 is spoken where ALPN or the first bytes say so"),
    NOTE("option independent-streams", ALL, "a connection is idle when nothing moves either way"),
    NOTE("option h1-case-adjust-bogus-client", ALL, "names of headers are sent in lower case"),
    NOTE("option h1-case-adjust-bogus-server", ALL, "names of headers are sent in lower case"),
    NOTE("option accept-invalid-http-request", ALL, "what is malformed is refused"),
    NOTE("option accept-invalid-http-response", ALL, "what is malformed is refused"),
    REFUSE("option originalto", ALL,
           "the address asked for is not told; make it a header per bind"),
    REFUSE("option transparent", ALL, "servers are named by server lines"),
    REFUSE("option http_proxy", ALL, "this is no forward proxy"),
    REFUSE("option nice", ALL, "this option is not known"),

    /* the rest */
    SILENT("log", ALL, "lines about connections and requests go to --access-log"),
    NOTE("log-format", ALL, "--access-log has a format of its own"),
    NOTE("log-format-sd", ALL, "--access-log has a format of its own"),
    NOTE("error-log-format", ALL, "--access-log has a format of its own"),
    NOTE("log-tag", ALL, "--access-log has a format of its own"),
    NOTE("capture", FL, "--access-log has a format of its own"),
    NOTE("unique-id-format", ALL, "each request has an id of the gateway's own"),
    NOTE("unique-id-header", ALL, "each request has an id of the gateway's own"),
    NOTE("stats", ALL, "look with sampan gateway status and top, and /metrics at --metrics-port"),
    NOTE("fullconn", DBL, "maxconn of a server is its limit at any load"),
    NOTE("http-reuse", DBL, "connections to servers are shared by all requests"),
    NOTE("retry-on", DBL,
         "what is safe to send again is sent again: connects that failed, and "
         "idempotent requests without an answer"),
    NOTE("backlog", ALL, "the system's net.core.somaxconn holds"),
    NOTE("bind-process", ALL, "every core serves every listener"),
    NOTE("max-keep-alive-queue", DBL, "kept connections are used first"),
    NOTE("max-session-srv-conns", DBL, "connections to servers are shared by all requests"),
    NOTE("load-server-state-from-file", DBL, "what servers were is kept while the process runs"),
    NOTE("server-state-file-name", DBL, "what servers were is kept while the process runs"),
    NOTE("grace", ALL, "--grace says how long connections may end by themselves"),
    NOTE("id", F | B | L, "proxies are named"),
    NOTE("clitcpka-*", ALL, "probes find dead peers on both sides"),
    NOTE("srvtcpka-*", ALL, "probes find dead peers on both sides"),
    NOTE("errorfile", ALL, "the gateway's own errors are one line of text"),
    NOTE("errorfiles", ALL, "the gateway's own errors are one line of text"),
    NOTE("http-error", ALL, "the gateway's own errors are one line of text"),
    REFUSE("errorloc", ALL, "the gateway's own errors are no redirects"),
    REFUSE("errorloc302", ALL, "the gateway's own errors are no redirects"),
    REFUSE("errorloc303", ALL, "the gateway's own errors are no redirects"),
    REFUSE("compression", ALL, "bodies are passed on as they are: let the servers compress"),
    REFUSE("filter", ALL, "there are no filters (compression, cache, spoe, trace)"),
    REFUSE("email-alert", ALL, "no mail is sent: watch /metrics or the log"),
    REFUSE("monitor", FL, "use http-request return with a condition"),
    REFUSE("rate-limit", ALL, "limit rates with a TrafficPolicy (docs/gateway)"),
    REFUSE("use-server", BL, "give the server a backend of its own, and use_backend"),
    REFUSE("dispatch", BL, "name the address on a server line"),
    REFUSE("source", ALL, "connections go out from the address the system chooses"),
    REFUSE("force-persist", F | B | L, "take the server out with sampan gateway drain"),
    REFUSE("ignore-persist", F | B | L, "give such requests a backend without the cookie"),
    REFUSE("persist", BL, "RDP cookies are not read"),
    REFUSE("http-send-name-header", DBL, "the server is not told its name"),
    REFUSE("declare", FL, "--access-log has a format of its own"),
    REFUSE("use-fcgi-app", BL, "FastCGI is not spoken; put a web server before it"),
    REFUSE("option", ALL, "this option is not known"),
};
const size_t sp_hap_row_count = SP_COUNT(sp_hap_rows);

/* How many words of the line the row names; 0 = another keyword. */
static size_t words_match(const char *words, const sp_hap_line *l, size_t at) {
    size_t n = 0;
    for (sp_str w, rest = sp_str_z(words); sp_str_cut(&rest, ' ', &w); n++) {
        if (at + n >= l->n) return 0;
        sp_str have = l->words[at + n];
        bool open = sp_str_ends(w, SP_STR("*"));
        if (open ? !sp_str_starts(have, sp_str_sub(w, 0, w.n - 1)) : !sp_str_eq(have, w)) return 0;
    }
    return n;
}

static void wrong_section(sp_hap *h, const sp_hap_line *l, size_t at) {
    sp_hap_error(h, l->number, "\"%.*s\" has no meaning in a %.*s section", SP_ARG(l->words[at]),
                 SP_ARG(h->section->word));
}

static void carry_out(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, const sp_hap_row *row,
                      size_t at, size_t n) {
    sp_str words = sp_str_z(row->words);
    if (words.p[words.n - 1] == '*') words = l->words[at];
    if (row->run)
        row->run(h, p, l, at + n);
    else if (row->refused)
        sp_hap_error(h, l->number, "%.*s is not supported: %s", SP_ARG(words), row->text);
    else if (row->text[0] != '=')
        sp_hap_note(h, l->number, "%.*s: %s", SP_ARG(words), row->text);
}

/* Of the words that may stand behind "no", handlers look at h->no themselves. */
void sp_hap_keyword(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l) {
    bool elsewhere = false;
    if (h->section->kind == SP_HAP_OTHER) return;
    h->no = sp_str_eqz(l->words[0], "no") && l->n > 1;
    size_t at = h->no || (sp_str_eqz(l->words[0], "default") && l->n > 1) ? 1 : 0;
    if (h->no && sp_str_eqz(l->words[1], "log")) return; /* it is written elsewhere anyway */
    if (at && !sp_str_eqz(l->words[1], "option")) {
        if (!h->no || h->section->kind != SP_HAP_GLOBAL)
            sp_hap_error(h, l->number, "\"%.*s %.*s\": only options can be taken back",
                         SP_ARG(l->words[0]), SP_ARG(l->words[1]));
        return;
    }
    for (size_t i = 0; i < sp_hap_row_count; i++) {
        const sp_hap_row *row = &sp_hap_rows[i];
        size_t n = words_match(row->words, l, at);
        if (!n) continue;
        if (!(row->sections & (unsigned)h->section->kind)) {
            elsewhere = true;
            continue;
        }
        if (!h->no || row->run) carry_out(h, p, l, row, at, n);
        return;
    }
    if (elsewhere)
        wrong_section(h, l, at);
    else
        sp_hap_error(h, l->number, "\"%.*s\" is not a keyword of haproxy 2.6 that is known here",
                     SP_ARG(l->words[at]));
}

const sp_haproxy_keyword *sp_haproxy_keyword_at(size_t index) {
    static _Thread_local sp_haproxy_keyword k;
    if (index >= sp_hap_row_count) return NULL;
    const sp_hap_row *row = &sp_hap_rows[index];
    k = (sp_haproxy_keyword){row->words,
                             row->refused ? "refused"
                             : row->run   ? "supported"
                                          : "noted",
                             row->text ? row->text + (row->text[0] == '=') : ""};
    return &k;
}
