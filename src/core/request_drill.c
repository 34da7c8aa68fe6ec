/* SPDX-License-Identifier: Apache-2.0 */
#include "core/drill.h"
#include "core/model/keys.h"
#include "core/request_parts.h"

int req_drill(struct req *q)
{
    struct core *c = q->c;
    json_t *drill = NULL;
    int r = drill_plan(c, json_text_of(q->args, "host"), json_text_of(q->args, "kind"), NULL, &drill, q->e);
    if (r < 0) {
        return r;
    }
    struct commit t = commit_new();
    json_object_del(drill, "text");
    json_object_del(drill, "wait"); /* the task waits */
    json_object_set_new(drill, "id", json_string(q->id));
    json_object_set_new(drill, "by", json_string(c->host));
    json_object_set_new(drill, "state", json_string("listening"));
    json_object_set_new(drill, "started_ms", json_integer((json_int_t)(c->wall_us / USEC_PER_MSEC)));
    req_put_task(q, &t, "drill", json_text_of(drill, "host"), c->host);
    commit_put(c, &t, KEY_DRILL, q->id, drill);
    commit_put(c, &t, KEY_DRILLING, "", json_pack("{s:s}", "id", q->id));
    return req_finish(q, &t);
}
