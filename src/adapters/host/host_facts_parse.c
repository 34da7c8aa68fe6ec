/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/host/host_facts_parse.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"

#define LINKS_MAX 4096

void host_cpu_done(struct host_cpu *c)
{
    free(c->model);
    free(c->flags);
    c->model = c->flags = NULL;
}

/* The value behind "KEY : " when the line is of that key, else NULL. */
static const char *value_of(const char *line, const char *key)
{
    size_t n = strlen(key);
    if (strncmp(line, key, n) != 0) {
        return NULL;
    }
    line += n + strspn(line + n, " \t");
    if (*line != ':') {
        return NULL;
    }
    line++;
    return line + strspn(line, " \t");
}

static bool has_word(const char *words, const char *word)
{
    _cleanup_strv_ struct strv v = {0};
    strv_split(&v, words, " ");
    return strv_has(&v, word);
}

void host_parse_cpuinfo(const char *text, struct host_cpu *ret)
{
    _cleanup_strv_ struct strv lines = {0};
    *ret = (struct host_cpu){.virt = ""};
    strv_split(&lines, text, "\n");
    for (size_t i = 0; i < lines.n; i++) {
        const char *v = NULL;
        if (value_of(lines.v[i], "processor")) {
            ret->count++;
        } else if (!ret->model && (v = value_of(lines.v[i], "model name"))) {
            ret->model = str_dup(v);
        } else if (!ret->flags && (v = value_of(lines.v[i], "flags"))) {
            ret->flags = str_dup(v);
        }
    }
    ret->model = ret->model ? ret->model : str_dup("");
    ret->flags = ret->flags ? ret->flags : str_dup("");
    ret->virt = has_word(ret->flags, "vmx") ? "vmx" : has_word(ret->flags, "svm") ? "svm" : "";
}

static bool kib_of(const char *line, const char *key, uint64_t *ret_bytes)
{
    _cleanup_strv_ struct strv words = {0};
    const char *v = value_of(line, key);
    uint64_t kib = 0;
    strv_split(&words, v, " ");
    if (words.n != 2 || str_parse_u64(words.v[0], UINT64_MAX / KIB, &kib, NULL) < 0) {
        return false;
    }
    *ret_bytes = kib * KIB;
    return true;
}

int host_parse_meminfo(const char *text, uint64_t *ret_total_bytes, uint64_t *ret_available_bytes,
                       struct err *e)
{
    _cleanup_strv_ struct strv lines = {0};
    uint64_t total = 0;
    uint64_t available = 0;
    bool have_total = false;
    bool have_available = false;
    strv_split(&lines, text, "\n");
    for (size_t i = 0; i < lines.n; i++) {
        have_total = have_total || kib_of(lines.v[i], "MemTotal", &total);
        have_available = have_available || kib_of(lines.v[i], "MemAvailable", &available);
    }
    if (!have_total || !have_available) {
        return ERR_SET(e, PARSE, "/proc/meminfo does not say how much memory there is");
    }
    *ret_total_bytes = total;
    *ret_available_bytes = available;
    return 0;
}

void host_links_done(struct host_links *l)
{
    for (size_t i = 0; i < l->n; i++) {
        free(l->v[i].name);
        free(l->v[i].mac);
        free(l->v[i].kind);
        free(l->v[i].master);
        strv_done(&l->v[i].addrs);
    }
    free(l->v);
    *l = (struct host_links){0};
}

static char *dup_text(const json_t *obj, const char *key)
{
    const char *s = json_text_of(obj, key);
    return str_dup(s ? s : "");
}

static bool has_flag(const json_t *link, const char *flag)
{
    size_t i = 0;
    json_t *f = NULL;
    json_array_foreach(json_object_get(link, "flags"), i, f) {
        if (str_eq(json_string_value(f), flag)) {
            return true;
        }
    }
    return false;
}

static void parse_link(const json_t *j, struct host_link *l)
{
    size_t i = 0;
    json_t *a = NULL;
    l->name = dup_text(j, "ifname");
    l->mac = dup_text(j, "address");
    l->kind = dup_text(json_object_get(j, "linkinfo"), "info_kind");
    l->master = dup_text(j, "master");
    l->mtu = json_u64_of(j, "mtu", 0);
    l->up = has_flag(j, "UP") && has_flag(j, "LOWER_UP");
    l->loopback = has_flag(j, "LOOPBACK");
    json_array_foreach(json_object_get(j, "addr_info"), i, a) {
        const char *local = json_text_of(a, "local");
        if (local && str_eq(json_text_of(a, "scope"), "global")) {
            strv_addf(&l->addrs, "%s/%llu", local,
                      (unsigned long long)json_u64_of(a, "prefixlen", 0));
        }
    }
}

int host_parse_links(const char *json, struct host_links *ret, struct err *e)
{
    _cleanup_json_ json_t *root = NULL;
    size_t n = strlen(json);
    int r = n ? json_parse(json, n, &root, e) : 0; /* no output: no link matches */
    if (r < 0) {
        return r;
    }
    if (root && !json_is_array(root)) {
        return ERR_SET(e, PARSE, "the list of links is not a list");
    }
    if (json_array_size(root) > LINKS_MAX) {
        return ERR_SET(e, LIMIT, "there are more than %d links", LINKS_MAX);
    }
    *ret = (struct host_links){.v = xcalloc(json_array_size(root), sizeof(*ret->v))};
    for (size_t i = 0; i < json_array_size(root); i++) {
        const json_t *j = json_array_get(root, i);
        if (json_text_of(j, "ifname")) { /* with a filter, ip leaves empty objects in its list */
            parse_link(j, &ret->v[ret->n++]);
        }
    }
    return 0;
}

const struct host_link *host_find_link(const struct host_links *l, const char *name)
{
    for (size_t i = 0; i < l->n; i++) {
        if (str_eq(l->v[i].name, name)) {
            return &l->v[i];
        }
    }
    return NULL;
}

const struct host_link *host_find_link_of(const struct host_links *l, const char *addr)
{
    _cleanup_free_ char *with_slash = str_printf("%s/", addr);
    for (size_t i = 0; i < l->n; i++) {
        for (size_t k = 0; k < l->v[i].addrs.n; k++) {
            if (str_starts(l->v[i].addrs.v[k], with_slash)) {
                return &l->v[i];
            }
        }
    }
    return NULL;
}

int host_parse_qemu_version(const char *text, char **ret_version, char **ret_machine,
                            struct err *e)
{
    static const char prefix[] = "QEMU emulator version ";
    unsigned major = 0;
    unsigned minor = 0;
    if (!str_starts(text, prefix) ||
        sscanf(text + strlen(prefix), "%3u.%3u", &major, &minor) != 2) {
        return ERR_SET(e, PARSE, "'%.60s' is not the version of QEMU", text);
    }
    const char *v = text + strlen(prefix);
    *ret_version = str_printf("%.*s", (int)strcspn(v, " \n"), v);
    *ret_machine = str_printf("pc-q35-%u.%u", major, minor);
    return 0;
}

char *host_find_package(const char *text, const char *package)
{
    _cleanup_strv_ struct strv lines = {0};
    strv_split(&lines, text, "\n");
    for (size_t i = 0; i < lines.n; i++) {
        _cleanup_strv_ struct strv w = {0};
        strv_split(&w, lines.v[i], " "); /* package, want, error, state, version */
        if (w.n == 5 && str_eq(w.v[0], package) && str_eq(w.v[3], "installed")) {
            return str_dup(w.v[4]);
        }
    }
    return NULL;
}

bool host_find_socket(const char *text, const struct host_ports *ports, uint64_t *ret_inode)
{
    _cleanup_strv_ struct strv lines = {0};
    assert(ports->first > 0 && ports->first <= ports->last && ports->last < 65536);
    strv_split(&lines, text, "\n");
    for (size_t i = 0; i < lines.n; i++) {
        _cleanup_strv_ struct strv w = {0};
        strv_split(&w, lines.v[i], " "); /* sl local remote state … inode is the tenth */
        const char *colon = w.n >= 10 ? strrchr(w.v[1], ':') : NULL;
        unsigned port = 0;
        if (colon && sscanf(colon, ":%4x", &port) == 1 && port >= ports->first && port <= ports->last &&
            (ports->udp || str_eq(w.v[3], "0A")) && str_parse_u64(w.v[9], UINT64_MAX, ret_inode, NULL) == 0) {
            return true;
        }
    }
    return false;
}
