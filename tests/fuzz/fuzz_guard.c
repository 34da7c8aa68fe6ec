/* SPDX-License-Identifier: Apache-2.0
 * Any bytes as the guard's configuration, and as a datagram: first without the key, then as what a host with the key
 * and a defect may send, into the promises. Input: text, or datagrams of 192 bytes one after the other. */
#include <assert.h>
#include <string.h>

#include "base/str.h"
#include "guard/promise.h"

#define BODY_BYTES (GUARD_MSG_BYTES - SHA256_DIGEST_SIZE)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void make_conf(struct guard_conf *c)
{
    static const char text[] =
        "mortar-guard 1\ngeneration 7\nself host1 3\nenforce 1\n"
        "times 500000 3000000 3500000 5000000 6000000\nslice /sys/fs/cgroup/x\n"
        "host host1 fencer 10.0.0.1\nhost host2 fencer 10.0.0.2\nhost host3 fencer 10.0.0.3\n"
        "deny host3 1\n";
    int r = guard_conf_parse(text, strlen(text), c, NULL);
    assert(r == 0);
}

static void sign(const uint8_t *body, const uint8_t *key, uint8_t *ret)
{
    struct hmac_sha256_ctx hmac;
    memcpy(ret, body, BODY_BYTES);
    hmac_sha256_set_key(&hmac, GUARD_KEY_BYTES, key);
    hmac_sha256_update(&hmac, BODY_BYTES, ret);
    hmac_sha256_digest(&hmac, SHA256_DIGEST_SIZE, ret + BODY_BYTES);
}

static void feed(const uint8_t *data, size_t size, struct promise *p)
{
    static const uint8_t key[GUARD_KEY_BYTES] = "a key";
    struct guard_key k;
    uint64_t now = 1000000;
    guard_key_set(&k, key);
    for (size_t at = 0; at + BODY_BYTES <= size; at += BODY_BYTES, now += 100000) {
        uint8_t datagram[GUARD_MSG_BYTES];
        struct guard_msg m;
        struct guard_msg reply;
        unsigned peer = UINT32_MAX;
        sign(data + at, key, datagram);
        if (!guard_msg_parse(datagram, sizeof(datagram), &k, &m)) {
            continue;
        }
        unsigned todo = promise_on_msg(p, &m, now, &peer, &reply);
        assert(todo & PROMISE_REFUSED || peer < p->n);
        if (todo & PROMISE_REPLY) {
            guard_msg_format(&reply, &k, datagram);
            bool is_ours = guard_msg_parse(datagram, sizeof(datagram), &k, &m);
            assert(is_ours);
        }
        /* whatever comes: not denied is no promise, and none counts longer than from now */
        assert(promise_run_until(p) <= now + p->times.freeze_us + GUARD_HOSTS_MAX);
        assert(promise_next_us(p, now) > now);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_free_ struct guard_conf *c = xcalloc(1, sizeof(*c));
    _cleanup_free_ struct promise *p = xcalloc(1, sizeof(*p));
    struct guard_key k = {0};
    struct guard_msg m;
    if (guard_conf_parse((const char *)data, size, c, NULL) == 0) {
        assert(c->hosts_n > 0 && c->hosts_n <= GUARD_HOSTS_MAX && str_is_name(c->self) &&
               c->inc > 0);
        promise_init(p, 1, 1000000);
        promise_configure(p, c, 1000000);
        assert(p->n == c->hosts_n - 1);
    }
    guard_key_set(&k, (const uint8_t *)"0123456789abcdef0123456789abcdef");
    (void)guard_msg_parse(data, size, &k, &m); /* refusing is fine */
    make_conf(c);
    promise_init(p, 1, 1000000);
    promise_configure(p, c, 1000000);
    feed(data, size, p);
    return 0;
}
