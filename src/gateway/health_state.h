/* What results of checks mean: the state of one checked address as a pure function of (state,
 * result), and the words of an agent. No clock, no socket. */
#pragma once
#include "gateway/config.h"

enum {
    SP_CHECK_INTERVAL_MS = 2000,
    SP_CHECK_TIMEOUT_MS = 5000, /* at most; the usual is the interval */
    SP_CHECK_RISE = 2,
    SP_CHECK_FALL = 3
};

/* The usual values in the place of zeros. */
sp_check_spec sp_check_defaults(const sp_check_spec *s);

typedef struct sp_check_state {
    bool known, up;
    uint16_t row; /* results in a row that speak against the state */
} sp_check_state;

/* True when it changed. The first result decides at once; later ones need rise or fall of their
 * kind in a row. */
bool sp_check_result(sp_check_state *s, const sp_check_spec *spec, bool passed);
/* Until the next check; a tenth of it is random, so that many gateways do not ask at once. */
uint32_t sp_check_delay_ms(const sp_check_state *s, const sp_check_spec *spec, uint64_t random);

/* haproxy's agent-check: words in any order in one line, as "up 75% maxconn:30". */
typedef struct sp_agent_words {
    bool says_up, says_down; /* up; down, failed, stopped */
    bool says_ready, says_drain, says_maint;
    bool has_weight, has_limit;
    uint16_t percent; /* of the configured weight; 0 = drain */
    uint32_t max_connections;
    char text[80]; /* after '#': why */
} sp_agent_words;
/* False, and what was wrong in *ret_bad, when the line has a word that is none of these. */
bool sp_agent_parse(sp_str line, sp_agent_words *ret, sp_str *ret_bad);

/* What an agent said until now, word by word (they last until the opposite is said). */
typedef struct sp_agent_state {
    bool draining, maintenance;
    uint16_t percent;         /* 100 = as configured */
    uint32_t max_connections; /* 0 = as configured */
} sp_agent_state;
/* True when it changed. *ret_passed: whether the check counts as passed. */
bool sp_agent_apply(sp_agent_state *s, const sp_agent_words *w, bool *ret_passed);
