/* SPDX-License-Identifier: Apache-2.0
 * A drill on each host: all listen to their demo guests, and the one that it is for strikes itself. */
#include "base/str.h"
#include "core/act.h"
#include "core/drill.h"
#include "core/model/keys.h"
#include "core/model/node.h"
#include "core/plan/plan.h"

static char *id_of(const json_t *drill, const char *what)
{
    return str_printf("drill/%s/%s", json_text_of(drill, "id"), what);
}

/* What is said of an earlier drill is taken back once; the record stays, empty. */
static void forget(struct core *c)
{
    const json_t *beats = smap_get(&c->seen, "beats");
    if (json_object_size(beats)) {
        smap_put(&c->seen, "beats", json_object());
    }
    act_forget(c, "drill/");
}

static void put_state(struct core *c, const json_t *drill, const char *what, const char *state, const char *why)
{
    _cleanup_free_ char *id = id_of(drill, what);
    json_t *next = json_deep_copy(drill);
    struct commit t = commit_new();
    json_object_set_new(next, "state", json_string(state));
    if (why) {
        json_object_set_new(next, "why", json_string(why));
    } else {
        json_object_set_new(next, "strike_ms", json_integer((json_int_t)(c->wall_us / USEC_PER_MSEC)));
        json_object_set(next, "instance", json_object_get(c->self, "instance"));
    }
    commit_put(c, &t, KEY_DRILL, json_text_of(drill, "id"), next);
    if (!why) {
        drill_guard(c, &t);
    }
    (void)commit_try(c, id, &t);
}

/* The task has armed it. First it is looked whether this host can do it at all. */
static void make_ready(struct core *c, const json_t *drill)
{
    _cleanup_free_ char *id = id_of(drill, "ready");
    const json_t *me = node_get(c, c->host);
    uint64_t armed_ms = json_u64_of(drill, "armed_ms", 0);
    uint64_t now_ms = c->wall_us / USEC_PER_MSEC;
    const struct attempt *a =
        act_once(c, id, "drill.ready", json_pack("{s:O}", "kind", json_object_get(drill, "kind")));
    if (a->in_flight) {
        return;
    }
    bool is_late = now_ms > armed_ms + DRILL_LATE_MS || armed_ms > now_ms + DRILL_LATE_MS;
    bool is_other_life = json_u64_of(drill, "inc", 0) != json_u64_of(me, "inc", 0) ||
                         !str_eq(json_text_of(me, "boot_id"), json_text_of(c->self, "boot_id"));
    struct err e = {0};
    json_t *plan = NULL;
    if (a->error.code ||
        drill_plan(c, c->host, json_text_of(drill, "kind"), json_text_of(drill, "id"), &plan, &e) < 0) {
        put_state(c, drill, "refuse", "refused", a->error.code ? a->error.msg : e.msg);
    } else if (is_late || is_other_life) {
        put_state(c, drill, "refuse", "refused", is_late ? "it heard of it too late, or clocks differ"
                                                         : "it was booted again meanwhile");
    } else if (!json_text_of(plan, "wait")) { /* else after the next look, while it is not too late */
        put_state(c, drill, "go", "struck", NULL);
    }
    json_decref(plan);
}

/* Only the life of the agent whose commit said so, and once. */
static void strike(struct core *c, const json_t *drill)
{
    _cleanup_free_ char *go = id_of(drill, "go");
    _cleanup_free_ char *id = id_of(drill, "strike");
    if (!act_has_succeeded(c, go) ||
        !json_equal(json_object_get(drill, "instance"), json_object_get(c->self, "instance"))) {
        return;
    }
    const struct attempt *a = act_once(c, id, "drill.strike",
                                       json_pack("{s:O,s:O,s:I}", "kind", json_object_get(drill, "kind"), "seconds",
                                                 json_object_get(drill, "seconds"), "until_us",
                                                 (json_int_t)(c->now_us + DRILL_STRIKE_US)));
    if (a->has_ended && a->error.code) {
        put_state(c, drill, "failed", "refused", a->error.msg);
    }
}

void plan_drill(struct core *c)
{
    const json_t *drill = drill_active(c);
    const json_t *me = node_get(c, c->host);
    if (!drill || !me) {
        forget(c);
        return;
    }
    if (node_has_vms(me)) {
        (void)act_try(c, DRILL_LISTEN, "drill.listen", json_object(), 0);
    }
    if (!str_eq(json_text_of(drill, "host"), c->host)) {
        return;
    }
    if (str_eq(json_text_of(drill, "state"), "armed")) {
        make_ready(c, drill);
    } else if (str_eq(json_text_of(drill, "state"), "struck")) {
        strike(c, drill);
    }
}
