/* haproxy.cfg: words, keywords, conditions, and what each becomes as an object. */
#include "gateway/haproxy/lex.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static sp_str variable(void *ctx, sp_str name) {
    (void)ctx;
    if (sp_str_eqz(name, "HOST")) return SP_STR("10.0.0.9");
    return sp_str_eqz(name, "EMPTY") ? SP_STR("") : (sp_str){0};
}

static bool read_file(void *ctx, sp_arena *a, sp_str path, sp_str *ret, sp_err *err) {
    (void)ctx, (void)a;
    if (sp_str_ends(path, SP_STR(".lst"))) {
        *ret = SP_STR("/one\n# not this\n\n/two\n");
        return true;
    }
    if (!sp_str_ends(path, SP_STR(".pem"))) return sp_fail(err, SP_NOT_FOUND, "no such file");
    *ret = SP_STR("-----BEGIN PRIVATE KEY-----\nMA==\n-----END PRIVATE KEY-----\n"
                  "-----BEGIN CERTIFICATE-----\nMQ==\n-----END CERTIFICATE-----\n");
    return true;
}

static bool resolve(void *ctx, sp_arena *a, sp_str name, sp_strs *ret, sp_err *err) {
    (void)ctx, (void)a;
    if (!sp_str_eqz(name, "two.example.com")) return sp_fail(err, SP_NOT_FOUND, "not found");
    sp_vec_push(ret, SP_STR("192.0.2.7"));
    sp_vec_push(ret, SP_STR("2001:db8::7"));
    return true;
}

static const sp_haproxy_options options = {NULL, variable, read_file, resolve};

/* --- words --- */

static void words(void **state) {
    (void)state;
    static const struct {
        const char *line, *want; /* words in brackets; NULL: an error */
    } rows[] = {
        {"", ""},
        {"  \t ", ""},
        {"# all of it", ""},
        {"bind *:9443  ## \xe7\x9b\x91", "[bind][*:9443]"},
        {"a#b c", "[a]"},
        {"a\\#b c\\ d", "[a#b][c d]"},
        {"x 'a b' \"c d\"e", "[x][a b][c de]"},
        {"x '' \"\"", "[x][][]"},
        {"x '\\n$HOST'", "[x][\\n$HOST]"},
        {"x \\.jpg$ \\d", "[x][\\.jpg$][\\d]"},
        {"x a\\tb \\x41\\x2e", "[x][a\tb][A.]"},
        {"x \"${HOST}:80\" \"$HOST\" $HOST", "[x][10.0.0.9:80][10.0.0.9][$HOST]"},
        {"x \"${NONE-8}\" \"${NONE}\" \"${EMPTY-9}\"", "[x][8][][]"},
        {"x \"\\$HOST\" \"\\\"q\\\"\"", "[x][$HOST][\"q\"]"},
        {"\"x", NULL},
        {"'x", NULL},
        {"x \\x0", NULL},
        {"x \\x00", NULL},
        {"x \"${HOST\"", NULL},
        {"x \"$\"", NULL},
    };
    for (size_t i = 0; i < SP_COUNT(rows); i++) {
        sp_auto(sp_buf) got = {0};
        sp_arena *a = sp_arena_new();
        sp_hap_line l = {0};
        sp_err err = {0};
        bool ok = sp_hap_lex(a, sp_str_z(rows[i].line), &options, &l, &err);
        for (size_t k = 0; k < l.n; k++) sp_buf_printf(&got, "[%.*s]", SP_ARG(l.words[k]));
        assert_int_equal(ok, rows[i].want != NULL);
        if (ok)
            assert_string_equal(sp_buf_z(&got), rows[i].want);
        else
            assert_true(err.text[0]);
        sp_arena_free(a);
    }
}

/* --- what becomes of a file --- */

typedef struct world {
    sp_arena *arena;
    sp_haproxy_config c;
} world;

static void load(world *w, const char *text) {
    w->arena = sp_arena_new();
    sp_haproxy_read(w->arena, sp_str_z(text), &options, &w->c);
}

static void unload(world *w) {
    sp_haproxy_config_free(&w->c);
    sp_arena_free(w->arena);
}

static bool tells(const world *w, sp_config_severity s, unsigned line, const char *text) {
    sp_vec_each(&w->c.problems, p) {
        if (p->severity == s && p->line == line && sp_str_find(p->text, sp_str_z(text)) >= 0)
            return true;
    }
    return false;
}

static const sp_json *find(const world *w, const char *kind, const char *name) {
    sp_vec_each(&w->c.objects, o) {
        if (sp_str_eqz(sp_json_str(sp_json_get(*o, "kind")), kind) &&
            sp_str_eqz(sp_json_str(sp_json_dig(*o, "metadata", "name", NULL)), name))
            return *o;
    }
    return NULL;
}

/* One object and a piece of its JSON without blanks. */
typedef struct row {
    const char *text, *kind, *name, *has;
} row;

#define WEB(lines)                                                         \
    "frontend web\n mode http\n bind :80\n" lines "\n default_backend b\n" \
    "backend b\n mode http\n server s 10.0.0.1:80\n"
#define BACK(lines) \
    "frontend web\n mode http\n bind :80\n default_backend b\nbackend b\n mode http\n" lines "\n"
#define TCP(lines) "frontend f\n" lines "\n default_backend b\nbackend b\n server s 10.0.0.1:80\n"
#define FIRST "HTTPRoute", "web-http-80-1"

static const row rows[] = {
    {WEB(""), "Service", "b", "\"ports\":[{\"name\":\"main\",\"port\":80,\"targetPort\":80"},
    {WEB(""), "HTTPRoute", "web-http-80",
     "\"rules\":[{\"backendRefs\":[{\"name\":\"b\",\"port\":80}]}]"},
    {WEB(" use_backend b if { path /a }"), FIRST,
     "{\"path\":{\"type\":\"Exact\",\"value\":\"/a\"}}"},
    {WEB(" use_backend b if { path /a }"), FIRST, "\"sampan.dev/precedence\":\"1\""},
    {WEB(" use_backend b if { path -i /a }"), FIRST, "RegularExpression\",\"value\":\"(?i)/a\""},
    {WEB(" use_backend b if { path_beg /a }"), FIRST, "\"/a.*\""},
    {WEB(" use_backend b if { path_end .jpg .png }"), FIRST, "\"(?:.*\\\\.jpg|.*\\\\.png)\""},
    {WEB(" use_backend b if { path_reg ^/x[0-9]+$ }"), FIRST, "\".*(?:^/x[0-9]+$).*\""},
    {WEB(" use_backend b if { path -f x.lst }"), FIRST, "\"(?:/one|/two)\""},
    {WEB(" use_backend b if { path -m beg /a } { path_end z }"), FIRST, "(?=(?:/a.*)$)(?:.*z)"},
    {WEB(" use_backend b if { hdr(host) -i a.example.com }"), FIRST,
     "\"hostnames\":[\"a.example.com\"]"},
    {WEB(" use_backend b if { hdr_end(host) -i .example.com }"), FIRST,
     "\"hostnames\":[\"*.example.com\"]"},
    {WEB(" use_backend b if { hdr(host),field(1,:) -i www }"), FIRST, "\"hostnames\":[\"www\"]"},
    {WEB(" use_backend b if { hdr(x-a) -m found }"), FIRST, "\"name\":\"x-a\""},
    {WEB(" use_backend b if { method POST }"), FIRST, "\"method\":\"POST\""},
    {WEB(" use_backend b if METH_PUT"), FIRST, "\"method\":\"PUT\""},
    {WEB(" use_backend b if { url_param(v) 2 }"), FIRST,
     "\"queryParams\":[{\"type\":\"Exact\",\"name\":\"v\",\"value\":\"2\"}]"},
    {WEB(" use_backend b if { cook(s) x }"), FIRST, "(?:.*;\\\\s*)?s=(?:x)(?:\\\\s*;.*)?"},
    {WEB(" http-request deny if { path /a }"), FIRST, "\"sampan.dev/answer\":\"403\""},
    {WEB(" http-request return status 418 string tea if { path /a }"), FIRST,
     "\"sampan.dev/answer-body\":\"tea\""},
    {WEB(" http-request redirect location /b if { path /a }"), FIRST,
     "\"sampan.dev/answer-location\":\"/b\""},
    {WEB(" redirect scheme https code 301"), "HTTPRoute", "web-http-80",
     "\"requestRedirect\":{\"statusCode\":301,\"scheme\":\"https\"}"},
    {WEB(" http-request set-header X-A 1\n http-request set-header X-A 2"), "HTTPRoute",
     "web-http-80", "\"set\":[{\"name\":\"X-A\",\"value\":\"2\"}]"},
    {WEB(" http-request del-header X-A"), "HTTPRoute", "web-http-80", "\"remove\":[\"X-A\"]"},
    {WEB(" http-request set-header X-P %[dst_port]"), "HTTPRoute", "web-http-80",
     "\"value\":\"80\""},
    {WEB(" http-request set-header X-P a%%%[dst_port]"), "HTTPRoute", "web-http-80",
     "\"value\":\"a%80\""},
    {WEB(" http-request set-header X-A %[src]%%[dst_port]%[dst_port]"), "HTTPRoute", "web-http-80",
     "\"value\":\"%[src]%%[dst_port]80\""},
    {WEB(" http-request set-header X-A %ci:%[src_port]"), "HTTPRoute", "web-http-80",
     "\"value\":\"%[src]:%[src_port]\""},
    {WEB(" http-request set-header X-A %[src]"), "HTTPRoute", "web-http-80",
     "\"sampan.dev/request-header-variables\":\"true\""},
    {WEB(" http-request set-header X-A %[src]\n http-request set-header X-B 5%%"), "HTTPRoute",
     "web-http-80", "\"value\":\"5%%\""},
    {WEB(" http-request set-header X-B 5%%"), "HTTPRoute", "web-http-80", "\"value\":\"5%\""},
    {WEB(" http-response add-header X-A 1"), "HTTPRoute", "web-http-80",
     "\"responseHeaderModifier\":{\"add\":"},
    {WEB(" http-request set-path /x"), "HTTPRoute", "web-http-80", "\"replaceFullPath\":\"/x\""},
    {WEB(" http-request replace-path ^/old/(.*) /new/\\1"), FIRST,
     "\"path\":{\"type\":\"PathPrefix\",\"value\":\"/old\"}"},
    {WEB(" http-request deny unless { src 10.0.0.0/8 }"), "TrafficPolicy", "web-http-80-access",
     "\"allow\":[\"10.0.0.0/8\"]"},
    {WEB(" http-request deny if { src 10.0.0.1 }"), "TrafficPolicy", "web-http-80-access",
     "\"deny\":[\"10.0.0.1/32\"]"},
    {WEB(" maxconn 9\n timeout client 90s"), "TrafficPolicy", "web-http-80",
     "\"maxConnections\":9,\"timeouts\":{\"requestHead\":\"1m30s\",\"keepAlive\":\"1m30s\","
     "\"upgradedIdle\":"
     "\"1m30s\"}"},
    {WEB(" timeout client 90s\n timeout http-request 5s\n timeout tunnel 1h"), "TrafficPolicy",
     "web-http-80",
     "\"timeouts\":{\"requestHead\":\"5s\",\"keepAlive\":\"5s\",\"upgradedIdle\":\"1h\"}"},
    {WEB(" timeout client 90s\n timeout http-keep-alive 7s"), "TrafficPolicy", "web-http-80",
     "\"timeouts\":{\"requestHead\":\"1m30s\",\"keepAlive\":\"7s\",\"upgradedIdle\":\"1m30s\"}"},
    {TCP(" bind :1\n timeout client 90s"), "TrafficPolicy", "f-tcp-1",
     "\"timeouts\":{\"clientIdle\":\"1m30s\"}"},
    {"defaults\n mode http\n timeout client 1s\nfrontend f\n bind :1\n use_backend c if { path /c "
     "}\n "
     "default_backend b\nbackend b\n timeout tunnel 1h\nbackend c\n timeout tunnel 2h\n",
     "TrafficPolicy", "f-http-1",
     "\"timeouts\":{\"requestHead\":\"1s\",\"keepAlive\":\"1s\",\"upgradedIdle\":\"2h\"}"},
    {BACK(" server s 10.0.0.1:80 check on-marked-down shutdown-sessions"), "BackendPolicy", "b",
     "\"onCheckFailure\":\"Reset\""},
    {TCP(" bind 10.0.0.1:1-2 accept-proxy"), "TrafficPolicy", "f-n10-0-0-1-tcp-2",
     "\"acceptProxyProtocol\":{\"from\":[\"0.0.0.0/0\",\"::/0\"]}"},
    {TCP(" bind 10.0.0.1:1-2"), "Gateway", "f-n10-0-0-1",
     "\"addresses\":[{\"type\":\"IPAddress\",\"value\":\"10.0.0.1\"}]"},
    {TCP(" bind :1\n tcp-request connection reject if { src 10.0.0.1 }"), "TrafficPolicy",
     "f-tcp-1", "\"deny\":[\"10.0.0.1/32\"]"},
    {TCP(" bind :1\n use_backend b if { req_ssl_sni -i a.org }"), "TLSRoute", "f-tls-1",
     "\"hostnames\":[\"a.org\"]"},
    {TCP(" bind :1 ssl crt x.pem ca-file x.pem verify required"), "Secret", "f-1-tls-1",
     "\"type\":\"kubernetes.io/tls\""},
    {TCP(" bind :1 ssl crt x.pem ca-file x.pem verify required"), "Gateway", "f",
     "\"mode\":\"AllowValidOnly\""},
    {TCP(" bind :1 ssl crt x.pem ssl-min-ver TLSv1.3"), "Gateway", "f",
     "\"sampan.dev/min-tls-version\":\"1.3\""},
    {WEB(" stick-table type ip size 1m expire 1m store http_req_rate(10s)\n"
         " http-request track-sc0 src\n"
         " http-request deny deny_status 429 if { sc_http_req_rate(0) gt 100 }"),
     "TrafficPolicy", "web-http-80",
     "\"rateLimits\":[{\"bucket\":\"web-sc0-100\",\"by\":\"Source\",\"requests\":100,\"period\":"
     "\"10s\"}]"},
    {WEB(" tcp-request connection track-sc1 src table t\n acl fast sc1_http_req_rate(t) ge 11\n"
         " acl fast2 sc_http_req_rate(1,t) gt 50\n http-request deny if fast\n"
         " http-request return status 429 unless !fast2") "backend t\n stick-table type string "
                                                          "size 9 store "
                                                          "conn_cur,http_req_rate(1m)\n",
     "TrafficPolicy", "web-http-80",
     "[{\"bucket\":\"t-sc1-10\",\"by\":\"Source\",\"requests\":10,\"period\":\"1m\"},{\"bucket\":"
     "\"t-sc1-50\","},
    {WEB(" stick-table type string size 1m store http_req_rate(1s)\n"
         " http-request track-sc0 req.hdr(X-Key)\n http-request deny if { sc0_http_req_rate gt 5 "
         "}\n"
         " http-request deny if { src 10.0.0.1 } { path /a }"),
     "TrafficPolicy", "web-http-80-1-access",
     "\"rateLimits\":[{\"bucket\":\"web-sc0-5\",\"by\":\"Header\",\"requests\":5,\"header\":\"X-"
     "Key\","
     "\"period\":\"1s\"}]"},
    {BACK(" balance leastconn\n server s \"${HOST}:80\""), "BackendPolicy", "b",
     "\"algorithm\":\"LeastConnections\""},
    {BACK(" balance hdr(X-User)\n server s 10.0.0.1:80"), "BackendPolicy", "b",
     "\"hash\":{\"by\":\"Header\",\"name\":\"X-User\"}"},
    {BACK(" cookie C insert secure\n server s 10.0.0.1:80"), "BackendPolicy", "b",
     "\"stickiness\":{\"cookie\":\"C\",\"secure\":true}"},
    {BACK(" option httpchk GET /up\n http-check expect status 204\n server s 10.0.0.1:80 check "
          "inter 1s fastinter 100ms rise 1 fall 5"),
     "BackendPolicy", "b",
     "\"check\":{\"type\":\"HTTP\",\"rise\":1,\"fall\":5,\"interval\":\"1s\",\"fastInterval\":"
     "\"100ms\",\"http\":{\"method\":\"GET\",\"path\":\"/"
     "up\",\"status\":{\"min\":204,\"max\":204}}}"},
    {BACK(" option tcp-check\n tcp-check connect ssl\n tcp-check send PING\\r\\n comment ping\n"
          " tcp-check expect string +PONG\n tcp-check send info\\ replication\\r\\n\n"
          " tcp-check expect ! min-recv 5 rstring role:(slave|replica)\n server s 10.0.0.1:80 "
          "check"),
     "BackendPolicy", "b",
     "\"check\":{\"type\":\"TLS\",\"rise\":2,\"fall\":3,\"interval\":\"2s\",\"tcp\":{\"steps\":["
     "{\"send\":\"PING\\r\\n\"},{\"expect\":\"+PONG\"},{\"send\":\"info replication\\r\\n\"},"
     "{\"expectRegex\":\"role:(slave|replica)\",\"not\":true,\"minBytes\":5}]}}"},
    {BACK(" timeout check 3s\n option tcp-check\n tcp-check send-binary 00fF\n"
          " tcp-check expect !!binary 50494e47\n server s 10.0.0.1:80 check"),
     "BackendPolicy", "b",
     "\"tcp\":{\"steps\":[{\"sendBase64\":\"AP8=\"},{\"expect\":\"PING\"}]},\"timeout\":\"3s\""},
    {"defaults\n mode tcp\n option tcp-check\n tcp-check send a\nfrontend f\n bind :1\n "
     "default_backend b\n"
     "backend b\n tcp-check send b\n tcp-check expect string c\n server s 10.0.0.1:80 check\n",
     "BackendPolicy", "b", "\"steps\":[{\"send\":\"b\"},{\"expect\":\"c\"}]"},
    {BACK(" option redis-check\n server s 10.0.0.1:80 check"), "BackendPolicy", "b",
     "\"steps\":[{\"send\":\"*1\\r\\n$4\\r\\nPING\\r\\n\"},"
     "{\"expect\":\"+PONG\\r\\n\",\"minBytes\":7}]"},
    {BACK(" option smtpchk EHLO mx.example.org\n server s 10.0.0.1:25 check"), "BackendPolicy", "b",
     "{\"send\":\"EHLO mx.example.org\\r\\n\"}"},
    {BACK(" server s 10.0.0.1:80 check port 81 weight 5 maxconn 3 backup"), "BackendPolicy", "b",
     "\"servers\":[{\"name\":\"s\",\"weight\":5,\"backup\":true,\"maxConnections\":3,\"checkPort\":"
     "81}]"},
    {BACK(" default-server weight 7 check\n server s 10.0.0.1:80 no-check"), "BackendPolicy", "b",
     "\"weight\":7"},
    {BACK(" timeout connect 5s\n timeout queue 1m\n timeout server 2s\n server s 10.0.0.1:80 "
          "slowstart 10s send-proxy-v2"),
     "BackendPolicy", "b",
     "\"slowStart\":\"10s\",\"limits\":{\"queueTimeout\":\"1m\"},\"timeouts\":{\"connect\":\"5s\","
     "\"response\":\"2s\"},\"proxyProtocol\":\"v2\""},
    {BACK(" server s 10.0.0.1:80 agent-check agent-port 99"), "BackendPolicy", "b",
     "\"agent\":{\"port\":99,\"interval\":\"2s\"}"},
    {BACK(" server s 10.0.0.1:443 ssl verify none"), "Service", "b", "\"appProtocol\":\"https\""},
    {BACK(" server s 10.0.0.1:80 proto h2"), "Service", "b",
     "\"appProtocol\":\"kubernetes.io/h2c\""},
    {BACK(" server s 10.0.0.1:443 ssl ca-file x.pem sni str(a.org)"), "BackendTLSPolicy", "b",
     "\"hostname\":\"a.org\""},
    {BACK(" stick-table type ip size 1m expire 10m\n stick on src\n server s 10.0.0.1:80"),
     "Service", "b", "\"clientIP\":{\"timeoutSeconds\":600}"},
    {BACK(" server s two.example.com:80"), "EndpointSlice", "b-80-ipv6", "\"2001:db8::7\""},
    {BACK(" server s 10.0.0.1:80 disabled"), "EndpointSlice", "b-80-ipv4", "\"ready\":false"},
    {BACK(" server-template w 3 two.example.com:80"), "EndpointSlice", "b-80-ipv4", "\"w-1\""},
};

static void objects(void **state) {
    (void)state;
    for (size_t i = 0; i < SP_COUNT(rows); i++) {
        world w;
        sp_auto(sp_buf) got = {0};
        load(&w, rows[i].text);
        if (w.c.errors) fail_msg("row %zu: %s\n%s", i, rows[i].text, w.c.problems.p[0].text.p);
        const sp_json *o = find(&w, rows[i].kind, rows[i].name);
        if (!o) fail_msg("row %zu: no %s %s\n%s", i, rows[i].kind, rows[i].name, rows[i].text);
        sp_json_write(&got, o);
        if (sp_str_find(sp_buf_str(&got), sp_str_z(rows[i].has)) < 0)
            fail_msg("row %zu: %s\nwant %s\ngot  %s", i, rows[i].text, rows[i].has, got.p);
        unload(&w);
    }
}

/* --- problems --- */

static const struct {
    const char *text;
    unsigned line;
    const char *says;
} wrong[] = {
    {"mode http\n", 1, "before any section"},
    {"global\n maxconn x\n", 2, "not a number"},
    {"userlist u\n", 1, "userlist"},
    {".if 1\n", 1, "conditional"},
    {"frontend\n", 1, "needs a name"},
    {"defaults\nfrontend f from nowhere\n", 2, "nowhere"},
    {"frontend f\nfrontend f\n", 2, "taken by line 1"},
    {"frontend f\n bind :0\n", 2, "not an address"},
    {"frontend f\n bind /run/x.sock\n", 2, "only IP addresses"},
    {"frontend f\n bind :80 interface eth0\n", 2, "interface"},
    {"frontend f\n bind :443 ssl\n", 2, "crt"},
    {"frontend f\n bind :443 ssl crt x.key\n", 2, "no such file"},
    {"frontend f\n bind :80\n bind :80\n default_backend f\n", 3, "bound by line 2"},
    {"frontend f\n server s 10.0.0.1:80\n", 2, "no meaning"},
    {"backend b\n server s 10.0.0.1\n", 2, "port is missing"},
    {"backend b\n server s 10.0.0.1:80\n server s 10.0.0.2:80\n", 3, "taken by line 2"},
    {"backend b\n server s 10.0.0.1:80 track x/y\n", 2, "track"},
    {"backend b\n server s 10.0.0.1:443 ssl\n", 2, "verify none"},
    {"backend b\n balance rdp-cookie\n", 2, "rdp-cookie"},
    {"backend b\n cookie X prefix\n", 2, "prefix"},
    {"backend b\n timeout server 5x\n", 2, "not a time"},
    {"backend b\n stick-table type string\n", 2, "string"},
    {"backend b\n mode http\n option httpchk\n http-check expect ! status 500\n", 4,
     "not supported"},
    {"backend b\n option tcp-check\n tcp-check send\n", 3, "what is sent"},
    {"backend b\n option tcp-check\n tcp-check send a b\n", 3, "one word too many"},
    {"backend b\n option tcp-check\n tcp-check send-binary abc\n", 3, "hexadecimal"},
    {"backend b\n option tcp-check\n tcp-check expect binary xx\n", 3, "hexadecimal"},
    {"backend b\n option tcp-check\n tcp-check expect string\n", 3, "what is expected"},
    {"backend b\n option tcp-check\n tcp-check expect !\n", 3, "what is expected is missing"},
    {"backend b\n option tcp-check\n tcp-check expect string a string b\n", 3,
     "one thing per line"},
    {"backend b\n option tcp-check\n tcp-check expect rstring (\n", 3, "rstring"},
    {"backend b\n option tcp-check\n tcp-check expect string-lf x\n", 3, "string, rstring, binary"},
    {"backend b\n option tcp-check\n tcp-check expect min-recv x string a\n", 3, "not a number"},
    {"backend b\n option tcp-check\n tcp-check connect port 1\n", 3, "server line"},
    {"backend b\n option tcp-check\n tcp-check send a\n tcp-check connect\n", 4, "one connection"},
    {"backend b\n option tcp-check\n tcp-check set-var(check.x) int(1)\n", 3, "send-binary"},
    {"backend b\n option redis-check x\n", 2, "one word too many"},
    {"backend b\n option mysql-check user x\n", 2, "tcp-check expect"},
    {WEB(" use_backend b if { nbsrv(b) lt 1 }"), 4, "nbsrv"},
    {WEB(" use_backend b if { src 10.0.0.1 }"), 4, "status"},
    {WEB(" use_backend b if { path_reg ( }"), 4, "pattern"},
    {WEB(" use_backend b if { path /a"), 4, "not closed"},
    {WEB(" use_backend b if { }"), 4, "empty"},
    {WEB(" use_backend b if a or"), 4, "acl \"a\""},
    {WEB(" use_backend b if TRUE or"), 4, "missing after"},
    {WEB(" use_backend b when TRUE"), 4, "if or unless"},
    {WEB(" use_backend %[hdr(host)]"), 4, "worked out"},
    {WEB(" http-request set-header X-A %[nonsense]"), 4, "%[nonsense] cannot be filled in"},
    {WEB(" http-request set-header X-A %[src,lower]"), 4, "%[src,lower] cannot be filled in"},
    {WEB(" http-request set-header X-A %[src"), 4, "percent sign is written"},
    {WEB(" http-request set-header X-A %Tq"), 4, "constants"},
    {WEB(" http-response set-header X-A %[src]"), 4, "answers are constants"},
    {WEB(" http-request set-header Host %[src]"), 4, "Host is a constant"},
    {WEB(" http-request set-header X-A 1\n http-request set-header X-B %[hdr(x-a)]"), 5,
     "what line 4 makes of X-A"},
    {WEB(" http-request set-path /x\n http-request set-header X-B %[path]"), 5,
     "what line 4 makes of it"},
    {WEB(" http-request set-header X\\ A b"), 4, "name of a header"},
    {WEB(" http-request track-sc3 src"), 4, "track-sc0"},
    {WEB(" http-request track-sc0 base32"), 4, "src or hdr(NAME)"},
    {WEB(" http-request track-sc0 src if { path /a }"), 4, "all requests are counted"},
    {"frontend f\n mode tcp\n bind :1\n tcp-request connection track-sc0 src\n", 4,
     "connectionRate"},
    {WEB(" http-request deny if { sc_http_req_rate(0) gt 5 }"), 4, "nothing is counted"},
    {WEB(" http-request deny if { sc_http_req_rate(0) gt 5 }\n http-request track-sc0 src"), 4,
     "nothing is counted"},
    {WEB(" http-request track-sc0 src\n http-request deny if { sc0_http_req_rate gt 5 }"), 5,
     "no stick-table that stores"},
    {WEB(" http-request deny if { sc_http_req_rate(7) gt 5 }"), 4, "0, 1 or 2"},
    {WEB(" http-request deny if { sc0_http_req_rate 5 }"), 4, "gt or ge"},
    {WEB(" http-request deny if { sc0_http_req_rate gt 0 }"), 4, "gt or ge"},
    {WEB(" http-request deny if { sc0_http_req_rate gt 5 } { path /a }"), 4, "stands alone"},
    {WEB(" use_backend b if { sc0_http_req_rate gt 5 }"), 4, "stands alone"},
    {WEB(" http-request allow if { path /a }\n http-request deny if { sc0_http_req_rate gt 5 }"), 5,
     "line 4 allows"},
    {WEB(" http-request deny if { src_conn_rate gt 5 }"), 4, "connectionRate"},
    {WEB(" http-request lua.x"), 4, "http-request is not supported"},
    {WEB(" redirect location /x code 300"), 4, "300"},
    {WEB(" no mode http"), 4, "only options"},
    {"frontend f\n mode tcp\n bind :1\n use_backend b if { path / }\nbackend b\n server s "
     "10.0.0.1:1\n",
     4, "mode tcp"},
    {"frontend f\n mode http\n bind :1\n default_backend b\nbackend b\n mode tcp\n", 4,
     "must be the same"},
    {"frontend f\n \xff\xfe\n", 2, "UTF-8"},
};

static void problems(void **state) {
    (void)state;
    for (size_t i = 0; i < SP_COUNT(wrong); i++) {
        world w;
        load(&w, wrong[i].text);
        if (!w.c.errors || !tells(&w, SP_CONFIG_ERROR, wrong[i].line, wrong[i].says)) {
            sp_vec_each(&w.c.problems, p) print_error("%u: %s\n", p->line, p->text.p);
            fail_msg("row %zu: %s\nwant line %u: %s", i, wrong[i].text, wrong[i].line,
                     wrong[i].says);
        }
        unload(&w);
    }
}

/* Each keyword alone, in the section it belongs to, is never unknown; a refused one is an error
 * that names it, a noted one is none. */
static void every_keyword(void **state) {
    (void)state;
    static const char *const sections[] = {"global", "defaults", "frontend f", "backend b",
                                           "resolvers r"};
    const sp_haproxy_keyword *k;
    for (size_t i = 0; (k = sp_haproxy_keyword_at(i)); i++) {
        bool taken = false, refused = false;
        for (size_t s = 0; s < SP_COUNT(sections); s++) {
            world w;
            char text[200];
            snprintf(text, sizeof text, "%s\n%s\n", sections[s], k->words);
            char *star = strchr(text, '*');
            if (star) *star = 'x';
            load(&w, text);
            assert_false(tells(&w, SP_CONFIG_ERROR, 2, "not a keyword"));
            refused |= tells(&w, SP_CONFIG_ERROR, 2, "not supported");
            taken |= !w.c.errors;
            unload(&w);
        }
        if (strcmp(k->handled, "refused") == 0 && !refused) fail_msg("%s is not refused", k->words);
        if (strcmp(k->handled, "noted") == 0 && !taken) fail_msg("%s is never taken", k->words);
    }
}

/* --- forms of a file --- */

static void forms(void **state) {
    (void)state;
    world w;
    load(&w,
         "\xef\xbb\xbf"
         "listen l # \xff\xfe not UTF-8 in a comment\r\n bind :9000\r\n server s 10.0.0.1:1\r\n");
    assert_int_equal(w.c.errors, 0);
    assert_non_null(find(&w, "TCPRoute", "l-tcp-9000"));
    unload(&w);
    load(&w, "defaults a\n mode http\ndefaults b\n mode tcp\nfrontend f from a\n bind :1\n"
             " default_backend x\nbackend x from a\n server s 10.0.0.1:1\nlisten g\n bind :2\n"
             " server s 10.0.0.1:1\n");
    assert_int_equal(w.c.errors, 0);
    assert_non_null(find(&w, "HTTPRoute", "f-http-1"));
    assert_non_null(find(&w, "TCPRoute", "g-tcp-2"));
    unload(&w);
    load(&w,
         "backend My_Web.App\n server s 10.0.0.1:1\nbackend my-web-app\n server s 10.0.0.1:1\n");
    assert_non_null(find(&w, "Service", "my-web-app"));
    assert_non_null(find(&w, "Service", "my-web-app-2"));
    assert_true(tells(&w, SP_CONFIG_WARNING, 1, "no frontend uses"));
    unload(&w);
    load(&w, "backend b\n server s nowhere.example.com:1\n");
    assert_int_equal(w.c.errors, 0);
    assert_true(tells(&w, SP_CONFIG_WARNING, 2, "left out"));
    assert_int_equal(w.c.resolve_every_ms, 30000);
    unload(&w);
}

/* Rules in order: a negation needs none of its own, what cannot be is left out. */
static void order(void **state) {
    (void)state;
    world w;
    load(&w, WEB(" use_backend b if { path /a } !{ method POST }\n use_backend b if { path /b }\n"
                 " use_backend b if { path /a }"));
    assert_int_equal(w.c.errors, 0);
    const sp_json *rules =
        sp_json_dig(find(&w, "HTTPRoute", "web-http-80-1"), "spec", "rules", NULL);
    assert_int_equal(rules->count, 4); /* /a POST, /a, /b, the rest */
    const sp_json *first = sp_json_at(sp_json_get(sp_json_at(rules, 0), "matches"), 0);
    assert_string_equal(sp_json_z(sp_json_get(first, "method")), "POST");
    assert_null(sp_json_get(sp_json_at(rules, 3), "matches"));
    unload(&w);
}

static void too_many_rules(void **state) {
    (void)state;
    world w;
    sp_auto(sp_buf) b = {0};
    sp_buf_addz(&b, "frontend web\n mode http\n bind :80\n");
    for (int i = 0; i < 14; i++)
        sp_buf_printf(&b, " http-request set-header X-%d 1 if { hdr(x%d) 1 }\n", i, i);
    sp_buf_addz(&b, " default_backend b\nbackend b\n mode http\n server s 10.0.0.1:1\n");
    load(&w, sp_buf_z(&b));
    assert_true(tells(&w, SP_CONFIG_ERROR, 1, "more than"));
    unload(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words),         cmocka_unit_test(objects), cmocka_unit_test(problems),
        cmocka_unit_test(every_keyword), cmocka_unit_test(forms),   cmocka_unit_test(order),
        cmocka_unit_test(too_many_rules)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
