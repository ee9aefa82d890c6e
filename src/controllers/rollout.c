#include "controllers/rollout.h"

static int64_t sum_replicas(const sp_rollout *r) {
    int64_t n = r->fresh ? r->fresh->replicas : 0;
    for (size_t i = 0; i < r->old_count; i++) n += r->old[i].replicas;
    return n;
}

static int64_t sum_available(const sp_rollout *r) {
    int64_t n = r->fresh ? r->fresh->available : 0;
    for (size_t i = 0; i < r->old_count; i++) n += r->old[i].available;
    return n;
}

int64_t sp_rollout_fresh_size(const sp_rollout *r) {
    int64_t now = r->fresh ? r->fresh->replicas : 0;
    int64_t room = r->replicas + r->max_surge - sum_replicas(r);
    if (room <= 0) return now;
    return now + SP_MIN(room, r->replicas - now);
}

bool sp_rollout_grow(sp_rollout *r) {
    if (r->fresh->replicas == r->replicas) return false;
    int64_t size = r->fresh->replicas > r->replicas ? r->replicas : sp_rollout_fresh_size(r);
    bool changed = size != r->fresh->replicas;
    r->fresh->replicas = size;
    return changed;
}

/* Replicas that are not available anyway cost nothing. */
static int64_t drop_unhealthy(sp_rollout *r, int64_t most) {
    int64_t dropped = 0;
    for (size_t i = 0; i < r->old_count && dropped < most; i++) {
        sp_rollout_set *s = &r->old[i];
        if (s->replicas <= s->available) continue;
        int64_t n = SP_MIN(most - dropped, s->replicas - s->available);
        s->replicas -= n;
        dropped += n;
    }
    return dropped;
}

static int64_t drop_spare(sp_rollout *r) {
    int64_t spare = sum_available(r) - (r->replicas - r->max_unavailable), dropped = 0;
    for (size_t i = 0; i < r->old_count && dropped < spare; i++) {
        int64_t n = SP_MIN(spare - dropped, r->old[i].replicas);
        r->old[i].replicas -= n;
        dropped += n;
    }
    return dropped;
}

bool sp_rollout_shrink(sp_rollout *r) {
    int64_t fresh_missing = r->fresh ? r->fresh->replicas - r->fresh->available : 0;
    int64_t min_available = r->replicas - r->max_unavailable;
    int64_t most = sum_replicas(r) - min_available - fresh_missing;
    bool any = false;
    for (size_t i = 0; i < r->old_count; i++) any |= r->old[i].replicas > 0;
    if (!any || most <= 0) return false;
    int64_t dropped = drop_unhealthy(r, most);
    return drop_spare(r) + dropped > 0;
}

/* ---------- proportional scaling ---------- */

static sp_rollout_set *at(const sp_rollout *r, size_t i) {
    return i < r->old_count ? &r->old[i] : r->fresh;
}

static size_t set_count(const sp_rollout *r) {
    return r->old_count + (r->fresh ? 1 : 0);
}

/* The one set that carries the deployment now: the only one with replicas, or the newest when none
 * has any. NULL when there are several. */
static sp_rollout_set *sole(const sp_rollout *r) {
    sp_rollout_set *found = NULL;
    for (size_t i = 0; i < set_count(r); i++) {
        if (!at(r, i)->replicas) continue;
        if (found) return NULL;
        found = at(r, i);
    }
    if (found || !set_count(r)) return found;
    return at(r, set_count(r) - 1);
}

static int64_t divide_round(int64_t n, int64_t d) {
    return (2 * n + d) / (2 * d);
}

static int64_t share(const sp_rollout *r, const sp_rollout_set *s, int64_t left,
                     int64_t last_replicas) {
    if (!s->replicas || !left) return 0;
    if (!r->replicas) return -s->replicas;
    int64_t base = s->max_replicas ? s->max_replicas : last_replicas;
    if (base <= 0) return 0;
    int64_t size = divide_round(s->replicas * (r->replicas + r->max_surge), base);
    int64_t change = size - s->replicas;
    return left > 0 ? SP_MIN(change, left) : SP_MAX(change, left);
}

/* The largest first; of equals the newer when growing, the older when shrinking. */
static size_t largest_not_done(const sp_rollout *r, const bool *done, bool growing) {
    size_t best = SIZE_MAX;
    for (size_t i = 0; i < set_count(r); i++) {
        const sp_rollout_set *s = at(r, i), *b = best == SIZE_MAX ? NULL : at(r, best);
        if (done[i]) continue;
        bool newer = b && s->created_ms > b->created_ms;
        if (!b || s->replicas > b->replicas || (s->replicas == b->replicas && newer == growing))
            best = i;
    }
    return best;
}

static bool scale_by_share(sp_rollout *r, int64_t last_replicas) {
    int64_t allowed = r->replicas ? r->replicas + r->max_surge : 0;
    int64_t total = allowed - sum_replicas(r), given = 0;
    if (!total) return false;
    bool *done = sp_zalloc(set_count(r) + 1, sizeof *done);
    sp_rollout_set *first = NULL;
    bool changed = false;
    for (size_t i; (i = largest_not_done(r, done, total > 0)) != SIZE_MAX;) {
        sp_rollout_set *s = at(r, i);
        done[i] = true;
        if (!first) first = s;
        int64_t n = share(r, s, total - given, last_replicas);
        s->replicas += n;
        given += n;
        changed |= n != 0;
    }
    if (first && given != total) { /* what rounding left over goes to the largest */
        int64_t size = SP_MAX(first->replicas + total - given, 0);
        changed |= size != first->replicas;
        first->replicas = size;
    }
    free(done);
    return changed;
}

static bool empty_old(sp_rollout *r) {
    bool changed = false;
    for (size_t i = 0; i < r->old_count; i++) {
        changed |= r->old[i].replicas != 0;
        r->old[i].replicas = 0;
    }
    return changed;
}

bool sp_rollout_scale(sp_rollout *r, bool rolling, int64_t last_replicas) {
    sp_rollout_set *one = sole(r);
    if (one) {
        bool changed = one->replicas != r->replicas;
        one->replicas = r->replicas;
        return changed;
    }
    bool saturated = r->fresh && r->fresh->replicas == r->replicas && r->fresh->max_replicas &&
                     r->fresh->available == r->replicas;
    if (saturated) return empty_old(r);
    return rolling && scale_by_share(r, last_replicas);
}
