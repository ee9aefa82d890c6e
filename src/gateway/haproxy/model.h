/* Inside of the folder only: what a haproxy.cfg says, after its words are understood and before it
 * becomes objects. Everything lives in the reader's arena but the vectors, which sp_hap_free frees.
 */
#pragma once
#include "base/map.h"
#include "gateway/addr.h"
#include "gateway/config.h"
#include "gateway/haproxy/lex.h"

/* Bits: a keyword may stand in several kinds of section. */
typedef enum sp_hap_kind {
    SP_HAP_GLOBAL = 1,
    SP_HAP_DEFAULTS = 2,
    SP_HAP_FRONTEND = 4,
    SP_HAP_BACKEND = 8,
    SP_HAP_LISTEN = 16,
    SP_HAP_RESOLVERS = 32,
    SP_HAP_OTHER = 64
} sp_hap_kind;

typedef struct sp_hap_section {
    sp_hap_kind kind;
    sp_str word, name, from; /* from: the defaults section asked for */
    unsigned line;
    SP_VEC(sp_hap_line) lines;
} sp_hap_section;
typedef SP_VEC(sp_hap_section) sp_hap_sections;

/* --- conditions --- */

typedef enum sp_hap_atom_kind {
    SP_ATOM_CONST,  /* `truth` */
    SP_ATOM_PATH,   /* regex over the whole path */
    SP_ATOM_HOST,   /* one of `hosts`: names, "*.suffix" */
    SP_ATOM_HEADER, /* `name`, regex over the whole value */
    SP_ATOM_QUERY,  /* `name`, regex */
    SP_ATOM_METHOD, /* `value` */
    SP_ATOM_SRC,    /* one of `hosts`: networks */
    SP_ATOM_TLS,    /* the client came through TLS: known for each bind line */
    SP_ATOM_PORT,   /* the port it came to is one of `hosts`: known for each bind line */
    SP_ATOM_SNI,    /* TCP: one of `hosts`: names */
    SP_ATOM_RATE    /* more than `most` requests counted by `counter`; never in a route */
} sp_hap_atom_kind;

typedef struct sp_hap_atom {
    sp_hap_atom_kind kind;
    bool truth;
    sp_str key; /* two atoms of the same key are the same question */
    sp_str name, value;
    bool literal;     /* PATH, HEADER, QUERY: equal to `value`, else `value` is a pattern */
    sp_str begins;    /* PATH: every path it holds for begins so; "" = not known */
    bool only_begins; /* and it holds for all that begin so */
    sp_str prefix;    /* PATH: begins with these elements, and that is all it says; else "" */
    sp_strs hosts;
    uint8_t counter;
    uint32_t most;
    unsigned line;
} sp_hap_atom;
typedef SP_VEC(sp_hap_atom) sp_hap_atoms;

typedef struct sp_hap_acl {
    sp_str name;
    SP_VEC(size_t) any; /* atoms of the proxy: true when one of them is */
} sp_hap_acl;

/* Or of ands of literals; no terms and not negated: always true. */
typedef struct sp_hap_literal {
    size_t acl;
    bool negated;
} sp_hap_literal;
typedef SP_VEC(sp_hap_literal) sp_hap_term;
typedef struct sp_hap_cond {
    SP_VEC(sp_hap_term) terms;
    bool unless, given;
} sp_hap_cond;

/* --- what is done with a request --- */

typedef enum sp_hap_step_kind {
    SP_STEP_ANSWER,   /* deny, return, tarpit: `status`, `value` the body */
    SP_STEP_REDIRECT, /* scheme, host, port, path of `target` */
    SP_STEP_SET,
    SP_STEP_ADD,
    SP_STEP_DEL,
    SP_STEP_PATH,        /* the whole path becomes `value` */
    SP_STEP_PATH_PREFIX, /* `name` at its beginning becomes `value` */
    SP_STEP_ALLOW,       /* no further step of this list */
    SP_STEP_BACKEND      /* `value` */
} sp_hap_step_kind;

typedef struct sp_hap_target {
    sp_str scheme, host, path; /* "" = as it was */
    uint16_t port;
    bool prefix;     /* `path` goes before what was asked for */
    sp_str location; /* said as it is, without the query of the request; "" = by the parts above */
} sp_hap_target;

typedef struct sp_hap_step {
    sp_hap_step_kind kind;
    unsigned line;
    uint16_t status;
    bool response; /* of the headers of the answer */
    bool varies;   /* value has variables, as %[NAME], and %% for a percent sign */
    sp_str name, value;
    sp_hap_target target;
    sp_hap_cond cond, also; /* both must hold */
} sp_hap_step;
typedef SP_VEC(sp_hap_step) sp_hap_steps;

/* --- proxies --- */

typedef struct sp_hap_bind {
    unsigned line;
    sp_addr addr; /* family 0: any address */
    uint16_t port, last_port;
    bool tls, no_http2, accept_proxy, tls13, v6only;
    bool implied;            /* IPv4 of an address ::; yields to who says it */
    uint8_t verify;          /* sp_client_verify's order: nobody, optional, required */
    sp_str cert_pem, ca_pem; /* contents: all certificates one after the other */
#define SP_HAP_OCSP_BEGIN "-----BEGIN OCSP RESPONSE-----\n" /* in cert_pem; one line between */
#define SP_HAP_OCSP_END "-----END OCSP RESPONSE-----\n"
    sp_str crt; /* as it was written */
} sp_hap_bind;

typedef struct sp_hap_server {
    unsigned line;
    sp_str name, host, cookie, sni, ca_pem, cert_pem;
    sp_strs addresses; /* host as IP addresses */
    uint16_t port, check_port;
    bool check, backup, disabled, tls, no_verify, check_tls, h2, agent, weight_given, alpn_h2;
    bool reset_when_down; /* on-marked-down shutdown-sessions */
    uint8_t send_proxy;
    uint32_t weight, maxconn, inter_ms, fast_ms, down_ms, rise, fall, slow_ms, agent_ms;
    uint16_t agent_port;
    sp_str resolvers;
} sp_hap_server;

typedef struct sp_hap_check {
    bool http, tcp, tls, send_proxy, given;
    unsigned line;
    sp_str method, path, host, body;
    sp_str *header_names, *header_values; /* in the arena: copied along with the defaults */
    size_t header_count;
    uint16_t status_min, status_max;
    sp_check_step *steps; /* option redis-check, smtpchk; in the arena */
    size_t step_count;
} sp_hap_check;

/* Lines of tcp-check; carried out where there is option tcp-check, wherever it stands. */
typedef struct sp_hap_talk {
    unsigned line; /* the first one */
    bool own;      /* said in this section: those of the defaults are no more */
    bool connects, tls;
    sp_check_step *steps; /* in the arena: copied along with the defaults */
    size_t step_count;
} sp_hap_talk;

typedef struct sp_hap_balance {
    sp_str algorithm, name; /* name: of the header, parameter or cookie */
    bool consistent;
    unsigned line;
} sp_hap_balance;

/* What track-sc0 counts requests by. */
enum { SP_HAP_COUNTERS = 3 };
typedef struct sp_hap_track {
    unsigned line;        /* 0 = it does not */
    sp_str header, table; /* "" = the client's address; the table of the section itself */
} sp_hap_track;

typedef struct sp_hap_rate {
    unsigned line;
    uint16_t status; /* asked for */
    uint8_t counter;
    uint32_t most;
    sp_str table; /* "" = that of the track line */
    /* Of track line and table: */
    sp_str header, bucket;
    uint32_t period_ms;
} sp_hap_rate;

typedef struct sp_hap_timeouts {
    uint32_t connect, client, server, check, queue, http_request, http_keep_alive, tunnel, tarpit;
} sp_hap_timeouts;

typedef struct sp_hap_proxy {
    sp_str name, id; /* id: as Kubernetes takes names, unique */
    unsigned line;
    sp_hap_kind kind;
    bool http, forwardfor, disabled, all_backups;
    sp_hap_timeouts timeouts;
    uint32_t maxconn, retries;
    bool retries_given;
    sp_hap_balance balance;
    sp_hap_check check;
    sp_hap_check
        http_check; /* of http-check lines: hold with option httpchk, wherever they stand */
    sp_hap_talk talk;
    sp_str cookie;
    bool cookie_secure;
    uint32_t stick_ms;      /* of the client's address; 0 = not */
    uint32_t table_ms;      /* how long its stick-table remembers */
    uint32_t table_rate_ms; /* http_req_rate is counted over this time; 0 = not */
    bool table_ip;
    sp_hap_server default_server;
    sp_str default_backend;
    unsigned default_backend_line;
    /* Never inherited. */
    SP_VEC(sp_hap_bind) binds;
    SP_VEC(sp_hap_server) servers;
    sp_hap_atoms atoms;
    SP_VEC(sp_hap_acl) acls;
    sp_hap_steps steps, redirects, switches; /* http-request; redirect; use_backend */
    sp_hap_track tracks[SP_HAP_COUNTERS];
    SP_VEC(sp_hap_rate) rates;
    bool used;
} sp_hap_proxy;

typedef struct sp_hap_resolver {
    sp_str name;
    uint32_t every_ms;
} sp_hap_resolver;

typedef struct sp_hap {
    sp_arena *arena;
    const sp_haproxy_options *options;
    sp_haproxy_config *ret;
    sp_hap_sections sections;
    SP_VEC(sp_hap_proxy *) defaults;
    SP_VEC(sp_hap_proxy *) proxies;
    SP_VEC(sp_hap_resolver) resolvers;
    sp_str ca_base, crt_base;
    bool no;        /* the line began with "no" */
    bool no_verify; /* ssl-server-verify none */
    bool tls13;
    const sp_hap_section *section;
    sp_map routes; /* what a route says → the route */
} sp_hap;

/* --- file.c --- */
void sp_hap_read_sections(sp_hap *h, sp_str text);
void sp_hap_error(sp_hap *h, unsigned line, const char *fmt, ...) SP_PRINTF(3, 4);
void sp_hap_note(sp_hap *h, unsigned line, const char *fmt, ...) SP_PRINTF(3, 4);
void sp_hap_warn(sp_hap *h, unsigned line, const char *fmt, ...) SP_PRINTF(3, 4);
void sp_hap_free(sp_hap *h);
void sp_hap_free_cond(sp_hap_cond *c);

/* --- values, values.c --- */
/* 10s, 500ms, 1m, 250 (milliseconds). Says so on the line when it is none. */
bool sp_hap_time(sp_hap *h, unsigned line, sp_str text, uint32_t *ret_ms);
bool sp_hap_number(sp_hap *h, unsigned line, sp_str text, uint64_t max, uint64_t *ret);
/* The word at index, or an error that says what is missing. */
bool sp_hap_word(sp_hap *h, const sp_hap_line *l, size_t index, const char *what, sp_str *ret);
bool sp_hap_file(sp_hap *h, unsigned line, sp_str base, sp_str path, sp_str *ret);
/* The same where it need not be there. */
bool sp_hap_file_if_any(sp_hap *h, sp_str base, sp_str path, sp_str *ret);
sp_str sp_hap_lower(sp_arena *a, sp_str s);
/* A name as Kubernetes takes it: lower case, anything else a dash. */
sp_str sp_hap_id(sp_arena *a, sp_str name);

/* --- keywords.c --- */
/* at: the first word after the keyword's own. p is NULL in global. */
typedef void sp_hap_handler(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at);
void sp_hap_keyword(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l);
typedef struct sp_hap_row {
    const char *words;
    unsigned sections;
    sp_hap_handler *run; /* NULL: by `refused` */
    bool refused;
    const char *text;
} sp_hap_row;
extern const sp_hap_row sp_hap_rows[];
extern const size_t sp_hap_row_count;

/* --- proxy.c --- */
sp_hap_handler sp_hap_mode, sp_hap_timeout, sp_hap_maxconn, sp_hap_retries, sp_hap_default_backend,
    sp_hap_balance_line, sp_hap_hash_type, sp_hap_forwardfor, sp_hap_redispatch, sp_hap_all_backups,
    sp_hap_cookie, sp_hap_disabled, sp_hap_stick_table, sp_hap_stick, sp_hap_global_maxconn,
    sp_hap_hard_stop, sp_hap_ca_base, sp_hap_crt_base, sp_hap_server_verify, sp_hap_bind_options,
    sp_hap_hold;
sp_hap_proxy *sp_hap_find(const sp_hap *h, sp_str name, unsigned kinds);

/* --- bind.c, server.c, checks.c, talk.c --- */
sp_hap_handler sp_hap_bind_line, sp_hap_server_line, sp_hap_default_server, sp_hap_httpchk,
    sp_hap_tcpchk, sp_hap_ssl_chk, sp_hap_http_check_send, sp_hap_http_check_expect,
    sp_hap_http_check_connect, sp_hap_tcp_check_connect, sp_hap_tcp_check_send,
    sp_hap_tcp_check_send_binary, sp_hap_tcp_check_expect, sp_hap_redis_chk, sp_hap_smtp_chk,
    sp_hap_server_template;
/* "10.0.0.1:80", "*:80", ":::80", "[::1]:80", "10.0.0.1", "host:80"; host "" = any. */
bool sp_hap_address(sp_str text, sp_str *ret_host, uint16_t *ret_port, uint16_t *ret_last);

/* --- acl.c --- */
/* A method of matching that no file can ask for (-m): whole elements of a path. */
#define SP_HAP_ELEMENTS "\1elements"
sp_hap_handler sp_hap_acl_line;
/* The words from index on: "if …", "unless …" or nothing. */
bool sp_hap_condition(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t index,
                      sp_hap_cond *ret);

/* --- rules.c --- */
sp_hap_handler sp_hap_use_backend, sp_hap_http_deny, sp_hap_http_redirect, sp_hap_redirect,
    sp_hap_http_return, sp_hap_http_allow, sp_hap_set_header, sp_hap_add_header, sp_hap_del_header,
    sp_hap_set_path, sp_hap_replace_path, sp_hap_resp_set, sp_hap_resp_add, sp_hap_resp_del,
    sp_hap_monitor_uri, sp_hap_tcp_content, sp_hap_tcp_connection;

/* --- rates.c --- */
sp_hap_handler sp_hap_track_line;
void sp_hap_table_store(sp_hap *h, sp_hap_proxy *p, unsigned line, sp_str items);
/* fetch, argument: "sc_http_req_rate" and "0". False: said already. */
bool sp_hap_rate_atom(sp_hap *h, unsigned line, sp_str fetch, sp_str argument, const sp_strs *words,
                      sp_hap_atom *ret);
/* Its condition asks for a rate: it is a rate now, or an error, and no step. */
void sp_hap_check_lines(sp_hap_check *c, const sp_hap_check *lines);
bool sp_hap_takes_rate(sp_hap *h, sp_hap_proxy *p, const sp_hap_step *s);
void sp_hap_check_rates(sp_hap *h, sp_hap_proxy *p);

/* --- tree.c --- */
typedef struct sp_hap_rule {
    const sp_hap_atom **atoms; /* all are true */
    size_t atom_count;
    const sp_hap_step *answer, *redirect; /* at most one of them; else `backend` */
    const sp_hap_step *path;
    const sp_hap_proxy *backend; /* NULL: nobody: 503 */
    const sp_hap_step **edits;   /* in order */
    size_t edit_count;
    sp_strs denied, allowed; /* networks: 403 */
} sp_hap_rule;
typedef SP_VEC(sp_hap_rule) sp_hap_rules;
/* What clients of this bind line meet, in order; ends with a rule without atoms. */
void sp_hap_compile(sp_hap *h, sp_hap_proxy *front, const sp_hap_bind *b, uint16_t port,
                    sp_hap_rules *ret);

/* --- objects.c --- */
void sp_hap_objects(sp_hap *h);
