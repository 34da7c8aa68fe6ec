/* SPDX-License-Identifier: Apache-2.0
 * Following a task: long polls, a line of progress, and patience while the agent restarts. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "cli/cli.h"
#include "cli/progress.h"
#include "io/clock.h"
#include "wire/names.h"
#include "wire/path.h"

enum { POLL_WAIT_S = 20 };
#define POLL_SLACK_US (10 * USEC_PER_SEC)
/* systemd starts a failed agent again after seconds; a package upgrade takes longer. */
#define AGENT_GRACE_US (90 * USEC_PER_SEC)
#define RETRY_MS 500

/* What Ctrl-C says; written by a signal handler, hence prepared. */
static char arg_interrupt_text[256];

static void on_interrupt(int signo)
{
    (void)!write(STDERR_FILENO, arg_interrupt_text, strlen(arg_interrupt_text)); /* we end anyway */
    _exit(128 + signo);
}

static void watch_interrupt(const char *id, bool on)
{
    struct sigaction sa = {.sa_handler = on ? on_interrupt : SIG_DFL};
    (void)snprintf(arg_interrupt_text, sizeof(arg_interrupt_text), /* ids are short */
                   "\nThe task goes on; watch it with: mortar task wait %s\n", id);
    (void)sigaction(SIGINT, &sa, NULL); /* cannot fail for SIGINT */
}

struct shown {
    char *plain; /* last line printed when not on a terminal */
    bool drawn;  /* a line stands on the terminal */
};

static unsigned terminal_width(void)
{
    struct winsize ws = {0};
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &ws) == 0 && ws.ws_col > 1 ? ws.ws_col - 1U : 79;
}

static void show(struct cli *c, struct shown *s, const json_t *task)
{
    _cleanup_sbuf_ struct sbuf b = {0};
    if (c->globals.json || c->globals.quiet) {
        return;
    }
    if (c->progress_line) {
        progress_line(task, terminal_width(), &b);
        (void)fprintf(stderr, "\r\033[K%s", b.data); /* progress may be lost */
        s->drawn = true;
        return;
    }
    progress_plain(task, &b);
    if (!str_eq(s->plain, b.data)) {
        (void)fprintf(stderr, "%s\n", b.data);
        free(s->plain);
        s->plain = sbuf_take(&b);
    }
}

static void show_end(struct shown *s)
{
    if (s->drawn) {
        (void)fprintf(stderr, "\r\033[K"); /* progress may be lost */
    }
    free(s->plain);
}

/* It may be the agent's restart; anything else it says is an answer. */
static bool is_passing(int r)
{
    return r == -ERR_NO_AGENT || r == -ERR_REMOTE || r == -ERR_TIMEOUT || r == -ERR_UNAVAILABLE;
}

static int poll_once(struct cli *c, const char *id, uint64_t gen, bool first, json_t **ret,
                     struct err *e)
{
    _cleanup_free_ char *base = wire_path_format("/v1/tasks/{}", (const char *const[]){id, NULL});
    _cleanup_free_ char *path =
        first ? str_dup(base)
              : str_printf("%s?wait=%d&gen=%llu", base, POLL_WAIT_S, (unsigned long long)gen);
    return client_call(c->client, NULL, path, NULL, POLL_WAIT_S * USEC_PER_SEC + POLL_SLACK_US, ret,
                       e);
}

static int poll_to_end(struct cli *c, const char *id, struct shown *s, json_t **ret, struct err *e)
{
    _cleanup_json_ json_t *task = NULL;
    uint64_t give_up_us = clock_boottime_us() + AGENT_GRACE_US;
    for (;;) {
        struct err failed = {0};
        json_t *next = NULL;
        int r = poll_once(c, id, json_u64_of(task, "gen", 0), task == NULL, &next, &failed);
        if (r < 0 && (!is_passing(r) || clock_boottime_us() > give_up_us)) {
            if (is_passing(r)) {
                failed.hint[0] = '\0'; /* this one says more */
                err_hint(&failed, "the task may go on: mortar task wait %s", id);
            }
            return err_copy(e, &failed);
        }
        if (r < 0) {
            clock_sleep_ms(RETRY_MS);
            continue;
        }
        if (task && json_u64_of(task, "gen", 0) == json_u64_of(next, "gen", 0)) {
            clock_sleep_ms(RETRY_MS); /* an agent that does not hold long polls must not make us spin */
        }
        json_decref(task);
        task = next;
        give_up_us = clock_boottime_us() + AGENT_GRACE_US;
        show(c, s, task);
        if (!str_eq(json_text_of(task, "state"), "running")) {
            *ret = TAKE(task);
            return 0;
        }
    }
}

int follow_task(struct cli *c, const char *id, json_t **ret, struct err *e)
{
    struct shown s = {0};
    watch_interrupt(id, true);
    int r = poll_to_end(c, id, &s, ret, e);
    watch_interrupt(id, false);
    show_end(&s);
    return r;
}

int follow_outcome(const json_t *task, struct err *e)
{
    const char *state = json_text_of(task, "state");
    const json_t *error = json_object_get(task, "error");
    if (str_eq(state, "done")) {
        return 0;
    }
    if (json_is_object(error)) {
        struct err failed = {0};
        err_from_json(&failed, error);
        return err_copy(e, &failed);
    }
    if (str_eq(state, "cancelled")) {
        return ERR_SET(e, CANCELLED, "the task was cancelled");
    }
    return ERR_SET(e, BUG, "the task ended in state '%s'", state ? state : "?");
}
