/* SPDX-License-Identifier: Apache-2.0
 * The pure heart: (state, event) → (state, actions). No I/O, no clock, no randomness: time and
 * identifiers come with the events, and everything the core wants done leaves as an action. Events
 * and actions are JSON, so that the agent's flight record can be replayed and must give the same.
 *
 * Events   {"ev":"list", "revision":N, "rows":[[key,mod,value],…]}     full list of the store
 *          {"ev":"watch", "revision":N, "puts":[[key,mod,value],…], "dels":[key,…]}
 *          {"ev":"lost"}                          the store does not answer; the next list ends this
 *          {"ev":"done", "id":ID, "result":any} or {"ev":"done", "id":ID, "error":{…}}
 *          {"ev":"progress", "id":ID, "progress":{done,total,unit,rate?,dirty_rate?,eta_s?}}
 *          {"ev":"domain", …}                                          libvirt told of a change
 *          {"ev":"guard", "status":{…} or null}     what this host's guard says; null: it does not answer
 *          {"ev":"request", "verb":V, "args":{…}, "task":ID}           a user asks
 *          {"ev":"start", "host":…}                                    the agent started
 *          {"ev":"tick"}
 * Actions  {"id":ID, "do":NAME, "args":{…}}; "store.commit" is how decisions are made. */
#pragma once

#include "base/json.h"
#include "base/smap.h"
#include "core/basis.h"
#include "core/world.h"

/* What became of an action that was asked for under an id. */
struct attempt {
    bool in_flight;
    bool has_ended;         /* result or error is set */
    bool was_good;          /* some try of it has ended well, and was not forgotten since */
    json_t *result;         /* NULL after a failure */
    struct err error;
    json_t *progress;       /* last progress or NULL */
    unsigned fails;         /* in a row */
    uint64_t not_before_us; /* a repetition waits until then */
    uint64_t started_us;
};

struct core {
    struct world world;
    struct smap seen;     /* what this host observes: name → json_t, e.g. "domains", "pool/vms" */
    struct smap attempts; /* action id → struct attempt */
    char *host;           /* own name; NULL until this host is part of a cluster */
    json_t *self;         /* {host, boot_id, instance, version, …} from the start event */
    json_t *local_task;   /* init, join or leave, kept in a local file; NULL when none */
    struct smap alarms;   /* which stand → json integer, since when; see alarms.h */
    struct smap noted;    /* what history.h has told of and would tell again: key → json string */
    json_t *facts;        /* of the last step, for the agent's file; see history.h */
    json_t *events;       /* what has happened, in words; see events.h */
    json_t *actions;      /* array under construction during a step */
    struct ha_view *ha;   /* what failover works out of the world; see ha/ha.h */
    struct ledger *ledger; /* what each planner rests on; see basis.h */
    uint64_t domains_at_us; /* the newest list of domains was asked for at this time; 0 = none */
    bool domains_stale;   /* something happened to a domain: list again as soon as possible */
    bool is_superseded;   /* the store was restored: nothing here holds, see restore.h */
    bool store_is_lost;   /* since its last list: changes are refused at once */
    uint64_t files_at_us; /* files of removed machines are looked for not before; 0 = not known yet */
    uint64_t sweep_at_us; /* old records are looked for not before */
    uint64_t wake_us;     /* a step is due at this time without any event; 0 = the tick is enough */
    uint64_t now_us;      /* only during a step */
    uint64_t wall_us;     /* display time, only during a step */
};

/** core_new - knows nothing yet; a "start" event tells it where it is */
struct core *core_new(void);
void core_free(struct core *c);
DEFINE_FREEP(struct core, core_free)

/**
 * core_step - take one event and plan
 * @now_us: CLOCK_BOOTTIME        @wall_us: wall clock, for display in records
 * @ret_actions: array of new actions; one reference owned by the caller
 * Return: 0, or for a "request" event the reason why it is refused (-ERR_X, @e set). Even then
 *         @ret_actions is set.
 */
int core_step(struct core *c, const json_t *event, uint64_t now_us, uint64_t wall_us,
              json_t **ret_actions, struct err *e);
