/* One active check, once: connects, asks, judges. On the control loop. */
#pragma once
#include "data/regex.h"
#include "gateway/config.h"
#include "net/tls.h"

#include <uv.h>

typedef struct sp_probe sp_probe;

typedef struct sp_probe_params {
    sp_addr addr;
    const sp_check_spec *spec;       /* with defaults; outlives the probe */
    const sp_regex *body;            /* NULL = any */
    const sp_regex *const *patterns; /* of spec->steps, as health_talk.h has them */
    sp_tls_ctx *tls;                 /* for SP_CHECK_TLS and spec->tls */
    const char *server_name;         /* NULL = the address */
    sp_str name;                     /* of the server; for scripts */
} sp_probe_params;

typedef struct sp_probe_result {
    bool passed;
    const char *reason; /* one line; "" when passed */
    sp_str agent;       /* SP_CHECK_AGENT: what it said */
    int64_t took_ms;
} sp_probe_result;
typedef void sp_probe_done(void *ctx, const sp_probe_result *r);

/* done: exactly once, never before this returned, and the probe is gone after it. */
sp_probe *sp_probe_start(uv_loop_t *loop, const sp_probe_params *p, sp_probe_done *done, void *ctx);
sp_probe *sp_probe_cancel(sp_probe *p); /* takes NULL, returns NULL; done is not called */
