/* Many bytes that differ from their neighbours, so that a lost, doubled or moved piece is noticed.
 */
#pragma once
#include "gateway_story.h"

/* Sends `size` of them (a multiple of 16 KiB) and a FIN; false when the other side went away. */
static inline bool bulk_send(int fd, size_t size) {
    uint32_t block[4096];
    for (uint32_t at = 0; at < size / 4; at += 4096) {
        for (uint32_t i = 0; i < 4096; i++) block[i] = at + i;
        for (size_t sent = 0; sent < sizeof block;) {
            ssize_t n = send(fd, (char *)block + sent, sizeof block - sent, MSG_NOSIGNAL);
            if (n <= 0) return false;
            sent += (size_t)n;
        }
    }
    shutdown(fd, SHUT_WR);
    return true;
}

static inline char bulk_at(uint64_t at) {
    return (char)((uint32_t)(at / 4) >> (8 * (at % 4)));
}
