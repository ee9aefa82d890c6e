/* Time stamps and durations as Kubernetes writes them. */
#pragma once
#include "base/err.h"
#include "data/json.h"

/* RFC 3339 in UTC: "2026-11-22T16:03:29Z" (metav1.Time) and with microseconds (MicroTime). */
enum { SP_TIME_MAX = 32 };
void sp_time_format(int64_t wall_ms, char ret[SP_TIME_MAX]);
void sp_time_format_micro(int64_t wall_us, char ret[SP_TIME_MAX]);
/* Any RFC 3339 time with offset and fraction, to milliseconds since 1970. Leap seconds are refused
 * (as Kubernetes does), further digits of the fraction are dropped. */
SP_MUST_USE bool sp_time_parse(sp_str s, int64_t *ret_wall_ms);
sp_json *sp_json_new_time(sp_arena *a, int64_t wall_ms);
/* How kubectl prints an age: 5s, 3m20s, 12m, 5h, 2d3h, 45d, 3y40d; "<invalid>" before now. */
void sp_duration_human(int64_t ms, char ret[SP_TIME_MAX]);
/* Go durations: "1h2m3.5s", "300ms", "-1.5h", "0"; refused outside 64 bits of nanoseconds. */
SP_MUST_USE bool sp_duration_parse(sp_str s, int64_t *ret_ms); /* rounded towards zero */
SP_MUST_USE bool sp_duration_parse_ns(sp_str s, int64_t *ret_ns);
