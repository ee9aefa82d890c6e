/* kubectl port-forward: connections into a pod's network namespace. */
#pragma once
#include "agent/pod.h"
#include "net/server.h"

/* ?ports=… for clients with channels; answers the request. */
void sp_forward_serve(sp_pod *p, sp_http_req *q, sp_http_res *res);
