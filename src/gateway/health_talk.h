/* A check that speaks: its steps as a machine over bytes, without a socket and without a clock.
 *
 * An expectation looks at all that came since the gateway last said something, in whatever pieces;
 * several in a row look at the same bytes, and saying something forgets them. A mismatch waits for
 * more, until the step's min_bytes came, the server ended, or SP_TALK_HEARD_MAX bytes are there:
 * then it is decided. So a negated step without min_bytes is decided by the end. These are the
 * rules of haproxy's tcp-check. */
#pragma once
#include "data/regex.h"
#include "gateway/config.h"

enum { SP_TALK_HEARD_MAX = 16 * 1024, SP_TALK_WHY_MAX = 180 };

typedef struct sp_talk {
    const sp_check_step *steps; /* borrowed, as the patterns */
    size_t count, at;
    const sp_regex *const *patterns; /* one per step; NULL where the step is none */
    sp_buf heard;
    size_t searched; /* bytes of it where this step's text does not begin */
    bool ended;
    bool found, gave_up; /* at the last look */
} sp_talk;

typedef enum sp_talk_turn {
    SP_TALK_SAY,
    SP_TALK_WAIT,
    SP_TALK_PASSED,
    SP_TALK_FAILED
} sp_talk_turn;

void sp_talk_hear(sp_talk *t, sp_str bytes); /* what is more than the limit is let go */
void sp_talk_end(sp_talk *t);                /* nothing comes any more */
/* What is to be done next; call it again after SP_TALK_SAY (*ret_say lives as long as the steps),
 * and after more came. */
sp_talk_turn sp_talk_go(sp_talk *t, sp_str *ret_say);
/* The step that failed or still waits, and what came instead: one printable line. */
void sp_talk_why(const sp_talk *t, char ret[SP_TALK_WHY_MAX]);
void sp_talk_free(sp_talk *t);
