/* Deployments and ReplicaSets: the selector must fit the template and stay as it is. */
#include "apiserver/types/admit.h"

/* --- defaults --- */

static void template_defaults(sp_arena *a, const sp_json *spec) {
    const sp_json *template = sp_member(spec, "template", SP_JSON_OBJECT);
    sp_pod_spec_defaults(a, sp_member(template, "spec", SP_JSON_OBJECT));
}

/* extensions/v1beta1 did without a selector: it is what the template's labels say. */
static void selector_from_template(sp_admit *a, sp_json *spec) {
    if (strcmp(a->resource->group, "extensions") != 0 || sp_json_get(spec, "selector")) return;
    const sp_json *labels = sp_json_dig(spec, "template", "metadata", "labels", NULL);
    if (!sp_json_is(labels, SP_JSON_OBJECT) || !labels->count) return;
    sp_json *selector = sp_json_set(a->arena, spec, "selector", sp_json_object(a->arena));
    sp_json_set(a->arena, selector, "matchLabels", sp_json_clone(a->arena, labels));
}

static void strategy_defaults(sp_arena *a, sp_json *spec) {
    sp_json *strategy = sp_open_object(a, spec, "strategy");
    if (!strategy) return;
    sp_default_z(a, strategy, "type", "RollingUpdate");
    if (strcmp(sp_json_get_z(strategy, "type"), "RollingUpdate") != 0) return;
    sp_json *rolling = sp_open_object(a, strategy, "rollingUpdate");
    if (!rolling) return;
    sp_default_z(a, rolling, "maxUnavailable", "25%");
    sp_default_z(a, rolling, "maxSurge", "25%");
}

bool sp_prepare_deployment(sp_admit *a, sp_err *err) {
    sp_json *spec = sp_member(a->obj, "spec", SP_JSON_OBJECT);
    if (!spec || a->subresource.n) return true;
    selector_from_template(a, spec);
    strategy_defaults(a->arena, spec);
    template_defaults(a->arena, spec);
    return true;
}

bool sp_prepare_replica_set(sp_admit *a, sp_err *err) {
    sp_json *spec = sp_member(a->obj, "spec", SP_JSON_OBJECT);
    if (spec && !a->subresource.n) template_defaults(a->arena, spec);
    return true;
}

/* --- rules --- */

static void check_selector(const sp_at *at, const sp_json *spec, const char *what) {
    const sp_json *selector = sp_json_get(spec, "selector");
    const sp_json *labels = sp_json_dig(spec, "template", "metadata", "labels", NULL);
    sp_selector *parsed;
    sp_err err = {0};
    if (!selector) {
        sp_say_required(at, "selector", NULL);
        return;
    }
    sp_check_selector(at, spec, "selector");
    if (!sp_selector_from_json(at->admit->arena, selector, &parsed, &err)) {
        sp_say_invalid(at, "selector", selector, "%s", err.text);
        return;
    }
    if (sp_selector_is_empty(parsed)) {
        sp_say_invalid(at, "selector", selector, "empty selector is invalid for %s", what);
    } else if (!sp_selector_matches(parsed, labels)) {
        sp_at template = sp_at_key(at, "template"), meta = sp_at_key(&template, "metadata");
        sp_json none = {.type = SP_JSON_OBJECT};
        sp_say_invalid(&meta, "labels", labels ? labels : &none,
                       "`selector` does not match template `labels`");
    }
}

static void check_template(const sp_at *at, const sp_json *spec) {
    const sp_json *template = sp_json_get(spec, "template");
    const sp_json *pod = sp_json_get(template, "spec");
    const sp_json *policy = sp_json_get(pod, "restartPolicy");
    sp_at here = sp_at_key(at, "template"), pod_at = sp_at_key(&here, "spec");
    sp_at meta = sp_at_key(&here, "metadata");
    sp_check_labels(&meta, sp_json_get(template, "metadata"), "labels");
    sp_pod_spec_validate(&pod_at, pod);
    if (sp_json_str(policy).n && !sp_str_eqz(sp_json_str(policy), "Always")) {
        sp_say_unsupported(&pod_at, "restartPolicy", policy, "\"Always\"");
    }
    if (sp_json_get(pod, "activeDeadlineSeconds")) {
        sp_say_forbidden(&pod_at, "activeDeadlineSeconds",
                         "activeDeadlineSeconds in a template that runs for ever is not supported");
    }
}

static void check_set(sp_admit *a, const sp_at *at, const sp_json *spec, const char *what) {
    sp_check_min(at, spec, "replicas", 0);
    sp_check_min(at, spec, "minReadySeconds", 0);
    check_selector(at, spec, what);
    check_template(at, spec);
    if (a->old) sp_check_immutable(at, sp_json_get(a->old, "spec"), spec, "selector");
}

/* --- rolling updates: how many may be missing, how many too many --- */

/* A whole number or a percentage; *ret is how much it is, of either. */
static bool parse_share(const sp_json *v, int64_t *ret, bool *ret_percent) {
    sp_str s = sp_json_str(v);
    *ret_percent = sp_json_is(v, SP_JSON_STRING);
    if (!*ret_percent) {
        *ret = sp_json_int(v, -1);
        return true;
    }
    return s.n && s.p[s.n - 1] == '%' && sp_str_i64(sp_str_sub(s, 0, s.n - 1), ret);
}

/* How much is allowed, -1 when it was refused. */
static int64_t check_share(const sp_at *at, const sp_json *rolling, const char *key, bool capped) {
    const sp_json *v = sp_json_get(rolling, key);
    int64_t n = 0;
    bool percent;
    if (!v) return 0;
    if (!parse_share(v, &n, &percent)) {
        sp_say_invalid(at, key, v,
                       "a valid percent string must be a numeric string followed by an ending '%%' "
                       "(e.g. '1%%',  or '93%%', regex used for validation is '[0-9]+%%')");
        return -1;
    }
    if (n < 0) sp_say_invalid(at, key, v, "must be greater than or equal to 0");
    if (percent && capped && n > 100) sp_say_invalid(at, key, v, "must not be greater than 100%%");
    return n;
}

static void check_strategy(const sp_at *at, const sp_json *spec) {
    const sp_json *strategy = sp_json_get(spec, "strategy");
    const sp_json *rolling = sp_json_get(strategy, "rollingUpdate");
    sp_at here = sp_at_key(at, "strategy"), rolling_at = sp_at_key(&here, "rollingUpdate");
    if (!strcmp(sp_json_get_z(strategy, "type"), "Recreate")) {
        if (rolling) {
            sp_say_forbidden(&here, "rollingUpdate",
                             "may not be specified when strategy `type` is 'Recreate'");
        }
        return;
    }
    int64_t missing = check_share(&rolling_at, rolling, "maxUnavailable", true);
    int64_t extra = check_share(&rolling_at, rolling, "maxSurge", false);
    if (rolling && missing == 0 && extra == 0) {
        sp_say_invalid(&rolling_at, "maxUnavailable", sp_json_get(rolling, "maxUnavailable"),
                       "may not be 0 when `maxSurge` is 0");
    }
}

bool sp_validate_deployment(sp_admit *a, sp_err *err) {
    sp_at root = sp_at_root(a), at = sp_at_key(&root, "spec");
    const sp_json *spec = sp_json_get(a->obj, "spec");
    if (a->subresource.n) {
        sp_check_min(&at, spec, "replicas", 0); /* scale changes nothing else */
        return true;
    }
    check_set(a, &at, spec, "deployment");
    check_strategy(&at, spec);
    sp_check_min(&at, spec, "revisionHistoryLimit", 0);
    const sp_json *deadline = sp_json_get(spec, "progressDeadlineSeconds");
    int64_t ready = sp_json_int(sp_json_get(spec, "minReadySeconds"), 0);
    if (deadline && sp_json_int(deadline, ready + 1) <= ready) {
        sp_say_invalid(&at, "progressDeadlineSeconds", deadline,
                       "must be greater than minReadySeconds");
    }
    return true;
}

bool sp_validate_replica_set(sp_admit *a, sp_err *err) {
    sp_at root = sp_at_root(a), at = sp_at_key(&root, "spec");
    const sp_json *spec = sp_json_get(a->obj, "spec");
    if (a->subresource.n)
        sp_check_min(&at, spec, "replicas", 0);
    else
        check_set(a, &at, spec, "replicaset");
    return true;
}
