/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/etcd/etcd_member.h"

#include <assert.h>
#include <string.h>

#define MEMBERS_MAX 16 /* etcd's documents advise at most 7 */

size_t etcd_members_wanted(size_t hosts)
{
    return hosts >= 5 ? 5 : hosts >= 3 ? 3 : 1;
}

/* ---- membership ---- */

/* The two lists put beside each other. */
struct view {
    const struct etcd_host *hosts;
    size_t hosts_n;
    const struct store_members *members;
    const struct etcd_host *host_of[MEMBERS_MAX]; /* of each member; NULL: its host was removed */
    bool stays[MEMBERS_MAX];                      /* each member: it is wanted */
    const struct etcd_host *next[2];              /* hosts to become members, NULL when none */
    size_t voters;
    size_t wanted;
};

static const struct store_member *member_of(const struct view *v, const struct etcd_host *h)
{
    for (size_t i = 0; i < v->members->n; i++) {
        if (v->host_of[i] == h) {
            return &v->members->v[i];
        }
    }
    return NULL;
}

/* Members before others (no needless change), then by role, then by order of joining. */
static unsigned rank_of(const struct view *v, const struct etcd_host *h)
{
    const struct store_member *m = member_of(v, h);
    unsigned kept = !m ? 2 : m->learner ? 1 : 0;
    return kept * 1000000 + (unsigned)h->role * 1000 + (unsigned)(h - v->hosts);
}

/* How many hosts that may be members come before this one? */
static size_t place_of(const struct view *v, const struct etcd_host *h)
{
    size_t before = 0;
    for (size_t i = 0; i < v->hosts_n; i++) {
        before += !v->hosts[i].leaving && rank_of(v, &v->hosts[i]) < rank_of(v, h);
    }
    return before;
}

static const struct etcd_host *host_by_url(const struct view *v, const char *peer_url)
{
    for (size_t i = 0; i < v->hosts_n; i++) {
        if (str_eq(v->hosts[i].peer_url, peer_url)) {
            return &v->hosts[i];
        }
    }
    return NULL;
}

static void look(struct view *v)
{
    size_t able = 0;
    size_t nexts = 0;
    for (size_t i = 0; i < v->members->n; i++) {
        v->host_of[i] = host_by_url(v, v->members->v[i].peer_url);
        v->voters += !v->members->v[i].learner;
    }
    for (size_t i = 0; i < v->hosts_n; i++) {
        able += !v->hosts[i].leaving;
    }
    v->wanted = etcd_members_wanted(able);
    for (size_t i = 0; i < v->members->n; i++) {
        const struct etcd_host *h = v->host_of[i];
        v->stays[i] = h && !h->leaving && place_of(v, h) < v->wanted;
    }
    for (size_t place = 0; place < v->wanted; place++) {
        for (size_t i = 0; i < v->hosts_n; i++) {
            const struct etcd_host *h = &v->hosts[i];
            if (!h->leaving && place_of(v, h) == place && !member_of(v, h) && nexts < 2) {
                v->next[nexts++] = h;
            }
        }
    }
}

/* Without member @without: are the voters that stay all up, and a majority of all that remain? */
static bool others_are_up(const struct view *v, size_t without)
{
    size_t remain = 0;
    size_t up = 0;
    for (size_t i = 0; i < v->members->n; i++) {
        if (i != without && !v->members->v[i].learner) {
            bool is_up = v->host_of[i] && v->host_of[i]->up;
            if (v->stays[i] && !is_up) {
                return false;
            }
            remain++;
            up += is_up;
        }
    }
    return up > remain / 2;
}

static bool plan_learner(const struct view *v, size_t at, struct store_member_change *ret,
                         const char **ret_why)
{
    const struct store_member *m = &v->members->v[at];
    if (!v->stays[at]) {
        *ret = (struct store_member_change){.verb = STORE_MEMBER_REMOVE, .id = m->id};
        *ret_why = "the learner's host shall carry no member";
        return true;
    }
    if (!m->name[0] || !v->host_of[at]->up) {
        *ret_why = "the learner has not started yet";
        return false;
    }
    if (!others_are_up(v, SIZE_MAX)) {
        *ret_why = "a learner waits while a voter's host is down";
        return false;
    }
    *ret = (struct store_member_change){.verb = STORE_MEMBER_PROMOTE, .id = m->id};
    *ret_why = "the learner becomes a voter";
    return true;
}

/* Of the voters that must go, the one to remove now: one that is down before one that is up. */
static size_t pick_unwanted(const struct view *v)
{
    size_t pick = SIZE_MAX;
    for (size_t i = 0; i < v->members->n; i++) {
        bool unwanted = !v->members->v[i].learner && !v->stays[i];
        bool up = v->host_of[i] && v->host_of[i]->up;
        if (unwanted && (pick == SIZE_MAX || !up)) {
            pick = i;
        }
    }
    return pick;
}

static bool plan_removal(const struct view *v, size_t at, struct store_member_change *ret,
                         const char **ret_why)
{
    if (!others_are_up(v, at)) {
        *ret_why = "a member shall go, but another one's host is down";
        return false;
    }
    *ret = (struct store_member_change){.verb = STORE_MEMBER_REMOVE, .id = v->members->v[at].id};
    *ret_why = "a member's host shall carry none any more";
    return true;
}

static bool plan_growth(const struct view *v, struct store_member_change *ret, const char **ret_why)
{
    bool makes_even = v->voters % 2 == 1 && v->voters < v->wanted;
    if (!v->next[0]) {
        *ret_why = "the members are as they should be";
        return false;
    }
    bool second_is_up = v->next[1] && v->next[1]->up;
    bool pair_is_up = v->next[0]->up && second_is_up;
    const struct etcd_host *first = v->next[0]->up ? v->next[0] : second_is_up ? v->next[1] : NULL;
    if (!first || !others_are_up(v, SIZE_MAX) || (makes_even && !pair_is_up)) {
        *ret_why = "more members are wanted, but a host is down";
        return false;
    }
    *ret = (struct store_member_change){.verb = STORE_MEMBER_ADD_LEARNER,
                                        .peer_url = first->peer_url};
    *ret_why = "a host becomes a member, first as learner";
    return true;
}

bool etcd_plan_members(const struct etcd_host *hosts, size_t hosts_n,
                       const struct store_members *members, struct store_member_change *ret,
                       const char **ret_why)
{
    struct view v = {.hosts = hosts, .hosts_n = hosts_n, .members = members};
    if (members->n == 0 || members->n > MEMBERS_MAX) {
        *ret_why = "the list of members makes no sense";
        return false;
    }
    look(&v);
    for (size_t i = 0; i < members->n; i++) {
        if (members->v[i].learner) {
            return plan_learner(&v, i, ret, ret_why);
        }
    }
    size_t unwanted = pick_unwanted(&v);
    if (unwanted != SIZE_MAX && v.voters > 1) {
        return plan_removal(&v, unwanted, ret, ret_why);
    }
    return plan_growth(&v, ret, ret_why);
}

/* ---- set-up ---- */

static char *url_of(const char *address, unsigned port)
{
    bool is_v6 = strchr(address, ':') != NULL;
    return str_printf("https://%s%s%s:%u", is_v6 ? "[" : "", address, is_v6 ? "]" : "", port);
}

void etcd_client_urls(const struct store_members *members, const char *own, struct strv *ret)
{
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < members->n && ret->n < STORE_ENDPOINTS_MAX; i++) {
            const struct store_member *m = &members->v[i];
            if (m->client_url[0] && !m->learner && str_eq(m->name, own) == (pass == 0)) {
                strv_add(ret, m->client_url);
            }
        }
    }
}

char *etcd_peer_url(const char *address, unsigned port)
{
    return url_of(address, port ? port : ETCD_PEER_PORT);
}

char *etcd_client_url(const char *address, unsigned port)
{
    return url_of(address, port ? port : ETCD_CLIENT_PORT);
}

/* Values stand in double quotes in a file that systemd reads: systemd.exec(5), EnvironmentFile. */
static int check_value(const char *what, const char *value, struct err *e)
{
    static const char legal[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "-_./:[]=,";
    if (!value || !value[0] || value[strspn(value, legal)]) {
        return ERR_SET(e, INVALID, "'%.80s' cannot be the %s of an etcd member",
                       value ? value : "", what);
    }
    return 0;
}

static int check_setup(const struct etcd_setup *s, struct err *e)
{
    int r = str_is_name(s->name) ? 0 : ERR_SET(e, INVALID, "'%.80s' is no host name", s->name);
    r = r ? r : check_value("address", s->address, e);
    r = r ? r : check_value("authority", s->ca_file, e);
    r = r ? r : check_value("certificate", s->cert_file, e);
    r = r ? r : check_value("key", s->key_file, e);
    r = r ? r : check_value("cluster id", s->cluster_token, e);
    return r ? r : check_value("data directory", s->data_dir ? s->data_dir : ETCD_DATA_DIR, e);
}

/* "name=peer URL" of all members; a member that has not started is this one or an error. */
static int format_cluster(const struct etcd_setup *s, const char *own_url, char **ret,
                          struct err *e)
{
    _cleanup_sbuf_ struct sbuf b = {0};
    bool found = false;
    for (size_t i = 0; i < s->join->n; i++) {
        const struct store_member *m = &s->join->v[i];
        bool is_us = str_eq(m->peer_url, own_url);
        const char *name = is_us ? s->name : m->name;
        found = found || is_us;
        if (!name[0]) {
            return ERR_SET(e, STATE, "the etcd member at %s has not started yet", m->peer_url);
        }
        if (check_value("name", name, e) < 0 || check_value("peer URL", m->peer_url, e) < 0) {
            return -ERR_INVALID;
        }
        sbuf_printf(&b, "%s%s=%s", i ? "," : "", name, m->peer_url);
    }
    if (!found) {
        return ERR_SET(e, STATE, "etcd has no member at %s", own_url);
    }
    *ret = sbuf_take(&b);
    return 0;
}

int etcd_format_defaults(const struct etcd_setup *s, char **ret, struct err *e)
{
    int r = check_setup(s, e);
    if (r < 0) {
        return r;
    }
    _cleanup_free_ char *peer = etcd_peer_url(s->address, s->peer_port);
    _cleanup_free_ char *client = etcd_client_url(s->address, s->client_port);
    _cleanup_free_ char *local = etcd_client_url("127.0.0.1", s->client_port);
    _cleanup_free_ char *cluster = s->join ? NULL : str_printf("%s=%s", s->name, peer);
    _cleanup_sbuf_ struct sbuf b = {0};
    if (s->join && (r = format_cluster(s, peer, &cluster, e)) < 0) {
        return r;
    }
    sbuf_printf(&b, "# Written by Mortar; changes are overwritten.\n"
                    "ETCD_NAME=\"%s\"\nETCD_DATA_DIR=\"%s\"\n",
                s->name, s->data_dir ? s->data_dir : ETCD_DATA_DIR);
    if (s->private) {
        sbuf_printf(&b, "ETCD_LISTEN_CLIENT_URLS=\"https://127.0.0.1:%d\"\nETCD_ADVERTISE_CLIENT_URLS=\"%s\"\n",
                    ETCD_PRIVATE_PORT, client);
    } else {
        sbuf_printf(&b, "ETCD_LISTEN_CLIENT_URLS=\"%s%s%s\"\nETCD_ADVERTISE_CLIENT_URLS=\"%s\"\n", client,
                    str_eq(client, local) ? "" : ",", str_eq(client, local) ? "" : local, client);
    }
    sbuf_printf(&b, "ETCD_LISTEN_PEER_URLS=\"%s\"\nETCD_INITIAL_ADVERTISE_PEER_URLS=\"%s\"\n", peer,
                peer);
    sbuf_printf(&b, "ETCD_INITIAL_CLUSTER=\"%s\"\nETCD_INITIAL_CLUSTER_STATE=\"%s\"\n"
                    "ETCD_INITIAL_CLUSTER_TOKEN=\"%s\"\n",
                cluster, s->join ? "existing" : "new", s->cluster_token);
    for (int is_peer = 0; is_peer < 2; is_peer++) {
        const char *side = is_peer ? "PEER_" : "";
        sbuf_printf(&b, "ETCD_%sTRUSTED_CA_FILE=\"%s\"\nETCD_%sCERT_FILE=\"%s\"\n"
                        "ETCD_%sKEY_FILE=\"%s\"\nETCD_%sCLIENT_CERT_AUTH=\"true\"\n",
                    side, s->ca_file, side, s->cert_file, side, s->key_file, side);
    }
    /* facts/ha.md 2.5; the same on all members */
    sbuf_printf(&b, "ETCD_HEARTBEAT_INTERVAL=\"%d\"\nETCD_ELECTION_TIMEOUT=\"%d\"\n"
                    "ETCD_PRE_VOTE=\"true\"\nETCD_STRICT_RECONFIG_CHECK=\"true\"\n"
                    "ETCD_SNAPSHOT_COUNT=\"10000\"\nETCD_AUTO_COMPACTION_MODE=\"periodic\"\n"
                    "ETCD_AUTO_COMPACTION_RETENTION=\"10m\"\n"
                    "ETCD_QUOTA_BACKEND_BYTES=\"2147483648\"\n",
                s->slow_disk ? 250 : 100, s->slow_disk ? 2500 : 1000);
    *ret = sbuf_take(&b);
    return 0;
}
