/* SPDX-License-Identifier: Apache-2.0
 * What the agent tells this host's guard. The file comes first: a guard that starts again in the middle
 * of it must know at least as much as the one before (A3). */
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "adapters/guard/guard_link.h"
#include "adapters/systemd/systemd.h"
#include "agent/act_vm.h"
#include "agent/config.h"
#include "agent/env.h"
#include "agent/remote.h"
#include "base/log.h"
#include "base/str.h"
#include "io/clock.h"
#include "io/file.h"

#define GUARD_UNIT "mortar-guard.service"
#define KEY_FILE PATH_PKI "/guard.key"
#define KEY_BYTES 32
#define ANSWER_US (3 * USEC_PER_SEC)
#define SLICE "mortar.slice/mortar-vms.slice/mortar-vms-ha.slice"

/* --- the key ------------------------------------------------------------------------------- */

/* The host that made the cluster makes the key, the others ask for it over mutual TLS: it is in no record,
 * on no command line and in no log. */
static int make_key(struct err *e)
{
    char key[KEY_BYTES];
    if (getrandom(key, sizeof(key), 0) != (ssize_t)sizeof(key)) {
        return ERR_SET(e, IO, "no random numbers");
    }
    int r = file_replace(KEY_FILE, key, sizeof(key), 0600, e);
    explicit_bzero(key, sizeof(key));
    return r;
}

static int hex_value(char c)
{
    const char *digits = "0123456789abcdef";
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

static int save_hex_key(const char *hex, struct err *e)
{
    char key[KEY_BYTES];
    bool is_bad = !hex || strlen(hex) != 2 * sizeof(key);
    for (size_t i = 0; !is_bad && i < sizeof(key); i++) {
        int high = hex_value(hex[2 * i]);
        int low = hex_value(hex[2 * i + 1]);
        is_bad = high < 0 || low < 0;
        key[i] = (char)(high * 16 + low);
    }
    int r = is_bad ? ERR_SET(e, PARSE, "the other host's key is none")
                   : file_replace(KEY_FILE, key, sizeof(key), 0600, e);
    explicit_bzero(key, sizeof(key));
    return r;
}

static int fetch_key(const json_t *config, struct err *e)
{
    size_t i;
    json_t *host;
    struct err why = {0};
    (void)ERR_SET(&why, UNAVAILABLE, "no host has the guard's key yet");
    json_array_foreach(json_object_get(config, "hosts"), i, host) {
        _cleanup_json_ json_t *reply = NULL;
        const char *addr = json_string_value(json_array_get(json_object_get(host, "addrs"), 0));
        if (str_eq(json_text_of(host, "name"), json_text_of(config, "self"))) {
            continue;
        }
        why = (struct err){0};
        if (remote_get(addr, "/v1/local/guard-key", ANSWER_US, &reply, &why) == 0) {
            return save_hex_key(json_text_of(reply, "key"), e);
        }
    }
    return err_copy(e, &why);
}

static int ensure_key(const json_t *config, struct err *e)
{
    if (file_exists(KEY_FILE)) {
        return 0;
    }
    return file_exists(PATH_PKI "/ca.key") ? make_key(e) : fetch_key(config, e);
}

int act_guard_key(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                  struct err *e)
{
    _cleanup_free_ char *key = NULL;
    size_t len = 0;
    char hex[2 * KEY_BYTES + 1];
    int r = file_read(KEY_FILE, KEY_BYTES, &key, &len, e);
    if (r == 0 && len != KEY_BYTES) {
        r = ERR_SET(e, STATE, "%s is not a key", KEY_FILE);
    }
    for (size_t i = 0; r == 0 && i < KEY_BYTES; i++) {
        (void)snprintf(hex + 2 * i, 3, "%02x", (unsigned char)key[i]);
    }
    *ret = r == 0 ? json_pack("{s:s}", "key", hex) : NULL;
    explicit_bzero(hex, sizeof(hex));
    if (key) {
        explicit_bzero(key, len);
    }
    return r;
}

/* --- commands ------------------------------------------------------------------------------ */

static char *slice_path(void)
{
    bool is_hybrid = !file_exists("/sys/fs/cgroup/cgroup.controllers");
    return str_printf("/sys/fs/cgroup/%s" SLICE, is_hybrid ? "unified/" : "");
}

bool act_guard_froze(void)
{
    _cleanup_free_ char *slice = slice_path();
    _cleanup_free_ char *path = str_printf("%s/cgroup.freeze", slice);
    _cleanup_free_ char *text = NULL;
    size_t len = 0;
    return file_read(path, 16, &text, &len, NULL) == 0 && str_starts(text, "1");
}

static int open_link(struct guard_link **ret, struct err *e)
{
    uint64_t deadline = clock_boottime_us() + ANSWER_US;
    for (;;) {
        struct err why = {0};
        int r = guard_link_open(GUARD_SOCKET, ret, &why);
        if (r == 0) {
            return 0;
        }
        if (clock_boottime_us() > deadline) {
            return err_copy(e, &why);
        }
        clock_sleep_ms(50); /* the unit was started just now */
    }
}

/* Sends, and waits for a status that shows the effect. */
static int command(const char *text, bool (*shows)(const json_t *status, const void *arg), const void *arg,
                   struct err *e)
{
    _cleanup_(guard_link_closep) struct guard_link *g = NULL;
    uint64_t deadline = clock_boottime_us() + ANSWER_US;
    int r = open_link(&g, e);
    r = r < 0 ? r : guard_link_send(g, text, e);
    while (r == 0) {
        _cleanup_json_ json_t *status = NULL;
        r = guard_link_next(g, ANSWER_US, &status, e);
        if (r == 0 && shows(status, arg)) {
            return 0;
        }
        if (r == 0 && clock_boottime_us() > deadline) {
            return ERR_SET(e, TIMEOUT, "mortar-guard did not do what it was told; see its journal");
        }
    }
    return r;
}

static bool shows_generation(const json_t *status, const void *arg)
{
    return json_u64_of(status, "generation", 0) == *(const uint64_t *)arg;
}

int act_guard_configure(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                        struct err *e)
{
    uint64_t generation = clock_wall_us();
    _cleanup_free_ char *slice = slice_path();
    _cleanup_free_ char *text = format_guard_config(args, generation, slice);
    _cleanup_free_ char *order = str_printf("config %llu\n%s", (unsigned long long)generation, text);
    int r = ensure_key(args, e);
    r = r < 0 ? r : file_mkdirs(PATH_STATE "/guard", 0700, e);
    r = r < 0 ? r : file_replace(GUARD_CONFIG, text, strlen(text), 0600, e);
    r = r < 0 ? r : unit_enable(GUARD_UNIT, e);
    r = r < 0 ? r : unit_start(GUARD_UNIT, 0, e);
    r = r < 0 ? r : command(order, shows_generation, &generation, e);
    *ret = r == 0 ? json_pack("{s:O}", "config", args) : NULL;
    return r;
}

static bool shows_denial(const json_t *status, const void *arg)
{
    const json_t *args = arg;
    const json_t *peer = json_object_get(json_object_get(status, "peers"), json_text_of(args, "host"));
    return json_u64_of(peer, "denied_inc", 0) >= json_u64_of(args, "inc", 0);
}

int act_guard_deny(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret,
                   struct err *e)
{
    _cleanup_free_ char *had = NULL;
    _cleanup_free_ char *order = str_printf("deny %s %llu", json_text_of(args, "host"),
                                            (unsigned long long)json_u64_of(args, "inc", 0));
    _cleanup_free_ char *line = str_printf("%s\n", order);
    int r = file_read(GUARD_CONFIG, GUARD_STATUS_LIMIT_BYTES, &had, NULL, e);
    if (r == 0 && !strstr(had, line)) {
        _cleanup_free_ char *text = str_printf("%s%s", had, line);
        r = file_replace(GUARD_CONFIG, text, strlen(text), 0600, e);
    }
    return r < 0 ? r : command(order, shows_denial, args, e);
}
