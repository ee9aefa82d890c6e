/* What /metrics shows, in Prometheus text format. */
#pragma once
#include "agent/pod.h"

void sp_metrics_write(sp_agent *g, sp_buf *out);
