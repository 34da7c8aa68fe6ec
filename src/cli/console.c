/* SPDX-License-Identifier: Apache-2.0
 * The interactive serial console: a raw terminal joined to an upgraded HTTP connection. When the
 * stream ends because the machine moved, it is opened again; the agent finds the new host. */
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
#include "cli/upgrade.h"
#include "io/clock.h"
#include "wire/names.h"
#include "wire/path.h"

enum { ESCAPE_KEY = 0x1d /* Ctrl-] */ };
#define REOPEN_GRACE_US (60 * USEC_PER_SEC)
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
static bool pump_keys(struct console *k, int fd, enum session_end *ret_end)
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
    if (!write_all(fd, buf, len)) {
        *ret_end = END_STREAM;
        return false;
    }
    *ret_end = END_USER;
    return !escape;
}

static enum session_end console_session(struct console *k, int fd)
{
    enum session_end end = END_STREAM;
    char buf[8192];
    for (;;) {
        struct pollfd p[] = {
            {.fd = fd, .events = POLLIN},
            {.fd = k->input_open ? STDIN_FILENO : -1, .events = POLLIN},
            {.fd = k->signal_fd, .events = POLLIN},
        };
        if (poll(p, ELEMENTS(p), -1) < 0 && errno != EINTR) {
            return END_STREAM;
        }
        if (p[2].revents) {
            return END_USER;
        }
        if (p[1].revents && !pump_keys(k, fd, &end)) {
            return end;
        }
        if (p[0].revents) {
            ssize_t n = read(fd, buf, sizeof(buf));
            if (n <= 0) {
                return END_STREAM;
            }
            if (!write_all(STDOUT_FILENO, buf, (size_t)n)) {
                return END_USER;
            }
        }
    }
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
    const char *host = json_text_of(vm, "host");
    *ret_alive = !str_eq(state, "stopped") && !str_eq(state, "failed");
    *ret_host = str_dup(host ? host : "?");
    return 0;
}

/* After the stream's end: 1 when there is a new one in @ret_fd, 0 when the machine stopped. */
static int console_reopen(struct console *k, const char *path, int *ret_fd, struct err *e)
{
    uint64_t give_up_us = clock_boottime_us() + REOPEN_GRACE_US;
    for (;;) {
        struct err failed = {0};
        bool alive = true;
        _cleanup_free_ char *host = NULL;
        int r = ask_vm(k, &alive, &host, &failed);
        if (r == -ERR_NOT_FOUND || (r == 0 && !alive)) {
            console_say(k, "the machine stopped");
            return 0;
        }
        if (r == 0) {
            r = upgrade_open(client_socket(k->c->client), path, WIRE_CONSOLE_UPGRADE, ret_fd,
                             &failed);
        }
        if (r == 0) {
            _cleanup_free_ char *text = str_printf("connected again, the machine is on %s", host);
            console_say(k, text);
            return 1;
        }
        if (clock_boottime_us() > give_up_us) {
            return err_copy(e, &failed);
        }
        (void)nanosleep(&(struct timespec){.tv_nsec = REOPEN_RETRY_US * NSEC_PER_USEC}, NULL);
    }
}

static int console_run(struct console *k, const char *path, struct err *e)
{
    _cleanup_close_ int fd = -1;
    int r = upgrade_open(client_socket(k->c->client), path, WIRE_CONSOLE_UPGRADE, &fd, e);
    if (r == 0) {
        r = console_prepare(k, e);
    }
    if (r < 0) {
        return r;
    }
    console_say(k, k->raw ? "connected; leave with Ctrl-]" : "connected");
    while (console_session(k, fd) == END_STREAM) {
        (void)close(fd); /* gone whatever it says */
        fd = -1;
        r = console_reopen(k, path, &fd, e);
        if (r <= 0) {
            return r;
        }
    }
    return 0;
}

int run_vm_console(struct cli *c, const struct verb *v, struct args *a, struct err *e)
{
    struct console k = {.c = c, .vm = a->pos[0], .signal_fd = -1, .input_open = true};
    _cleanup_free_ char *path = cli_path(v, a);
    if (!client_socket(c->client)) {
        (void)ERR_SET(e, USAGE, "the console does not work with --host");
        err_hint(e, "run it on any host of the cluster; it finds the machine's host itself");
        return -ERR_USAGE;
    }
    int r = console_run(&k, path, e);
    console_restore(&k);
    return r;
}
