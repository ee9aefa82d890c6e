/* One more process in a container, driven by a client (kubectl exec, cp); and the output of the
 * one that runs (attach). Each is started by a request and lives until both sides are done. */
#pragma once
#include "agent/pod.h"
#include "net/server.h"

/* ?command=…&command=…&stdin=true&stdout=true&stderr=true&tty=true; answers the request. */
void sp_exec_serve(sp_ctr *c, sp_http_req *q, sp_http_res *res);
bool sp_query_true(sp_http_req *q, const char *key); /* "true", "1" … or no value */
