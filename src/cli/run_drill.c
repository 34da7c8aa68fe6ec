/* SPDX-License-Identifier: Apache-2.0
 * A drill: say what will happen, have it confirmed, follow it, show the report beside the one before. */
#include <stdio.h>

#include "cli/confirm.h"
#include "cli/handlers.h"
#include "cli/run.h"
#include "cli/table.h"
#include "cli/view.h"
#include "wire/path.h"

/* The newest report, or that of @id, with the one before it of the same kind. Borrowed from @list. */
static const json_t *find_report(const json_t *list, const char *id, const json_t **ret_before)
{
    const json_t *found = NULL;
    size_t i = 0;
    const json_t *drill = NULL;
    *ret_before = NULL;
    json_array_foreach(json_object_get(list, "items"), i, drill)
    {
        if (!found && (!id || str_eq(json_text_of(drill, "id"), id))) {
            found = drill;
        } else if (found && !*ret_before && str_eq(json_text_of(drill, "kind"), json_text_of(found, "kind"))) {
            *ret_before = drill;
        }
    }
    return found;
}

static int show_report(struct cli *c, const struct verb *v, const char *id, struct err *e)
{
    _cleanup_json_ json_t *list = NULL;
    _cleanup_sbuf_ struct sbuf out = {0};
    const json_t *before = NULL;
    int r = cli_get(c, v->path, &list, e);
    const json_t *drill = r < 0 ? NULL : find_report(list, id, &before);
    if (r < 0) {
        return r;
    }
    if (!drill) {
        (void)ERR_SET(e, NOT_FOUND, id ? "the drill has left no report" : "there was no drill yet");
        err_hint(e, "see 'mortar help drill'");
        return -ERR_NOT_FOUND;
    }
    if (c->globals.json) {
        _cleanup_json_ json_t *both = json_pack("{s:O,s:O?}", "drill", drill, "before", before);
        return cli_print_json(both, e);
    }
    view_drill(drill, before, c->color, &out);
    return cli_print(&out, e);
}

/* What will happen is said in any case; the host is the one that was meant then. */
static int confirm(struct cli *c, const struct verb *v, struct args *a, struct err *e)
{
    _cleanup_json_ json_t *plan = NULL;
    const char *host = json_text_of(a->values, "host");
    const char *text = NULL;
    _cleanup_free_ char *named = host ? wire_path_format("&host={}", (const char *const[]){host, NULL}) : str_dup("");
    _cleanup_free_ char *path = str_printf("%s/plan?kind=%s%s", v->path, json_text_of(a->values, "kind"), named);
    int r = cli_get(c, path, &plan, e);
    r = r < 0 ? r : json_need_text(plan, "host", &host, e);
    r = r < 0 ? r : json_need_text(plan, "text", &text, e);
    if (r < 0) {
        return r;
    }
    json_object_set_new(a->values, "host", json_string(host));
    if (!c->globals.quiet) {
        _cleanup_free_ char *clean = text_clean(text);
        (void)fprintf(stderr, "%s\n", clean);
    }
    return confirm_host(a, host, "a drill", e);
}

int run_drill(struct cli *c, const struct verb *v, struct args *a, struct err *e)
{
    _cleanup_json_ json_t *reply = NULL;
    _cleanup_json_ json_t *task = NULL;
    const char *id = NULL;
    if (json_bool_of(a->values, "last", false)) {
        return show_report(c, v, NULL, e);
    }
    int r = confirm(c, v, a, e);
    r = r < 0 ? r : change_send(c, v, a, &reply, e);
    r = r < 0 ? r : json_need_text(reply, "task", &id, e);
    if (r < 0) {
        return r;
    }
    if (c->globals.no_wait) {
        _cleanup_sbuf_ struct sbuf out = {0};
        sbuf_printf(&out, "%s\n", id);
        return c->globals.json ? cli_print_json(reply, e) : cli_print(&out, e);
    }
    r = follow_task(c, id, &task, e);
    r = r < 0 ? r : follow_outcome(task, e);
    return r < 0 ? r : show_report(c, v, id, e);
}
