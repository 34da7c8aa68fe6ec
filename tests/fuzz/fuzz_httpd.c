/* SPDX-License-Identifier: Apache-2.0
 * Any bytes as what a client sends to the server of the agent's socket: requests that reach the
 * handler are whole, and the server goes on. */
#include <assert.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/str.h"
#include "io/httpd.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define TURNS_MAX 64
#define CHUNK_BYTES ((size_t)4096)

static void on_request(void *arg, struct httpd_req *req)
{
    size_t *calls = arg;
    assert(req->method && req->path && req->target && req->body[req->body_len] == '\0');
    assert(req->body_len <= CHUNK_BYTES);
    (void)httpd_query(req, "wait"); /* read, as the API does */
    (void)httpd_header(req, "Mortar-Request-Id");
    (*calls)++;
    httpd_reply_json(req, 200, json_pack("{s:i}", "n", (int)*calls));
}

/* Takes the answers, so that the server never waits for the client. */
static void drain(int fd)
{
    char buf[CHUNK_BYTES];
    while (recv(fd, buf, sizeof(buf), MSG_DONTWAIT) > 0) {
    }
}

static void feed(struct loop *l, int fd, const uint8_t *data, size_t size)
{
    size_t sent = 0;
    for (int i = 0; i < TURNS_MAX && sent < size; i++) {
        size_t n = size - sent < CHUNK_BYTES ? size - sent : CHUNK_BYTES;
        ssize_t got = send(fd, data + sent, n, MSG_DONTWAIT | MSG_NOSIGNAL);
        sent += got > 0 ? (size_t)got : 0;
        (void)loop_turn(l, 0, NULL); /* its failure is one of the loop's own tests */
        drain(fd);
    }
    (void)shutdown(fd, SHUT_WR); /* the server may have closed it */
    for (int i = 0; i < TURNS_MAX; i++) {
        (void)loop_turn(l, 0, NULL);
        drain(fd);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct httpd_opts opts = {.body_limit_bytes = CHUNK_BYTES};
    _cleanup_(loop_freep) struct loop *l = NULL;
    struct httpd *h = NULL;
    size_t calls = 0;
    int fds[2];
    if (loop_new(&l, NULL) < 0 || httpd_new(l, &opts, on_request, &calls, &h, NULL) < 0 ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0) {
        abort();
    }
    if (httpd_inject(h, fds[0], NULL, NULL) == 0) {
        feed(l, fds[1], data, size);
    }
    httpd_free(h);
    close_fdp(&fds[1]);
    return 0;
}
