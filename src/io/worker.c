/* SPDX-License-Identifier: Apache-2.0 */
#include "io/worker.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "base/str.h"

struct mail {
    struct mail *next;
    void *msg;
};

struct mailbox {
    pthread_mutex_t lock; /* guards first, last */
    struct mail *first;
    struct mail **last;
    int wake_fd;
    struct loop_source *source;
    mail_fn fn;
    void *arg;
};

static struct mail *take_all(struct mailbox *m)
{
    (void)pthread_mutex_lock(&m->lock);
    struct mail *mail = m->first;
    m->first = NULL;
    m->last = &m->first;
    (void)pthread_mutex_unlock(&m->lock);
    return mail;
}

static void on_wake(void *arg, int fd, uint32_t events)
{
    struct mailbox *m = arg;
    uint64_t count;
    (void)!read(fd, &count, sizeof(count)); /* non-blocking: an empty counter is fine */
    struct mail *mail = take_all(m);
    while (mail) {
        struct mail *next = mail->next;
        m->fn(m->arg, mail->msg);
        free(mail);
        mail = next;
    }
}

int mailbox_new(struct loop *l, mail_fn fn, void *arg, struct mailbox **ret, struct err *e)
{
    struct mailbox *m = xcalloc(1, sizeof(*m));
    m->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (m->wake_fd < 0) {
        free(m);
        return ERR_SYS(e, IO, errno, "cannot make an eventfd");
    }
    (void)pthread_mutex_init(&m->lock, NULL);
    m->last = &m->first;
    m->fn = fn;
    m->arg = arg;
    m->source = loop_io(l, m->wake_fd, EPOLLIN, on_wake, m);
    *ret = m;
    return 0;
}

void mailbox_free(struct mailbox *m)
{
    if (!m) {
        return;
    }
    loop_source_free(m->source);
    close_fdp(&m->wake_fd);
    for (struct mail *mail = take_all(m); mail;) {
        struct mail *next = mail->next;
        free(mail); /* the message itself is unknown to us: at exit it is let go */
        mail = next;
    }
    (void)pthread_mutex_destroy(&m->lock);
    free(m);
}

void mailbox_post(struct mailbox *m, void *msg)
{
    struct mail *mail = xcalloc(1, sizeof(*mail));
    const uint64_t one = 1;
    mail->msg = msg;
    (void)pthread_mutex_lock(&m->lock);
    *m->last = mail;
    m->last = &mail->next;
    (void)pthread_mutex_unlock(&m->lock);
    (void)!write(m->wake_fd, &one, sizeof(one)); /* a full counter means that it is awake */
}

struct job {
    struct job *next;
    job_fn fn;
    void *arg;
};

struct lane {
    char name[16];
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t wake;
    struct job *first;
    struct job **last;
    size_t waiting;
    size_t running;
    size_t queue_max;
    bool closing;
    unsigned threads;
    pthread_t thread[16];
};

static struct job *next_job(struct lane *l)
{
    (void)pthread_mutex_lock(&l->lock);
    while (!l->first && !l->closing) {
        (void)pthread_cond_wait(&l->wake, &l->lock);
    }
    struct job *j = l->closing ? NULL : l->first;
    if (j) {
        l->first = j->next;
        l->last = l->first ? l->last : &l->first;
        l->waiting--;
        l->running++;
    }
    (void)pthread_mutex_unlock(&l->lock);
    return j;
}

static void *lane_thread(void *arg)
{
    struct lane *l = arg;
    (void)pthread_setname_np(pthread_self(), l->name);
    for (struct job *j = next_job(l); j; j = next_job(l)) {
        j->fn(j->arg);
        free(j);
        (void)pthread_mutex_lock(&l->lock);
        l->running--;
        (void)pthread_mutex_unlock(&l->lock);
    }
    return NULL;
}

struct lane *lane_new(const char *name, unsigned threads, size_t queue_max)
{
    struct lane *l = xcalloc(1, sizeof(*l));
    sigset_t all;
    sigset_t old;
    assert(threads >= 1 && threads <= ELEMENTS(l->thread));
    (void)snprintf(l->name, sizeof(l->name), "%s", name);
    (void)pthread_mutex_init(&l->lock, NULL);
    (void)pthread_cond_init(&l->wake, NULL);
    l->last = &l->first;
    l->queue_max = queue_max;
    (void)sigfillset(&all); /* signals belong to the loop's thread */
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    for (unsigned i = 0; i < threads; i++) {
        if (pthread_create(&l->thread[i], NULL, lane_thread, l) != 0) {
            abort();
        }
        l->threads++;
    }
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    return l;
}

void lane_free(struct lane *l)
{
    if (!l) {
        return;
    }
    (void)pthread_mutex_lock(&l->lock);
    l->closing = true;
    (void)pthread_cond_broadcast(&l->wake);
    (void)pthread_mutex_unlock(&l->lock);
    for (unsigned i = 0; i < l->threads; i++) {
        (void)pthread_join(l->thread[i], NULL);
    }
    while (l->first) {
        struct job *next = l->first->next;
        free(l->first);
        l->first = next;
    }
    (void)pthread_mutex_destroy(&l->lock);
    (void)pthread_cond_destroy(&l->wake);
    free(l);
}

int lane_run(struct lane *l, job_fn fn, void *arg, struct err *e)
{
    struct job *j = xcalloc(1, sizeof(*j));
    j->fn = fn;
    j->arg = arg;
    (void)pthread_mutex_lock(&l->lock);
    bool full = l->waiting >= l->queue_max;
    if (!full) {
        *l->last = j;
        l->last = &j->next;
        l->waiting++;
        (void)pthread_cond_signal(&l->wake);
    }
    (void)pthread_mutex_unlock(&l->lock);
    if (full) {
        free(j);
        return ERR_SET(e, LIMIT, "too many calls wait for '%s'", l->name);
    }
    return 0;
}

size_t lane_busy(struct lane *l)
{
    (void)pthread_mutex_lock(&l->lock);
    size_t n = l->waiting + l->running;
    (void)pthread_mutex_unlock(&l->lock);
    return n;
}
