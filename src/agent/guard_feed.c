/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/guard_feed.h"

#include <stdatomic.h>

#include "adapters/guard/guard_link.h"
#include "agent/lab_unsafe.h"
#include "base/log.h"
#include "base/str.h"
#include "io/clock.h"
#include "io/worker.h"

#define AGAIN_MS 500            /* without failover there is no guard, and this costs one connect() */
#define SILENCE_US (3 * USEC_PER_SEC) /* a guard says something each second */
#define LOOK_US (500 * USEC_PER_MSEC) /* at is_closing */

struct guard_feed {
    struct mailbox *mailbox;
    struct lane *lane;
    atomic_bool is_closing;
};

static void tell(struct guard_feed *f, json_t *status)
{
    mailbox_post(f->mailbox, json_pack("{s:s,s:o}", "ev", "guard", "status", lab_unsafe_guard(status)));
}

/* Until the guard is gone or says nothing any more. */
static void follow_one(struct guard_feed *f, struct guard_link *g)
{
    _cleanup_json_ json_t *last = NULL;
    uint64_t heard_us = clock_boottime_us();
    while (!atomic_load(&f->is_closing) && clock_boottime_us() - heard_us < SILENCE_US) {
        struct err e = {0};
        json_t *status = NULL;
        int r = guard_link_next(g, LOOK_US, &status, &e);
        if (r == -ERR_TIMEOUT) {
            continue;
        }
        if (r < 0) {
            log_err(LOG_LV_INFO, "the guard is not followed", &e);
            return;
        }
        heard_us = clock_boottime_us();
        if (!json_equal(status, last)) {
            json_decref(last);
            last = json_incref(status);
            tell(f, json_incref(status));
        }
        json_decref(status);
    }
}

static void follow(void *arg)
{
    struct guard_feed *f = arg;
    bool was_there = false;
    while (!atomic_load(&f->is_closing)) {
        _cleanup_(guard_link_closep) struct guard_link *g = NULL;
        if (guard_link_open(GUARD_SOCKET, &g, NULL) == 0) {
            was_there = true;
            follow_one(f, g);
        }
        if (was_there) {
            tell(f, json_null());
            was_there = false;
        }
        clock_sleep_ms(AGAIN_MS);
    }
}

int guard_feed_new(struct mailbox *m, struct guard_feed **ret, struct err *e)
{
    struct guard_feed *f = xcalloc(1, sizeof(*f));
    f->mailbox = m;
    f->lane = lane_new("guardfeed", 1, 1);
    int r = lane_run(f->lane, follow, f, e);
    *ret = f;
    return r;
}

void guard_feed_free(struct guard_feed *f)
{
    if (f) {
        atomic_store(&f->is_closing, true);
        lane_free(f->lane);
        free(f);
    }
}
