/* SPDX-License-Identifier: Apache-2.0 */
#include "io/cmd.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "io/clock.h"

#define DEFAULT_TIMEOUT_US (30 * USEC_PER_SEC)
#define EXIT_NOT_FOUND 127 /* POSIX shells' convention, kept so that messages can tell */

void cmd_result_done(struct cmd_result *r)
{
    free(r->out);
    free(r->errout);
    r->out = r->errout = NULL;
}

struct child {
    pid_t pid;
    int in;  /* our end of its standard input, -1 when closed */
    int out; /* our ends of its outputs */
    int err;
};

static char *const clean_env[] = {
    (char *)"PATH=/usr/sbin:/usr/bin:/sbin:/bin",
    (char *)"LC_ALL=C",
    (char *)"HOME=/root",
    NULL,
};

/* Between fork and exec only async-signal-safe calls are made. */
static void __attribute__((noreturn)) child_exec(const char *const *argv, int in, int out, int err)
{
    sigset_t none;
    (void)setpgid(0, 0); /* the worst case is that it stays in our group */
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0) {
        _exit(EXIT_NOT_FOUND);
    }
    (void)execvpe(argv[0], (char *const *)argv, clean_env);
    _exit(EXIT_NOT_FOUND);
}

static int child_start(const char *const *argv, bool has_input, struct child *c, struct err *e)
{
    int in[2] = {-1, -1};
    int out[2] = {-1, -1};
    int err[2] = {-1, -1};
    bool ok = pipe2(out, O_CLOEXEC) == 0 && pipe2(err, O_CLOEXEC) == 0;
    if (ok && has_input) {
        ok = pipe2(in, O_CLOEXEC) == 0;
    } else if (ok) {
        ok = (in[0] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0;
    }
    pid_t pid = ok ? fork() : -1;
    if (pid == 0) {
        child_exec(argv, in[0], out[1], err[1]);
    }
    int saved = errno;
    close_fdp(&in[0]);
    close_fdp(&out[1]);
    close_fdp(&err[1]);
    if (pid < 0) {
        close_fdp(&in[1]);
        close_fdp(&out[0]);
        close_fdp(&err[0]);
        return ERR_SYS(e, COMMAND, saved, "cannot start '%s'", argv[0]);
    }
    *c = (struct child){.pid = pid, .in = in[1], .out = out[0], .err = err[0]};
    (void)fcntl(c->out, F_SETFL, O_NONBLOCK);
    (void)fcntl(c->err, F_SETFL, O_NONBLOCK);
    if (c->in >= 0) {
        (void)fcntl(c->in, F_SETFL, O_NONBLOCK);
    }
    return 0;
}

/* Return: bytes read, 0 at the end, -1 to go on polling, -2 when the limit is passed */
static ssize_t drain(int *fd, struct sbuf *b, const struct cmd_opts *opts)
{
    char chunk[8192];
    ssize_t n = read(*fd, chunk, sizeof(chunk));
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return -1;
    }
    if (n <= 0) {
        close_fdp(fd);
        *fd = -1;
        return 0;
    }
    if (opts && opts->on_output) {
        opts->on_output(opts->on_output_arg, chunk, (size_t)n);
    }
    return sbuf_add(b, chunk, (size_t)n) < 0 ? -2 : n;
}

static void feed(struct child *c, const char *input, size_t *sent)
{
    size_t left = strlen(input) - *sent;
    ssize_t n = left ? write(c->in, input + *sent, left) : 0;
    if (n > 0) {
        *sent += (size_t)n;
    }
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR) || *sent == strlen(input)) {
        close_fdp(&c->in);
        c->in = -1;
    }
}

/* Return: 0 when both outputs were closed by the child, else -ERR_TIMEOUT or -ERR_LIMIT */
static int converse(struct child *c, const struct cmd_opts *opts, uint64_t deadline_us,
                    struct sbuf *out, struct sbuf *err)
{
    size_t sent = 0;
    while (c->out >= 0 || c->err >= 0) {
        struct pollfd p[3] = {
            {.fd = c->out, .events = POLLIN},
            {.fd = c->err, .events = POLLIN},
            {.fd = c->in, .events = POLLOUT},
        };
        int left_ms = clock_left_ms(deadline_us);
        if (left_ms == 0) {
            return -ERR_TIMEOUT;
        }
        if (poll(p, 3, left_ms) < 0 && errno != EINTR) {
            return -ERR_TIMEOUT;
        }
        if (c->in >= 0 && p[2].revents) {
            feed(c, opts->input, &sent);
        }
        if ((p[0].revents && drain(&c->out, out, opts) == -2) ||
            (p[1].revents && drain(&c->err, err, NULL) == -2)) {
            return -ERR_LIMIT;
        }
    }
    return 0;
}

/* A child may close its outputs and live on; the deadline holds for that too. */
static int reap(pid_t pid, uint64_t deadline_us, int *ret_status)
{
    for (;;) {
        pid_t got = waitpid(pid, ret_status, WNOHANG);
        if (got == pid || (got < 0 && errno != EINTR)) {
            return got == pid ? 0 : -ERR_COMMAND;
        }
        if (clock_left_ms(deadline_us) == 0) {
            return -ERR_TIMEOUT;
        }
        (void)poll(NULL, 0, 2); /* an exit follows the closing of the pipes within microseconds */
    }
}

static void fill_result(struct cmd_result *ret, int status, struct sbuf *out, struct sbuf *err)
{
    ret->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    ret->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    ret->out_len = out->len;
    ret->out = sbuf_take(out);
    ret->errout = sbuf_take(err);
    size_t n = strlen(ret->errout);
    while (n && (ret->errout[n - 1] == '\n' || ret->errout[n - 1] == ' ')) {
        ret->errout[--n] = '\0';
    }
}

int cmd_run(const char *const *argv, const struct cmd_opts *opts, struct cmd_result *ret,
            struct err *e)
{
    static const struct cmd_opts defaults = {0};
    _cleanup_sbuf_ struct sbuf out = {.limit = CMD_OUTPUT_LIMIT_BYTES};
    _cleanup_sbuf_ struct sbuf err = {.limit = CMD_OUTPUT_LIMIT_BYTES};
    struct child c = {.in = -1, .out = -1, .err = -1};
    int status = 0;
    assert(argv && argv[0]);
    opts = opts ? opts : &defaults;
    uint64_t deadline =
        clock_boottime_us() + (opts->timeout_us ? opts->timeout_us : DEFAULT_TIMEOUT_US);
    if (child_start(argv, opts->input != NULL, &c, e) < 0) {
        return -ERR_COMMAND;
    }
    int r = converse(&c, opts, deadline, &out, &err);
    r = r == 0 ? reap(c.pid, deadline, &status) : r;
    close_fdp(&c.in);
    close_fdp(&c.out);
    close_fdp(&c.err);
    if (r < 0) {
        (void)kill(opts->keep_group_on_timeout ? c.pid : -c.pid, SIGKILL);
        (void)kill(c.pid, SIGKILL); /* when it had no time to make its own group */
        (void)waitpid(c.pid, &status, 0);
        return r == -ERR_LIMIT ? ERR_SET(e, LIMIT, "'%s' said too much", argv[0])
                               : ERR_SET(e, TIMEOUT, "'%s' did not end in time", argv[0]);
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_NOT_FOUND && !out.len && !err.len) {
        return ERR_SET(e, COMMAND, "cannot start '%s': is it installed?", argv[0]);
    }
    fill_result(ret, status, &out, &err);
    return 0;
}

static const char *last_line(const char *s)
{
    const char *nl = strrchr(s, '\n');
    return nl && nl[1] ? nl + 1 : s;
}

int cmd_check(const char *const *argv, const struct cmd_opts *opts, char **ret_out, struct err *e)
{
    _cleanup_cmd_ struct cmd_result res = {0};
    int r = cmd_run(argv, opts, &res, e);
    if (r < 0) {
        return r;
    }
    if (res.signal) {
        return ERR_SET(e, COMMAND, "'%s' was ended by signal %d", argv[0], res.signal);
    }
    if (res.exit_code != 0) {
        const char *said = res.errout[0] ? res.errout : res.out;
        return ERR_SET(e, COMMAND, "'%s %s' failed with exit code %d: %.300s", argv[0],
                       argv[1] ? argv[1] : "", res.exit_code, last_line(said));
    }
    if (ret_out) {
        *ret_out = TAKE(res.out);
    }
    return 0;
}
