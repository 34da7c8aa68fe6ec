/* SPDX-License-Identifier: Apache-2.0 */
#include "io/relay.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/str.h"
#include "io/clock.h"

#define ROUNDS_PER_WAKE 8 /* × 2 buffers: 512 KiB, well below the 10 ms of a callback */
#define NEVER_US UINT64_MAX

struct side {
    int fd;
    const struct relay_ops *ops;
    void *stream;
    struct loop_source *source; /* NULL once the kernel said that both directions are over */
    bool in_over;               /* nothing more will be read */
    bool out_over;              /* nothing more can or will be written */
    char *data;                 /* read here, to be written to the other side */
    size_t at;
    size_t len;
};

struct relay {
    struct side sides[2];
    struct loop_source *timer;
    uint64_t end_due_us; /* NEVER_US while both sides live */
    relay_end_fn on_end;
    void *arg;
};

static ssize_t recv_from(const struct side *s, void *data, size_t len)
{
    ssize_t n = s->ops ? s->ops->recv(s->stream, data, len) : recv(s->fd, data, len, 0);
    return n < 0 && !s->ops ? -errno : n;
}

static ssize_t send_to(const struct side *s, const void *data, size_t len)
{
    ssize_t n = s->ops ? s->ops->send(s->stream, data, len) : send(s->fd, data, len, MSG_NOSIGNAL);
    return n < 0 && !s->ops ? -errno : n;
}

static int end_of(const struct side *s)
{
    if (s->ops) {
        return s->ops->end(s->stream);
    }
    return shutdown(s->fd, SHUT_WR) < 0 ? -errno : 0;
}

static bool is_later(ssize_t r)
{
    return r == -EAGAIN || r == -EINTR;
}

/* Return: whether something came, or the end of it */
static bool take(struct side *from)
{
    if (from->len || from->in_over) {
        return false;
    }
    ssize_t n = recv_from(from, from->data, RELAY_BUFFER_BYTES);
    if (is_later(n)) {
        return false;
    }
    from->in_over = n <= 0;
    from->out_over = from->out_over || n < 0;
    from->at = 0;
    from->len = n > 0 ? (size_t)n : 0;
    return true;
}

/* Return: whether something went, or can go no more */
static bool give(struct side *from, struct side *to)
{
    if (from->len && !to->out_over) {
        ssize_t n = send_to(to, from->data + from->at, from->len);
        if (is_later(n)) {
            return false;
        }
        to->out_over = n < 0;
        from->at += n > 0 ? (size_t)n : 0;
        from->len -= n > 0 ? (size_t)n : 0;
        return true;
    }
    if (to->out_over) { /* read on and drop, or the sender's last words would be reset */
        bool dropped = from->len > 0;
        from->len = 0;
        return dropped;
    }
    if (from->in_over) {
        to->out_over = !is_later(end_of(to));
        return to->out_over;
    }
    return false;
}

static bool is_gone(const struct side *s)
{
    return s->in_over && s->out_over && s->len == 0;
}

static void watch(struct relay *r, int i)
{
    struct side *s = &r->sides[i];
    const struct side *other = &r->sides[1 - i];
    bool reads = !s->in_over && s->len == 0;
    bool writes = !s->out_over && (other->len > 0 || other->in_over);
    if (s->source) {
        loop_io_set(s->source, (reads ? (uint32_t)EPOLLIN : 0) | (writes ? (uint32_t)EPOLLOUT : 0));
    }
}

static void end_by(struct relay *r, uint64_t due_us)
{
    r->end_due_us = due_us < r->end_due_us ? due_us : r->end_due_us;
}

static void carry(struct relay *r)
{
    struct side *a = &r->sides[0];
    struct side *b = &r->sides[1];
    bool moved = true;
    for (int round = 0; moved && round < ROUNDS_PER_WAKE; round++) {
        moved = take(a);
        moved = give(a, b) || moved;
        moved = take(b) || moved;
        moved = give(b, a) || moved;
    }
    uint64_t now = clock_boottime_us();
    if (!a->source || !b->source) {
        end_by(r, now + RELAY_DRAIN_US);
    }
    if (is_gone(a) || is_gone(b)) {
        end_by(r, now + RELAY_LINGER_US);
    }
    if ((is_gone(a) && is_gone(b)) || now >= r->end_due_us) {
        loop_rearm(r->timer, NEVER_US);
        for (int i = 0; i < 2; i++) {
            loop_source_free(TAKE(r->sides[i].source));
        }
        r->on_end(r->arg); /* may free r: nothing is touched after it */
        return;
    }
    watch(r, 0);
    watch(r, 1);
    loop_rearm(r->timer, moved ? 0 : r->end_due_us == NEVER_US ? NEVER_US : r->end_due_us - now);
}

static void on_timer(void *arg)
{
    carry(arg);
}

static void on_io(void *arg, int fd, uint32_t events)
{
    struct relay *r = arg;
    struct side *s = &r->sides[r->sides[1].fd == fd];
    if (events & (EPOLLHUP | EPOLLERR)) {
        /* Nobody reads there any more. What it sent is all in the kernel's buffer, so its reading
         * needs no events; they would only come without end. */
        s->out_over = true;
        loop_source_free(TAKE(s->source));
    }
    carry(r);
}

struct relay *relay_new(struct loop *l, const struct relay_side *a, const struct relay_side *b,
                        relay_end_fn on_end, void *arg)
{
    const struct relay_side *const given[2] = {a, b};
    struct relay *r = xcalloc(1, sizeof(*r));
    r->end_due_us = NEVER_US;
    r->on_end = on_end;
    r->arg = arg;
    for (int i = 0; i < 2; i++) {
        struct side *s = &r->sides[i];
        assert(given[i]->early_len <= RELAY_BUFFER_BYTES);
        s->fd = given[i]->fd;
        s->ops = given[i]->ops;
        s->stream = given[i]->stream;
        s->data = xcalloc(1, RELAY_BUFFER_BYTES);
        s->len = given[i]->early_len;
        if (s->len) {
            memcpy(s->data, given[i]->early, s->len);
        }
        s->source = loop_io(l, s->fd, 0, on_io, r);
    }
    r->timer = loop_timer(l, 0, on_timer, r);
    return r;
}

void relay_free(struct relay *r)
{
    if (!r) {
        return;
    }
    for (int i = 0; i < 2; i++) {
        loop_source_free(r->sides[i].source);
        (void)close(r->sides[i].fd);
        free(r->sides[i].data);
    }
    loop_source_free(r->timer);
    free(r);
}
