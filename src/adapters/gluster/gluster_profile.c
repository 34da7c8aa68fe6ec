/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/gluster/gluster_profile.h"

#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum value_kind { BOOLEAN, NUMBER, SIZE, WORD, LIST };

struct profile_option {
    const char *key;
    const char *value; /* NULL: from the pool's parameters */
    enum value_kind kind;
    const char *reason;
};

static const struct profile_option profile[] = {
    {"auth.allow", NULL, LIST, "only hosts of the cluster may mount"},
    {"client.event-threads", "4", NUMBER, "enough epoll threads for NVMe and 10 GbE"},
    {"client.keepalive-count", "3", NUMBER, "a dead brick link is found in 11 s"},
    {"client.keepalive-interval", "2", NUMBER, "a dead brick link is found in 11 s"},
    {"client.keepalive-time", "5", NUMBER, "a dead brick link is found in 11 s"},
    {"client.strict-locks", "off", BOOLEAN, "a rolling brick restart would stop every VM"},
    {"client.tcp-user-timeout", "10", NUMBER, "un-acknowledged data do not wait for the kernel"},
    {"cluster.choose-local", "off", BOOLEAN, "all hosts must read the same copy"},
    {"cluster.data-self-heal", "off", BOOLEAN, "only the heal daemon heals, not guest I/O"},
    {"cluster.data-self-heal-algorithm", "full", WORD, "whole shards are cheaper than checksums"},
    {"cluster.eager-lock", "enable", BOOLEAN, "one lock for many writes; off costs 5 times"},
    {"cluster.ensure-durability", "on", BOOLEAN, "data are durable before marks are cleared"},
    {"cluster.entry-self-heal", "off", BOOLEAN, "only the heal daemon heals, not guest I/O"},
    {"cluster.favorite-child-policy", "none", WORD, "no copy may be thrown away silently"},
    {"cluster.full-lock", "yes", BOOLEAN, "closes a split brain between parallel writers"},
    {GLUSTER_GRANULAR_KEY, "enable", BOOLEAN, "heal names instead of whole directories"},
    {"cluster.heal-timeout", "60", NUMBER, "heal starts soon after a brick's return"},
    {"cluster.locking-scheme", "granular", WORD, "entry heal locks names, not directories"},
    {"cluster.lookup-optimize", "off", BOOLEAN, "corrupted sharded files"},
    {"cluster.metadata-self-heal", "off", BOOLEAN, "only the heal daemon heals, not guest I/O"},
    {"cluster.quorum-type", "auto", WORD, "every operation needs a majority of the copies"},
    {"cluster.read-hash-mode", "1", NUMBER, "all hosts must read the same copy"},
    {"cluster.server-quorum-type", NULL, WORD, "an isolated host stops its own brick"},
    {"cluster.shd-max-threads", "4", NUMBER, "a heal must leave the guests their latency"},
    {"cluster.shd-wait-qlength", "10000", NUMBER, "room for the heals of a whole pool"},
    {"features.shard", "on", BOOLEAN, "a heal copies changed pieces, not whole images"},
    {"features.shard-block-size", "64MB", SIZE, "fixed for the life of a volume"},
    {"network.frame-timeout", "600", NUMBER, "a lost reply does not block for 30 minutes"},
    {"network.ping-timeout", "10", NUMBER, "a hung server is found in 10 to 20 s"},
    {"network.remote-dio", "disable", BOOLEAN, "O_DIRECT must reach the bricks' disks"},
    {"performance.client-io-threads", "on", BOOLEAN, "else one thread does all work of a mount"},
    {"performance.io-cache", "off", BOOLEAN, "a client cache is wrong during a migration"},
    {"performance.io-thread-count", "32", NUMBER, "parallel work on one brick"},
    {"performance.low-prio-threads", "32", NUMBER, "fewer cost three quarters of the writes"},
    {"performance.open-behind", "off", BOOLEAN, "errors of an open must not come later"},
    {"performance.quick-read", "off", BOOLEAN, "content cache: useless for images, may be stale"},
    {"performance.read-ahead", "off", BOOLEAN, "the guest reads ahead itself"},
    {"performance.stat-prefetch", "off", BOOLEAN, "no stale size after a migration"},
    {"performance.strict-o-direct", "on", BOOLEAN, "O_DIRECT must reach the bricks' disks"},
    {"performance.write-behind", "off", BOOLEAN, "no acknowledgement before the bricks have it"},
    {"server.dynamic-auth", "on", BOOLEAN, "an exclusion acts on connected clients"},
    {"server.event-threads", "4", NUMBER, "enough epoll threads for NVMe and 10 GbE"},
    {"server.keepalive-count", "3", NUMBER, "a dead client's locks are freed in 11 s"},
    {"server.keepalive-interval", "2", NUMBER, "a dead client's locks are freed in 11 s"},
    {"server.keepalive-time", "5", NUMBER, "a dead client's locks are freed in 11 s"},
    {"server.outstanding-rpc-limit", "64", NUMBER, "bounds what a dead client left behind"},
    {"server.tcp-user-timeout", "10", NUMBER, "a dead client's locks are freed in 11 s"},
    {"storage.health-check-interval", "10", NUMBER, "a hung disk ends its brick in 20 s"},
    {"storage.health-check-timeout", "10", NUMBER, "a hung disk ends its brick in 20 s"},
    {"storage.owner-gid", NULL, NUMBER, "libvirt must not change owners over the mount"},
    {"storage.owner-uid", NULL, NUMBER, "libvirt must not change owners over the mount"},
    {"user.cifs", "off", BOOLEAN, "no export by Samba"},
};

/* Options outside the profile: tolerated at the safe value, reset otherwise (gluster.md 1.2). */
static const struct profile_option guarded[] = {
    {"cluster.consistent-io", "no", BOOLEAN, "would fail all I/O when one brick is down"},
    {"cluster.halo-enabled", "no", BOOLEAN, "would acknowledge writes on too few copies"},
    {"cluster.post-op-delay-secs", "1", NUMBER, "length of the eager lock's hold"},
    {"cluster.quorum-count", "0", NUMBER, "quorum is the majority, never a number"},
    {"cluster.self-heal-daemon", "on", BOOLEAN, "without it nothing heals"},
    {"cluster.use-anonymous-inode", "yes", BOOLEAN, "closes a data loss in renames"},
    {"config.global-threading", "off", BOOLEAN, "crashes were reported"},
    {"features.read-only", "off", BOOLEAN, "guests must write"},
    {"features.worm", "off", BOOLEAN, "guests must write"},
    {"performance.iot-cleanup-disconnected-reqs", "off", BOOLEAN, "has no effect but a promise"},
    {"performance.readdir-ahead", "off", BOOLEAN, "useless for images"},
    {"storage.linux-aio", "off", BOOLEAN, "no gain shown"},
    {"storage.linux-io_uring", "off", BOOLEAN, "not built in Debian 12"},
};

void gluster_drift_done(struct gluster_drift *d)
{
    for (size_t i = 0; i < d->n; i++) {
        free(d->v[i].key);
        free(d->v[i].want);
        free(d->v[i].have);
    }
    free(d->v);
    *d = (struct gluster_drift){0};
}

static int compare_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* A comma list with one order, so that it can be compared and goldens are stable. */
static char *sorted_list(const struct strv *items)
{
    struct strv copy = {0};
    struct sbuf b = {0};
    for (size_t i = 0; i < items->n; i++) {
        strv_add(&copy, items->v[i]);
    }
    if (copy.n) {
        qsort(copy.v, copy.n, sizeof(copy.v[0]), compare_text);
    }
    for (size_t i = 0; i < copy.n; i++) {
        sbuf_printf(&b, "%s%s", i ? "," : "", copy.v[i]);
    }
    strv_done(&copy);
    return sbuf_take(&b);
}

static char *normal_boolean(const char *s)
{
    static const char *const on[] = {"on", "yes", "true", "enable", "1"};
    static const char *const off[] = {"off", "no", "false", "disable", "0"};
    for (size_t i = 0; i < ELEMENTS(on); i++) {
        if (strcasecmp(s, on[i]) == 0) {
            return str_dup("on");
        }
        if (strcasecmp(s, off[i]) == 0) {
            return str_dup("off");
        }
    }
    return str_dup(s);
}

/* "64MB" and "67108864" alike; what is no size stays as it is and so differs. */
static char *normal_size(const char *s)
{
    static const struct {
        const char *unit;
        uint64_t bytes;
    } units[] = {{"", 1}, {"B", 1}, {"KB", KIB}, {"MB", MIB}, {"GB", GIB}, {"TB", TIB}};
    size_t digits = strspn(s, "0123456789");
    uint64_t number;
    _cleanup_free_ char *head = str_printf("%.*s", (int)digits, s);
    if (str_parse_u64(head, UINT32_MAX, &number, NULL) < 0) {
        return str_dup(s);
    }
    for (size_t i = 0; i < ELEMENTS(units); i++) {
        if (strcasecmp(s + digits, units[i].unit) == 0) {
            return str_printf("%llu", (unsigned long long)(number * units[i].bytes));
        }
    }
    return str_dup(s);
}

static char *normal_value(enum value_kind kind, const char *s)
{
    struct strv pieces = {0};
    uint64_t number;
    char *text = NULL;
    switch (kind) {
    case BOOLEAN:
        return normal_boolean(s);
    case NUMBER:
        return str_parse_u64(s, UINT64_MAX, &number, NULL) < 0
                   ? str_dup(s)
                   : str_printf("%llu", (unsigned long long)number);
    case SIZE:
        return normal_size(s);
    case WORD:
        return str_dup(s);
    case LIST:
        strv_split(&pieces, s, ", ");
        text = sorted_list(&pieces);
        strv_done(&pieces);
        return text;
    }
    return str_dup(s);
}

static char *wanted_value(const struct profile_option *o, const struct gluster_profile_params *p)
{
    if (o->value) {
        return str_dup(o->value);
    }
    if (str_eq(o->key, "auth.allow")) {
        return sorted_list(p->storage_addresses);
    }
    if (str_eq(o->key, "storage.owner-uid")) {
        return str_printf("%u", p->owner_uid);
    }
    if (str_eq(o->key, "storage.owner-gid")) {
        return str_printf("%u", p->owner_gid);
    }
    /* With two hosts a majority of peers is both of them: the loss of the second would stop the
     * first brick too, which D11 wants to go on. */
    assert(str_eq(o->key, "cluster.server-quorum-type"));
    return str_dup(p->no_ha ? "none" : "server");
}

static bool value_is(const struct profile_option *o, const char *want, const char *have)
{
    if (!have) {
        return false;
    }
    _cleanup_free_ char *a = normal_value(o->kind, want);
    _cleanup_free_ char *b = normal_value(o->kind, have);
    return str_eq(a, b);
}

void plan_gluster_profile(const struct gluster_profile_params *p, struct smap *ret)
{
    assert(p && p->storage_addresses && p->storage_addresses->n > 0);
    *ret = (struct smap){.free_value = free};
    for (size_t i = 0; i < ELEMENTS(profile); i++) {
        smap_put(ret, profile[i].key, wanted_value(&profile[i], p));
    }
}

static void drift_add(struct gluster_drift *d, const struct profile_option *o, char *want,
                      const char *have)
{
    d->v = realloc(d->v, (d->n + 1) * sizeof(d->v[0]));
    if (!d->v) {
        abort();
    }
    d->v[d->n++] = (struct gluster_drift_item){
        .key = str_dup(o->key), .want = want, .have = str_dup(have), .reason = o->reason};
}

static int compare_item(const void *a, const void *b)
{
    const struct gluster_drift_item *x = a;
    const struct gluster_drift_item *y = b;
    return strcmp(x->key, y->key);
}

void plan_gluster_drift(const struct smap *seen, const struct gluster_profile_params *p,
                        struct gluster_drift *ret)
{
    assert(seen && p && p->storage_addresses && p->storage_addresses->n > 0);
    *ret = (struct gluster_drift){0};
    for (size_t i = 0; i < ELEMENTS(profile); i++) {
        _cleanup_free_ char *want = wanted_value(&profile[i], p);
        const char *have = smap_get(seen, profile[i].key);
        if (!value_is(&profile[i], want, have)) {
            drift_add(ret, &profile[i], TAKE(want), have);
        }
    }
    for (size_t i = 0; i < ELEMENTS(guarded); i++) {
        const char *have = smap_get(seen, guarded[i].key);
        if (have && !value_is(&guarded[i], guarded[i].value, have)) {
            drift_add(ret, &guarded[i], NULL, have);
        }
    }
    static const struct profile_option ratio = {GLUSTER_QUORUM_RATIO_KEY, GLUSTER_QUORUM_RATIO_VALUE,
                                                .reason = "one setting of all volumes"};
    const char *have_ratio = smap_get(seen, ratio.key);
    if (!str_eq(have_ratio, ratio.value)) {
        drift_add(ret, &ratio, str_dup(ratio.value), have_ratio);
    }
    if (ret->n) {
        qsort(ret->v, ret->n, sizeof(ret->v[0]), compare_item);
    }
}
