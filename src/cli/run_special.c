/* SPDX-License-Identifier: Apache-2.0
 * Handlers that do more than the verb table can say, except the console. */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/confirm.h"
#include "cli/handlers.h"
#include "cli/help.h"
#include "cli/run.h"
#include "cli/table.h"
#include "cli/view.h"
#include "wire/names.h"
#include "wire/path.h"

/* The check writes and syncs on the disk and looks at packages. */
#define CHECK_TIMEOUT_US (180 * USEC_PER_SEC)
enum { EVENT_WAIT_S = 20, NAME_COLUMNS_MAX = 63 };

int run_check(struct cli *c, const struct verb *v, struct args *a, struct err *e)
{
    _cleanup_json_ json_t *reply = NULL;
    _cleanup_sbuf_ struct sbuf out = {0};
    size_t i = 0;
    const json_t *f = NULL;
    int r = client_call(c->client, NULL, v->path, NULL, CHECK_TIMEOUT_US, &reply, e);
    if (r < 0) {
        return r;
    }
    if (c->globals.json) {
        r = cli_print_json(reply, e);
    } else {
        view_check(reply, c->color, &out);
        r = cli_print(&out, e);
    }
    json_array_foreach(json_object_get(reply, "findings"), i, f)
    {
        if (r == 0 && str_eq(json_text_of(f, "severity"), "refuse")) {
            const char *title = json_text_of(f, "title");
            (void)ERR_SET(e, PREFLIGHT, "this host cannot be a member: %s", title ? title : "?");
            err_hint(e, "do what is said above of each finding that refuses, and check again");
            return -ERR_PREFLIGHT;
        }
    }
    return r;
}

int run_token_create(struct cli *c, const struct verb *v, struct args *a, struct err *e)
{
    static const struct field valid = {"valid", "valid_s", FIELD_AGE};
    _cleanup_json_ json_t *reply = NULL;
    _cleanup_sbuf_ struct sbuf out = {0};
    enum style style = STYLE_PLAIN;
    const char *token = NULL;
    const char *command = NULL;
    int r = change_send(c, v, a, &reply, e);
    if (r < 0 || c->globals.json) {
        return r < 0 ? r : cli_print_json(reply, e);
    }
    r = json_need_text(reply, "token", &token, e);
    if (r < 0 || c->globals.quiet) {
        sbuf_printf(&out, "%s\n", token ? token : "");
        return r < 0 ? r : cli_print(&out, e);
    }
    r = json_need_text(reply, "command", &command, e);
    if (r < 0) {
        return r;
    }
    _cleanup_free_ char *within = view_text(&valid, reply, &style);
    sbuf_printf(&out, "On the new host run, once, within %s:\n\n  %s\n", within, command);
    return cli_print(&out, e);
}

int run_status(struct cli *c, const struct verb *v, struct args *a, struct err *e)
{
    _cleanup_json_ json_t *reply = NULL;
    _cleanup_sbuf_ struct sbuf out = {0};
    int r = cli_get(c, v->path, &reply, e);
    if (r < 0 || c->globals.json) {
        return r < 0 ? r : cli_print_json(reply, e);
    }
    view_status(reply, c->color, &out);
    return cli_print(&out, e);
}

int run_host_fence(struct cli *c, const struct verb *v, struct args *a, struct err *e)
{
    const char *host = a->pos[0];
    if (!c->globals.quiet) {
        (void)fprintf(stderr, "Virtual machines that run on %s are ended, and started on other hosts.\n", host);
    }
    int r = confirm_host(a, host, "a fence", e);
    return r < 0 ? r : run_change(c, v, a, e);
}

#define STORE_TIMEOUT_US (300 * USEC_PER_SEC)

/* Saving harms nobody. The others are confirmed by the name of the host that is asked. */
int run_store(struct cli *c, const struct verb *v, struct args *a, struct err *e)
{
    _cleanup_json_ json_t *version = NULL;
    _cleanup_json_ json_t *reply = NULL;
    _cleanup_sbuf_ struct sbuf out = {0};
    int r = 0;
    if (v->options) {
        r = cli_get(c, "/v1/version", &version, e);
        if (r == 0 && !c->globals.quiet) {
            (void)fprintf(stderr, "On %s the cluster's store is %s. See 'mortar help store restore'.\n",
                          json_text_of(version, "host"),
                          str_ends(v->path, "/clear") ? "stopped, and its data put aside" : "put back to the snapshot");
        }
        r = r < 0 ? r : confirm_host(a, json_text_of(version, "host"), "this", e);
    }
    r = r < 0 ? r : client_call(c->client, v->method, v->path, json_object_size(a->values) ? a->values : NULL, STORE_TIMEOUT_US,
                                &reply, e);
    if (r < 0 || c->globals.quiet) {
        return r;
    }
    if (c->globals.json) {
        return cli_print_json(reply, e);
    }
    run_add_done(v, a, &out);
    return cli_print(&out, e);
}

int run_pool_create(struct cli *c, const struct verb *v, struct args *a, struct err *e)
{
    bool mirrored = str_eq(json_text_of(a->values, "kind"), "gluster");
    if (mirrored && !json_object_get(a->values, "copies")) {
        json_object_set_new(a->values, "copies", json_integer(2));
    }
    return run_change(c, v, a, e);
}

/* Without --pool the only pool is meant. */
static int choose_pool(struct cli *c, struct args *a, struct err *e)
{
    _cleanup_json_ json_t *reply = NULL;
    if (json_object_get(a->values, "pool")) {
        return 0;
    }
    int r = cli_get(c, "/v1/pools", &reply, e);
    if (r < 0) {
        return r;
    }
    const json_t *items = json_object_get(reply, "items");
    const char *name = json_text_of(json_array_get(items, 0), "name");
    if (json_array_size(items) != 1 || !name) {
        (void)ERR_SET(e, USAGE,
                      json_array_size(items) ? "there are several pools" : "there is no pool");
        err_hint(e, json_array_size(items) ? "say which with --pool; see 'mortar pool ls'"
                                           : "create one with 'mortar pool create'");
        return -ERR_USAGE;
    }
    json_object_set_new(a->values, "pool", json_string(name));
    return 0;
}

/* "/tmp/Debian 12.qcow2" → "debian-12" */
static char *name_of_source(const char *source)
{
    const char *slash = strrchr(source, '/');
    char *name = str_dup(slash ? slash + 1 : source);
    name[strcspn(name, "?#")] = '\0';
    char *dot = strrchr(name, '.');
    if (dot) {
        *dot = '\0';
    }
    for (char *p = name; *p; p++) {
        *p = (char)tolower((unsigned char)*p);
        *p = strchr("abcdefghijklmnopqrstuvwxyz0123456789", *p) ? *p : '-';
    }
    if (strlen(name) > NAME_COLUMNS_MAX) {
        name[NAME_COLUMNS_MAX] = '\0';
    }
    return name;
}

int run_image_import(struct cli *c, const struct verb *v, struct args *a, struct err *e)
{
    if (!json_object_get(a->values, "name")) {
        const char *source = json_text_of(a->values, "source");
        _cleanup_free_ char *name = name_of_source(source);
        if (!str_is_name(name)) {
            (void)ERR_SET(e, USAGE, "'%s' gives no name for the image", source);
            err_hint(e, "say one with --name");
            return -ERR_USAGE;
        }
        json_object_set_new(a->values, "name", json_string(name));
    }
    int r = choose_pool(c, a, e);
    return r < 0 ? r : run_change(c, v, a, e);
}

int run_vm_create(struct cli *c, const struct verb *v, struct args *a, struct err *e)
{
    const json_t *values = a->values;
    bool direct = json_object_get(values, "kernel") != NULL;
    if (!direct && (json_object_get(values, "initrd") || json_object_get(values, "cmdline"))) {
        return ERR_SET(e, USAGE, "--initrd and --cmdline need --kernel");
    }
    if (!direct && !json_object_get(values, "image") && !json_object_get(values, "disk_bytes")) {
        return ERR_SET(e, USAGE, "vm create: one of --image, --disk and --kernel is needed");
    }
    int r = choose_pool(c, a, e);
    return r < 0 ? r : run_change(c, v, a, e);
}

int run_vm_set(struct cli *c, const struct verb *v, struct args *a, struct err *e)
{
    if (json_object_size(a->values) == 0) {
        (void)ERR_SET(e, USAGE, "vm set: nothing to change");
        err_hint(e, "see 'mortar help vm set'");
        return -ERR_USAGE;
    }
    return run_change(c, v, a, e);
}

int run_vm_migrate(struct cli *c, const struct verb *v, struct args *a, struct err *e)
{
    static const struct field where = {"host", "host", FIELD_TEXT};
    _cleanup_json_ json_t *reply = NULL;
    _cleanup_json_ json_t *end = NULL;
    _cleanup_sbuf_ struct sbuf out = {0};
    enum style style = STYLE_PLAIN;
    int r = change_send(c, v, a, &reply, e);
    if (r == 0) {
        r = change_finish(c, reply, &end, e);
    }
    if (r < 0 || !end || c->globals.json || c->globals.quiet) {
        return r;
    }
    _cleanup_json_ json_t *vm = NULL;
    _cleanup_free_ char *path =
        wire_path_format("/v1/vms/{}", (const char *const[]){a->pos[0], NULL});
    r = cli_get(c, path, &vm, e);
    if (r < 0) {
        return r;
    }
    const json_t *last = json_object_get(vm, "last_migration");
    _cleanup_free_ char *host = view_text(&where, vm, &style);
    _cleanup_free_ char *clean = text_clean(host);
    sbuf_printf(&out, "vm '%s' runs on %s", a->pos[0], clean);
    if (json_object_get(last, "total_ms")) {
        sbuf_printf(&out, "; moved in %" PRIu64 " ms", json_u64_of(last, "total_ms", 0));
    }
    if (json_object_get(last, "blackout_ms")) {
        sbuf_printf(&out, ", paused for %" PRIu64 " ms", json_u64_of(last, "blackout_ms", 0));
    }
    sbuf_printf(&out, "\n");
    if (json_text_of(last, "reason")) {
        _cleanup_free_ char *reason = text_clean(json_text_of(last, "reason"));
        sbuf_printf(&out, "chosen: %s\n", reason);
    }
    return cli_print(&out, e);
}

int run_task_wait(struct cli *c, const struct verb *v, struct args *a, struct err *e)
{
    _cleanup_json_ json_t *task = NULL;
    _cleanup_sbuf_ struct sbuf out = {0};
    int r = follow_task(c, a->pos[0], &task, e);
    if (r == 0 && c->globals.json) {
        r = cli_print_json(task, e);
    }
    if (r == 0) {
        r = follow_outcome(task, e);
    }
    if (r < 0 || c->globals.json || c->globals.quiet) {
        return r;
    }
    sbuf_printf(&out, "task %s is done\n", a->pos[0]);
    return cli_print(&out, e);
}

int run_task_cancel(struct cli *c, const struct verb *v, struct args *a, struct err *e)
{
    _cleanup_json_ json_t *reply = NULL;
    _cleanup_sbuf_ struct sbuf out = {0};
    int r = change_send(c, v, a, &reply, e);
    if (r < 0 || c->globals.json) {
        return r < 0 ? r : cli_print_json(reply, e);
    }
    sbuf_printf(&out, "task %s is asked to cancel\n", a->pos[0]);
    return c->globals.quiet ? 0 : cli_print(&out, e);
}

int run_vm_why(struct cli *c, const struct verb *v, struct args *a, struct err *e)
{
    _cleanup_json_ json_t *reply = NULL;
    _cleanup_sbuf_ struct sbuf out = {0};
    _cleanup_free_ char *base = cli_path(v, a);
    _cleanup_free_ char *path = str_printf("%s?since_s=%" PRIu64, base, args_u64(a, "since_s", 0));
    int r = cli_get(c, path, &reply, e);
    if (r < 0 || c->globals.json) {
        return r < 0 ? r : cli_print_json(reply, e);
    }
    view_why(reply, c->color, &out);
    return cli_print(&out, e);
}

static int print_events(struct cli *c, const struct verb *v, const json_t *items, bool first,
                        struct err *e)
{
    _cleanup_sbuf_ struct sbuf out = {0};
    size_t i = 0;
    const json_t *event = NULL;
    if (!c->globals.json) {
        if (first || json_array_size(items) > 0) {
            view_list(v->view, items, 0, c->color, &out);
        }
        return cli_print(&out, e);
    }
    json_array_foreach(items, i, event)
    {
        _cleanup_free_ char *line = json_format(event);
        sbuf_printf(&out, "%s\n", line);
    }
    return cli_print(&out, e);
}

int run_events(struct cli *c, const struct verb *v, struct args *a, struct err *e)
{
    bool follow = json_bool_of(a->values, "follow", false);
    uint64_t since = args_u64(a, "since", 0);
    for (bool first = true;; first = false) {
        _cleanup_json_ json_t *reply = NULL;
        _cleanup_free_ char *path =
            str_printf("%s?since=%" PRIu64 "&wait=%d", v->path, since, first ? 0 : EVENT_WAIT_S);
        int r = cli_get(c, path, &reply, e);
        if (r == 0 && c->globals.json && !follow) {
            return cli_print_json(reply, e);
        }
        if (r == 0) {
            r = print_events(c, v, json_object_get(reply, "items"), first, e);
        }
        if (r < 0 || !follow) {
            return r;
        }
        since = json_u64_of(reply, "rev", since);
    }
}

int run_version(struct cli *c, const struct verb *v, struct args *a, struct err *e)
{
    struct err failed = {0};
    _cleanup_json_ json_t *reply = NULL;
    _cleanup_sbuf_ struct sbuf out = {0};
    int r = cli_get(c, v->path, &reply, &failed);
    const char *agent = json_text_of(reply, "version");
    if (c->globals.json) {
        _cleanup_json_ json_t *both =
            json_pack("{s:s,s:o?}", "cli", MORTAR_VERSION, "agent", json_incref(reply));
        return cli_print_json(both, e);
    }
    sbuf_printf(&out, "mortar %s\nagent %s\n", MORTAR_VERSION,
                r < 0   ? "does not answer"
                : agent ? agent
                        : "?");
    return cli_print(&out, e);
}

int run_help(struct cli *c, const struct verb *v, struct args *a, struct err *e)
{
    _cleanup_sbuf_ struct sbuf out = {0};
    const struct verb *about = NULL;
    int words = 0;
    char *given[] = {(char *)a->pos[0], (char *)a->pos[1]}; /* verb_find() only reads */
    if (!given[0]) {
        help_overview(&out);
        return cli_print(&out, e);
    }
    if (!given[1] && help_group(given[0], &out)) {
        return cli_print(&out, e);
    }
    int r = verb_find(given[1] ? 2 : 1, given, &about, &words, e);
    if (r < 0) {
        err_hint(e, "'mortar help' lists the commands");
        return r;
    }
    help_verb(about, &out);
    return cli_print(&out, e);
}

int run_completion(struct cli *c, const struct verb *v, struct args *a, struct err *e)
{
    _cleanup_sbuf_ struct sbuf out = {0};
    completion_bash(&out);
    return cli_print(&out, e);
}
