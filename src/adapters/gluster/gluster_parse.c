/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/gluster/gluster_parse.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/xml.h"

#define PEER_IN_CLUSTER 3        /* GD_FRIEND_STATE_BEFRIENDED, glusterd.h of 10.3 */
#define OP_ERRNO_LOCKED 30802    /* EG_ANOTRANS, glusterd-errno.h of 10.3; seen */
#define OP_ERRNO_NO_VOLUME 30806 /* EG_NOVOL, there; seen for `volume info` */

/* ---- growing lists with a limit ---- */

static int grow(void **v, size_t n, size_t size, struct err *e)
{
    if (n >= GLUSTER_LIST_MAX) {
        return ERR_SET(e, LIMIT, "glusterd lists more than %d of one kind", GLUSTER_LIST_MAX);
    }
    *v = realloc(*v, (n + 1) * size);
    if (!*v) {
        abort();
    }
    memset((char *)*v + n * size, 0, size);
    return 0;
}
#define GROW(list, e) grow((void **)&(list)->v, (list)->n, sizeof((list)->v[0]), (e))

static unsigned small_number(const xmlNode *parent, const char *name)
{
    _cleanup_free_ char *s = xml_text(parent, name);
    uint64_t value = 0;
    return s && str_parse_u64(s, UINT16_MAX, &value, NULL) == 0 ? (unsigned)value : 0;
}

/* ---- the frame ---- */

struct reply {
    bool ok;
    long err_no;
    char *words; /* opErrstr in one line */
    char *note;
};

static void reply_done(struct reply *r)
{
    free(r->words);
    free(r->note);
}

static void one_line(char *s)
{
    for (; s && *s; s++) {
        if (*s == '\n' || *s == '\r' || *s == '\t') {
            *s = ' ';
        }
    }
}

static int reply_parse(const xmlDoc *doc, struct reply *ret, struct err *e)
{
    const xmlNode *root = xmlDocGetRootElement(doc);
    _cleanup_free_ char *op_ret = xml_text(root, "opRet");
    if (!op_ret || !str_eq((const char *)root->name, "cliOutput")) {
        return ERR_SET(e, PARSE, "the answer of gluster has no opRet");
    }
    uint64_t number = 0;
    _cleanup_free_ char *op_errno = xml_text(root, "opErrno");
    if (op_errno) {
        (void)str_parse_u64(op_errno, UINT16_MAX, &number, NULL); /* stays 0: the words decide */
    }
    ret->ok = str_eq(op_ret, "0");
    ret->err_no = (long)number;
    ret->words = xml_text(root, "opErrstr");
    ret->note = xml_text(root, "output");
    one_line(ret->words);
    one_line(ret->note);
    return 0;
}

/* glusterd's numbers are too coarse (30800 for nearly all), so that its words decide. The first
 * match wins: "option : … does not exist" is our defect or another version, not a missing object. */
static const struct {
    const char *piece;
    int code;
} known_words[] = {
    {"Another transaction is in progress", ERR_BUSY},
    {"Locking failed", ERR_BUSY},
    {"not in 'Peer in Cluster' state", ERR_BUSY}, /* for seconds after a glusterd restarted */
    /* staging found the volume half imported ("brick count is 0"), likewise; nothing was changed */
    {"Error, Validation Failed", ERR_BUSY},
    {"option :", ERR_GLUSTER},
    {"part of another cluster", ERR_FOREIGN},
    {"hosts one or more bricks", ERR_STATE},
    {"needs to be stopped", ERR_STATE},
    {"Quorum not met", ERR_NO_QUORUM},
    {"quorum is not met", ERR_NO_QUORUM},
    {"does not exist", ERR_NOT_FOUND},
    {"is not part of cluster", ERR_NOT_FOUND},
    {"already exists", ERR_EXISTS},
    {"is not connected", ERR_REMOTE},
    {"One or more nodes", ERR_REMOTE},
};

static int reply_error(const struct reply *r, struct err *e)
{
    const char *words = r->words && r->words[0] ? r->words
                        : r->note && r->note[0] ? r->note
                                                : "it gave no reason";
    int code = r->err_no == OP_ERRNO_LOCKED      ? ERR_BUSY
               : r->err_no == OP_ERRNO_NO_VOLUME ? ERR_NOT_FOUND
                                                 : ERR_GLUSTER;
    for (size_t i = 0; code == ERR_GLUSTER && i < ELEMENTS(known_words); i++) {
        if (strstr(words, known_words[i].piece)) {
            code = known_words[i].code;
            break;
        }
    }
    (void)err_set(e, code, 0, __FILE__, "%s", words); /* returns what we return below */
    if (code == ERR_NO_QUORUM) {
        err_hint(e, "start the missing hosts, or wait until they are connected again");
    }
    return -code;
}

static int open_reply(const char *xml, size_t len, xmlDoc **ret_doc, char **ret_note,
                      struct err *e)
{
    _cleanup_xml_ xmlDoc *doc = NULL;
    _cleanup_(reply_done) struct reply reply = {0};
    int r = xml_parse(xml, len, &doc, e);
    r = r < 0 ? r : reply_parse(doc, &reply, e);
    if (r == 0 && !reply.ok) {
        r = reply_error(&reply, e);
    }
    if (r < 0) {
        return r;
    }
    if (ret_note) {
        *ret_note = reply.note ? TAKE(reply.note) : str_dup("");
    }
    if (ret_doc) {
        *ret_doc = TAKE(doc);
    }
    return 0;
}

int check_gluster_reply(const char *xml, size_t len, char **ret_note, struct err *e)
{
    return open_reply(xml, len, NULL, ret_note, e);
}

/* ---- peers ---- */

void gluster_peers_done(struct gluster_peers *p)
{
    for (size_t i = 0; i < p->n; i++) {
        free(p->v[i].uuid);
        free(p->v[i].address);
        free(p->v[i].others);
    }
    free(p->v);
    *p = (struct gluster_peers){0};
}

static int peers_fill(const xmlNode *list, struct gluster_peers *peers, struct err *e)
{
    for (const xmlNode *x = xml_child(list, "peer"); x; x = xml_next(x, "peer")) {
        int r = GROW(peers, e);
        if (r < 0) {
            return r;
        }
        struct gluster_peer *p = &peers->v[peers->n++];
        p->uuid = xml_text(x, "uuid");
        p->address = xml_text(x, "hostname");
        if (!p->uuid || !p->address) {
            return ERR_SET(e, PARSE, "a peer has no uuid or no address");
        }
        p->local = str_eq(p->address, "localhost");
        p->connected = small_number(x, "connected") == 1;
        p->in_cluster = p->local || small_number(x, "state") == PEER_IN_CLUSTER;
    }
    return 0;
}

int parse_gluster_peers(const char *xml, size_t len, struct gluster_peers *ret, struct err *e)
{
    _cleanup_xml_ xmlDoc *doc = NULL;
    struct gluster_peers peers = {0};
    int r = open_reply(xml, len, &doc, NULL, e);
    if (r < 0) {
        return r;
    }
    r = peers_fill(xml_child(xmlDocGetRootElement(doc), "peerStatus"), &peers, e);
    if (r < 0) {
        gluster_peers_done(&peers);
        return r;
    }
    *ret = peers;
    return 0;
}

const struct gluster_peer *find_gluster_peer(const struct gluster_peers *p, const char *address)
{
    for (size_t i = 0; i < p->n; i++) {
        if (str_eq(p->v[i].address, address)) {
            return &p->v[i];
        }
    }
    return NULL;
}

/* ---- volumes ---- */

const char *gluster_volume_status_name(enum gluster_volume_status s)
{
    static const char *const names[] = {"created", "started", "stopped"};
    assert(s < ELEMENTS(names));
    return names[s];
}

static void volume_done(struct gluster_volume *v)
{
    for (size_t i = 0; i < v->n_bricks; i++) {
        free(v->bricks[i].host);
        free(v->bricks[i].path);
        free(v->bricks[i].host_uuid);
    }
    free(v->bricks);
    free(v->name);
    free(v->uuid);
    smap_done(&v->options);
}

void gluster_volumes_done(struct gluster_volumes *v)
{
    for (size_t i = 0; i < v->n; i++) {
        volume_done(&v->v[i]);
    }
    free(v->v);
    *v = (struct gluster_volumes){0};
}

struct gluster_volume *find_gluster_volume(const struct gluster_volumes *v, const char *name)
{
    for (size_t i = 0; i < v->n; i++) {
        if (str_eq(v->v[i].name, name)) {
            return &v->v[i];
        }
    }
    return NULL;
}

static int volume_add_brick(struct gluster_volume *v, const char *name, struct gluster_brick **ret,
                            struct err *e)
{
    const char *colon = name ? strstr(name, ":/") : NULL;
    if (!colon || colon == name) {
        return ERR_SET(e, PARSE, "'%.100s' is no brick", name ? name : "");
    }
    int r = grow((void **)&v->bricks, v->n_bricks, sizeof(v->bricks[0]), e);
    if (r < 0) {
        return r;
    }
    struct gluster_brick *b = &v->bricks[v->n_bricks++];
    b->host = str_printf("%.*s", (int)(colon - name), name);
    b->path = str_dup(colon + 1);
    b->host_uuid = str_dup("");
    *ret = b;
    return 0;
}

static int volume_add_bricks(const xmlNode *list, struct gluster_volume *v, struct err *e)
{
    for (const xmlNode *x = xml_child(list, "brick"); x; x = xml_next(x, "brick")) {
        _cleanup_free_ char *name = xml_text(x, "name");
        struct gluster_brick *b;
        int r = volume_add_brick(v, name, &b, e);
        if (r < 0) {
            return r;
        }
        char *uuid = xml_text(x, "hostUuid");
        if (uuid) {
            free(b->host_uuid);
            b->host_uuid = uuid;
        }
        b->arbiter = small_number(x, "isArbiter") == 1;
    }
    return 0;
}

static int volume_add_options(const xmlNode *list, struct gluster_volume *v, struct err *e)
{
    v->options.free_value = free;
    for (const xmlNode *x = xml_child(list, "option"); x; x = xml_next(x, "option")) {
        _cleanup_free_ char *name = xml_text(x, "name");
        char *value = xml_text(x, "value");
        if (!name || !value || v->options.n >= GLUSTER_LIST_MAX) {
            free(value);
            return ERR_SET(e, PARSE, "the options of a volume cannot be read");
        }
        smap_put(&v->options, name, value);
    }
    return 0;
}

static int volume_fill(const xmlNode *x, struct gluster_volume *v, struct err *e)
{
    unsigned status = small_number(x, "status");
    v->name = xml_text(x, "name");
    v->uuid = xml_text(x, "id");
    if (!v->name || !v->uuid || status > GLUSTER_STOPPED) {
        return ERR_SET(e, PARSE, "a volume has no name, no id or an unknown status");
    }
    v->status = (enum gluster_volume_status)status;
    v->replica = small_number(x, "replicaCount");
    v->arbiter = small_number(x, "arbiterCount");
    v->sets = small_number(x, "distCount");
    int r = volume_add_bricks(xml_child(x, "bricks"), v, e);
    return r < 0 ? r : volume_add_options(xml_child(x, "options"), v, e);
}

int parse_gluster_volumes(const char *xml, size_t len, struct gluster_volumes *ret, struct err *e)
{
    _cleanup_xml_ xmlDoc *doc = NULL;
    _cleanup_gluster_volumes_ struct gluster_volumes all = {0};
    int r = open_reply(xml, len, &doc, NULL, e);
    if (r < 0) {
        return r;
    }
    const xmlNode *list =
        xml_child(xml_child(xmlDocGetRootElement(doc), "volInfo"), "volumes");
    if (!list) {
        return ERR_SET(e, PARSE, "the answer of gluster lists no volumes");
    }
    for (const xmlNode *x = xml_child(list, "volume"); x; x = xml_next(x, "volume")) {
        r = GROW(&all, e);
        if (r == 0) {
            r = volume_fill(x, &all.v[all.n++], e);
        }
        if (r < 0) {
            return r;
        }
    }
    *ret = all;
    all = (struct gluster_volumes){0};
    return 0;
}

static struct gluster_brick *find_brick(struct gluster_volume *v, const char *host,
                                        const char *path)
{
    for (size_t i = 0; i < v->n_bricks; i++) {
        if (str_eq(v->bricks[i].host, host) && str_eq(v->bricks[i].path, path)) {
            return &v->bricks[i];
        }
    }
    return NULL;
}

static void brick_observe(const xmlNode *node, struct gluster_volume *v)
{
    _cleanup_free_ char *host = xml_text(node, "hostname");
    _cleanup_free_ char *path = xml_text(node, "path");
    struct gluster_brick *b = find_brick(v, host, path); /* NULL for "Self-heal Daemon" */
    if (b && small_number(node, "status") == 1) {
        _cleanup_free_ char *pid = xml_text(node, "pid");
        uint64_t number = 0;
        b->seen = GLUSTER_BRICK_ONLINE;
        if (pid && str_parse_u64(pid, INT32_MAX, &number, NULL) == 0) {
            b->pid = (pid_t)number;
        }
    }
}

int parse_gluster_status(const char *xml, size_t len, struct gluster_volume *volume,
                         struct err *e)
{
    _cleanup_xml_ xmlDoc *doc = NULL;
    int r = open_reply(xml, len, &doc, NULL, e);
    if (r < 0) {
        return r;
    }
    const xmlNode *x = xml_child(xml_child(xmlDocGetRootElement(doc), "volStatus"), "volumes");
    x = xml_child(x, "volume");
    _cleanup_free_ char *name = xml_text(x, "volName");
    if (!str_eq(name, volume->name)) {
        return ERR_SET(e, PARSE, "the status is not of volume '%s'", volume->name);
    }
    for (size_t i = 0; i < volume->n_bricks; i++) {
        volume->bricks[i].seen = GLUSTER_BRICK_OFFLINE;
        volume->bricks[i].pid = 0;
    }
    for (const xmlNode *n = xml_child(x, "node"); n; n = xml_next(n, "node")) {
        brick_observe(n, volume);
    }
    return 0;
}

/* ---- get-state ---- */

void gluster_state_done(struct gluster_state *s)
{
    free(s->uuid);
    smap_done(&s->options);
    gluster_peers_done(&s->peers);
    gluster_volumes_done(&s->volumes);
    *s = (struct gluster_state){0};
}

static void replace(char **field, const char *value)
{
    free(*field);
    *field = str_dup(value);
}

/* "Peer12.connected": the number after @prefix, counted from 1, and the rest behind the dot */
static const char *numbered(const char *key, const char *prefix, size_t *ret_index)
{
    size_t skip = strlen(prefix);
    size_t digits = str_starts(key, prefix) ? strspn(key + skip, "0123456789") : 0;
    uint64_t number = 0;
    _cleanup_free_ char *text = str_printf("%.*s", (int)digits, key + skip * (digits > 0));
    if (!digits || key[skip + digits] != '.' ||
        str_parse_u64(text, GLUSTER_LIST_MAX, &number, NULL) < 0 || number == 0) {
        return NULL;
    }
    *ret_index = (size_t)number - 1;
    return key + skip + digits + 1;
}

static int state_peer(struct gluster_peers *peers, const char *key, const char *value,
                      struct err *e)
{
    size_t i;
    const char *field = numbered(key, "Peer", &i);
    if (!field) {
        return 0;
    }
    if (i > peers->n) {
        return ERR_SET(e, PARSE, "the state of glusterd leaves out a peer");
    }
    if (i == peers->n) {
        int r = GROW(peers, e);
        if (r < 0) {
            return r;
        }
        peers->v[peers->n].uuid = str_dup("");
        peers->v[peers->n++].address = str_dup("");
    }
    struct gluster_peer *p = &peers->v[i];
    if (str_eq(field, "primary_hostname")) {
        replace(&p->address, value);
    } else if (str_eq(field, "othernames")) {
        replace(&p->others, value);
    } else if (str_eq(field, "uuid")) {
        replace(&p->uuid, value);
    } else if (str_eq(field, "state")) {
        p->in_cluster = str_eq(value, "Peer in Cluster");
    } else if (str_eq(field, "connected")) {
        p->connected = str_eq(value, "Connected");
    }
    return 0;
}

static int state_brick(struct gluster_volume *v, size_t i, const char *field, const char *value,
                       struct err *e)
{
    struct gluster_brick *b;
    if (i == v->n_bricks && str_eq(field, "path")) { /* always the first line of a brick */
        return volume_add_brick(v, value, &b, e);
    }
    if (i >= v->n_bricks) {
        return ERR_SET(e, PARSE, "the state of glusterd leaves out a brick");
    }
    b = &v->bricks[i];
    if (str_eq(field, "is_arbiter")) {
        b->arbiter = str_eq(value, "1");
    } else if (str_eq(field, "port")) { /* as status */
        b->no_port = str_eq(value, "0");
    } else if (str_eq(field, "status")) { /* written for this host's bricks only */
        b->seen = str_eq(value, "Started") ? GLUSTER_BRICK_ONLINE : GLUSTER_BRICK_OFFLINE;
    }
    return 0;
}

static unsigned state_number(const char *value)
{
    uint64_t number = 0;
    return str_parse_u64(value, UINT16_MAX, &number, NULL) == 0 ? (unsigned)number : 0;
}

static int state_volume_field(struct gluster_volume *v, const char *field, const char *value,
                              struct err *e)
{
    size_t brick;
    const char *brick_field = numbered(field, "Brick", &brick);
    if (brick_field) {
        return state_brick(v, brick, brick_field, value, e);
    }
    if (str_starts(field, "options.")) {
        if (v->options.n >= GLUSTER_LIST_MAX) {
            return ERR_SET(e, LIMIT, "a volume has more than %d options", GLUSTER_LIST_MAX);
        }
        smap_put(&v->options, field + strlen("options."), str_dup(value));
    } else if (str_eq(field, "name")) {
        replace(&v->name, value);
    } else if (str_eq(field, "id")) {
        replace(&v->uuid, value);
    } else if (str_eq(field, "status")) {
        v->status = str_eq(value, "Started")   ? GLUSTER_STARTED
                    : str_eq(value, "Stopped") ? GLUSTER_STOPPED
                                               : GLUSTER_CREATED;
    } else if (str_eq(field, "replica_count")) {
        v->replica = state_number(value);
    } else if (str_eq(field, "arbiter_count")) {
        v->arbiter = state_number(value);
    } else if (str_eq(field, "subvol_count")) {
        v->sets = state_number(value);
    }
    return 0;
}

static int state_volume(struct gluster_volumes *volumes, const char *key, const char *value,
                        struct err *e)
{
    size_t i;
    const char *field = numbered(key, "Volume", &i);
    if (!field) {
        return 0;
    }
    if (i > volumes->n) {
        return ERR_SET(e, PARSE, "the state of glusterd leaves out a volume");
    }
    if (i == volumes->n) {
        int r = GROW(volumes, e);
        if (r < 0) {
            return r;
        }
        struct gluster_volume *v = &volumes->v[volumes->n++];
        v->name = str_dup("");
        v->uuid = str_dup("");
        v->options.free_value = free;
    }
    return state_volume_field(&volumes->v[i], field, value, e);
}

static int state_line(struct gluster_state *s, const char *section, char *line, struct err *e)
{
    char *colon = strstr(line, ": ");
    if (!colon) {
        return 0; /* "Peer1.othernames:" without a value, empty lines */
    }
    *colon = '\0';
    const char *value = colon + 2;
    if (str_eq(section, "[Global]") && str_eq(line, "MYUUID")) {
        replace(&s->uuid, value);
    } else if (str_eq(section, "[Global options]")) {
        if (s->options.n >= GLUSTER_LIST_MAX) {
            return ERR_SET(e, LIMIT, "more than %d cluster-wide options", GLUSTER_LIST_MAX);
        }
        smap_put(&s->options, line, str_dup(value));
    } else if (str_eq(section, "[Peers]")) {
        return state_peer(&s->peers, line, value, e);
    } else if (str_eq(section, "[Volumes]")) {
        return state_volume(&s->volumes, line, value, e);
    }
    return 0;
}

int parse_gluster_state(const char *text, struct gluster_state *ret, struct err *e)
{
    _cleanup_free_ char *copy = str_dup(text);
    _cleanup_gluster_state_ struct gluster_state s = {.options = {.free_value = free}};
    const char *section = "";
    char *next = copy;
    for (char *line; (line = strsep(&next, "\n"));) {
        if (line[0] == '[') {
            section = line;
            continue;
        }
        int r = state_line(&s, section, line, e);
        if (r < 0) {
            return r;
        }
    }
    if (!s.uuid) {
        return ERR_SET(e, PARSE, "the state of glusterd does not name its host");
    }
    *ret = s;
    s = (struct gluster_state){0};
    return 0;
}

/* ---- a mount's own view ---- */

int parse_gluster_quorum(const char *text, struct gluster_quorum *ret, struct err *e)
{
    struct gluster_quorum q = {0};
    unsigned seen = 0;
    unsigned up = 2;
    _cleanup_free_ char *copy = str_dup(text);
    char *next = copy;
    for (const char *line; (line = strsep(&next, "\n"));) {
        unsigned index;
        unsigned value;
        if (sscanf(line, "child_count = %u", &value) == 1) {
            q.children = value;
        } else if (sscanf(line, "child_up[%u] = %u", &index, &value) == 2) {
            if (index >= 64 || index != seen || value > 1) {
                return ERR_SET(e, PARSE, "the mount lists its bricks in an unknown way");
            }
            q.children_up |= (uint64_t)value << index;
            seen++;
        } else if (sscanf(line, "up = %u", &value) == 1) {
            up = value;
        }
    }
    if (!q.children || seen != q.children || up > 1) {
        return ERR_SET(e, PARSE, "the mount does not say which bricks it sees");
    }
    q.met = up == 1;
    *ret = q;
    return 0;
}
