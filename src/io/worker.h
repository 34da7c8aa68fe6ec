/* SPDX-License-Identifier: Apache-2.0
 * Lanes of threads for calls that block, and a mailbox that brings their results into the loop.
 * A lane with one thread runs its jobs in the order they were given. The threads live as long as
 * the process (io/cmd.h relies on that). No other module starts threads, except adapters/virt. */
#pragma once

#include "base/err.h"
#include "io/loop.h"

struct mailbox;
struct lane;

/* A message for the loop's thread. @fn gets @msg and owns it. */
typedef void (*mail_fn)(void *arg, void *msg);

/** mailbox_new - messages posted from any thread are given to @fn, in order, on the loop's thread */
int mailbox_new(struct loop *l, mail_fn fn, void *arg, struct mailbox **ret, struct err *e);
void mailbox_free(struct mailbox *m);
DEFINE_FREEP(struct mailbox, mailbox_free)
/** mailbox_post - from any thread; the mailbox owns @msg until @fn gets it */
void mailbox_post(struct mailbox *m, void *msg);

/* Runs on a thread of the lane. */
typedef void (*job_fn)(void *arg);

/**
 * lane_new - start @threads (1–16) threads named after @name (at most 15 characters)
 * @queue_max: jobs that may wait; more are refused by lane_run()
 */
struct lane *lane_new(const char *name, unsigned threads, size_t queue_max);
/** lane_free - waits for the running jobs, drops the waiting ones */
void lane_free(struct lane *l);
DEFINE_FREEP(struct lane, lane_free)
/** lane_run - queue @fn(@arg). Return: 0 or -ERR_LIMIT when the queue is full (then @fn never runs) */
int lane_run(struct lane *l, job_fn fn, void *arg, struct err *e);
/** lane_busy - jobs running or waiting now */
size_t lane_busy(struct lane *l);
