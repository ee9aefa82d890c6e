/* What people and pages are shown of a running gateway, as one JSON document:
 *
 *   {"version", "pid", "uptimeSeconds", "loops", "totals": {…counters…},
 *    "listeners": [{"address", "owner", "bound", "open", "total"}],
 *    "routes":    [{"route", "requests", "status": {"2xx": …}, "bytesIn", "bytesOut", "meanMs"}],
 *    "pools":     [{"pool", "waiting", "servers": [{"server", "address", "state", "weight", "open",
 *                   "connections", "requests", "status", "failures", "bytesIn", "bytesOut",
 *                   "meanMs", "lastFailure", "lastFailureTime", "check"}]}],
 *    "addresses": […]}   of sp_vip_control_status
 *
 * state: up, draining, down, drain or disabled by command, gone. */
#pragma once
#include "gateway/admin.h"
#include "gateway/build.h"
#include "gateway/steer.h"
#include "gateway/vip/control.h"

typedef struct sp_report_source {
    sp_fleet *fleet;
    sp_build *build; /* may be NULL: no checks known */
    sp_steer *steer;
    sp_vip_control *const *vips;
    int64_t started_ms; /* monotonic */
} sp_report_source;

sp_json *sp_report_make(const sp_report_source *s, sp_arena *a);
/* The commands that people give over the control socket: status, steer. src lives as long as it. */
void sp_report_serve(sp_admin *admin, sp_report_source *src);
/* A page that shows it, refreshed every second. Static text. */
extern const char sp_report_page[];
