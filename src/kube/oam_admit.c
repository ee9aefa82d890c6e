/* Is an OAM object in order? Everything is looked at, in the order of the document, and every
 * objection says where. */
#include "kube/oam_model.h"

#include "data/fieldpath.h"

enum { MAX_LABEL = 63 };

/* --- taking an ApplicationConfiguration apart --- */

static sp_oam_trait trait_of(sp_arena *a, const sp_json *entry, sp_str part_path, size_t i,
                             const sp_oam_lookup *lookup) {
    sp_oam_trait t = {.object = sp_json_get(entry, "trait")};
    t.path =
        sp_arena_printf(a, "%.*s.traits[%zu]%s", SP_ARG(part_path), i, t.object ? ".trait" : "");
    t.props_path = sp_arena_printf(a, "%.*s.%s", SP_ARG(t.path), t.object ? "spec" : "properties");
    if (t.object) {
        t.api_version = sp_json_str(sp_json_get(t.object, "apiVersion"));
        t.group = sp_oam_real_group(sp_oam_group_of(t.api_version));
        t.name = sp_obj_kind(t.object);
        t.type = sp_oam_trait_type_of(t.group, t.name);
        t.props = sp_json_get(t.object, "spec");
    } else {
        t.name = sp_json_str(sp_json_get(entry, "name"));
        t.type = sp_oam_trait_type_named(t.name);
        t.props = sp_json_get(entry, "properties");
    }
    t.definition = sp_oam_find_definition(a, lookup, &t);
    return t;
}

static sp_str instance_of(const sp_oam_part *p) {
    sp_str given = sp_json_str(sp_json_get(p->entry, "instanceName"));
    if (given.n) return given;
    sp_str own = sp_obj_name(p->workload);
    return own.n ? own : p->component_name;
}

static sp_oam_part part_of(sp_arena *a, const sp_json *app, const sp_json *entry, size_t i,
                           const sp_oam_lookup *lookup) {
    sp_oam_part p = {.entry = entry, .component_name = sp_oam_component_name(entry)};
    p.path = sp_arena_printf(a, "spec.components[%zu]", i);
    if (p.component_name.n)
        p.component = lookup->get(lookup->ctx, a, "core.oam.dev", "components",
                                  sp_obj_namespace(app), p.component_name);
    p.workload = sp_json_dig(p.component, "spec", "workload", NULL);
    p.instance = instance_of(&p);
    size_t n = 0;
    sp_json_each(sp_json_get(entry, "traits"), it)
        sp_vec_push(&p.traits, trait_of(a, it, p.path, n++, lookup));
    return p;
}

void sp_oam_take_apart(sp_arena *a, const sp_json *app, const sp_oam_lookup *lookup,
                       sp_oam_parts *ret) {
    size_t i = 0;
    sp_json_each(sp_json_dig(app, "spec", "components", NULL), it)
        sp_vec_push(ret, part_of(a, app, it, i++, lookup));
}

void sp_oam_parts_free(sp_oam_parts *parts) {
    for (size_t i = 0; i < parts->n; i++) sp_vec_free(&parts->p[i].traits);
    sp_vec_free(parts);
}

/* --- ApplicationConfiguration --- */

typedef struct check {
    const sp_oam_lookup *lookup;
    sp_causes *causes;
    sp_strs *warnings;
    sp_oam_parts parts;
} check;

static sp_str below(const check *c, sp_str path, const char *field) {
    return sp_arena_printf(c->causes->arena, "%.*s.%s", SP_ARG(path), field);
}

static void warn(const check *c, sp_str text) {
    if (c->warnings) sp_vec_push(c->warnings, text);
}

static void refuse_unsupported(check *c, const sp_oam_part *p) {
    static const struct {
        const char *field, *instead;
    } unsupported[] = {
        {"revisionName", "revisions of Components are not kept yet: use componentName"},
        {"dataInputs", "data passing between components is not supported yet"},
        {"dataOutputs", "data passing between components is not supported yet"},
    };
    for (size_t i = 0; i < SP_COUNT(unsupported); i++) {
        const sp_json *there = sp_json_get(p->entry, unsupported[i].field);
        if (there && (there->count || sp_json_str(there).n))
            sp_causes_add(c->causes, "FieldValueForbidden", below(c, p->path, unsupported[i].field),
                          "Forbidden: %s", unsupported[i].instead);
    }
    if (sp_json_get(p->entry, "scopes") && sp_json_get(p->entry, "scopes")->count)
        warn(c, sp_arena_printf(c->causes->arena,
                                "%.*s.scopes: scopes are kept and have no effect yet",
                                SP_ARG(p->path)));
}

static void check_component_name(check *c, const sp_oam_part *p) {
    sp_str canonical = sp_json_str(sp_json_get(p->entry, "componentName"));
    sp_str alias = sp_json_str(sp_json_get(p->entry, "name"));
    if (canonical.n && alias.n && !sp_str_eq(canonical, alias))
        sp_causes_add(c->causes, "FieldValueInvalid", below(c, p->path, "name"),
                      "Invalid value: \"%.*s\": another Component than componentName: keep one of "
                      "them",
                      SP_ARG(alias));
    else if (!p->component_name.n && !sp_json_get(p->entry, "revisionName"))
        sp_causes_add(c->causes, "FieldValueRequired", below(c, p->path, "componentName"),
                      "Required value: the name of a Component");
    else if (p->component_name.n && !p->component)
        warn(c,
             sp_arena_printf(c->causes->arena,
                             "%.*s: there is no Component \"%.*s\" yet; nothing is started until "
                             "it is applied (kubectl get components lists those there are)",
                             SP_ARG(p->path), SP_ARG(p->component_name)));
}

static void check_instance_name(check *c, const sp_oam_part *p) {
    if (!p->instance.n) return;
    if (!sp_name_is_label(p->instance))
        sp_causes_add(
            c->causes, "FieldValueInvalid", below(c, p->path, "instanceName"),
            "Invalid value: \"%.*s\": the name of the workload must be lower case letters, "
            "digits and '-', at most %d characters",
            SP_ARG(p->instance), MAX_LABEL);
    for (const sp_oam_part *q = c->parts.p; q < p; q++)
        if (sp_str_eq(q->instance, p->instance))
            sp_causes_add(
                c->causes, "FieldValueDuplicate", p->path,
                "Duplicate value: \"%.*s\": %.*s is a workload of this name already: give "
                "one of them an instanceName",
                SP_ARG(p->instance), SP_ARG(q->path));
}

/* --- traits of one component --- */

static void check_known(check *c, const sp_oam_trait *t) {
    if (!t->name.n) {
        sp_causes_add(c->causes, "FieldValueRequired", t->path,
                      "Required value: a trait needs apiVersion, kind and spec");
    } else if (!t->definition) {
        sp_causes_add(c->causes, "FieldValueNotFound", t->path,
                      "Not found: no TraitDefinition is about %.*s%s%.*s (kubectl get "
                      "traitdefinition lists what there is)",
                      SP_ARG(t->name), t->api_version.n ? " of " : "", SP_ARG(t->api_version));
    } else if (!t->type) {
        sp_causes_add(c->causes, "FieldValueNotSupported", t->path,
                      "Unsupported value: \"%.*s\": TraitDefinition %.*s exists, but this version "
                      "carries out only AutoScaler, ManualScalerTrait, SecurityPolicy and CronHPA",
                      SP_ARG(t->name), SP_ARG(sp_obj_name(t->definition)));
    }
}

static void check_applies(check *c, const sp_oam_part *p, const sp_oam_trait *t) {
    if (!t->definition || !p->workload ||
        sp_oam_applies_to(c->causes->arena, t->definition, p->workload, c->lookup))
        return;
    sp_causes_add(c->causes, "FieldValueForbidden", t->path,
                  "Forbidden: trait %.*s does not apply to %.*s, the workload of Component "
                  "\"%.*s\" (see spec.appliesToWorkloads of TraitDefinition %.*s)",
                  SP_ARG(t->name), SP_ARG(sp_obj_kind(p->workload)), SP_ARG(p->component_name),
                  SP_ARG(sp_obj_name(t->definition)));
}

static void conflict(check *c, const sp_oam_trait *t, const sp_oam_trait *other, const char *why) {
    sp_causes_add(c->causes, "FieldValueForbidden", t->path,
                  "Forbidden: trait %.*s conflicts with trait %.*s at %.*s: %s; keep one of them",
                  SP_ARG(t->name), SP_ARG(other->name), SP_ARG(other->path), why);
}

static void check_pair(check *c, const sp_oam_trait *first, const sp_oam_trait *second) {
    sp_arena *a = c->causes->arena;
    bool same = sp_str_eq(first->name, second->name) && sp_str_eq(first->group, second->group);
    const char *owns = first->type ? first->type->owns : NULL;
    if (same || (first->type && first->type == second->type))
        conflict(c, second, first, "a component takes a trait only once");
    else if (owns && second->type && second->type->owns && strcmp(owns, second->type->owns) == 0)
        conflict(c, second, first, sp_arena_printf(a, "both decide %s of the workload", owns).p);
    else if (sp_oam_declares_conflict(a, second, first) ||
             sp_oam_declares_conflict(a, first, second))
        conflict(c, second, first, "its TraitDefinition says so (conflictsWith)");
}

static void check_traits(check *c, const sp_oam_part *p) {
    sp_vec_each(&p->traits, t) {
        check_known(c, t);
        check_applies(c, p, t);
        for (const sp_oam_trait *before = p->traits.p; before < t; before++)
            check_pair(c, before, t);
        sp_oam_check_trait(t, c->causes, c->warnings);
    }
}

static void check_app(const sp_json *app, check *c) {
    sp_str name = sp_obj_name(app);
    if (name.n > MAX_LABEL)
        sp_causes_add(
            c->causes, "FieldValueInvalid", SP_STR("metadata.name"),
            "Invalid value: \"%.*s\": must be at most %d characters, as it labels what the "
            "application consists of",
            SP_ARG(name), MAX_LABEL);
    const sp_json *components = sp_json_dig(app, "spec", "components", NULL);
    if (!components || !components->first)
        sp_causes_add(c->causes, "FieldValueRequired", SP_STR("spec.components"),
                      "Required value: at least one component");
    sp_oam_take_apart(c->causes->arena, app, c->lookup, &c->parts);
    sp_vec_each(&c->parts, p) {
        check_component_name(c, p);
        check_instance_name(c, p);
        refuse_unsupported(c, p);
        sp_oam_check_parameters(p, c->causes);
        check_traits(c, p);
    }
    sp_oam_parts_free(&c->parts);
}

/* --- Component --- */

static void check_parameter(check *c, const sp_json *param, sp_str path, const sp_json *all) {
    sp_str name = sp_json_str(sp_json_get(param, "name"));
    sp_str type = sp_json_str(sp_json_get(param, "type"));
    const sp_json *paths = sp_json_get(param, "fieldPaths");
    if (!name.n)
        sp_causes_add(c->causes, "FieldValueRequired", below(c, path, "name"), "Required value");
    for (const sp_json *q = all->first; q != param; q = q->next)
        if (name.n && sp_str_eq(name, sp_json_str(sp_json_get(q, "name"))))
            sp_causes_add(c->causes, "FieldValueDuplicate", below(c, path, "name"),
                          "Duplicate value: \"%.*s\"", SP_ARG(name));
    if (type.n && !sp_oam_is_type_name(type))
        sp_causes_add(c->causes, "FieldValueNotSupported", below(c, path, "type"),
                      "Unsupported value: \"%.*s\": supported values: \"string\", \"integer\", "
                      "\"number\", \"boolean\", \"object\", \"array\"",
                      SP_ARG(type));
    if (!paths || !paths->first)
        sp_causes_add(c->causes, "FieldValueRequired", below(c, path, "fieldPaths"),
                      "Required value: where in the workload the parameter goes");
}

static void check_field_paths(check *c, const sp_json *param, sp_str path) {
    size_t i = 0;
    sp_json_each(sp_json_get(param, "fieldPaths"), it) {
        sp_err err;
        if (!sp_fieldpath_check(sp_json_str(it), &err))
            sp_causes_add(
                c->causes, "FieldValueInvalid",
                sp_arena_printf(c->causes->arena, "%.*s.fieldPaths[%zu]", SP_ARG(path), i),
                "Invalid value: \"%.*s\": %s", SP_ARG(sp_json_str(it)), err.text);
        i++;
    }
}

static void check_component(const sp_json *component, check *c) {
    const sp_json *workload = sp_json_dig(component, "spec", "workload", NULL);
    const sp_json *params = sp_json_dig(component, "spec", "parameters", NULL);
    if (!sp_json_is(workload, SP_JSON_OBJECT))
        sp_causes_add(c->causes, "FieldValueRequired", SP_STR("spec.workload"),
                      "Required value: a ContainerizedWorkload or a Deployment");
    else
        sp_oam_check_workload(workload, SP_STR("spec.workload"), c->causes, c->warnings);
    size_t i = 0;
    sp_json_each(params, it) {
        sp_str path = sp_arena_printf(c->causes->arena, "spec.parameters[%zu]", i++);
        check_parameter(c, it, path, params);
        check_field_paths(c, it, path);
    }
}

/* --- all --- */

static void check_cron_object(const sp_json *obj, check *c) {
    sp_oam_check_cron(sp_json_get(obj, "spec"), SP_STR("spec"), c->causes, c->warnings);
}

static void check_definition(const sp_json *obj, check *c) {
    sp_oam_check_definition(obj, c->causes);
}

bool sp_oam_admit(const sp_json *obj, const sp_oam_lookup *lookup, sp_causes *causes,
                  sp_strs *warnings) {
    static const struct {
        const char *kind;
        void (*fn)(const sp_json *obj, check *c);
    } kinds[] = {
        {"ApplicationConfiguration", check_app}, {"Component", check_component},
        {"TraitDefinition", check_definition},   {"WorkloadDefinition", check_definition},
        {"CronHPA", check_cron_object},
    };
    size_t before = causes->list.n;
    check c = {.lookup = lookup, .causes = causes, .warnings = warnings};
    for (size_t i = 0; i < SP_COUNT(kinds); i++)
        if (sp_str_eqz(sp_obj_kind(obj), kinds[i].kind)) kinds[i].fn(obj, &c);
    return causes->list.n == before;
}
