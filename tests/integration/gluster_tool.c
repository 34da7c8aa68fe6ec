/* SPDX-License-Identifier: Apache-2.0
 * Drives adapters/gluster from the integration test: one verb per call, plain lines as answers.
 * A failure prints the error's stable name and message, and exits 1. */
#include <stdio.h>
#include <string.h>

#include "adapters/gluster/gluster_drive.h"
#include "adapters/gluster/gluster_unit.h"
#include "io/clock.h"

#define DEADLINE_US (40 * USEC_PER_SEC)

static int show_peers(uint64_t deadline_us, struct err *e)
{
    _cleanup_gluster_peers_ struct gluster_peers peers = {0};
    int r = gluster_peer_list(&peers, deadline_us, e);
    for (size_t i = 0; i < peers.n; i++) {
        printf("%s %s\n", peers.v[i].address,
               peers.v[i].connected && peers.v[i].in_cluster ? "connected" : "away");
    }
    return r;
}

static void print_volume(const struct gluster_volume *v)
{
    static const char *const seen[] = {"unknown", "offline", "online"};
    printf("%s %s replica %u arbiter %u\n", v->name, gluster_volume_status_name(v->status),
           v->replica, v->arbiter);
    for (size_t i = 0; i < v->n_bricks; i++) {
        bool no_port = v->bricks[i].seen == GLUSTER_BRICK_ONLINE && v->bricks[i].no_port;
        printf("%s:%s %s%s%s\n", v->bricks[i].host, v->bricks[i].path, seen[v->bricks[i].seen],
               v->bricks[i].arbiter ? " arbiter" : "", no_port ? " without port" : "");
    }
}

static int show_volume(const char *name, uint64_t deadline_us, struct err *e)
{
    _cleanup_gluster_volumes_ struct gluster_volumes all = {0};
    int r = gluster_volume_observe(name, &all, deadline_us, e);
    if (r == 0) {
        print_volume(&all.v[0]);
    }
    return r;
}

static int show_state(uint64_t deadline_us, struct err *e)
{
    _cleanup_gluster_state_ struct gluster_state s = {0};
    int r = gluster_state_local(&s, deadline_us, e);
    for (size_t i = 0; i < s.peers.n; i++) {
        printf("%s %s\n", s.peers.v[i].address, s.peers.v[i].connected ? "connected" : "away");
    }
    for (size_t i = 0; i < s.volumes.n; i++) {
        print_volume(&s.volumes.v[i]);
    }
    return r;
}

/* NAME replica2|replica3|arbiter BRICK... */
static int create(char **argv, uint64_t deadline_us, struct err *e)
{
    _cleanup_strv_ struct strv bricks = {0};
    struct gluster_volume_spec spec = {.name = argv[0], .bricks = &bricks, .force = true};
    spec.copies = str_eq(argv[1], "replica3") ? 3 : 2;
    spec.arbiter = str_eq(argv[1], "arbiter");
    for (char **a = argv + 2; *a; a++) {
        strv_add(&bricks, *a);
    }
    return gluster_volume_create(&spec, deadline_us, e);
}

/* NAME ADDRESS... */
static int profile(char **argv, uint64_t deadline_us, struct err *e)
{
    _cleanup_strv_ struct strv addresses = {0};
    _cleanup_gluster_drift_ struct gluster_drift repaired = {0};
    struct gluster_profile_params p = {.storage_addresses = &addresses};
    for (char **a = argv + 1; *a; a++) {
        strv_add(&addresses, *a);
    }
    int r = gluster_volume_apply_profile(argv[0], &p, &repaired, deadline_us, e);
    for (size_t i = 0; i < repaired.n; i++) {
        printf("%s\n", repaired.v[i].key);
    }
    return r;
}

static int heal(const char *brick, struct err *e)
{
    struct gluster_heal_pending h = {0};
    int r = gluster_heal_pending_local(brick, &h, e);
    if (r == 0) {
        printf("%llu %llu %llu\n", (unsigned long long)h.xattrop, (unsigned long long)h.dirty,
               (unsigned long long)h.entry_changes);
    }
    return r;
}

static int quorum(char **argv, struct err *e)
{
    struct gluster_quorum q = {0};
    int r = gluster_mount_quorum(argv[0], argv[1], clock_boottime_us() + 2 * USEC_PER_SEC, &q, e);
    if (r == 0) {
        printf("%s %u %llx\n", q.met ? "met" : "lost", q.children,
               (unsigned long long)q.children_up);
    }
    return r;
}

/* NAME SERVER... */
static int unit(char **argv)
{
    _cleanup_strv_ struct strv servers = {0};
    for (char **a = argv + 1; *a; a++) {
        strv_add(&servers, *a);
    }
    _cleanup_free_ char *text = format_gluster_mount_unit(argv[0], &servers);
    printf("%s", text);
    return 0;
}

static int run(const char *verb, char **argv, struct err *e)
{
    uint64_t deadline = clock_boottime_us() + DEADLINE_US;
    if (str_eq(verb, "probe")) {
        return gluster_peer_probe(argv[0], deadline, e);
    } else if (str_eq(verb, "detach")) {
        return gluster_peer_detach(argv[0], deadline, e);
    } else if (str_eq(verb, "peers")) {
        return show_peers(deadline, e);
    } else if (str_eq(verb, "create")) {
        return create(argv, deadline, e);
    } else if (str_eq(verb, "profile")) {
        return profile(argv, deadline, e);
    } else if (str_eq(verb, "start") || str_eq(verb, "revive")) {
        return gluster_volume_start(argv[0], str_eq(verb, "revive"), deadline, e);
    } else if (str_eq(verb, "stop")) {
        return gluster_volume_stop(argv[0], deadline, e);
    } else if (str_eq(verb, "delete")) {
        return gluster_volume_delete(argv[0], deadline, e);
    } else if (str_eq(verb, "observe")) {
        return show_volume(argv[0], deadline, e);
    } else if (str_eq(verb, "state")) {
        return show_state(deadline, e);
    } else if (str_eq(verb, "heal")) {
        return heal(argv[0], e);
    } else if (str_eq(verb, "quorum")) {
        return quorum(argv, e);
    } else if (str_eq(verb, "unit")) {
        return unit(argv);
    }
    return ERR_SET(e, USAGE, "unknown verb '%s'", verb);
}

int main(int argc, char **argv)
{
    struct err e = {0};
    if (argc < 2 || run(argv[1], argv + 2, &e) < 0) {
        fprintf(stderr, "%s: %s\n", err_name(e.code), e.msg);
        return 1;
    }
    return 0;
}
