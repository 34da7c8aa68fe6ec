/* SPDX-License-Identifier: Apache-2.0
 * Long operations. A task is a row of phases; its record {id, kind, object, args, runner, state,
 * phase, data, …} is saved before each phase begins, so that after a crash the same phase runs
 * again: every phase must be idempotent. A phase is a function that looks at the world and says
 * "wait", "next" or "failed"; it acts only through op_do() and commits.
 *
 * States: running → done | failed | cancelled. A failed phase runs the kind's undo, if any, before
 * the task ends; undo is level-triggered as well.
 *
 * When the runner is silent another host takes the task over by a compare on its record, so that the
 * old runner's next save fails and it lets go. What is bound to the runner waits for its return,
 * unless the runner has left the cluster, or somebody cancels the task by force: then it fails, and is
 * undone elsewhere. */
#pragma once

#include "core/act.h"

enum op_verdict { OP_WAIT, OP_NEXT, OP_FAIL };

struct op {
    struct core *c;
    const char *id;
    const json_t *args;
    json_t *data;       /* saved with the task; phases may write into it before OP_NEXT */
    json_t *task;       /* working copy of the record */
    const char *phase;  /* name of the current phase */
    bool is_committing; /* this step has asked for a commit */
    bool is_local;      /* saved in a local file: there is no store yet, or no more */
    struct err err;     /* set when a phase returns OP_FAIL */
};

struct op_phase {
    const char *name;   /* stored */
    const char *title;  /* for people */
    enum op_verdict (*run)(struct op *o);
    uint64_t limit_us;  /* longest time in this phase; 0 = no limit */
    bool cancels_itself; /* looks at op_is_cancelled(); else a cancel ends the phase from outside */
    bool is_bound; /* works on files or a guest of the runner: nobody else may do it in its place */
};

struct op_kind {
    const char *kind; /* "pool.create" */
    const struct op_phase *phases; /* ends with a NULL name */
    enum op_verdict (*undo)(struct op *o); /* may be NULL; OP_NEXT when nothing is left half-made */
    bool can_cancel;
    bool needs_glusterd; /* its runner is a host with bricks */
};

/** op_kind_find - by name, or NULL */
const struct op_kind *op_kind_find(const char *kind);

/** op_run_all - advance every task whose runner is this host, and the local task; take over tasks
 * whose runner is gone */
void op_run_all(struct core *c);

/**
 * op_do - have the action @name done in this phase
 * @args: stolen        @sub: tells several actions of one phase apart; "" for the only one
 * @ret: borrowed result on OP_NEXT; may be NULL
 * Return: OP_WAIT while it runs, OP_NEXT when done, OP_FAIL with o->err set. A failure of class
 * transient is tried again up to three times.
 */
enum op_verdict op_do(struct op *o, const char *sub, const char *name, json_t *args,
                      const json_t **ret);

/** op_has_asked - has op_do() asked for @sub in this phase already? */
bool op_has_asked(const struct op *o, const char *sub);

/**
 * op_do_until_known - like op_do(), but a failure of class unknown is never the end: the action is
 * asked for again, however long it takes, until it can tell what became of it. Any other failure ends
 * it: nothing is tried a second time that has cost a guest a pause
 * @args: stolen
 */
enum op_verdict op_do_until_known(struct op *o, const char *sub, const char *name, json_t *args);

/**
 * op_commit - commit @t in this phase, like op_do(). Ends the commit. A conflict waits for the new
 * world and runs the phase again: never commit twice what must happen once; compare first.
 */
enum op_verdict op_commit(struct op *o, const char *sub, struct commit *t);

/** op_has_lasted - has this phase, or the undoing, run here for @us? By a clock that begins when it is first asked. */
bool op_has_lasted(struct op *o, uint64_t us);

/** op_fail - set o->err and Return: OP_FAIL */
#define op_fail(o, code, ...) ((void)ERR_SET(&(o)->err, code, __VA_ARGS__), OP_FAIL)

/** op_is_cancelled - has somebody asked for the end of this task? */
bool op_is_cancelled(const struct op *o);

/** op_is_forced - is it to end although what it waits for does not hear? Then it is cancelled, too. */
bool op_is_forced(const struct op *o);

/** op_note - one line for people about what is waited for; printf */
void op_note(struct op *o, const char *fmt, ...) _printf_(2, 3);

/**
 * op_new_task - the record of a new task
 * @id, @kind, @object, @runner: copied        @args: referenced
 */
json_t *op_new_task(struct core *c, const char *id, const char *kind, const char *object,
                    const char *runner, const json_t *args);

/** op_task_view - what the API shows of a task: phases with states, live progress. New reference. */
json_t *op_task_view(const struct core *c, const json_t *task);

/** op_running - {id: task} of all tasks that run, in the order of their ids. Borrowed; nobody changes it */
json_t *op_running(const struct core *c);

/**
 * op_is_running - is there a running task of @kind on @object? Names of different things may be the
 * same, so "vm." with its dot stands for all kinds of a noun.
 */
bool op_is_running(const struct core *c, const char *kind, const char *object);
