/* SPDX-License-Identifier: Apache-2.0
 * Handlers that the verb table drives alone, and what the special ones share. */
#include "cli/run.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/handlers.h"
#include "cli/table.h"
#include "cli/view.h"
#include "wire/path.h"

#define GET_TIMEOUT_US (30 * USEC_PER_SEC)
#define CHANGE_TIMEOUT_US (60 * USEC_PER_SEC)

int cli_print(struct sbuf *out, struct err *e)
{
    bool ok = fwrite(out->data ? out->data : "", 1, out->len, stdout) == out->len;
    sbuf_done(out);
    if (!ok || fflush(stdout) != 0) {
        return ERR_SYS(e, IO, errno, "cannot write to standard output");
    }
    return 0;
}

int cli_print_json(const json_t *j, struct err *e)
{
    _cleanup_sbuf_ struct sbuf out = {0};
    _cleanup_free_ char *text = json_dumps(j, JSON_INDENT(2) | JSON_ENCODE_ANY);
    sbuf_printf(&out, "%s\n", text ? text : "null");
    return cli_print(&out, e);
}

int cli_get(struct cli *c, const char *path, json_t **ret, struct err *e)
{
    return client_call(c->client, NULL, path, NULL, GET_TIMEOUT_US, ret, e);
}

char *cli_path(const struct verb *v, const struct args *a)
{
    bool hole = strstr(v->path, "{}") != NULL;
    return wire_path_format(v->path, (const char *const[]){hole ? a->pos[0] : NULL, NULL});
}

int run_list(struct cli *c, const struct verb *v, struct args *a, struct err *e)
{
    _cleanup_json_ json_t *reply = NULL;
    _cleanup_sbuf_ struct sbuf out = {0};
    int r = cli_get(c, v->path, &reply, e);
    if (r < 0 || c->globals.json) {
        return r < 0 ? r : cli_print_json(reply, e);
    }
    const json_t *items = json_object_get(reply, "items");
    if (c->globals.quiet) {
        view_names(v->view, items, &out);
    } else {
        view_list(v->view, items, 0, c->color, &out);
    }
    return cli_print(&out, e);
}

int run_show(struct cli *c, const struct verb *v, struct args *a, struct err *e)
{
    _cleanup_json_ json_t *reply = NULL;
    _cleanup_sbuf_ struct sbuf out = {0};
    _cleanup_free_ char *path = cli_path(v, a);
    int r = cli_get(c, path, &reply, e);
    if (r < 0 || c->globals.json) {
        return r < 0 ? r : cli_print_json(reply, e);
    }
    view_object(v->view, reply, c->color, &out);
    return cli_print(&out, e);
}

int change_send(struct cli *c, const struct verb *v, const struct args *a, json_t **ret,
                struct err *e)
{
    _cleanup_free_ char *path = cli_path(v, a);
    const json_t *body = json_object_size(a->values) > 0 ? a->values : NULL;
    int r = client_change(c->client, v->method, path, body, CHANGE_TIMEOUT_US, ret, e);
    if (r == -ERR_TIMEOUT) {
        err_hint(e, "it may have been done or still be going on: mortar task ls");
    }
    return r;
}

/* The reply of a long operation names its task, or holds it. */
static const char *task_id_of(const json_t *reply)
{
    const json_t *task = json_object_get(reply, "task");
    return json_is_object(task) ? json_text_of(task, "id") : json_string_value(task);
}

void run_add_done(const struct verb *v, const struct args *a, struct sbuf *out)
{
    const char *hole = strstr(v->done, "{}");
    if (!hole) {
        sbuf_printf(out, "%s\n", v->done);
    } else {
        sbuf_printf(out, "%.*s%s%s\n", (int)(hole - v->done), v->done, a->pos[0], hole + 2);
    }
    if (v->next) {
        sbuf_printf(out, "%s\n", v->next);
    }
}

/* A card that was in use is on trial: whoever can still read this shall say so. */
static void add_trial(const json_t *end, struct sbuf *out)
{
    const json_t *result = json_object_get(end, "result");
    const char *nic = json_text_of(result, "nic");
    if (nic && str_eq(json_text_of(result, "state"), "trial")) {
        sbuf_printf(out, "to keep uplink %s run within %llu s, or all is undone: mortar uplink confirm\n",
                    nic, (unsigned long long)json_u64_of(result, "confirm_s", 0));
    }
}

static int print_task_id(struct cli *c, const json_t *reply, const char *id, struct err *e)
{
    _cleanup_sbuf_ struct sbuf out = {0};
    if (c->globals.json) {
        return cli_print_json(reply, e);
    }
    sbuf_printf(&out, "%s\n", id);
    return cli_print(&out, e);
}

int change_finish(struct cli *c, const json_t *reply, json_t **ret_end, struct err *e)
{
    const char *id = task_id_of(reply);
    *ret_end = NULL;
    if (!id) {
        *ret_end = json_incref((json_t *)reply);
        return c->globals.json ? cli_print_json(reply, e) : 0;
    }
    if (c->globals.no_wait) {
        return print_task_id(c, reply, id, e);
    }
    json_t *task = NULL;
    int r = follow_task(c, id, &task, e);
    if (r < 0) {
        return r;
    }
    r = c->globals.json ? cli_print_json(task, e) : 0;
    if (r == 0) {
        r = follow_outcome(task, e);
    }
    if (r < 0) {
        json_decref(task);
        return r;
    }
    *ret_end = task;
    return 0;
}

int run_change(struct cli *c, const struct verb *v, struct args *a, struct err *e)
{
    _cleanup_json_ json_t *reply = NULL;
    _cleanup_json_ json_t *end = NULL;
    _cleanup_sbuf_ struct sbuf out = {0};
    int r = change_send(c, v, a, &reply, e);
    if (r == 0) {
        r = change_finish(c, reply, &end, e);
    }
    if (r < 0 || !end || c->globals.json || c->globals.quiet) {
        return r;
    }
    run_add_done(v, a, &out);
    add_trial(end, &out);
    return cli_print(&out, e);
}
