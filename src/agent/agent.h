/* SPDX-License-Identifier: Apache-2.0
 * The daemon: one loop, one core, lanes of workers. Every event goes through agent_feed(), which
 * records it, steps the core and hands its actions to the lanes. */
#pragma once

#include "agent/env.h"
#include "agent/history_file.h"
#include "agent/once.h"
#include "agent/recorder.h"
#include "core/core.h"
#include "io/httpd.h"
#include "io/loop.h"
#include "io/worker.h"

struct dispatcher;
struct feed;
struct guard_feed;

/* A request of a user that waits: for its commit, or for a task to change. */
struct waiter {
    struct waiter *next;
    struct httpd_req *req;
    char *commit_id;      /* "req/ID": answered when this attempt ends, or NULL */
    char *task_id;        /* long poll, or the task that the commit makes */
    bool is_events;       /* long poll for events newer than gen */
    json_t *admit;        /* for join.admit: what the reply needs besides */
    bool is_repeatable;   /* its answer is kept, since the caller may repeat the request */
    uint64_t gen;         /* long poll: answer when the task's revision differs */
    uint64_t deadline_us;
};

struct agent {
    struct loop *loop;
    struct core *core;
    struct env env;
    struct mailbox *mailbox;
    struct mailbox *virt_mailbox; /* struct virt_event */
    struct dispatcher *dispatcher;
    struct recorder *recorder;
    struct history *history;
    struct guard_feed *guard_feed; /* what this host's guard says */
    struct feed *feed;        /* list and watch of the store; NULL without a cluster */
    struct httpd *httpd;
    struct loop_source *table_source; /* somebody changes the fence's table; NULL where that is not told */
    int table_fd;
    struct loop_source *tick;
    uint64_t tick_at_us;      /* when it is due */
    uint64_t heap_at_us;      /* when memory is given back next */
    struct waiter *waiters;
    struct once_answers answers; /* to requests that may come again */
    struct smap asides;       /* action id → struct httpd_req that waits for it */
    bool is_stepping;
    bool is_over;             /* its store is no more: it ends when nobody waits for an answer */
    unsigned over_ticks;
};

/** agent_new - everything is ready, nothing runs yet. Return: 0 or what is in the way */
int agent_new(struct loop *l, struct agent **ret, struct err *e);
void agent_free(struct agent *a);
DEFINE_FREEP(struct agent, agent_free)

/**
 * agent_feed - give the core an event and do what it wants
 * @event: stolen
 * Return: 0, or the refusal of a "request" event
 */
int agent_feed(struct agent *a, json_t *event, struct err *e);

/** agent_new_id - a fresh identifier for tasks and objects: UUID, random. Free it. */
char *agent_new_id(void);

/** agent_enter_cluster - host.json exists: connect the store and tell the core who we are */
int agent_enter_cluster(struct agent *a, struct err *e);

/**
 * agent_run_aside - run an action that the core knows nothing of, and answer @req with its result
 * @args: stolen
 */
void agent_run_aside(struct agent *a, const char *name, json_t *args, struct httpd_req *req);

/* dispatch.c */
/** dispatcher_new - starts the lanes; results come through the agent's mailbox */
struct dispatcher *dispatcher_new(struct agent *a);
void dispatcher_free(struct dispatcher *d);
/** dispatch - start one action of the core; borrowed */
void dispatch(struct dispatcher *d, const json_t *action);

/* feed.c */
/**
 * feed_new - open the store of a.env.config, list it, then watch it; lists again every 20 s and
 * when the watch breaks, since a watch is only a hint
 */
int feed_new(struct agent *a, struct feed **ret, struct err *e);
void feed_free(struct feed *f);

/* api.c */
/** api_on_request - httpd's handler */
void api_on_request(void *agent, struct httpd_req *req);
/** api_wake - after each step: answer waiters whose time has come */
void api_wake(struct agent *a);
