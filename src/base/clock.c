#include "base/clock.h"

#include <time.h>

static struct {
    bool on;
    int64_t mono_us, wall_ms;
} virtual_time;

static int64_t read_us(clockid_t id) {
    struct timespec ts;
    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int64_t sp_clock_mono_us(void) {
    return virtual_time.on ? virtual_time.mono_us : read_us(CLOCK_MONOTONIC);
}

int64_t sp_clock_mono_ms(void) {
    return sp_clock_mono_us() / 1000;
}

int64_t sp_clock_wall_ms(void) {
    return virtual_time.on ? virtual_time.wall_ms : read_us(CLOCK_REALTIME) / 1000;
}

void sp_clock_virtual(int64_t wall_ms) {
    virtual_time.on = true;
    virtual_time.mono_us = 1000000;
    virtual_time.wall_ms = wall_ms;
}

void sp_clock_advance(int64_t ms) {
    virtual_time.mono_us += ms * 1000;
    virtual_time.wall_ms += ms;
}

void sp_clock_real(void) {
    virtual_time.on = false;
}
