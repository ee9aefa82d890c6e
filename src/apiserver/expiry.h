/* When an Event is old enough to be forgotten. A pure function; any thread. */
#pragma once
#include "data/json.h"

/* An hour after it last happened (series, lastTimestamp, eventTime), or was created. */
bool sp_event_expired(const sp_json *event, int64_t now_wall_ms);
