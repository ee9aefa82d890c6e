/* What a hostile client could make us do for nothing has a budget (limits in http_h2.h), and frames
 * on streams that are closed are judged as RFC 9113 5.1 says. */
#include "gateway/http_front2.h"

/* --- budgets --- */

static void new_period(sp_front2 *s) {
    int64_t now = sp_poller_now_ms(s->s.worker->poller);
    if (now - s->budget_since_ms < SP_H2_BUDGET_MS) return;
    s->budget_since_ms = now;
    s->resets = s->control = s->empty = s->credit = 0;
}

void sp_front2_spend(sp_front2 *s, unsigned *counter, unsigned limit) {
    new_period(s);
    if (++*counter > limit) sp_front2_give_up(s, NGHTTP2_ENHANCE_YOUR_CALM);
}

void sp_front2_spend_on_frame(sp_front2 *s, const nghttp2_frame *f) {
    sp_front2_stream *st;
    switch (f->hd.type) {
    case NGHTTP2_DATA:
        if (f->hd.length == 0 && !(f->hd.flags & NGHTTP2_FLAG_END_STREAM))
            sp_front2_spend(s, &s->empty, SP_H2_EMPTY_FRAMES);
        break;
    case NGHTTP2_RST_STREAM:
        st = nghttp2_session_get_stream_user_data(s->h2, f->hd.stream_id);
        if (st) st->reset_by_client = true;
        if (!st || st->answered) break;
        sp_front2_spend(s, &s->resets, SP_H2_RESETS);
        break;
    case NGHTTP2_HEADERS: break;
    default: sp_front2_spend(s, &s->control, SP_H2_CONTROL_FRAMES + s->credit); break;
    }
}

/* --- closed streams --- */

void sp_front2_remember(sp_front2 *s, int32_t id, bool by_client) {
    s->closed[s->closed_at++ % SP_FRONT2_REMEMBERED] = (sp_front2_closed){id, by_client};
}

static void check_closed(sp_front2 *s, int32_t id) {
    unsigned n = SP_MIN(s->closed_at, (unsigned)SP_FRONT2_REMEMBERED);
    int32_t oldest = INT32_MAX;
    for (unsigned i = 0; i < n; i++) {
        oldest = SP_MIN(oldest, s->closed[i].id);
        if (s->closed[i].id != id) continue;
        if (s->closed[i].by_client) sp_front2_give_up(s, NGHTTP2_STREAM_CLOSED);
        return;
    }
    /* Skipped: opening a later stream closed it. Older than what is remembered: who knows. */
    if (s->closed_at <= SP_FRONT2_REMEMBERED || id > oldest)
        sp_front2_give_up(s, NGHTTP2_PROTOCOL_ERROR);
}

void sp_front2_on_frame_header(sp_front2 *s, uint8_t type, int32_t id) {
    bool counts = type == NGHTTP2_DATA || type == NGHTTP2_HEADERS;
    if (counts && (id & 1) && id <= s->last_id && !s->left && !s->failed &&
        !nghttp2_session_find_stream(s->h2, id))
        check_closed(s, id);
}
