/* SPDX-License-Identifier: Apache-2.0
 * Guests' writes and the bricks: packets that TCP sends again, queues that nobody takes anything out of,
 * disks that hang, and laundering, whose writes are writes like any other (A1). */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "core/model/keys.h"
#include "sim_ha_impl.h"

#define WRITE_US (50 * USEC_PER_MSEC)  /* shortest pause of a guest; 100 ms at most are added */
#define WRITE_PERCENT 80
#define FLIGHT_US (5 * USEC_PER_MSEC)  /* longest way of a packet */
#define AGAIN_US (50 * USEC_PER_MSEC)  /* TCP sends once more; twice as late each time, */
#define AGAIN_DOUBLED_MAX 6            /* up to 3.2 s */
#define TCP_US (10 * USEC_PER_SEC)     /* client.tcp-user-timeout: what nobody acknowledges is thrown away */
#define DISK_US (100 * USEC_PER_MSEC)  /* longest stay in a brick's queue, but now and then */
#define SLOW_DISK_US (15 * USEC_PER_SEC)

#define DRAIN_US (3 * USEC_PER_SEC)     /* of one try of a drain, agent/act_fence.c */
#define LOOK_US (10 * USEC_PER_MSEC)   /* has laundering ended? */

struct write {
    size_t from;
    size_t writer; /* index of a struct sim_writer */
    unsigned boot;
    unsigned mount;
    unsigned conn;
    unsigned brick_boot;
    unsigned brick_life;
    unsigned tries;
    uint64_t sent_us;
    bool is_laundering;
    bool is_in_disk; /* a thread of the brick is within it; else it waits for one */
};

static size_t find_writer(const struct sim *s, const char *uuid, uint64_t epoch)
{
    size_t i = s->ha->writers_n;
    while (i > 0) { /* the newest is asked for most */
        i--;
        if (s->ha->writers[i].epoch == epoch && str_eq(s->ha->writers[i].uuid, uuid)) {
            return i;
        }
    }
    return SIZE_MAX;
}

static size_t writer_of(struct sim *s, size_t vm, const char *uuid, uint64_t epoch)
{
    size_t i = find_writer(s, uuid, epoch);
    if (i == SIZE_MAX) {
        i = s->ha->writers_n++;
        s->ha->writers = reallocarray(s->ha->writers, s->ha->writers_n, sizeof(*s->ha->writers));
        assert(s->ha->writers);
        s->ha->writers[i] = (struct sim_writer){.vm = vm, .epoch = epoch};
        (void)snprintf(s->ha->writers[i].uuid, sizeof(s->ha->writers[i].uuid), "%s", uuid);
    }
    return i;
}

bool sim_ha_is_flushed(const struct sim *s, const char *uuid, uint64_t epoch)
{
    size_t i = s->ha ? find_writer(s, uuid, epoch) : SIZE_MAX;
    return i == SIZE_MAX || !s->ha->writers[i].in_flight;
}

static void end_write(struct sim *s, const struct write *w)
{
    assert(s->ha->writers[w->writer].in_flight);
    s->ha->writers[w->writer].in_flight--;
    s->ha->writers[w->writer].laundering[w->from] -= w->is_laundering;
}

bool sim_brick_is_left_out(const struct sim *s, size_t brick)
{
    char key[64];
    if (sim_store_is_open(s) && !json_bool_of(sim_get(s, KEY_RESTORE_GEN), "hosts", false)) {
        return ha_host(s, brick)->was_left_out;
    }
    (void)snprintf(key, sizeof(key), "%s%s", KEY_NODE, s->hosts[brick].name);
    const char *state = json_text_of(sim_get(s, key), "state");
    return str_eq(state, "fencing") || str_eq(state, "fenced") || str_eq(state, "rejoining");
}

static void check_s1(struct sim *s, size_t brick, const struct write *w)
{
    const struct sim_writer *i = &s->ha->writers[w->writer];
    const uint64_t *highest = smap_get(&s->highest, i->uuid);
    if (highest && i->epoch < *highest && !sim_brick_is_left_out(s, brick)) {
        sim_violated(s, "S1: a write of '%s' under epoch %llu from %s reaches the brick on %s after epoch %llu began",
                     s->vms[i->vm], (unsigned long long)i->epoch, s->hosts[w->from].name,
                     s->hosts[brick].name, (unsigned long long)*highest);
    }
}

static void apply(struct sim *s, size_t brick, void *payload)
{
    const struct write *w = payload;
    struct sim_ha_host *b = ha_host(s, brick);
    if (w->brick_boot != s->hosts[brick].boot || b->is_off) {
        end_write(s, w);
        return;
    }
    bool is_of_ended = w->brick_life != b->brick_life;
    if (is_of_ended && !w->is_in_disk) {
        end_write(s, w);
        return;
    }
    bool is_kept = b->is_wedged && !is_of_ended && !w->is_in_disk;
    if (b->is_hung || b->is_stuck || is_kept) {
        sim_push_fn(s, AGAIN_US, brick, apply, w, sizeof(*w));
        return;
    }
    b->ending -= is_of_ended;
    b->in_disk -= !is_of_ended && w->is_in_disk;
    b->queued[w->from] -= !is_of_ended;
    s->ha->applied++;
    end_write(s, w);
    check_s1(s, brick, w);
}

/* Queued in the brick, behind others: nobody takes it out again (facts/gluster.md 4.1). */
static void receive(struct sim *s, size_t brick, const struct write *w)
{
    struct write queued = *w;
    struct sim_ha_host *b = ha_host(s, brick);
    queued.brick_boot = s->hosts[brick].boot;
    queued.brick_life = b->brick_life;
    uint64_t in_us = prng_below(&s->prng, sim_chance(s, s->ha->slow_percent) ? SLOW_DISK_US : DISK_US);
    queued.is_in_disk = in_us % 2; /* the seeds of before mean what they meant */
    in_us = b->keep_us ? b->keep_us : in_us;
    b->keep_us = 0;
    b->in_disk += queued.is_in_disk;
    b->queued[w->from]++;
    sim_push_fn(s, in_us, brick, apply, &queued, sizeof(queued));
}

/* Where QEMU's requests wait; it lives on when QEMU is dead, and sends them by a new connection. */
static bool has_mount(const struct sim *s, const struct write *w)
{
    const struct sim_ha_host *from = ha_host(s, w->from);
    return !from->is_off && s->hosts[w->from].boot == w->boot && from->mounts == w->mount;
}

/* A filter; or the connection has gone and there is nobody who would make a new one. */
static bool is_cut_off(const struct sim *s, size_t brick, const struct write *w)
{
    bool is_lost = ha_host(s, brick)->conns[w->from] != w->conn && !has_mount(s, w);
    bool is_filtered = !sim_ha_lets_in(s, brick, w->from) || is_lost;
    return is_filtered && s->mutant != SIM_NO_FENCE && !(s->mutant == SIM_FENCE_TWO && brick == 2);
}

/* The kernel that sent it goes on sending, also when the writer is dead, as long as it lives itself; a
 * filter and a destroyed socket end that, on either side. */
static void arrive(struct sim *s, size_t brick, void *payload)
{
    const struct write *w = payload;
    bool is_linked = sim_ha_is_linked(s, SIM_STORAGE, w->from, brick);
    bool is_sent_on = !ha_host(s, w->from)->is_off && s->hosts[w->from].boot == w->boot &&
                      sim_ha_lets_in(s, w->from, brick) && (is_linked || s->now_us - w->sent_us <= TCP_US);
    if (ha_host(s, brick)->is_off || ha_host(s, brick)->has_no_brick) {
        end_write(s, w);
        return;
    }
    if (is_cut_off(s, brick, w)) {
        s->ha->refused++;
        end_write(s, w);
        return;
    }
    if (!is_linked || ha_host(s, brick)->is_hung) {
        if (is_sent_on) {
            struct write again = *w;
            again.tries += again.tries < AGAIN_DOUBLED_MAX;
            sim_push_fn(s, prng_below(&s->prng, AGAIN_US << again.tries), brick, arrive, &again,
                        sizeof(again));
        } else {
            end_write(s, w);
        }
        return;
    }
    receive(s, brick, w);
}

static void write_all(struct sim *s, size_t host, size_t writer, bool is_laundering)
{
    struct write w = {.from = host, .writer = writer, .boot = s->hosts[host].boot,
                      .mount = ha_host(s, host)->mounts, .sent_us = s->now_us, .is_laundering = is_laundering};
    for (size_t brick = 0; brick < SIM_BRICKS; brick++) {
        w.conn = ha_host(s, brick)->conns[host];
        s->ha->writers[writer].in_flight++;
        s->ha->writers[writer].laundering[host] += is_laundering;
        sim_push_fn(s, 100 + prng_below(&s->prng, FLIGHT_US), brick, arrive, &w, sizeof(w));
    }
    s->ha->writes++;
}

static void run_guests(struct sim *s, size_t host, void *payload)
{
    sim_push_fn(s, WRITE_US + prng_below(&s->prng, 2 * WRITE_US), host, run_guests, NULL, 0);
    if (sim_ha_stands_still(s, host)) {
        return;
    }
    bool is_freezable = false;
    for (size_t vm = 0; vm < s->vms_n; vm++) {
        const struct sim_domain *d = &s->hosts[host].domains[vm];
        if (d->exists && d->is_running && sim_chance(s, WRITE_PERCENT)) {
            write_all(s, host, writer_of(s, vm, d->uuid, d->epoch), false);
            is_freezable = is_freezable || d->is_freezable;
        }
    }
    if (is_freezable) {
        sim_ha_check_right(s, host);
    }
}

void sim_brick_start(struct sim *s, size_t host)
{
    sim_push_fn(s, prng_below(&s->prng, WRITE_US), host, run_guests, NULL, 0);
}

void sim_brick_done(struct sim *s)
{
    free(s->ha->writers);
}

/* What a drain that has succeeded says of each volume here. */
static json_t *proofs(const struct sim *s, size_t host, const json_t *args)
{
    json_t *all = json_array();
    size_t i;
    json_t *v;
    json_array_foreach(json_object_get(args, "volumes"), i, v) {
        json_array_append_new(all, json_pack("{s:O,s:b}", "volume", json_object_get(v, "volume"), "running",
                                             !ha_host(s, host)->has_no_brick));
    }
    return all;
}

const char *sim_brick_drain(struct sim *s, size_t host, const json_t *action, json_t *event)
{
    const json_t *args = json_object_get(action, "args");
    size_t foe = sim_host_index(s, json_text_of(args, "host"));
    const struct sim_ha_host *b = ha_host(s, host);
    sim_note(s, "%s drains %s: %u", s->hosts[host].name, s->hosts[foe].name, b->queued[foe] + b->ending);
    uint64_t until_us = json_u64_of(action, "until_us", s->now_us + DRAIN_US);
    if ((!b->queued[foe] && !b->ending) || s->mutant == SIM_NO_DRAIN) {
        json_object_set_new(event, "result", proofs(s, host, args));
        return NULL;
    }
    if (s->now_us >= until_us) {
        return "call.timeout";
    }
    json_t *again = json_copy((json_t *)action);
    json_object_set_new(again, "until_us", json_integer((json_int_t)until_us));
    sim_push(s, AGAIN_US, host, NULL, again);
    return SIM_LATER;
}

/* SIGKILL: what waits for a thread is gone at once, with all connections; what one is within ends first. */
static const char *end_process(struct sim *s, size_t host)
{
    struct sim_ha_host *b = ha_host(s, host);
    if (!b->has_no_brick) {
        b->has_no_brick = true;
        b->is_wedged = false;
        b->brick_life++;
        b->ending += b->in_disk;
        b->in_disk = 0;
        memset(b->queued, 0, sizeof(b->queued));
        for (size_t i = 0; i < s->hosts_n; i++) {
            b->conns[i]++;
        }
    }
    sim_note(s, "%s ends its brick: %u threads left", s->hosts[host].name, b->ending);
    return b->ending && s->mutant != SIM_LEAVES_THREADS ? "call.timeout" : NULL;
}

bool sim_brick_holds(const struct sim *s, size_t host)
{
    const struct sim_ha_host *b = ha_host(s, host);
    unsigned n = b->ending + b->in_disk;
    for (size_t i = 0; i < s->hosts_n; i++) {
        n += b->queued[i];
    }
    return n > 0;
}

const char *sim_brick_end(struct sim *s, size_t host)
{
    return s->mutant == SIM_KEEPS_BRICK ? NULL : end_process(s, host);
}

/* Which brick of a pool ends is decided by a compare. */
static void check_alone(struct sim *s, size_t host)
{
    for (size_t b = 0; b < SIM_BRICKS; b++) {
        if (b != host && ha_host(s, b)->has_no_brick) {
            sim_violated(s, "I7: %s ends its brick while the one on %s does not run", s->hosts[host].name, s->hosts[b].name);
        }
    }
}

/* Does each other brick host answer, and list nothing that another brick than @host's lacks? */
static bool is_spare(const struct sim *s, size_t host)
{
    for (size_t b = 0; b < SIM_BRICKS; b++) {
        bool is_whole = ha_host(s, b)->healed_at_us <= s->now_us;
        bool answers = s->hosts[b].is_up && sim_ha_is_alive(s, b) && sim_ha_is_linked(s, SIM_MGMT, host, b);
        if (b != host && !(is_whole && answers)) {
            return false;
        }
    }
    return true;
}

/* Alone, while its host is in good standing: what guests go on to write the others list, until it is back. */
static const char *end_stuck(struct sim *s, size_t host, json_t *event)
{
    struct sim_ha_host *b = ha_host(s, host);
    if (!b->has_no_brick) {
        check_alone(s, host);
        s->ha->ended++;
        b->healed_at_us = s->ha->heal_us ? UINT64_MAX : b->healed_at_us;
    }
    const char *bad = end_process(s, host);
    if (!bad) {
        json_object_set_new(event, "result", json_pack("{s:b}", "ended", 1));
    }
    return bad;
}

const char *sim_brick_end_stuck(struct sim *s, size_t host, const json_t *action, json_t *event)
{
    const json_t *args = json_object_get(action, "args");
    size_t foe = sim_host_index(s, json_text_of(args, "host"));
    const struct sim_ha_host *b = ha_host(s, host);
    uint64_t asked_until_us = json_u64_of(action, "asked_until_us", s->now_us + DRAIN_US);
    if (!b->queued[foe] && !b->ending) {
        json_object_set_new(event, "result", json_pack("{s:b}", "ended", b->has_no_brick));
        return NULL;
    }
    if (s->now_us >= asked_until_us) {
        bool is_late = s->now_us > json_u64_of(args, "until_us", 0);
        return is_late || !is_spare(s, host) ? "object.busy" : end_stuck(s, host, event);
    }
    json_t *again = json_copy((json_t *)action);
    json_object_set_new(again, "asked_until_us", json_integer((json_int_t)asked_until_us));
    sim_push(s, AGAIN_US, host, NULL, again);
    return SIM_LATER;
}

/* "volume start force" starts what does not run where glusterd does: of this host here. */
void sim_brick_start_ended(struct sim *s, size_t host)
{
    struct sim_ha_host *b = ha_host(s, host);
    b->has_no_brick = false;
    if (b->healed_at_us == UINT64_MAX && s->ha->heal_us) {
        b->healed_at_us = s->now_us + s->ha->heal_us;
    }
}

/* --- laundering ---------------------------------------------------------------------------- */

static bool reaches_bricks(const struct sim *s, size_t host, const json_t *args)
{
    size_t i;
    json_t *brick;
    json_array_foreach(json_object_get(args, "bricks"), i, brick) {
        size_t b = sim_host_index(s, json_text_of(brick, "host"));
        if (b == SIM_HOSTS_MAX || !sim_ha_is_alive(s, b) || !sim_ha_is_linked(s, SIM_MGMT, host, b)) {
            return false;
        }
    }
    return sim_ha_quorum(s, host);
}

/* The owner's epoch as the agent knows it. */
static uint64_t epoch_of(const struct sim *s, size_t host, const char *vm)
{
    char name[96];
    (void)snprintf(name, sizeof(name), "%s/own", vm);
    return json_u64_of(world_get(&s->hosts[host].core->world, KEY_VM, name), "epoch", 0);
}

/* Does a rewriting of this machine by @host still run, also one that an agent before had asked for? The
 * next one writes the same pieces through the same mount, so AFR's locks let it end only after that. */
static bool is_laundering(const struct sim *s, size_t host, const char *uuid)
{
    for (size_t i = 0; i < s->ha->writers_n; i++) {
        if (s->ha->writers[i].laundering[host] && str_eq(s->ha->writers[i].uuid, uuid)) {
            return true;
        }
    }
    return false;
}

bool sim_brick_is_any_laundering(const struct sim *s, size_t host)
{
    for (size_t i = 0; i < s->ha->writers_n; i++) {
        if (s->ha->writers[i].laundering[host]) {
            return true;
        }
    }
    return false;
}

bool sim_brick_is_laundered(const struct sim *s, size_t host, const char *uuid, uint64_t epoch)
{
    size_t i = find_writer(s, uuid, epoch);
    return i != SIZE_MAX && s->ha->writers[i].is_laundered && !is_laundering(s, host, uuid);
}

/* What is rewritten is written under the epoch that was known when it was asked for, not when it is done. */
json_t *sim_brick_asked(const struct sim *s, size_t host, json_t *action)
{
    if (!str_eq(json_text_of(action, "do"), "vm.clean")) {
        return json_incref(action);
    }
    json_t *asked = json_copy(action);
    const char *name = json_text_of(json_object_get(action, "args"), "name");
    json_object_set_new(asked, "asked_epoch", json_integer((json_int_t)epoch_of(s, host, name)));
    return asked;
}

/* What is listed is read and written again through the mount, and QEMU waits until that has an end. */
const char *sim_brick_launder(struct sim *s, size_t host, const json_t *action)
{
    const json_t *args = json_object_get(action, "args");
    const char *name = json_text_of(args, "name");
    const char *uuid = json_text_of(json_object_get(args, "spec"), "uuid");
    uint64_t epoch = json_u64_of(args, "epoch", 0);
    if (epoch && !is_laundering(s, host, uuid)) {
        size_t w = writer_of(s, sim_vm_index(s, name), uuid, epoch); /* may move the array */
        s->ha->writers[w].is_laundered = true;
        return NULL; /* the second half */
    }
    if (!epoch && (!s->hosts[host].is_up || !reaches_bricks(s, host, args))) {
        return "remote.failed";
    }
    json_t *again = json_copy((json_t *)action);
    if (!epoch) {
        epoch = json_u64_of(action, "asked_epoch", 0);
        json_t *more = json_copy((json_t *)args);
        json_object_set_new(more, "epoch", json_integer((json_int_t)epoch));
        json_object_set_new(again, "args", more);
        if (s->mutant != SIM_ANYBODY_LAUNDERS) { /* there it was done before */
            write_all(s, host, writer_of(s, sim_vm_index(s, name), uuid, epoch), true);
        }
        if (s->mutant == SIM_LAUNDERS_LATE) {
            json_decref(again);
            return NULL;
        }
    }
    sim_push(s, LOOK_US, host, NULL, again);
    return SIM_LATER;
}

void sim_brick_launder_by_all(struct sim *s, const char *lost)
{
    for (size_t vm = 0; vm < s->vms_n; vm++) {
        _cleanup_free_ char *own_key = str_printf(KEY_VM "%s/own", s->vms[vm]);
        _cleanup_free_ char *spec_key = str_printf(KEY_VM "%s/spec", s->vms[vm]);
        const json_t *own = sim_get(s, own_key);
        const char *uuid = json_text_of(sim_get(s, spec_key), "uuid");
        for (size_t h = 0; h < s->hosts_n && uuid; h++) {
            if (str_eq(json_text_of(own, "owner"), lost) && s->hosts[h].is_up && !sim_brick_is_left_out(s, h)) {
                write_all(s, h, writer_of(s, vm, uuid, json_u64_of(own, "epoch", 0)), true);
            }
        }
    }
}
