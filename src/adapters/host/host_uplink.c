/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/host/host_uplink.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "adapters/host/host_facts.h"
#include "adapters/systemd/systemd.h"
#include "base/log.h"
#include "base/util.h"
#include "io/clock.h"
#include "io/cmd.h"
#include "io/file.h"

#define TRIAL "/run/mortar/uplink.json"     /* gone after a reboot, as what it describes */
#define KEPT "/var/lib/mortar/uplink.json"
#define LOCK "/run/mortar/net.lock"
#define UNIT "mortar-uplink-return"
#define RECORD_LIMIT_BYTES (256 * KIB)

/* --- files --------------------------------------------------------------------------------- */

int net_lock(const char *root, int *ret_fd, struct err *e)
{
    _cleanup_free_ char *dir = str_printf("%s/run/mortar", root);
    _cleanup_free_ char *path = str_printf("%s" LOCK, root);
    int r = file_mkdirs(dir, 0755, e);
    if (r < 0) {
        return r;
    }
    _cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || flock(fd, LOCK_EX) < 0) { /* holders run commands with deadlines */
        return ERR_SYS(e, IO, errno, "cannot lock %s", path);
    }
    *ret_fd = fd;
    fd = -1;
    return 0;
}

/* NULL when there is none. */
static int load(const char *root, const char *file, json_t **ret, struct err *e)
{
    _cleanup_free_ char *path = str_printf("%s%s", root, file);
    _cleanup_free_ char *text = NULL;
    struct err why = {0};
    size_t len = 0;
    *ret = NULL;
    int r = file_read(path, RECORD_LIMIT_BYTES, &text, &len, &why);
    if (r == -ERR_NOT_FOUND) {
        return 0;
    }
    return r < 0 ? err_copy(e, &why) : json_parse(text, len, ret, e);
}

static int save(const char *root, const char *file, json_t *record, const char *state, struct err *e)
{
    _cleanup_free_ char *path = str_printf("%s%s", root, file);
    _cleanup_free_ char *dir = str_printf("%.*s", (int)(strrchr(path, '/') - path), path);
    json_object_set_new(record, "state", json_string(state));
    _cleanup_free_ char *text = json_format(record);
    int r = file_mkdirs(dir, str_eq(file, KEPT) ? 0700 : 0755, e);
    return r < 0 ? r : file_replace(path, text, strlen(text), 0644, e);
}

static int forget(const char *root, const char *file, struct err *e)
{
    _cleanup_free_ char *path = str_printf("%s%s", root, file);
    if (unlink(path) < 0 && errno != ENOENT) {
        return ERR_SYS(e, IO, errno, "cannot remove %s", path);
    }
    return 0;
}

/* The kept one, else the one on trial, else NULL. A kept one ends the trial. */
static int load_active(const char *root, json_t **ret, struct err *e)
{
    json_t *trial = NULL;
    int r = load(root, KEPT, ret, e);
    if (r < 0 || *ret) {
        return r;
    }
    r = load(root, TRIAL, &trial, e);
    if (r == 0 && str_eq(json_text_of(trial, "state"), "trial")) {
        *ret = TAKE(trial);
    }
    json_decref(trial);
    return r;
}

/* --- looking ------------------------------------------------------------------------------- */

static bool interfaces_lend(const char *nic)
{
    _cleanup_free_ char *text = host_read_text("", "/etc/network/interfaces");
    bool is_lent = uplink_has_dhcp(text, nic);
    DIR *dir = is_lent ? NULL : opendir("/etc/network/interfaces.d");
    for (struct dirent *d; dir && (d = readdir(dir));) {
        _cleanup_free_ char *path = str_printf("/etc/network/interfaces.d/%s", d->d_name);
        _cleanup_free_ char *more = d->d_name[0] == '.' ? NULL : host_read_text("", path);
        is_lent = is_lent || (more && uplink_has_dhcp(more, nic));
    }
    if (dir) {
        (void)closedir(dir); /* only read */
    }
    return is_lent;
}

static void see_manager(const char *nic, struct uplink_seen *s)
{
    static const struct {
        const char *unit;
        const char *name;
        const char *states;
    } managers[] = {
        {"systemd-networkd.service", "systemd-networkd", "/run/systemd/netif/links"},
        {"NetworkManager.service", "NetworkManager", "/run/NetworkManager/devices"},
    };
    for (size_t i = 0; i < ELEMENTS(managers) && !s->manager; i++) {
        _cleanup_free_ char *path = str_printf("%s/%u", managers[i].states, s->index);
        _cleanup_free_ char *text = host_read_text("", path);
        if (uplink_is_managed(text) && unit_is_active(managers[i].unit)) {
            s->manager = managers[i].name;
        }
    }
    if (!s->lent && interfaces_lend(nic)) {
        s->lent = str_dup("its address");
    }
}

static int observe(const char *nic, const char *bridge, struct uplink_seen *ret, struct err *e)
{
    _cleanup_free_ char *links = NULL;
    _cleanup_free_ char *v4 = NULL;
    _cleanup_free_ char *v6 = NULL;
    struct err no_v6 = {0};
    int r = cmd_check(CMD("ip", "-j", "-d", "address", "show"), NULL, &links, e);
    r = r < 0 ? r : uplink_parse_links(links, nic, bridge, ret, e);
    r = r < 0 ? r : cmd_check(CMD("ip", "-j", "-4", "route", "show", "table", "all"), NULL, &v4, e);
    r = r < 0 ? r : uplink_parse_routes(v4, false, nic, bridge, ret, e);
    if (r == 0 && cmd_check(CMD("ip", "-j", "-6", "route", "show", "table", "all"), NULL, &v6,
                            &no_v6) == 0) { /* a kernel may be without IPv6 */
        r = uplink_parse_routes(v6, true, nic, bridge, ret, e);
    }
    _cleanup_free_ char *radio = str_printf("/sys/class/net/%s/phy80211", nic);
    ret->wireless = uplink_is_nic_name(nic) && file_exists(radio);
    return r;
}

static int observe_nic(const json_t *record, struct uplink_seen *ret, struct err *e)
{
    const char *nic = json_text_of(record, "nic");
    int r = nic && json_text_of(record, "bridge")
                ? observe(nic, json_text_of(record, "bridge"), ret, e)
                : ERR_SET(e, PARSE, "the record of the uplink is damaged");
    if (r == 0 && !ret->nic_exists) {
        (void)ERR_SET(e, NOT_FOUND, "the uplink's card '%s' is missing", nic);
        err_hint(e, "see 'ip -br link'; 'mortar uplink rm' forgets it");
        r = -ERR_NOT_FOUND;
    }
    return r;
}

static int look(const struct uplink_wish *w, struct uplink_seen *ret, struct err *e)
{
    int r = observe(w->nic, w->bridge, ret, e);
    if (r == 0 && ret->nic_exists) {
        see_manager(w->nic, ret);
    }
    return r < 0 ? r : uplink_check(w, ret, e);
}

int uplink_preflight(const struct uplink_wish *w, struct err *e)
{
    _cleanup_uplink_seen_ struct uplink_seen seen = {0};
    return look(w, &seen, e);
}

/* --- moving -------------------------------------------------------------------------------- */

static int run_plan(const struct uplink_plan *p, struct err *e)
{
    const struct cmd_opts must = {.input = p->must.data};
    const struct cmd_opts may = {.input = p->may.data};
    struct err gone = {0};
    int r = p->must.len ? cmd_check(CMD("ip", "-batch", "-"), &must, NULL, e) : 0;
    if (r == 0 && p->may.len) {
        (void)cmd_check(CMD("ip", "-force", "-batch", "-"), &may, NULL, &gone); /* went by themselves */
    }
    return r;
}

/* A guest must not become the host's router by an advertisement. */
static void refuse_adverts(const char *bridge)
{
    _cleanup_free_ char *path = str_printf("/proc/sys/net/ipv6/conf/%s/accept_ra", bridge);
    FILE *f = fopen(path, "we");
    if (f) {
        (void)fputs("0\n", f);
        (void)fclose(f); /* a kernel without IPv6 has no such file, and no routers */
    }
}

int uplink_move(const json_t *record, bool *ret_changed, struct err *e)
{
    _cleanup_uplink_seen_ struct uplink_seen seen = {0};
    _cleanup_uplink_plan_ struct uplink_plan plan = {0};
    int r = observe_nic(record, &seen, e);
    if (r < 0) {
        return r;
    }
    uplink_plan_move(record, &seen, &plan);
    r = run_plan(&plan, e);
    refuse_adverts(json_text_of(record, "bridge"));
    if (ret_changed) {
        *ret_changed = plan.must.len || plan.may.len;
    }
    return r;
}

int uplink_move_back(const json_t *record, struct err *e)
{
    _cleanup_uplink_seen_ struct uplink_seen seen = {0};
    _cleanup_uplink_plan_ struct uplink_plan plan = {0};
    int r = observe_nic(record, &seen, e);
    if (r < 0) {
        return r;
    }
    uplink_plan_back(record, &seen, &plan);
    return run_plan(&plan, e);
}

/* --- the trial ----------------------------------------------------------------------------- */

static int end_timer(struct err *e)
{
    return systemd_is_init() ? unit_stop(UNIT ".timer", 0, e) : 0;
}

/* A unit of its own: neither the agent's death nor its restart touches it. */
static int begin_timer(unsigned confirm_s, struct err *e)
{
    char self[256] = "";
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (n <= 0) {
        return ERR_SYS(e, IO, errno, "cannot tell where mortard is");
    }
    char *deleted = strstr(self, " (deleted)"); /* replaced by an upgrade */
    if (deleted) {
        *deleted = '\0';
    }
    _cleanup_free_ char *after = str_printf("--on-active=%us", confirm_s);
    (void)end_timer(NULL); /* of a try that was killed */
    (void)unit_reset_failed(UNIT ".service", NULL);
    return cmd_check(CMD("systemd-run", "--quiet", "--collect", "--unit=" UNIT, after,
                         "--timer-property=AccuracySec=100ms", "--property=Restart=on-failure",
                         "--property=RestartSec=2", "--property=StartLimitIntervalSec=0",
                         "--description=Undo the uplink unless it is confirmed", self, UPLINK_OPTION,
                         UPLINK_RETURN),
                     NULL, NULL, e);
}

static bool has_anything(const json_t *record)
{
    return json_array_size(json_object_get(record, "addrs")) ||
           json_array_size(json_object_get(record, "routes"));
}

static int end_trial(const char *root, json_t *record, const char *why, struct err *e)
{
    json_object_set_new(record, "why", json_string(why));
    return save(root, TRIAL, record, "returned", e);
}

/* All as it was, at once; the failure in @e stays. If even this fails the timer tries again. */
static int undo(const char *root, json_t *record, bool is_trial, struct err *e)
{
    struct err why = {0};
    int code = -e->code;
    err_prepend(e, "cannot put '%s' under the guests' network", json_text_of(record, "nic"));
    int r = uplink_move_back(record, &why);
    if (r < 0) {
        log_err(LOG_LV_ERROR, "the uplink's card could not be given back", &why);
        return code;
    }
    (void)(is_trial ? end_trial(root, record, e->msg, &why) : forget(root, KEPT, &why));
    (void)end_timer(&why); /* finds nothing to do when it fires */
    return code;
}

static int begin(const char *root, json_t *record, unsigned confirm_s, struct err *e)
{
    bool is_trial = has_anything(record);
    int r = 0;
    if (is_trial) {
        json_object_set_new(record, "confirm_s", json_integer((json_int_t)confirm_s));
        json_object_set_new(record, "until_ms",
                            json_integer((json_int_t)(clock_wall_us() / USEC_PER_MSEC + confirm_s * 1000ULL)));
        r = begin_timer(confirm_s, e); /* before anything is touched */
    }
    r = r < 0 ? r : save(root, is_trial ? TRIAL : KEPT, record, is_trial ? "trial" : "kept", e);
    if (r < 0) {
        return r;
    }
    r = uplink_move(record, NULL, e);
    return r < 0 ? undo(root, record, is_trial, e) : 0;
}

/* A second try after a kill, or another card. */
static int take_again(const char *root, const struct uplink_wish *w, json_t *record, json_t **ret,
                      struct err *e)
{
    const char *nic = json_text_of(record, "nic");
    if (!str_eq(nic, w->nic)) {
        (void)ERR_SET(e, STATE, "this host's uplink is '%s' already", nic);
        err_hint(e, "give that back first: mortar uplink rm");
        return -ERR_STATE;
    }
    int r = uplink_move(record, NULL, e);
    if (r == 0) {
        *ret = json_incref(record);
    }
    return r;
}

int uplink_take(const char *root, const struct uplink_wish *w, unsigned confirm_s, json_t **ret,
                struct err *e)
{
    _cleanup_uplink_seen_ struct uplink_seen seen = {0};
    _cleanup_close_ int lock = -1;
    json_t *record = NULL;
    int r = net_lock(root, &lock, e);
    r = r < 0 ? r : load_active(root, &record, e);
    _cleanup_json_ json_t *held = record;
    if (r < 0 || record) {
        return r < 0 ? r : take_again(root, w, record, ret, e);
    }
    r = look(w, &seen, e);
    if (r < 0) {
        return r;
    }
    _cleanup_json_ json_t *fresh = uplink_new_record(w, &seen);
    r = begin(root, fresh, confirm_s, e);
    if (r == 0) {
        *ret = json_incref(fresh);
    }
    return r;
}

int uplink_keep(const char *root, struct err *e)
{
    _cleanup_close_ int lock = -1;
    _cleanup_json_ json_t *kept = NULL;
    _cleanup_json_ json_t *trial = NULL;
    int r = net_lock(root, &lock, e);
    r = r < 0 ? r : load(root, KEPT, &kept, e);
    r = r < 0 ? r : load(root, TRIAL, &trial, e);
    if (r < 0) {
        return r;
    }
    const char *state = json_text_of(trial, "state");
    if (!kept && !str_eq(state, "trial")) {
        (void)ERR_SET(e, STATE, "no uplink of this host waits for confirmation%s%s", state ? ": " : "",
                      state ? json_text_of(trial, "why") : "");
        err_hint(e, "begin with 'mortar uplink set NIC', and confirm in time");
        return -ERR_STATE;
    }
    r = kept ? 0 : save(root, KEPT, trial, "kept", e);
    r = r < 0 ? r : forget(root, TRIAL, e);
    return r < 0 ? r : end_timer(e);
}

int uplink_return(const char *root, struct err *e)
{
    _cleanup_close_ int lock = -1;
    _cleanup_json_ json_t *kept = NULL;
    _cleanup_json_ json_t *trial = NULL;
    int r = net_lock(root, &lock, e);
    r = r < 0 ? r : load(root, KEPT, &kept, e);
    r = r < 0 ? r : load(root, TRIAL, &trial, e);
    if (r < 0 || kept || !str_eq(json_text_of(trial, "state"), "trial")) {
        return r; /* it was confirmed, or has been undone */
    }
    r = uplink_move_back(trial, e);
    if (r < 0) {
        return r; /* the unit tries again */
    }
    log_notice("the uplink was not confirmed and is undone", "nic=%s bridge=%s",
               json_text_of(trial, "nic"), json_text_of(trial, "bridge"));
    _cleanup_free_ char *why =
        str_printf("it was not confirmed within %llu s",
                   (unsigned long long)json_u64_of(trial, "confirm_s", UPLINK_CONFIRM_S));
    return end_trial(root, trial, why, e);
}

int uplink_drop(const char *root, struct err *e)
{
    _cleanup_close_ int lock = -1;
    struct err why = {0};
    json_t *record = NULL;
    int r = net_lock(root, &lock, e);
    r = r < 0 ? r : load_active(root, &record, e);
    _cleanup_json_ json_t *held = record;
    if (r == 0 && record && uplink_move_back(record, &why) < 0 && why.code != ERR_NOT_FOUND) {
        return err_copy(e, &why);
    }
    r = r < 0 ? r : forget(root, KEPT, e);
    r = r < 0 ? r : forget(root, TRIAL, e);
    return r < 0 ? r : end_timer(e);
}

/* --- what is kept -------------------------------------------------------------------------- */

int uplink_ensure(const char *root, json_t **ret, bool *ret_changed, struct err *e)
{
    _cleanup_uplink_seen_ struct uplink_seen seen = {0};
    json_t *record = NULL;
    int r = load_active(root, &record, e);
    _cleanup_json_ json_t *held = record;
    *ret = NULL;
    if (r < 0 || !record) {
        return r;
    }
    r = observe_nic(record, &seen, e);
    r = r < 0 ? r : uplink_check_lease(json_text_of(record, "nic"), &seen, e);
    if (r == 0 && str_eq(json_text_of(record, "state"), "kept") && uplink_adopt(record, &seen)) {
        r = save(root, KEPT, record, "kept", e);
    }
    r = r < 0 ? r : uplink_move(record, ret_changed, e);
    if (r == 0) {
        *ret = json_incref(record);
    }
    return r;
}

int uplink_restore(const char *root, struct err *e)
{
    _cleanup_close_ int lock = -1;
    _cleanup_json_ json_t *record = NULL;
    bool is_changed = false;
    int r = net_lock(root, &lock, e);
    r = r < 0 ? r : uplink_ensure(root, &record, &is_changed, e);
    if (r == 0 && record) {
        log_notice("the uplink is in place", "nic=%s bridge=%s", json_text_of(record, "nic"),
                   json_text_of(record, "bridge"));
    }
    return r;
}

static bool is_attached(const char *nic, const char *bridge)
{
    char target[256] = "";
    _cleanup_free_ char *path = str_printf("/sys/class/net/%s/master", nic);
    ssize_t n = readlink(path, target, sizeof(target) - 1);
    const char *slash = n > 0 ? strrchr(target, '/') : NULL;
    return slash && str_eq(slash + 1, bridge);
}

bool uplink_exists(const char *root)
{
    _cleanup_free_ char *kept = str_printf("%s" KEPT, root);
    _cleanup_free_ char *trial = str_printf("%s" TRIAL, root);
    return file_exists(kept) || file_exists(trial);
}

int uplink_observe(const char *root, json_t **ret, struct err *e)
{
    static const char *const copied[] = {"nic", "bridge", "state", "until_ms", "confirm_s", "why"};
    _cleanup_json_ json_t *kept = NULL;
    _cleanup_json_ json_t *trial = NULL;
    int r = load(root, KEPT, &kept, e);
    r = r < 0 ? r : load(root, TRIAL, &trial, e);
    if (r < 0) {
        return r;
    }
    const json_t *record = kept ? kept : trial;
    const char *nic = json_text_of(record, "nic");
    *ret = json_object();
    for (size_t i = 0; i < ELEMENTS(copied); i++) {
        json_t *v = json_object_get(record, copied[i]);
        if (v && (!kept || i < 3)) {
            json_object_set(*ret, copied[i], v);
        }
    }
    if (nic) {
        bool is_there = is_attached(nic, json_text_of(record, "bridge"));
        json_object_set_new(*ret, "attached", json_boolean(is_there));
    }
    return 0;
}
