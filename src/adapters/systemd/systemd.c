/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/systemd/systemd.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "adapters/systemd/unit_text.h"
#include "base/str.h"
#include "io/cmd.h"
#include "io/file.h"

#define UNIT_DIR "/etc/systemd/system"
#define UNIT_LIMIT_BYTES (256 * KIB)

bool systemd_is_init(void)
{
    return file_exists("/run/systemd/system");
}

static int run_systemctl(const char *const *argv, uint64_t timeout_us, char **ret_out,
                         struct err *e)
{
    struct cmd_opts opts = {.timeout_us = timeout_us ? timeout_us : UNIT_TIMEOUT_US};
    if (!systemd_is_init()) {
        return ERR_SET(e, COMMAND, "systemd is not the init system of this machine");
    }
    return cmd_check(argv, &opts, ret_out, e);
}

static int run_verb(const char *verb, const char *name, uint64_t timeout_us, struct err *e)
{
    int r = run_systemctl(CMD("systemctl", "--no-ask-password", verb, "--", name), timeout_us, NULL, e);
    if (r < 0) {
        err_prepend(e, "cannot %s %s", verb, name);
        err_hint(e, "see: journalctl -u %s", name);
    }
    return r;
}

int unit_start(const char *name, uint64_t timeout_us, struct err *e)
{
    return run_verb("start", name, timeout_us, e);
}

int unit_stop(const char *name, uint64_t timeout_us, struct err *e)
{
    struct unit_state s = {0};
    int r = unit_observe(name, &s, e);
    if (r < 0 || (!s.loaded && !s.active)) {
        return r;
    }
    return run_verb("stop", name, timeout_us, e);
}

int unit_kill(const char *name, bool main_only, struct err *e)
{
    const char *whom = main_only ? "--kill-who=main" : "--kill-who=all";
    int r = run_systemctl(CMD("systemctl", "--no-ask-password", "kill", whom, "--signal=KILL", "--", name), 0, NULL, e);
    if (r < 0) {
        err_prepend(e, "cannot kill %s", name);
    }
    return r;
}

int unit_restart(const char *name, uint64_t timeout_us, struct err *e)
{
    return run_verb("restart", name, timeout_us, e);
}

int unit_enable(const char *name, struct err *e)
{
    return run_verb("enable", name, 0, e);
}

int unit_disable(const char *name, struct err *e)
{
    struct unit_state s = {0};
    int r = unit_observe(name, &s, e);
    return r < 0 || !s.loaded ? r : run_verb("disable", name, 0, e);
}

void unit_parse_show(const char *text, struct unit_state *ret)
{
    _cleanup_strv_ struct strv lines = {0};
    *ret = (struct unit_state){0};
    strv_split(&lines, text, "\n");
    ret->loaded = strv_has(&lines, "LoadState=loaded");
    ret->active = strv_has(&lines, "ActiveState=active") || strv_has(&lines, "ActiveState=reloading");
    ret->failed = strv_has(&lines, "ActiveState=failed");
    ret->enabled = strv_has(&lines, "UnitFileState=enabled");
    for (size_t i = 0; i < lines.n; i++) {
        if (str_starts(lines.v[i], "MainPID=")) {
            (void)str_parse_u64(lines.v[i] + strlen("MainPID="), INT32_MAX, &ret->main_pid,
                                NULL); /* nonsense leaves 0: no process */
        }
    }
}

int unit_reset_failed(const char *name, struct err *e)
{
    struct unit_state state = {0};
    int r = unit_observe(name, &state, e);
    return r < 0 || !state.failed ? r : run_verb("reset-failed", name, 0, e);
}

int unit_observe(const char *name, struct unit_state *ret, struct err *e)
{
    _cleanup_free_ char *out = NULL;
    int r = run_systemctl(CMD("systemctl", "show", "-p",
                              "LoadState,ActiveState,UnitFileState,MainPID", "--", name), 0, &out, e);
    if (r == 0) {
        unit_parse_show(out, ret);
    }
    return r;
}

bool unit_is_active(const char *name)
{
    struct unit_state s = {0};
    return unit_observe(name, &s, NULL) == 0 && s.active;
}

int systemd_reload(struct err *e)
{
    return run_systemctl(CMD("systemctl", "daemon-reload"), 0, NULL, e);
}

/* Writes only what differs, so that "changed" means that systemd must read again. */
static int write_text(const char *path, const char *text, bool *ret_changed, struct err *e)
{
    _cleanup_free_ char *old = NULL;
    int r = file_read(path, UNIT_LIMIT_BYTES, &old, NULL, NULL);
    bool changed = r < 0 || !str_eq(old, text);
    if (changed && (r = file_replace(path, text, strlen(text), 0644, e)) < 0) {
        return r;
    }
    if (ret_changed) {
        *ret_changed = changed;
    }
    return 0;
}

static int remove_file(const char *path, bool *ret_changed, struct err *e)
{
    int r = unlink(path);
    if (r < 0 && errno != ENOENT) {
        return ERR_SYS(e, IO, errno, "cannot remove %s", path);
    }
    if (ret_changed) {
        *ret_changed = r == 0;
    }
    return 0;
}

int unit_write(const char *root, const char *name, const char *text, bool *ret_changed,
               struct err *e)
{
    _cleanup_free_ char *dir = str_printf("%s" UNIT_DIR, root);
    _cleanup_free_ char *path = str_printf("%s/%s", dir, name);
    assert(!strchr(name, '/'));
    int r = file_mkdirs(dir, 0755, e);
    return r < 0 ? r : write_text(path, text, ret_changed, e);
}

int unit_write_dropin(const char *root, const char *name, const char *dropin, const char *text,
                      bool *ret_changed, struct err *e)
{
    _cleanup_free_ char *dir = str_printf("%s" UNIT_DIR "/%s.d", root, name);
    _cleanup_free_ char *path = str_printf("%s/%s", dir, dropin);
    assert(!strchr(name, '/') && str_ends(dropin, ".conf"));
    int r = file_mkdirs(dir, 0755, e);
    return r < 0 ? r : write_text(path, text, ret_changed, e);
}

int unit_remove(const char *root, const char *name, bool *ret_changed, struct err *e)
{
    _cleanup_free_ char *path = str_printf("%s" UNIT_DIR "/%s", root, name);
    return remove_file(path, ret_changed, e);
}

int unit_remove_dropin(const char *root, const char *name, const char *dropin, bool *ret_changed,
                       struct err *e)
{
    _cleanup_free_ char *dir = str_printf("%s" UNIT_DIR "/%s.d", root, name);
    _cleanup_free_ char *path = str_printf("%s/%s", dir, dropin);
    int r = remove_file(path, ret_changed, e);
    (void)rmdir(dir); /* others may keep drop-ins there */
    return r;
}

static const char *const slices[] = {"mortar-vms.slice", "mortar-vms-ha.slice"};

int systemd_apply_slices(struct err *e)
{
    bool any = false;
    for (size_t i = 0; i < ELEMENTS(slices); i++) {
        _cleanup_free_ char *text = unit_text_vm_slice(i == 1);
        bool changed = false;
        int r = unit_write("", slices[i], text, &changed, e);
        if (r < 0) {
            return r;
        }
        any = any || changed;
    }
    int r = any ? systemd_reload(e) : 0;
    for (size_t i = 0; r == 0 && i < ELEMENTS(slices); i++) {
        r = unit_start(slices[i], 0, e);
    }
    return r;
}

int systemd_remove_slices(struct err *e)
{
    bool any = false;
    int r = 0;
    for (size_t i = ELEMENTS(slices); r == 0 && i-- > 0;) {
        bool changed = false;
        r = unit_stop(slices[i], 0, e);
        r = r < 0 ? r : unit_remove("", slices[i], &changed, e);
        any = any || changed;
    }
    return r == 0 && any ? systemd_reload(e) : r;
}

/* A socket unit refuses to start while its service runs without it ("already active, refusing"),
 * and the running service would be started again by any client as long as the other sockets
 * listen. So everything stops in one transaction, then the sockets start, then the service, which
 * gets all of them handed over. Running QEMUs stay (KillMode=process). */
static int restart_with_sockets(bool tls, struct err *e)
{
    int r = run_systemctl(CMD("systemctl", "stop", "libvirtd.service", "libvirtd.socket",
                              "libvirtd-ro.socket", "libvirtd-admin.socket", "libvirtd-tls.socket"),
                          0, NULL, e);
    /* Failed starts of a moment ago count against the limit of starts, for the sockets too. */
    (void)run_systemctl(CMD("systemctl", "reset-failed", "libvirtd.service", "libvirtd*.socket"), 0,
                        NULL, NULL); /* fails when nothing is loaded, which is well */
    if (r == 0) {
        r = run_systemctl(CMD("systemctl", "start", "libvirtd.socket", "libvirtd-ro.socket",
                              "libvirtd-admin.socket", tls ? "libvirtd-tls.socket" : NULL),
                          0, NULL, e);
    }
    return r < 0 ? r : run_verb("start", "libvirtd.service", 0, e);
}

/* libvirtd ends at once when it is handed a TLS socket and cannot use its certificates. Then the
 * host gets its local libvirtd back, and the caller the first failure. */
static int start_with_tls(struct err *e)
{
    int r = restart_with_sockets(true, e);
    if (r < 0) {
        (void)unit_disable("libvirtd-tls.socket", NULL);
        (void)restart_with_sockets(false, NULL);
    }
    return r;
}

int libvirt_apply_tls(bool restart, struct err *e)
{
    struct unit_state tls = {0};
    struct unit_state service = {0};
    int r = unit_observe("libvirtd-tls.socket", &tls, e);
    r = r == 0 ? unit_observe("libvirtd.service", &service, e) : r;
    if (r == 0 && !tls.loaded) {
        r = ERR_SET(e, COMMAND, "libvirt is not installed");
        err_hint(e, "apt install libvirt-daemon-system");
    }
    if (r == 0 && !tls.enabled) {
        r = unit_enable("libvirtd-tls.socket", e);
    }
    if (r == 0 && (restart || !tls.active || service.failed)) {
        r = start_with_tls(e);
    }
    if (r < 0) {
        err_prepend(e, "cannot make libvirtd listen for TLS");
    }
    return r;
}

int libvirt_remove_tls(struct err *e)
{
    struct unit_state tls = {0};
    int r = unit_observe("libvirtd-tls.socket", &tls, e);
    if (r < 0 || !tls.loaded) {
        return r;
    }
    r = unit_disable("libvirtd-tls.socket", e);
    return r == 0 && tls.active ? restart_with_sockets(false, e) : r;
}
