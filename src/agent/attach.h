/* kubectl attach: what a container says from now on. */
#pragma once
#include "agent/pod.h"
#include "net/server.h"

void sp_attach_serve(sp_ctr *c, sp_http_req *q, sp_http_res *res); /* answers the request */
