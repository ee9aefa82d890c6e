/* The same tests on either engine: the environment names it. */
#pragma once
#include "gateway/worker.h"

#include <stdlib.h>

static sp_worker_settings worker_settings(void) {
    sp_worker_settings s = sp_worker_defaults();
    const char *name = getenv("SAMPAN_IO_ENGINE");
    sp_err err;
    if (!sp_engine_choose(name ? name : "epoll", &s.engine, &err)) abort();
    return s;
}
