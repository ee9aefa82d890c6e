/* Parameters of a Component: typed, and written into the workload by field path. The type is the
 * declared one, else that of the value that is there. A number may become text where the field
 * holds text (an environment variable); text never becomes a number. */
#include "kube/oam_model.h"

#include "data/fieldpath.h"

static const struct {
    const char *name;
    sp_json_type json;
    bool whole; /* numbers: without a fraction */
} types[] = {
    {"string", SP_JSON_STRING, false}, {"integer", SP_JSON_NUMBER, true},
    {"number", SP_JSON_NUMBER, false}, {"boolean", SP_JSON_BOOL, false},
    {"object", SP_JSON_OBJECT, false}, {"array", SP_JSON_ARRAY, false},
    {"null", SP_JSON_NULL, false},
};

bool sp_oam_is_type_name(sp_str type) {
    for (size_t i = 0; i < SP_COUNT(types); i++)
        if (sp_str_eqz(type, types[i].name)) return true;
    return false;
}

static bool has_type(const sp_json *value, sp_str type) {
    for (size_t i = 0; i < SP_COUNT(types); i++)
        if (sp_str_eqz(type, types[i].name))
            return value->type == types[i].json && (!types[i].whole || sp_json_is_int(value));
    return true;
}

static const sp_json *current_value(const sp_json *workload, sp_str path) {
    sp_json *j = NULL;
    sp_err err;
    return workload && sp_fieldpath_get(workload, path, &j, &err) ? j : NULL;
}

static sp_str wanted_type(const sp_oam_part *part, const sp_json *param) {
    sp_str declared = sp_json_str(sp_json_get(param, "type"));
    if (declared.n) return declared;
    sp_str path = sp_json_str(sp_json_at(sp_json_get(param, "fieldPaths"), 0));
    const sp_json *now = current_value(part->workload, path);
    return now && now->type != SP_JSON_NULL ? sp_str_z(sp_json_type_name(now)) : (sp_str){0};
}

static const sp_json *find_param(const sp_oam_part *part, sp_str name) {
    sp_json_each(sp_json_dig(part->component, "spec", "parameters", NULL),
                 it) if (sp_str_eq(sp_json_str(sp_json_get(it, "name")), name)) return it;
    return NULL;
}

static const char *hint(const sp_json *value, sp_str wanted) {
    bool text = value->type == SP_JSON_STRING;
    if (text && (sp_str_eqz(wanted, "integer") || sp_str_eqz(wanted, "number") ||
                 sp_str_eqz(wanted, "boolean")))
        return "; write it without quotes";
    return !text && sp_str_eqz(wanted, "string") ? "; write it in quotes" : "";
}

static const char *article(sp_str type) {
    return type.n && strchr("aeiou", type.p[0]) ? "an" : "a";
}

static void wrong_type(const sp_oam_part *part, const sp_json *param, const sp_json *value,
                       sp_str wanted, sp_str at, sp_causes *causes) {
    sp_auto(sp_buf) shown = {0};
    sp_json_write(&shown, value);
    sp_str given = sp_str_z(sp_json_type_name(value));
    sp_causes_add(
        causes, "FieldValueTypeInvalid", at,
        "Invalid value: %.*s: parameter \"%s\" of Component \"%.*s\" (%s) is %s %.*s, and "
        "%s %.*s was given%s",
        (int)SP_MIN(shown.n, (size_t)60), shown.p, sp_json_get_z(param, "name"),
        SP_ARG(part->component_name), sp_json_z(sp_json_at(sp_json_get(param, "fieldPaths"), 0)),
        article(wanted), SP_ARG(wanted), article(given), SP_ARG(given), hint(value, wanted));
}

static void unknown(const sp_oam_part *part, sp_str name, sp_str at, sp_causes *causes) {
    sp_auto(sp_buf) names = {0};
    sp_json_each(sp_json_dig(part->component, "spec", "parameters", NULL), it)
        sp_buf_printf(&names, "%s\"%s\"", names.n ? ", " : "", sp_json_get_z(it, "name"));
    sp_causes_add(causes, "FieldValueNotFound", at,
                  "Not found: \"%.*s\": Component \"%.*s\" has %s%s", SP_ARG(name),
                  SP_ARG(part->component_name), names.n ? "the parameters " : "no parameters",
                  sp_buf_z(&names));
}

static bool is_repeated(const sp_json *list, const sp_json *entry, sp_str name) {
    for (const sp_json *q = list->first; q != entry; q = q->next)
        if (sp_str_eq(sp_json_str(sp_json_get(q, "name")), name)) return true;
    return false;
}

static void check_one(const sp_oam_part *part, const sp_json *list, const sp_json *entry, size_t i,
                      sp_causes *causes) {
    sp_str name = sp_json_str(sp_json_get(entry, "name"));
    const sp_json *value = sp_json_get(entry, "value");
    sp_str at = sp_arena_printf(causes->arena, "%.*s.parameterValues[%zu]", SP_ARG(part->path), i);
    sp_str value_at = sp_arena_printf(causes->arena, "%.*s.value", SP_ARG(at));
    sp_str name_at = sp_arena_printf(causes->arena, "%.*s.name", SP_ARG(at));
    if (!value) sp_causes_add(causes, "FieldValueRequired", value_at, "Required value");
    if (is_repeated(list, entry, name))
        sp_causes_add(causes, "FieldValueDuplicate", name_at, "Duplicate value: \"%.*s\"",
                      SP_ARG(name));
    if (!part->component) return;
    const sp_json *param = find_param(part, name);
    if (!param) {
        unknown(part, name, name_at, causes);
        return;
    }
    sp_str wanted = wanted_type(part, param);
    if (value && !has_type(value, wanted)) wrong_type(part, param, value, wanted, value_at, causes);
}

static const sp_json *find_value(const sp_oam_part *part, sp_str name) {
    sp_json_each(sp_json_get(part->entry, "parameterValues"),
                 it) if (sp_str_eq(sp_json_str(sp_json_get(it, "name")),
                                   name)) return sp_json_get(it, "value");
    return NULL;
}

void sp_oam_check_parameters(const sp_oam_part *part, sp_causes *causes) {
    const sp_json *list = sp_json_get(part->entry, "parameterValues");
    size_t i = 0;
    sp_json_each(list, it) check_one(part, list, it, i++, causes);
    sp_json_each(sp_json_dig(part->component, "spec", "parameters", NULL), param) {
        sp_str name = sp_json_str(sp_json_get(param, "name"));
        if (sp_json_bool(sp_json_get(param, "required"), false) && !find_value(part, name))
            sp_causes_add(
                causes, "FieldValueRequired",
                sp_arena_printf(causes->arena, "%.*s.parameterValues", SP_ARG(part->path)),
                "Required value: Component \"%.*s\" requires the parameter \"%.*s\"",
                SP_ARG(part->component_name), SP_ARG(name));
    }
}

/* --- writing --- */

static const sp_json *as_text(sp_arena *a, const sp_json *value) {
    if (value->type == SP_JSON_BOOL) return sp_json_new_z(a, value->boolean ? "true" : "false");
    return value->type == SP_JSON_NUMBER ? sp_json_new_str(a, value->text) : value;
}

static bool set_one(sp_arena *a, const sp_json *param, const sp_json *value, sp_json *workload,
                    sp_err *err) {
    sp_json_each(sp_json_get(param, "fieldPaths"), it) {
        const sp_json *now = current_value(workload, sp_json_str(it));
        bool text = sp_json_is(now, SP_JSON_STRING);
        if (!sp_fieldpath_set(a, workload, sp_json_str(it), text ? as_text(a, value) : value, err))
            return sp_err_wrap(err, "parameter \"%s\"", sp_json_get_z(param, "name"));
    }
    return true;
}

bool sp_oam_set_parameters(sp_arena *a, const sp_oam_part *part, sp_json *workload, sp_err *err) {
    sp_json_each(sp_json_get(part->entry, "parameterValues"), it) {
        const sp_json *param = find_param(part, sp_json_str(sp_json_get(it, "name")));
        const sp_json *value = sp_json_get(it, "value");
        if (param && value && !set_one(a, param, value, workload, err)) return false;
    }
    return true;
}
