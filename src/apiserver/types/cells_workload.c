/* Cells of what makes pods (deployments, replica sets) and of what scales them. */
#include "apiserver/types/cells.h"

#include "apiserver/types/admit.h"

static int64_t number(const sp_json *obj, const char *part, const char *key) {
    return sp_json_int(sp_json_dig(obj, part, key, NULL), 0);
}

CELL(deployment_ready) {
    return sp_json_printf(a, "%lld/%lld", (long long)number(obj, "status", "readyReplicas"),
                          (long long)number(obj, "spec", "replicas"));
}

CELL(deployment_updated) {
    return sp_json_new_int(a, number(obj, "status", "updatedReplicas"));
}
CELL(deployment_available) {
    return sp_json_new_int(a, number(obj, "status", "availableReplicas"));
}
CELL(rs_desired) {
    return sp_json_new_int(a, number(obj, "spec", "replicas"));
}
CELL(rs_current) {
    return sp_json_new_int(a, number(obj, "status", "replicas"));
}
CELL(rs_ready) {
    return sp_json_new_int(a, number(obj, "status", "readyReplicas"));
}

static sp_json *of_containers(sp_arena *a, const sp_json *obj, const char *key) {
    sp_buf b = {0};
    sp_json_each(sp_json_dig(obj, "spec", "template", "spec", "containers", NULL), it) {
        sp_cell_join(&b, sp_json_str(sp_json_get(it, key)));
    }
    return sp_cell_buf(a, &b);
}

CELL(template_containers) {
    return of_containers(a, obj, "name");
}
CELL(template_images) {
    return of_containers(a, obj, "image");
}

static void add_requirement(sp_buf *b, const sp_json *req) {
    sp_str key = sp_json_str(sp_json_get(req, "key"));
    const char *op = sp_json_get_z(req, "operator");
    bool in = !strcmp(op, "In"), not_in = !strcmp(op, "NotIn");
    if (b->n) sp_buf_addc(b, ',');
    if (!strcmp(op, "DoesNotExist")) sp_buf_addc(b, '!');
    sp_buf_add(b, key);
    if (!in && !not_in) return;
    sp_auto(sp_buf) values = {0};
    sp_json_each(sp_json_get(req, "values"), it) sp_cell_join(&values, it->text);
    sp_buf_printf(b, " %s (%s)", in ? "in" : "notin", sp_buf_z(&values));
}

CELL(label_selector) {
    const sp_json *selector = sp_json_dig(obj, "spec", "selector", NULL);
    sp_buf b = {0};
    sp_json_each(sp_json_get(selector, "matchLabels"), it) {
        sp_cell_join(&b, it->key);
        sp_buf_printf(&b, "=%.*s", SP_ARG(it->text));
    }
    sp_json_each(sp_json_get(selector, "matchExpressions"), it) add_requirement(&b, it);
    return sp_cell_buf(a, &b);
}

/* --- HorizontalPodAutoscaler --- */

CELL(hpa_reference) {
    const sp_json *target = sp_json_dig(obj, "spec", "scaleTargetRef", NULL);
    return sp_json_printf(a, "%s/%s", sp_json_get_z(target, "kind"), sp_json_get_z(target, "name"));
}

static const sp_json *source_of(const sp_json *metric) {
    const char *member = sp_metric_member(metric);
    return member ? sp_json_get(metric, member) : NULL;
}

static const sp_json *current_of(const sp_json *hpa, const sp_json *metric, size_t index) {
    const sp_json *now = sp_json_at(sp_json_dig(hpa, "status", "currentMetrics", NULL), index);
    if (strcmp(sp_json_get_z(now, "type"), sp_json_get_z(metric, "type")) != 0) return NULL;
    return sp_json_get(source_of(now), "current");
}

/* One wanted or measured value: a percentage or a quantity. */
static void add_value(sp_buf *b, const sp_json *of, const char *keys[2]) {
    const sp_json *percent = sp_json_get(of, "averageUtilization");
    if (percent) {
        sp_buf_printf(b, "%.*s%%", SP_ARG(percent->text));
        return;
    }
    for (size_t i = 0; i < 2; i++) {
        const sp_json *v = sp_json_get(of, keys[i]);
        if (!v) continue;
        sp_buf_add(b, v->text);
        if (!strcmp(keys[i], "averageValue")) sp_buf_addz(b, " (avg)");
        return;
    }
    sp_buf_addz(b, "<unknown>");
}

static void add_target(sp_buf *b, const sp_json *hpa, const sp_json *metric, size_t index) {
    const sp_json *source = source_of(metric), *target = sp_json_get(source, "target");
    const char *order[2] = {"averageValue", "value"};
    const char *type = sp_json_get_z(metric, "type");
    if (!strcmp(type, "Resource") || !strcmp(type, "ContainerResource")) {
        sp_buf_printf(b, "%s: ", sp_json_get_z(source, "name"));
    }
    /* The measured value is told in the unit of the wanted one, without a second "(avg)". */
    const sp_json *now = current_of(hpa, metric, index);
    bool percent = sp_json_get(target, "averageUtilization") != NULL;
    const sp_json *value = sp_json_get(now, percent ? "averageUtilization"
                                            : sp_json_get(target, "averageValue") ? "averageValue"
                                                                                  : "value");
    if (value)
        sp_buf_printf(b, "%.*s%s/", SP_ARG(value->text), percent ? "%" : "");
    else
        sp_buf_addz(b, "<unknown>/");
    add_value(b, target, order);
}

CELL(hpa_targets) {
    const sp_json *metrics = sp_json_dig(obj, "spec", "metrics", NULL);
    enum { MOST = 2 };
    sp_buf b = {0};
    size_t i = 0;
    sp_json_each(metrics, it) {
        if (i < MOST) {
            if (i) sp_buf_addz(&b, ", ");
            add_target(&b, obj, it, i);
        }
        i++;
    }
    if (i > MOST) sp_buf_printf(&b, " + %zu more...", i - MOST);
    return sp_cell_buf(a, &b);
}

CELL(hpa_min) {
    const sp_json *min = sp_json_dig(obj, "spec", "minReplicas", NULL);
    return min ? sp_json_new_str(a, min->text) : sp_json_new_z(a, "<unset>");
}

CELL(hpa_replicas) {
    return sp_json_new_int(a, number(obj, "status", "currentReplicas"));
}
