/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "adapters/gluster/gluster_drive.h"
#include "adapters/gluster/gluster_unit.h"
#include "io/clock.h"
#include "io/file.h"

#include "golden.h"

static int refusal(const char *name, struct err *e)
{
    _cleanup_free_ char *xml = golden_read(name);
    return check_gluster_reply(xml, strlen(xml), NULL, e);
}

/* ---- profile ---- */

static struct strv addresses = {
    .v = (char *[]){(char *)"10.99.7.3", (char *)"10.99.7.1", (char *)"10.99.7.2", NULL}, .n = 3};
static const struct gluster_profile_params params = {
    .storage_addresses = &addresses, .owner_uid = 64055, .owner_gid = 106};

static void profile_is_the_recorded_table(void **state)
{
    struct smap want = {0};
    _cleanup_sbuf_ struct sbuf b = {0};
    plan_gluster_profile(&params, &want);
    for (size_t i = 0; i < want.n; i++) {
        sbuf_printf(&b, "%s %s\n", want.items[i].key, (char *)want.items[i].value);
    }
    golden_check("gluster/profile.txt", b.data);
    smap_done(&want);
}

static void volume_with_the_profile_has_no_drift(void **state)
{
    struct smap want = {0};
    _cleanup_gluster_drift_ struct gluster_drift d = {0};
    plan_gluster_profile(&params, &want);
    smap_put(&want, GLUSTER_QUORUM_RATIO_KEY, str_dup(GLUSTER_QUORUM_RATIO_VALUE));
    plan_gluster_drift(&want, &params, &d);
    assert_int_equal(d.n, 0);
    smap_done(&want);
}

static void same_value_in_other_words_is_no_drift(void **state)
{
    struct smap seen = {0};
    _cleanup_gluster_drift_ struct gluster_drift d = {0};
    plan_gluster_profile(&params, &seen);
    smap_put(&seen, GLUSTER_QUORUM_RATIO_KEY, str_dup(GLUSTER_QUORUM_RATIO_VALUE));
    smap_put(&seen, "features.shard", str_dup("enable"));
    smap_put(&seen, "cluster.choose-local", str_dup("False"));
    smap_put(&seen, "features.shard-block-size", str_dup("67108864"));
    smap_put(&seen, "auth.allow", str_dup("10.99.7.1,10.99.7.2,10.99.7.3"));
    smap_put(&seen, "cluster.self-heal-daemon", str_dup("enable"));
    smap_put(&seen, "auth.reject", str_dup("10.99.7.9"));
    plan_gluster_drift(&seen, &params, &d);
    assert_int_equal(d.n, 0);
    smap_done(&seen);
}

static void changed_missing_and_forbidden_options_are_drift(void **state)
{
    struct smap seen = {0};
    _cleanup_gluster_drift_ struct gluster_drift d = {0};
    plan_gluster_profile(&params, &seen);
    smap_put(&seen, "cluster.quorum-type", str_dup("none"));
    assert_true(smap_del(&seen, "performance.low-prio-threads"));
    smap_put(&seen, "config.global-threading", str_dup("on"));
    smap_put(&seen, GLUSTER_QUORUM_RATIO_KEY, str_dup("80")); /* of all volumes: "volume set all" */
    plan_gluster_drift(&seen, &params, &d);
    assert_int_equal(d.n, 4);
    assert_string_equal(d.v[0].key, "cluster.quorum-type");
    assert_string_equal(d.v[0].want, "auto");
    assert_string_equal(d.v[0].have, "none");
    assert_string_equal(d.v[1].key, GLUSTER_QUORUM_RATIO_KEY);
    assert_string_equal(d.v[1].want, GLUSTER_QUORUM_RATIO_VALUE);
    assert_string_equal(d.v[1].have, "80");
    assert_string_equal(d.v[2].key, "config.global-threading");
    assert_null(d.v[2].want);
    assert_string_equal(d.v[3].key, "performance.low-prio-threads");
    assert_string_equal(d.v[3].want, "32");
    assert_null(d.v[3].have);
    smap_done(&seen);
}

static void pool_without_ha_keeps_client_quorum_and_drops_server_quorum(void **state)
{
    struct gluster_profile_params p = params;
    struct smap want = {0};
    p.no_ha = true;
    plan_gluster_profile(&p, &want);
    assert_string_equal(smap_get(&want, "cluster.quorum-type"), "auto");
    assert_string_equal(smap_get(&want, "cluster.server-quorum-type"), "none");
    smap_done(&want);
}

/* ---- parsers ---- */

static void volume_info_is_read(void **state)
{
    _cleanup_free_ char *xml = golden_read("gluster/volume-info-arbiter.xml");
    _cleanup_gluster_volumes_ struct gluster_volumes all = {0};
    struct err e = {0};
    assert_int_equal(parse_gluster_volumes(xml, strlen(xml), &all, &e), 0);
    assert_int_equal(all.n, 1);
    const struct gluster_volume *v = find_gluster_volume(&all, "vms");
    assert_int_equal(v->status, GLUSTER_STARTED);
    assert_int_equal(v->replica, 3);
    assert_int_equal(v->arbiter, 1);
    assert_int_equal(v->sets, 1);
    assert_int_equal(v->n_bricks, 3);
    assert_string_equal(v->bricks[2].host, "10.99.7.3");
    assert_string_equal(v->bricks[2].path, "/srv/b/vms");
    assert_true(v->bricks[2].arbiter);
    assert_false(v->bricks[0].arbiter);
    assert_int_equal(v->bricks[0].seen, GLUSTER_BRICK_UNKNOWN);
    assert_string_equal(smap_get(&v->options, "network.ping-timeout"), "10");
    assert_string_equal(smap_get(&v->options, GLUSTER_QUORUM_RATIO_KEY), "51%");
}

static void new_volume_lacks_nearly_all_of_the_profile(void **state)
{
    _cleanup_free_ char *xml = golden_read("gluster/volume-info-created.xml");
    _cleanup_gluster_volumes_ struct gluster_volumes all = {0};
    _cleanup_gluster_drift_ struct gluster_drift d = {0};
    struct smap want = {0};
    assert_int_equal(parse_gluster_volumes(xml, strlen(xml), &all, NULL), 0);
    plan_gluster_drift(&all.v[0].options, &params, &d);
    plan_gluster_profile(&params, &want);
    assert_int_equal(d.n, want.n); /* granular-entry-heal is on from the start, the ratio is not in the profile */
    smap_done(&want);
}

static void status_says_which_bricks_are_up(void **state)
{
    static const struct {
        const char *file;
        enum gluster_brick_seen third;
    } cases[] = {{"gluster/volume-status.xml", GLUSTER_BRICK_ONLINE},
                 {"gluster/volume-status-brick-down.xml", GLUSTER_BRICK_OFFLINE},
                 {"gluster/volume-status-peer-down.xml", GLUSTER_BRICK_OFFLINE}};
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        _cleanup_free_ char *info = golden_read("gluster/volume-info-arbiter.xml");
        _cleanup_free_ char *xml = golden_read(cases[i].file);
        _cleanup_gluster_volumes_ struct gluster_volumes all = {0};
        assert_int_equal(parse_gluster_volumes(info, strlen(info), &all, NULL), 0);
        assert_int_equal(parse_gluster_status(xml, strlen(xml), &all.v[0], NULL), 0);
        assert_int_equal(all.v[0].bricks[0].seen, GLUSTER_BRICK_ONLINE);
        assert_true(all.v[0].bricks[0].pid > 0);
        assert_int_equal(all.v[0].bricks[2].seen, cases[i].third);
    }
}

static void status_of_another_volume_is_refused(void **state)
{
    _cleanup_free_ char *info = golden_read("gluster/volume-info-single.xml");
    _cleanup_free_ char *xml = golden_read("gluster/volume-status.xml");
    _cleanup_gluster_volumes_ struct gluster_volumes all = {0};
    assert_int_equal(parse_gluster_volumes(info, strlen(info), &all, NULL), 0);
    assert_int_equal(parse_gluster_status(xml, strlen(xml), &all.v[0], NULL), -ERR_PARSE);
    assert_int_equal(all.v[0].bricks[0].seen, GLUSTER_BRICK_UNKNOWN);
}

static void peers_are_read_with_and_without_this_host(void **state)
{
    _cleanup_free_ char *pool = golden_read("gluster/pool-list.xml");
    _cleanup_free_ char *status = golden_read("gluster/peer-status.xml");
    _cleanup_gluster_peers_ struct gluster_peers a = {0};
    _cleanup_gluster_peers_ struct gluster_peers b = {0};
    assert_int_equal(parse_gluster_peers(pool, strlen(pool), &a, NULL), 0);
    assert_int_equal(parse_gluster_peers(status, strlen(status), &b, NULL), 0);
    assert_int_equal(a.n, 3);
    assert_int_equal(b.n, 2);
    assert_true(find_gluster_peer(&a, "localhost")->local);
    assert_true(find_gluster_peer(&b, "10.99.7.3")->connected);
    assert_true(find_gluster_peer(&b, "10.99.7.3")->in_cluster);
    assert_null(find_gluster_peer(&b, "localhost"));
}

static void local_state_is_read(void **state)
{
    _cleanup_free_ char *text = golden_read("gluster/get-state.txt");
    _cleanup_gluster_state_ struct gluster_state s = {0};
    assert_int_equal(parse_gluster_state(text, &s, NULL), 0);
    assert_string_equal(smap_get(&s.options, GLUSTER_QUORUM_RATIO_KEY), "51%");
    assert_int_equal(s.peers.n, 2);
    assert_true(s.peers.v[1].connected && s.peers.v[1].in_cluster);
    const struct gluster_volume *v = find_gluster_volume(&s.volumes, "vms");
    assert_int_equal(v->status, GLUSTER_STARTED);
    assert_int_equal(v->n_bricks, 3);
    assert_int_equal(v->replica, 3);
    assert_true(v->bricks[2].arbiter);
    assert_int_equal(v->bricks[0].seen, GLUSTER_BRICK_ONLINE);
    assert_int_equal(v->bricks[1].seen, GLUSTER_BRICK_UNKNOWN);
    assert_string_equal(smap_get(&v->options, "features.shard"), "on");
}

static void local_state_tells_the_brick_whose_port_is_lost(void **state)
{
    _cleanup_free_ char *text = golden_read("gluster/get-state-no-port.txt");
    _cleanup_gluster_state_ struct gluster_state s = {0};
    assert_int_equal(parse_gluster_state(text, &s, NULL), 0);
    const struct gluster_volume *v = find_gluster_volume(&s.volumes, "vms");
    assert_int_equal(v->n_bricks, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(v->bricks[i].seen, GLUSTER_BRICK_ONLINE);
        assert_int_equal(v->bricks[i].no_port, i == 1);
    }
}

static void further_names_of_a_peer_are_read(void **state)
{
    char text[] = "[Global]\nMYUUID: x\n[Peers]\nPeer1.primary_hostname: host1.example\nPeer1.uuid: y\n"
                  "Peer1.state: Peer in Cluster\nPeer1.connected: Connected\n"
                  "Peer1.othernames: 10.0.0.1,host1-stor\n\n";
    _cleanup_gluster_state_ struct gluster_state s = {0};
    assert_int_equal(parse_gluster_state(text, &s, NULL), 0);
    assert_int_equal(s.peers.n, 1);
    assert_string_equal(s.peers.v[0].others, "10.0.0.1,host1-stor");
}

static void local_state_shows_lost_peers_and_the_stopped_brick(void **state)
{
    _cleanup_free_ char *text = golden_read("gluster/get-state-peers-down.txt");
    _cleanup_gluster_state_ struct gluster_state s = {0};
    assert_int_equal(parse_gluster_state(text, &s, NULL), 0);
    assert_false(s.peers.v[0].connected);
    assert_int_equal(find_gluster_volume(&s.volumes, "vms")->bricks[0].seen,
                     GLUSTER_BRICK_OFFLINE);
}

static void mount_tells_quorum_and_bricks(void **state)
{
    _cleanup_free_ char *text = golden_read("gluster/replicate-private.txt");
    struct gluster_quorum q = {0};
    assert_int_equal(parse_gluster_quorum(text, &q, NULL), 0);
    assert_true(q.met);
    assert_int_equal(q.children, 3);
    assert_int_equal(q.children_up, 7);
    assert_int_equal(parse_gluster_quorum("child_count = 3\nchild_up[0] = 1\nup = 1\n", &q, NULL),
                     -ERR_PARSE);
}

static void refusals_get_our_names_and_keep_the_words(void **state)
{
    static const struct {
        const char *file;
        int code;
        const char *words;
    } cases[] = {
        {"gluster/create-exists.xml", ERR_EXISTS, "Volume vms already exists"},
        {"gluster/volume-missing.xml", ERR_NOT_FOUND, "nope"},
        {"gluster/volume-info-missing.xml", ERR_NOT_FOUND, "does not exist"},
        {"gluster/set-unknown-option.xml", ERR_GLUSTER, "no.such.option does not exist Did you mean"},
        {"gluster/set-busy.xml", ERR_BUSY, "Another transaction"},
        {"gluster/detach-has-bricks.xml", ERR_STATE, "hosts one or more bricks"},
        {"gluster/delete-started.xml", ERR_STATE, "needs to be stopped"},
        {"gluster/probe-silent.xml", ERR_REMOTE, "not connected"},
        {"gluster/set-no-quorum.xml", ERR_NO_QUORUM, "Quorum not met"},
        {"gluster/create-greeting.xml", ERR_BUSY, "Peer in Cluster"},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct err e = {0};
        assert_int_equal(refusal(cases[i].file, &e), -cases[i].code);
        assert_non_null(strstr(e.msg, cases[i].words));
    }
}

static void nonsense_is_refused(void **state)
{
    static const char *const texts[] = {"", "<", "<a/>", "<cliOutput/>", "Error : Request timed out"};
    for (size_t i = 0; i < ELEMENTS(texts); i++) {
        struct gluster_volumes v = {0};
        struct gluster_state s = {0};
        assert_int_equal(parse_gluster_volumes(texts[i], strlen(texts[i]), &v, NULL), -ERR_PARSE);
        assert_int_equal(parse_gluster_state(texts[i], &s, NULL), -ERR_PARSE);
    }
    struct gluster_state s = {0};
    assert_int_equal(parse_gluster_state("[Global]\nMYUUID: x\n[Peers]\nPeer7.uuid: y\n", &s, NULL),
                     -ERR_PARSE);
}

/* ---- the rest ---- */

static void mount_unit_is_the_recorded_text(void **state)
{
    struct strv servers = {0};
    strv_split(&servers, "10.1.0.1 10.1.0.2 10.1.0.3", " ");
    _cleanup_free_ char *text = format_gluster_mount_unit("vms", &servers);
    _cleanup_free_ char *unit = gluster_mount_unit("vms");
    golden_check("gluster/mount-unit.txt", text);
    assert_string_equal(unit, "mortar-mount-vms.service");
    strv_done(&servers);
}

static void heal_entries_are_counted_without_base_files(void **state)
{
    char dir[] = "/tmp/mortar-test-XXXXXX";
    struct gluster_heal_pending h = {0};
    assert_non_null(mkdtemp(dir));
    assert_int_equal(gluster_heal_pending_local(dir, &h, NULL), -ERR_NOT_FOUND);
    static const char *const indices[] = {"xattrop", "dirty", "entry-changes"};
    for (size_t i = 0; i < ELEMENTS(indices); i++) {
        _cleanup_free_ char *path = str_printf("%s/.glusterfs/indices/%s", dir, indices[i]);
        assert_int_equal(file_mkdirs(path, 0700, NULL), 0);
        _cleanup_free_ char *base = str_printf("%s/%s-f5afe252", path, indices[i]);
        assert_int_equal(file_replace(base, "", 0, 0600, NULL), 0);
    }
    _cleanup_free_ char *entry = str_printf("%s/.glusterfs/indices/xattrop/7364a879", dir);
    assert_int_equal(file_replace(entry, "", 0, 0600, NULL), 0);
    assert_int_equal(gluster_heal_pending_local(dir, &h, NULL), 0);
    assert_int_equal(h.xattrop, 1);
    assert_int_equal(h.dirty, 0);
    assert_int_equal(h.entry_changes, 0);
}

static void write_below(const char *root, const char *dir, const char *file, const char *text)
{
    _cleanup_free_ char *path = str_printf("%s/%s", root, dir);
    _cleanup_free_ char *full = str_printf("%s/%s", path, file);
    assert_int_equal(file_mkdirs(path, 0700, NULL), 0);
    assert_int_equal(file_replace(full, text, strlen(text), 0600, NULL), 0);
}

static void fingerprint_changes_with_peers_volumes_and_bricks(void **state)
{
    char root[] = "/tmp/mortar-test-XXXXXX";
    assert_non_null(mkdtemp(root));
    _cleanup_free_ char *nothing = gluster_fingerprint(root);
    write_below(root, "var/lib/glusterd/peers", "uuid", "state=3");
    _cleanup_free_ char *peer = gluster_fingerprint(root);
    assert_string_not_equal(nothing, peer);
    write_below(root, "var/lib/glusterd/vols/vms", "info", "type=2");
    write_below(root, "run/gluster/vols/vms", "a-brick.pid", "77\n");
    _cleanup_free_ char *dead = gluster_fingerprint(root);
    assert_string_not_equal(peer, dead);
    write_below(root, "proc/77", "comm", "glusterfsd\n");
    _cleanup_free_ char *alive = gluster_fingerprint(root);
    assert_string_not_equal(dead, alive);
    write_below(root, "proc/77", "comm", "sleep\n");
    _cleanup_free_ char *other = gluster_fingerprint(root);
    assert_string_equal(dead, other);
    write_below(root, "var/lib/glusterd/vols/vms", "info", "type=3");
    _cleanup_free_ char *option = gluster_fingerprint(root);
    assert_string_not_equal(other, option);
}

static void unsafe_shapes_are_refused(void **state)
{
    struct strv bricks = {0};
    struct gluster_volume_spec spec = {.name = "vms", .copies = 3, .bricks = &bricks};
    uint64_t deadline = clock_boottime_us() + USEC_PER_SEC;
    strv_split(&bricks, "a:/b c:/d", " ");
    assert_int_equal(gluster_volume_create(&spec, deadline, NULL), -ERR_POOL_POLICY);
    spec.copies = 1;
    assert_int_equal(gluster_volume_create(&spec, deadline, NULL), -ERR_POOL_POLICY);
    strv_done(&bricks);
}

static void directory_that_is_no_mount_has_no_quorum_to_tell(void **state)
{
    struct gluster_quorum q = {0};
    assert_int_equal(
        gluster_mount_quorum("/tmp", "vms", clock_boottime_us() + 5 * USEC_PER_SEC, &q, NULL),
        -ERR_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(profile_is_the_recorded_table),
        cmocka_unit_test(volume_with_the_profile_has_no_drift),
        cmocka_unit_test(same_value_in_other_words_is_no_drift),
        cmocka_unit_test(changed_missing_and_forbidden_options_are_drift),
        cmocka_unit_test(pool_without_ha_keeps_client_quorum_and_drops_server_quorum),
        cmocka_unit_test(volume_info_is_read),
        cmocka_unit_test(new_volume_lacks_nearly_all_of_the_profile),
        cmocka_unit_test(status_says_which_bricks_are_up),
        cmocka_unit_test(status_of_another_volume_is_refused),
        cmocka_unit_test(peers_are_read_with_and_without_this_host),
        cmocka_unit_test(local_state_is_read),
        cmocka_unit_test(local_state_tells_the_brick_whose_port_is_lost),
        cmocka_unit_test(further_names_of_a_peer_are_read),
        cmocka_unit_test(local_state_shows_lost_peers_and_the_stopped_brick),
        cmocka_unit_test(mount_tells_quorum_and_bricks),
        cmocka_unit_test(refusals_get_our_names_and_keep_the_words),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(mount_unit_is_the_recorded_text),
        cmocka_unit_test(heal_entries_are_counted_without_base_files),
        cmocka_unit_test(fingerprint_changes_with_peers_volumes_and_bricks),
        cmocka_unit_test(unsafe_shapes_are_refused),
        cmocka_unit_test(directory_that_is_no_mount_has_no_quorum_to_tell),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
