/* SPDX-License-Identifier: Apache-2.0
 * The interactive serial console: a raw terminal joined to an upgraded HTTP connection. When the
 * stream ends because the machine moved, it is opened again on the new host. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <time.h>

#include "cli/handlers.h"
#include "cli/run.h"
#include "io/clock.h"
#include "io/http_stream.h"
#include "wire/names.h"
#include "wire/path.h"

enum { ESCAPE_KEY = 0x1d /* Ctrl-] */ };
#define REOPEN_GRACE_US (60 * USEC_PER_SEC)
/* A guest that reads no keys must not hold the terminal for ever. */
#define WRITE_TIMEOUT_US (10 * USEC_PER_SEC)
#define REOPEN_RETRY_US (250 * USEC_PER_MSEC)

enum session_end {
    END_STREAM, /* the agent closed it */
    END_USER,   /* escape key, end of input or a signal */
};

struct console {
    struct cli *c;
    const char *vm;
    int signal_fd;
    bool raw;
    bool input_open;
    struct termios before;
};

static void console_say(const struct console *k, const char *text)
{
    const char *on = k->c->progress_line ? "\033[2m" : "";
    const char *off = k->c->progress_line ? "\033[0m" : "";
    if (!k->c->globals.quiet) {
        (void)fprintf(stderr, "%s%s[%s]%s\r\n", k->raw ? "\r\n" : "", on, text, off);
    }
}

static void console_restore(struct console *k)
{
    if (k->raw) {
        (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &k->before); /* the terminal may be gone */
        k->raw = false;
    }
    if (k->signal_fd >= 0) {
        (void)close(k->signal_fd); /* gone whatever it says */
    }
}

static int console_prepare(struct console *k, struct err *e)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGHUP);
    (void)sigprocmask(SIG_BLOCK, &set, NULL); /* these four cannot fail with our arguments */
    k->signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
    if (k->signal_fd < 0) {
        return ERR_SYS(e, IO, errno, "cannot watch signals");
    }
    if (!isatty(STDIN_FILENO)) {
        return 0;
    }
    struct termios raw;
    if (tcgetattr(STDIN_FILENO, &k->before) < 0) {
        return ERR_SYS(e, IO, errno, "cannot read the terminal's settings");
    }
    raw = k->before;
    cfmakeraw(&raw);
    if (tcsetattr(STDIN_FILENO, TCSAFLUSH, &raw) < 0) {
        return ERR_SYS(e, IO, errno, "cannot change the terminal's settings");
    }
    k->raw = true;
    return 0;
}

static bool write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return false;
        }
        data += n;
        len -= (size_t)n;
    }
    return true;
}

/* Keys to the guest. Return: whether the session goes on; @ret_end is set when it does not. */
static bool pump_keys(struct console *k, struct http_stream *stream, enum session_end *ret_end)
{
    char buf[1024];
    ssize_t n = read(STDIN_FILENO, buf, sizeof(buf));
    if (n <= 0) {
        k->input_open = false;
        *ret_end = END_USER;
        return !k->raw; /* piped input may end before the output does */
    }
    char *escape = k->raw ? memchr(buf, ESCAPE_KEY, (size_t)n) : NULL;
    size_t len = escape ? (size_t)(escape - buf) : (size_t)n;
    if (http_stream_write(stream, buf, len, clock_boottime_us() + WRITE_TIMEOUT_US, NULL) < 0) {
        *ret_end = END_STREAM;
        return false;
    }
    *ret_end = END_USER;
    return !escape;
}

/* What the guest said, until there is no more now. Return and @ret_end as above. */
static bool pump_output(struct http_stream *stream, enum session_end *ret_end)
{
    char buf[8192];
    for (;;) {
        ssize_t n = http_stream_read(stream, buf, sizeof(buf));
        if (n == -EAGAIN) {
            return true;
        }
        if (n == 0) {
            *ret_end = END_STREAM;
            return false;
        }
        if (!write_all(STDOUT_FILENO, buf, (size_t)n)) {
            *ret_end = END_USER;
            return false;
        }
    }
}

static enum session_end console_session(struct console *k, struct http_stream *stream)
{
    enum session_end end = END_STREAM;
    while (pump_output(stream, &end)) {
        struct pollfd p[] = {
            {.fd = http_stream_fd(stream), .events = POLLIN},
            {.fd = k->input_open ? STDIN_FILENO : -1, .events = POLLIN},
            {.fd = k->signal_fd, .events = POLLIN},
        };
        if (poll(p, ELEMENTS(p), -1) < 0 && errno != EINTR) {
            return END_STREAM;
        }
        if (p[2].revents) {
            return END_USER;
        }
        if (p[1].revents && !pump_keys(k, stream, &end)) {
            return end;
        }
    }
    return end;
}

/* Is the machine meant to go on, here or elsewhere? @ret_host: where it is; caller frees. */
static int ask_vm(struct console *k, bool *ret_alive, char **ret_host, struct err *e)
{
    _cleanup_json_ json_t *vm = NULL;
    _cleanup_free_ char *path = wire_path_format("/v1/vms/{}", (const char *const[]){k->vm, NULL});
    int r = cli_get(k->c, path, &vm, e);
    if (r < 0) {
        return r;
    }
    const char *state = json_text_of(vm, "state");
    *ret_alive = !str_eq(state, "stopped") && !str_eq(state, "failed");
    *ret_host = str_dup(json_text_of(vm, "host"));
    return 0;
}

/* The agent opens consoles of its own host only; another host's is asked there. */
static int open_elsewhere(struct console *k, const char *path, const char *host,
                          struct http_stream **ret, struct err *e)
{
    _cleanup_json_ json_t *info = NULL;
    _cleanup_(client_freep) struct client *other = NULL;
    const char *mgmt = NULL;
    _cleanup_free_ char *url = wire_path_format("/v1/hosts/{}", (const char *const[]){host, NULL});
    int r = cli_get(k->c, url, &info, e);
    if (r == 0) {
        r = json_need_text(json_object_get(info, "addresses"), "mgmt", &mgmt, e);
    }
    if (r == 0) {
        r = client_new(NULL, mgmt, &other, e);
    }
    return r < 0 ? r : client_stream(other, path, WIRE_CONSOLE_UPGRADE, ret, e);
}

static int open_stream(struct console *k, const char *path, const char *host,
                       struct http_stream **ret, struct err *e)
{
    struct err failed = {0};
    int r = client_stream(k->c->client, path, WIRE_CONSOLE_UPGRADE, ret, &failed);
    if (r == -ERR_REMOTE && host) {
        return open_elsewhere(k, path, host, ret, e);
    }
    return r < 0 ? err_copy(e, &failed) : 0;
}

/* Opens the stream where the machine is. @ret: NULL when it stopped. */
static int console_open(struct console *k, const char *path, struct http_stream **ret,
                        char **ret_host, struct err *e)
{
    bool alive = true;
    *ret = NULL;
    int r = ask_vm(k, &alive, ret_host, e);
    if (r < 0 || !alive) {
        return r;
    }
    r = open_stream(k, path, *ret_host, ret, e);
    /* The machine is known, so it is its console that is missing: it ended on one host just now, and
     * is not yet said to be on the other. */
    return r == -ERR_NOT_FOUND ? -ERR_UNAVAILABLE : r;
}

/* After the stream's end. @ret: the new one, or NULL when the machine stopped or is gone. */
static int console_reopen(struct console *k, const char *path, struct http_stream **ret,
                          struct err *e)
{
    uint64_t give_up_us = clock_boottime_us() + REOPEN_GRACE_US;
    for (;;) {
        struct err failed = {0};
        _cleanup_free_ char *host = NULL;
        int r = console_open(k, path, ret, &host, &failed);
        if (r == -ERR_NOT_FOUND || (r == 0 && !*ret)) {
            console_say(k, "the machine stopped");
            return 0;
        }
        if (r == 0) {
            _cleanup_free_ char *text =
                str_printf("connected again, the machine is on %s", host ? host : "?");
            console_say(k, text);
            return 0;
        }
        if (clock_boottime_us() > give_up_us) {
            return err_copy(e, &failed);
        }
        (void)nanosleep(&(struct timespec){.tv_nsec = REOPEN_RETRY_US * NSEC_PER_USEC}, NULL);
    }
}

static int console_run(struct console *k, const char *path, struct err *e)
{
    _cleanup_(http_stream_freep) struct http_stream *stream = NULL;
    _cleanup_free_ char *host = NULL;
    int r = console_open(k, path, &stream, &host, e);
    if (r == 0 && !stream) {
        (void)ERR_SET(e, STATE, "vm '%s' does not run", k->vm);
        err_hint(e, "start it: mortar vm start %s", k->vm);
        return -ERR_STATE;
    }
    if (r == 0) {
        r = console_prepare(k, e);
    }
    if (r < 0) {
        return r;
    }
    console_say(k, k->raw ? "connected; leave with Ctrl-]" : "connected");
    while (stream && console_session(k, stream) == END_STREAM) {
        http_stream_free(TAKE(stream));
        r = console_reopen(k, path, &stream, e);
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

int run_vm_console(struct cli *c, const struct verb *v, struct args *a, struct err *e)
{
    struct console k = {.c = c, .vm = a->pos[0], .signal_fd = -1, .input_open = true};
    _cleanup_free_ char *path = cli_path(v, a);
    int r = console_run(&k, path, e);
    console_restore(&k);
    return r;
}
