/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/gluster/gluster_drive.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>

#include "io/clock.h"
#include "io/cmd.h"
#include "io/file.h"

#define BUSY_RETRY_MAX 40
#define BUSY_RETRY_MS 250
#define PEER_POLL_MS 100
#define ANSWER_MARGIN_MS 500 /* the CLI gives up before we kill it, so that it can say why */
#define STATE_LIMIT_BYTES (4 * MIB)
#define STATE_DIR_TEMPLATE "/run/mortar-gluster-XXXXXX"
#define PID_LIMIT_BYTES 64
#define ENTRIES_MAX 10000 /* of a directory; what is beyond is found by the next full look */
#define HEAL_COUNT_MAX 1000000 /* bounds the time; more is "very many" to everybody */

/* ---- one call of the CLI ---- */

static int glusterd_silent(const struct cmd_result *res, struct err *e)
{
    const char *said = res->errout[0] ? res->errout : res->out;
    if (strstr(said, "timed out")) {
        return ERR_SET(e, TIMEOUT, "glusterd did not answer in time");
    }
    if (strstr(said, "Connection failed")) {
        (void)ERR_SET(e, GLUSTER, "glusterd of this host does not run");
        err_hint(e, "systemctl start glusterd, then journalctl -u glusterd");
        return -ERR_GLUSTER;
    }
    return ERR_SET(e, GLUSTER, "gluster failed with exit code %d: %.300s", res->exit_code, said);
}

/* @args: behind the general options. @xml: the answer is wanted as XML. */
static int cli_once(const struct strv *args, bool xml, uint64_t deadline_us,
                    struct cmd_result *ret, struct err *e)
{
    _cleanup_strv_ struct strv argv = {0};
    int left_ms = clock_left_ms(deadline_us);
    int cli_s = (left_ms - ANSWER_MARGIN_MS) / 1000;
    if (left_ms == 0) {
        return ERR_SET(e, TIMEOUT, "no time is left to call gluster");
    }
    strv_add(&argv, "gluster");
    strv_add(&argv, "--mode=script");
    strv_addf(&argv, "--timeout=%d", cli_s > 1 ? cli_s : 1);
    if (xml) {
        strv_add(&argv, "--xml");
    }
    for (size_t i = 0; i < args->n; i++) {
        strv_add(&argv, args->v[i]);
    }
    struct cmd_opts opts = {.timeout_us = (uint64_t)left_ms * USEC_PER_MSEC};
    int r = cmd_run((const char *const *)argv.v, &opts, ret, e);
    if (r == 0 && (ret->exit_code != 0 || (xml && !str_starts(ret->out, "<")))) {
        r = glusterd_silent(ret, e);
        cmd_result_done(ret);
    }
    return r;
}

/* Runs `gluster --xml ARGS`, waits while glusterd is busy (then nothing of ours has happened), and
 * checks the frame. @ret_xml and @ret_note may be NULL; caller frees. */
static int cli_xml(const struct strv *args, uint64_t deadline_us, char **ret_xml, char **ret_note,
                   struct err *e)
{
    for (int try = 0;; try++) {
        _cleanup_cmd_ struct cmd_result res = {0};
        struct err seen = {0};
        int r = cli_once(args, true, deadline_us, &res, &seen);
        if (r == 0) {
            r = check_gluster_reply(res.out, res.out_len, ret_note, &seen);
        }
        if (r == 0) {
            if (ret_xml) {
                *ret_xml = TAKE(res.out);
            }
            return 0;
        }
        if (r != -ERR_BUSY || try >= BUSY_RETRY_MAX ||
            clock_left_ms(deadline_us) < 2 * BUSY_RETRY_MS) {
            return err_copy(e, &seen);
        }
        (void)poll(NULL, 0, BUSY_RETRY_MS);
    }
}

static int call(uint64_t deadline_us, char **ret_xml, char **ret_note, struct err *e,
                const char *words)
{
    _cleanup_strv_ struct strv args = {0};
    strv_split(&args, words, " ");
    return cli_xml(&args, deadline_us, ret_xml, ret_note, e);
}

/* ---- peers ---- */

int gluster_peer_list(struct gluster_peers *ret, uint64_t deadline_us, struct err *e)
{
    _cleanup_free_ char *xml = NULL;
    int r = call(deadline_us, &xml, NULL, e, "pool list");
    return r < 0 ? r : parse_gluster_peers(xml, strlen(xml), ret, e);
}

/* For an instant after the return of a glusterd its peers are not "in cluster"; a change made then
 * skips them in silence and is told them never (seen: a volume stopped on one host of three). */
static int peers_settle(uint64_t deadline_us, struct err *e)
{
    for (;;) {
        _cleanup_gluster_peers_ struct gluster_peers peers = {0};
        const char *unsettled = NULL;
        int r = gluster_peer_list(&peers, deadline_us, e);
        for (size_t i = 0; r == 0 && i < peers.n; i++) {
            if (peers.v[i].connected && !peers.v[i].in_cluster) {
                unsettled = peers.v[i].address;
            }
        }
        if (r < 0 || !unsettled) {
            return r;
        }
        if (clock_left_ms(deadline_us) <= PEER_POLL_MS) {
            return ERR_SET(e, BUSY, "glusterd of %s still greets its peers", unsettled);
        }
        (void)poll(NULL, 0, PEER_POLL_MS);
    }
}

static int change_args(const struct strv *args, uint64_t deadline_us, struct err *e)
{
    int r = peers_settle(deadline_us, e);
    return r < 0 ? r : cli_xml(args, deadline_us, NULL, NULL, e);
}

static int change(uint64_t deadline_us, struct err *e, const char *words)
{
    _cleanup_strv_ struct strv args = {0};
    strv_split(&args, words, " ");
    return change_args(&args, deadline_us, e);
}

static int peer_wait(const char *address, uint64_t deadline_us, struct err *e)
{
    for (;;) {
        _cleanup_gluster_peers_ struct gluster_peers peers = {0};
        int r = gluster_peer_list(&peers, deadline_us, e);
        if (r < 0) {
            return r;
        }
        const struct gluster_peer *p = find_gluster_peer(&peers, address);
        if (p && p->connected && p->in_cluster) {
            return 0;
        }
        if (clock_left_ms(deadline_us) <= PEER_POLL_MS) {
            return ERR_SET(e, REMOTE, "glusterd of %s is not connected", address);
        }
        (void)poll(NULL, 0, PEER_POLL_MS);
    }
}

int gluster_peer_probe(const char *address, uint64_t deadline_us, struct err *e)
{
    _cleanup_free_ char *words = str_printf("peer probe %s", address);
    _cleanup_free_ char *note = NULL;
    assert(address[0] && !strchr(address, ' '));
    int r = call(deadline_us, NULL, &note, e, words);
    if (r == 0 && !strstr(note, "localhost")) {
        r = peer_wait(address, deadline_us, e);
    }
    if (r < 0) {
        err_prepend(e, "cannot take %s into the trusted pool", address);
    }
    return r;
}

int gluster_peer_detach(const char *address, uint64_t deadline_us, struct err *e)
{
    _cleanup_free_ char *words = str_printf("peer detach %s", address);
    struct err seen = {0};
    assert(address[0] && !strchr(address, ' '));
    int r = call(deadline_us, NULL, NULL, &seen, words);
    return r == -ERR_NOT_FOUND || r == 0 ? 0 : err_copy(e, &seen);
}

/* ---- volumes ---- */

static int volume_info(const char *name, struct gluster_volumes *ret, uint64_t deadline_us,
                       struct err *e)
{
    _cleanup_free_ char *words = str_printf("volume info %s", name);
    _cleanup_free_ char *xml = NULL;
    _cleanup_gluster_volumes_ struct gluster_volumes seen = {0};
    assert(str_is_name(name));
    int r = call(deadline_us, &xml, NULL, e, words);
    r = r < 0 ? r : parse_gluster_volumes(xml, strlen(xml), &seen, e);
    if (r < 0) {
        return r;
    }
    if (seen.n != 1 || !str_eq(seen.v[0].name, name)) {
        return ERR_SET(e, NOT_FOUND, "volume '%s' does not exist", name);
    }
    *ret = seen;
    seen = (struct gluster_volumes){0};
    return 0;
}

static bool volume_is(const struct gluster_volume *v, const struct gluster_volume_spec *spec)
{
    bool same = v->n_bricks == spec->bricks->n && v->arbiter == (spec->arbiter ? 1 : 0) &&
                v->sets == 1;
    for (size_t i = 0; same && i < v->n_bricks; i++) {
        _cleanup_free_ char *brick = str_printf("%s:%s", v->bricks[i].host, v->bricks[i].path);
        same = str_eq(brick, spec->bricks->v[i]);
    }
    return same;
}

static int check_shape(const struct gluster_volume_spec *spec, struct err *e)
{
    if (spec->copies < 2 || spec->copies > 3 || (spec->arbiter && spec->copies != 2) ||
        spec->bricks->n != spec->copies + (spec->arbiter ? 1 : 0)) {
        return ERR_SET(e, POOL_POLICY,
                       "a pool is 3 copies, 2 copies and an arbiter, or 2 copies, on one brick each");
    }
    for (size_t i = 0; i < spec->bricks->n; i++) {
        if (!strstr(spec->bricks->v[i], ":/") || strpbrk(spec->bricks->v[i], " \t\n")) {
            return ERR_SET(e, INVALID, "'%s' is no brick", spec->bricks->v[i]);
        }
    }
    return 0;
}

int gluster_volume_create(const struct gluster_volume_spec *spec, uint64_t deadline_us,
                          struct err *e)
{
    _cleanup_gluster_volumes_ struct gluster_volumes seen = {0};
    _cleanup_strv_ struct strv args = {0};
    struct err absent = {0};
    int r = check_shape(spec, e);
    if (r < 0) {
        return r;
    }
    r = volume_info(spec->name, &seen, deadline_us, &absent);
    if (r == 0) {
        return volume_is(&seen.v[0], spec)
                   ? 0
                   : ERR_SET(e, EXISTS, "volume '%s' exists with other bricks", spec->name);
    }
    if (r != -ERR_NOT_FOUND) {
        return err_copy(e, &absent);
    }
    strv_split(&args, "volume create", " ");
    strv_add(&args, spec->name);
    strv_add(&args, "replica");
    strv_addf(&args, "%zu", spec->bricks->n);
    if (spec->arbiter) {
        strv_add(&args, "arbiter");
        strv_add(&args, "1");
    }
    for (size_t i = 0; i < spec->bricks->n; i++) {
        strv_add(&args, spec->bricks->v[i]);
    }
    if (spec->force) {
        strv_add(&args, "force");
    }
    r = change_args(&args, deadline_us, e);
    if (r < 0) {
        err_prepend(e, "cannot create volume '%s'", spec->name);
    }
    return r;
}

/* Everything that can go into one `volume set` goes there: 55 options at once take 1.2 s on an
 * idle two-core machine, against 0.2 s each. It is all or nothing. */
static int profile_set(const char *name, const struct gluster_drift *drift, uint64_t deadline_us,
                       struct err *e)
{
    _cleanup_strv_ struct strv args = {0};
    strv_split(&args, "volume set", " ");
    strv_add(&args, name);
    size_t fixed = args.n;
    for (size_t i = 0; i < drift->n; i++) {
        if (drift->v[i].want && !str_eq(drift->v[i].key, GLUSTER_GRANULAR_KEY) &&
            !str_eq(drift->v[i].key, GLUSTER_QUORUM_RATIO_KEY)) {
            strv_add(&args, drift->v[i].key);
            strv_add(&args, drift->v[i].want);
        }
    }
    return args.n == fixed ? 0 : change_args(&args, deadline_us, e);
}

static int profile_granular(const char *name, uint64_t deadline_us, struct err *e)
{
    _cleanup_strv_ struct strv args = {0};
    _cleanup_cmd_ struct cmd_result res = {0};
    strv_split(&args, "volume heal", " ");
    strv_add(&args, name);
    strv_split(&args, "granular-entry-heal enable", " ");
    return cli_once(&args, false, deadline_us, &res, e);
}

static int profile_rest(const struct gluster_volume *v, const struct gluster_drift *drift,
                        uint64_t deadline_us, struct err *e)
{
    for (size_t i = 0; i < drift->n; i++) {
        const struct gluster_drift_item *d = &drift->v[i];
        int r = 0;
        if (!d->want) {
            _cleanup_free_ char *words = str_printf("volume reset %s %s", v->name, d->key);
            r = change(deadline_us, e, words);
        } else if (str_eq(d->key, GLUSTER_GRANULAR_KEY) && v->status == GLUSTER_STARTED) {
            r = profile_granular(v->name, deadline_us, e); /* glusterd wants a started volume */
        }
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

int gluster_volume_apply_profile(const char *name, const struct gluster_profile_params *p,
                                 struct gluster_drift *ret_repaired, uint64_t deadline_us,
                                 struct err *e)
{
    _cleanup_gluster_volumes_ struct gluster_volumes seen = {0};
    _cleanup_gluster_drift_ struct gluster_drift drift = {0};
    int r = volume_info(name, &seen, deadline_us, e);
    if (r < 0) {
        return r;
    }
    const struct gluster_volume *v = &seen.v[0];
    plan_gluster_drift(&v->options, p, &drift);
    if (!str_eq(smap_get(&v->options, GLUSTER_QUORUM_RATIO_KEY), GLUSTER_QUORUM_RATIO_VALUE)) {
        r = change(deadline_us, e,
                   "volume set all " GLUSTER_QUORUM_RATIO_KEY " " GLUSTER_QUORUM_RATIO_VALUE);
    }
    r = r < 0 ? r : profile_set(name, &drift, deadline_us, e);
    r = r < 0 ? r : profile_rest(v, &drift, deadline_us, e);
    if (r < 0) {
        err_prepend(e, "cannot set the options of volume '%s'", name);
        return r;
    }
    if (ret_repaired) {
        *ret_repaired = drift;
        drift = (struct gluster_drift){0};
    }
    return 0;
}

int gluster_volume_start(const char *name, bool revive, uint64_t deadline_us, struct err *e)
{
    _cleanup_gluster_volumes_ struct gluster_volumes seen = {0};
    _cleanup_free_ char *words = str_printf("volume start %s%s", name, revive ? " force" : "");
    int r = volume_info(name, &seen, deadline_us, e);
    if (r < 0 || (seen.v[0].status == GLUSTER_STARTED && !revive)) {
        return r;
    }
    r = change(deadline_us, e, words);
    if (r < 0) {
        err_prepend(e, "cannot start volume '%s'", name);
    }
    return r;
}

int gluster_volume_stop(const char *name, uint64_t deadline_us, struct err *e)
{
    _cleanup_gluster_volumes_ struct gluster_volumes seen = {0};
    _cleanup_free_ char *words = str_printf("volume stop %s", name);
    int r = volume_info(name, &seen, deadline_us, e);
    if (r < 0 || seen.v[0].status != GLUSTER_STARTED) {
        return r;
    }
    r = change(deadline_us, e, words);
    if (r < 0) {
        err_prepend(e, "cannot stop volume '%s'", name);
    }
    return r;
}

/* A host that did not hear of the stop refuses the deletion for ever; stop force tells it again. */
static int delete_unheard(const char *name, uint64_t deadline_us, struct err *e)
{
    _cleanup_gluster_volumes_ struct gluster_volumes seen = {0};
    _cleanup_free_ char *stop = str_printf("volume stop %s force", name);
    _cleanup_free_ char *delete = str_printf("volume delete %s", name);
    int r = volume_info(name, &seen, deadline_us, e);
    if (r < 0) {
        return r;
    }
    if (seen.v[0].status == GLUSTER_STARTED) {
        return ERR_SET(e, STATE, "volume '%s' is started", name);
    }
    r = change(deadline_us, e, stop);
    return r < 0 ? r : change(deadline_us, e, delete);
}

int gluster_volume_delete(const char *name, uint64_t deadline_us, struct err *e)
{
    _cleanup_free_ char *words = str_printf("volume delete %s", name);
    struct err seen = {0};
    assert(str_is_name(name));
    int r = change(deadline_us, &seen, words);
    if (r == -ERR_STATE) {
        return delete_unheard(name, deadline_us, e);
    }
    return r == -ERR_NOT_FOUND || r == 0 ? 0 : err_copy(e, &seen);
}

int gluster_volume_observe(const char *name, struct gluster_volumes *ret, uint64_t deadline_us,
                           struct err *e)
{
    _cleanup_gluster_volumes_ struct gluster_volumes seen = {0};
    int r = volume_info(name, &seen, deadline_us, e);
    if (r == 0 && seen.v[0].status == GLUSTER_STARTED) {
        _cleanup_free_ char *words = str_printf("volume status %s", name);
        _cleanup_free_ char *xml = NULL;
        r = call(deadline_us, &xml, NULL, e, words);
        r = r < 0 ? r : parse_gluster_status(xml, strlen(xml), &seen.v[0], e);
    }
    if (r < 0) {
        return r;
    }
    *ret = seen;
    seen = (struct gluster_volumes){0};
    return 0;
}

/* ---- without asking a peer ---- */

/* glusterd writes the file itself, into a directory that is ours alone. */
int gluster_state_local(struct gluster_state *ret, uint64_t deadline_us, struct err *e)
{
    char dir[] = STATE_DIR_TEMPLATE;
    _cleanup_strv_ struct strv args = {0};
    _cleanup_cmd_ struct cmd_result res = {0};
    _cleanup_free_ char *text = NULL;
    if (!mkdtemp(dir)) {
        return ERR_SYS(e, IO, errno, "cannot make a directory in /run");
    }
    _cleanup_free_ char *path = str_printf("%s/state", dir);
    strv_split(&args, "get-state glusterd odir", " ");
    strv_add(&args, dir);
    strv_split(&args, "file state", " ");
    int r = cli_once(&args, false, deadline_us, &res, e);
    r = r < 0 ? r : file_read(path, STATE_LIMIT_BYTES, &text, NULL, e);
    (void)unlink(path); /* absent when the call failed */
    (void)rmdir(dir);   /* what stays is empty and gone at the next boot */
    return r < 0 ? r : parse_gluster_state(text, ret, e);
}

/* glusterd replaces its files by rename(), which changes the directory's time. */
static void add_dir_time(struct sbuf *b, const char *path)
{
    struct stat st;
    if (stat(path, &st) == 0) {
        sbuf_printf(b, "%s %lld.%09ld\n", path, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
    }
}

/* One brick's pid file: the pid, and whether a GlusterFS process has it. */
static void add_brick(struct sbuf *b, const char *root, const char *dir, const char *file)
{
    _cleanup_free_ char *path = str_printf("%s/%s", dir, file);
    _cleanup_free_ char *pid = NULL;
    _cleanup_free_ char *name = NULL;
    if (file_read(path, PID_LIMIT_BYTES, &pid, NULL, NULL) < 0) {
        return;
    }
    pid[strcspn(pid, "\n")] = '\0';
    _cleanup_free_ char *comm = str_printf("%s/proc/%s/comm", root, pid);
    bool is_alive = file_read(comm, PID_LIMIT_BYTES, &name, NULL, NULL) == 0 &&
                    str_starts(name, "gluster");
    sbuf_printf(b, "%s %s %d\n", path, pid, is_alive);
}

/* @add: called for each entry of @dir that is not hidden */
static void each_entry(struct sbuf *b, const char *root, const char *dir,
                       void (*add)(struct sbuf *, const char *, const char *, const char *))
{
    DIR *d = opendir(dir);
    if (!d) {
        return;
    }
    const struct dirent *x;
    for (size_t n = 0; n < ENTRIES_MAX && (x = readdir(d)); n++) {
        if (x->d_name[0] != '.') {
            add(b, root, dir, x->d_name);
        }
    }
    (void)closedir(d); /* it was only read */
}

static void add_volume(struct sbuf *b, const char *root, const char *dir, const char *volume)
{
    _cleanup_free_ char *path = str_printf("%s/%s", dir, volume);
    _cleanup_free_ char *run = str_printf("%s/run/gluster/vols/%s", root, volume);
    add_dir_time(b, path);
    each_entry(b, root, run, add_brick);
}

char *gluster_fingerprint(const char *root)
{
    struct sbuf b = {0};
    _cleanup_free_ char *run = str_printf("%s/run", root);
    _cleanup_free_ char *peers = str_printf("%s/var/lib/glusterd/peers", root);
    _cleanup_free_ char *vols = str_printf("%s/var/lib/glusterd/vols", root);
    add_brick(&b, root, run, "glusterd.pid");
    add_dir_time(&b, peers);
    each_entry(&b, root, vols, add_volume);
    return sbuf_take(&b);
}

/* Each index holds one base file "xattrop-UUID" that is no entry. */
static int index_count(const char *brick_path, const char *index, uint64_t *ret, struct err *e)
{
    _cleanup_free_ char *path = str_printf("%s/.glusterfs/indices/%s", brick_path, index);
    _cleanup_free_ char *base = str_printf("%s-", index);
    uint64_t n = 0;
    DIR *d = opendir(path);
    if (!d) {
        return errno == ENOENT ? ERR_SET(e, NOT_FOUND, "there is no brick at %s", brick_path)
                               : ERR_SYS(e, IO, errno, "cannot read %s", path);
    }
    for (const struct dirent *x; n < HEAL_COUNT_MAX && (x = readdir(d));) {
        n += x->d_name[0] != '.' && !str_starts(x->d_name, base);
    }
    (void)closedir(d); /* it was only read */
    *ret = n;
    return 0;
}

int gluster_heal_pending_local(const char *brick_path, struct gluster_heal_pending *ret,
                               struct err *e)
{
    struct gluster_heal_pending h = {0};
    int r = index_count(brick_path, "xattrop", &h.xattrop, e);
    r = r < 0 ? r : index_count(brick_path, "dirty", &h.dirty, e);
    r = r < 0 ? r : index_count(brick_path, "entry-changes", &h.entry_changes, e);
    if (r == 0) {
        *ret = h;
    }
    return r;
}

/* What cat says in the C locale; the second while the mount's process is just dying */
static bool mount_is_cut(const char *said)
{
    return strstr(said, "Transport endpoint is not connected") ||
           strstr(said, "Software caused connection abort");
}

/* The walk to the file asks the bricks for the attributes of the mount's root, once these are older
 * than a second: without quorum that is ENOTCONN, with a hung brick it blocks.
 * `timeout` stands between us and `cat`, because a cat whose request a hung mount has taken cannot
 * even be killed: cmd_run() then ends `timeout`, and cat is reaped by PID 1 when it comes free. */
int gluster_mount_quorum(const char *mount_path, const char *volume, uint64_t deadline_us,
                         struct gluster_quorum *ret, struct err *e)
{
    _cleanup_free_ char *path = str_printf("%s/.meta/graphs/active/%s-replicate-0/private",
                                           mount_path, volume);
    _cleanup_cmd_ struct cmd_result res = {0};
    int left_ms = clock_left_ms(deadline_us);
    if (left_ms == 0) {
        return ERR_SET(e, TIMEOUT, "no time is left to ask the mount %s", mount_path);
    }
    struct cmd_opts opts = {.timeout_us = (uint64_t)left_ms * USEC_PER_MSEC};
    int r = cmd_run(CMD("timeout", "-s", "KILL", "3600", "cat", path), &opts, &res, NULL);
    if (r == -ERR_TIMEOUT) {
        return ERR_SET(e, TIMEOUT, "the mount %s hangs", mount_path);
    }
    if (r == 0 && res.exit_code != 0 && mount_is_cut(res.errout)) {
        *ret = (struct gluster_quorum){.met = false};
        return 0;
    }
    if (r < 0 || res.exit_code != 0) {
        return ERR_SET(e, NOT_FOUND, "volume '%s' is not mounted at %s: %.200s", volume, mount_path,
                       res.errout ? res.errout : "");
    }
    r = parse_gluster_quorum(res.out, ret, e);
    if (r < 0) {
        err_prepend(e, "mount %s", mount_path);
    }
    return r;
}
