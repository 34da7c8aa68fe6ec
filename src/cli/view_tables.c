/* SPDX-License-Identifier: Apache-2.0
 * Which fields of which object are shown, and the two pages that show several. */
#include "cli/view.h"

static const struct field host_columns[] = {
    {"NAME", "name"},
    {"ROLE", "role"},
    {"STATE", "state", FIELD_STATE},
    {"ADDRESS", "addresses.mgmt"},
    {">CPUS", "cpus", FIELD_COUNT},
    {">MEMORY", "memory_bytes", FIELD_SIZE},
    {">FREE", "memory_free_bytes", FIELD_SIZE},
    {"ETCD", "etcd"},
    {">VMS", "vms", FIELD_COUNT},
    {"KVM", "capabilities.kvm"},
    {">SEEN", "seen_age_s", FIELD_AGE},
    {0},
};
static const struct field host_fields[] = {
    {"Name", "name"},
    {"UUID", "uuid"},
    {"Role", "role"},
    {"State", "state", FIELD_STATE},
    {"Held back", "held"},
    {"Cannot come back", "waits"},
    {"Management address", "addresses.mgmt"},
    {"Storage address", "addresses.storage"},
    {"CPUs", "cpus", FIELD_COUNT},
    {"Memory", "memory_bytes", FIELD_SIZE},
    {"Free memory", "memory_free_bytes", FIELD_SIZE},
    {"KVM", "capabilities.kvm"},
    {"etcd", "etcd"},
    {"VMs", "vms"},
    {"Foreign domains", "foreign_domains"},
    {"Version", "version"},
    {"Seen", "seen_age_s", FIELD_AGE},
    {0},
};
const struct view view_host = {.columns = host_columns, .fields = host_fields, .empty = "no hosts"};

static const struct field pool_columns[] = {
    {"NAME", "name"},
    {"KIND", "kind"},
    {"STATE", "state", FIELD_STATE},
    {"COPIES", NULL, FIELD_COPIES},
    {"QUORUM", "quorum", FIELD_STATE},
    {"HEAL", NULL, FIELD_HEAL},
    {">SIZE", "size_bytes", FIELD_SIZE},
    {">FREE", "free_bytes", FIELD_SIZE},
    {"HA", "ha", FIELD_HA},
    {0},
};
static const struct field pool_fields[] = {
    {"Name", "name"},
    {"Kind", "kind"},
    {"State", "state", FIELD_STATE},
    {"Copies", NULL, FIELD_COPIES},
    {"Quorum", "quorum", FIELD_STATE},
    {"Heal", NULL, FIELD_HEAL},
    {"Mount", "mount"},
    {"Size", "size_bytes", FIELD_SIZE},
    {"Free", "free_bytes", FIELD_SIZE},
    {"HA", "ha", FIELD_HA},
    {0},
};
static const struct field brick_columns[] = {
    {"HOST", "host"},
    {"PATH", "path"},
    {"ROLE", "role"},
    {"ONLINE", "online", FIELD_STATE},
    {">TO HEAL", "heal_pending_files", FIELD_COUNT},
    {0},
};
static const struct field drift_columns[] = {
    {"OPTION", "option"},
    {"WAS", "had"},
    {"IS AGAIN", "want"},
    {0},
};
static const struct view pool_parts[] = {
    {.columns = brick_columns, .part_path = "bricks", .part_title = "Bricks"},
    {.columns = drift_columns, .part_path = "options_drift", .part_title = "Options that drifted"},
    {0},
};
const struct view view_pool = {
    .columns = pool_columns, .fields = pool_fields, .parts = pool_parts, .empty = "no pools"};

static const struct field image_columns[] = {
    {"NAME", "name"},
    {"STATE", "state", FIELD_STATE},
    {"POOL", "pool"},
    {"FORMAT", "format"},
    {">SIZE", "size_bytes", FIELD_SIZE},
    {0},
};
static const struct field image_fields[] = {
    {"Name", "name"},
    {"State", "state", FIELD_STATE},
    {"Pool", "pool"},
    {"Format", "format"},
    {"Size", "size_bytes", FIELD_SIZE},
    {"Path", "path"},
    {"Source", "source"},
    {"Checksum", "checksum"},
    {"Created", "created_ms", FIELD_TIME},
    {0},
};
const struct view view_image = {
    .columns = image_columns, .fields = image_fields, .empty = "no images"};

static const struct field vm_columns[] = {
    {"NAME", "name"},
    {"STATE", "state", FIELD_STATE},
    {"HOST", "host"},
    {"POOL", "pool"},
    {">CPUS", "cpus", FIELD_COUNT},
    {">MEMORY", "memory_bytes", FIELD_SIZE},
    {0},
};
static const struct field vm_fields[] = {
    {"Name", "name"},
    {"UUID", "uuid"},
    {"State", "state", FIELD_STATE},
    {"Desired", "desired"},
    {"Host", "host"},
    {"Epoch", "epoch"},
    {"Pool", "pool"},
    {"CPUs", "cpus", FIELD_COUNT},
    {"  at next start", "next.cpus", FIELD_COUNT},
    {"Memory", "memory_bytes", FIELD_SIZE},
    {"  at next start", "next.memory_bytes", FIELD_SIZE},
    {"HA", "ha"},
    {"Priority", "priority"},
    {"Waiting", "waiting"},
    {"Error", "error.message"},
    {"Crashes", "crashes.count", FIELD_COUNT},
    {"  last on", "crashes.host"},
    {"  when", "crashes.when_ms", FIELD_TIME},
    {"  because", "crashes.message"},
    {"Created", "created_ms", FIELD_TIME},
    {"Last migration from", "last_migration.from"},
    {"  to", "last_migration.to"},
    {"  when", "last_migration.when_ms", FIELD_TIME},
    {"  took", "last_migration.total_ms", FIELD_MS},
    {"  blackout", "last_migration.blackout_ms", FIELD_MS},
    {"  copied", "last_migration.bytes", FIELD_SIZE},
    {"  because", "last_migration.reason"},
    {0},
};
static const struct field disk_columns[] = {
    {"NAME", "name"},
    {"FORMAT", "format"},
    {">SIZE", "size_bytes", FIELD_SIZE},
    {"POOL", "pool"},
    {"PATH", "path"},
    {0},
};
static const struct field nic_columns[] = {
    {"NETWORK", "name"},
    {"MAC", "mac"},
    {0},
};
static const struct view vm_parts[] = {
    {.columns = disk_columns, .part_path = "disks", .part_title = "Disks"},
    {.columns = nic_columns, .part_path = "networks", .part_title = "Networks"},
    {0},
};
const struct view view_vm = {
    .columns = vm_columns, .fields = vm_fields, .parts = vm_parts, .empty = "no virtual machines"};

static const struct field network_columns[] = {
    {"NAME", "name"},
    {"BRIDGE", "bridge"},
    {"UPLINK", "uplink"},
    {"OUTSIDE", "outside"},
    {0},
};
const struct view view_network = {.columns = network_columns, .empty = "no networks"};

static const struct field task_columns[] = {
    {"ID", "id"},
    {"KIND", "kind"},
    {"OBJECT", "object"},
    {"STATE", "state", FIELD_STATE},
    {"PHASE", "phase"},
    {"STARTED", "started", FIELD_TIME},
    {0},
};
static const struct field task_fields[] = {
    {"ID", "id"},
    {"Kind", "kind"},
    {"Object", "object"},
    {"State", "state", FIELD_STATE},
    {"Phase", "phase"},
    {"Chosen", "why"},
    {"Note", "note"},
    {"Error", "error.message"},
    {"Hint", "error.hint"},
    {"Started", "started", FIELD_TIME},
    {"Ended", "ended", FIELD_TIME},
    {0},
};
static const struct field phase_columns[] = {
    {"PHASE", "name"},
    {"STATE", "state", FIELD_STATE},
    {"WHAT", "title"},
    {0},
};
static const struct view task_parts[] = {
    {.columns = phase_columns, .part_path = "phases", .part_title = "Phases"},
    {0},
};
const struct view view_task = {
    .columns = task_columns, .fields = task_fields, .parts = task_parts, .empty = "no tasks"};

static const struct field event_columns[] = {
    {">REV", "rev", FIELD_COUNT},
    {"WHEN", "when", FIELD_TIME},
    {"SEVERITY", "severity", FIELD_STATE},
    {"OBJECT", "object"},
    {"TEXT", "text"},
    {0},
};
const struct view view_event = {.columns = event_columns, .empty = "no events"};

static const struct field alarm_columns[] = {
    {"SEVERITY", "severity", FIELD_STATE},
    {"OBJECT", "object"},
    {"SINCE", "since", FIELD_TIME},
    {"TEXT", "text"},
    {0},
};
static const struct view view_alarm = {.columns = alarm_columns, .empty = "none"};

static const struct field cluster_etcd_members = {"members", "cluster.etcd.members", FIELD_COUNT};
static const struct field cluster_etcd_healthy = {"healthy", "cluster.etcd.healthy", FIELD_COUNT};
static const struct field cluster_name = {"name", "cluster.name"};

static void add_cluster_line(const json_t *status, bool color, struct sbuf *out)
{
    enum style style = STYLE_PLAIN;
    _cleanup_free_ char *name = view_text(&cluster_name, status, &style);
    _cleanup_free_ char *members = view_text(&cluster_etcd_members, status, &style);
    _cleanup_free_ char *healthy = view_text(&cluster_etcd_healthy, status, &style);
    size_t hosts = json_array_size(json_object_get(status, "hosts"));
    _cleanup_free_ char *etcd = str_printf("%s of %s", healthy, members);
    sbuf_printf(out, "Cluster ");
    text_styled(out, name, STYLE_BOLD, color);
    sbuf_printf(out, ": %zu host%s, etcd ", hosts, hosts == 1 ? "" : "s");
    text_styled(out, etcd, str_eq(members, healthy) ? STYLE_GOOD : STYLE_BAD, color);
    sbuf_printf(out, " members healthy\n");
    json_int_t foreign =
        json_integer_value(json_object_get(json_object_get(status, "cluster"), "foreign_domains"));
    if (foreign) {
        sbuf_printf(out, "Domains that are not Mortar's: %lld, see 'mortar host show'\n", (long long)foreign);
    }
}

/* Whether guests reach the world is said before anybody looks for it in a guest. */
static void add_network_lines(const json_t *status, bool color, struct sbuf *out)
{
    size_t i = 0;
    const json_t *n = NULL;
    json_array_foreach(json_object_get(status, "networks"), i, n)
    {
        const char *name = json_text_of(n, "name");
        const char *uplink = json_text_of(n, "uplink");
        const char *outside = json_text_of(n, "outside");
        _cleanup_free_ char *clean = text_clean(name ? name : "?");
        _cleanup_free_ char *ways = text_clean(uplink ? uplink : "");
        _cleanup_free_ char *lack = text_clean(outside ? outside : uplink ? "" : "no uplink");
        sbuf_printf(out, "Network %s: %s%s%s", clean, uplink ? "uplink " : "", ways,
                    uplink && *lack ? "; " : "");
        text_styled(out, lack, STYLE_WARN, color);
        sbuf_printf(out, "\n");
    }
}

void view_status(const json_t *status, bool color, struct sbuf *out)
{
    static const struct {
        const char *key;
        const char *title;
        const struct view *view;
    } parts[] = {
        {"hosts", "Hosts", &view_host},
        {"pools", "Pools", &view_pool},
        {"vms", "Virtual machines", &view_vm},
        {"alarms", "Alarms", &view_alarm},
    };
    add_cluster_line(status, color, out);
    add_network_lines(status, color, out);
    for (size_t i = 0; i < ELEMENTS(parts); i++) {
        sbuf_printf(out, "\n");
        text_styled(out, parts[i].title, STYLE_BOLD, color);
        sbuf_printf(out, "\n");
        view_list(parts[i].view, json_object_get(status, parts[i].key), 2, color, out);
    }
}

static const struct field finding_columns[] = {
    {"RESULT", "severity", FIELD_STATE},
    {"CHECK", "title"},
    {"OF", "subject"},
    {"FOUND", "value"},
    {0},
};
static const struct view view_finding = {.columns = finding_columns,
                                         .empty = "nothing was checked"};

void view_check(const json_t *check, bool color, struct sbuf *out)
{
    static const struct field verdict = {"verdict", "verdict", FIELD_TEXT};
    static const struct field title = {"title", "title", FIELD_TEXT};
    const json_t *findings = json_object_get(check, "findings");
    enum style style = STYLE_PLAIN;
    size_t i = 0;
    const json_t *f = NULL;
    view_list(&view_finding, findings, 0, color, out);
    json_array_foreach(findings, i, f)
    {
        if (str_eq(json_text_of(f, "severity"), "ok")) {
            continue;
        }
        const char *of = json_text_of(f, "subject");
        _cleanup_free_ char *kind = view_text(&title, f, &style);
        _cleanup_free_ char *name = str_printf("%s%s%s", kind, of && *of ? " " : "", of ? of : "");
        sbuf_printf(out, "\n");
        text_styled(out, name, STYLE_BOLD, color);
        sbuf_printf(out, "\n");
        for (size_t k = 0; k < 2; k++) {
            const char *text = json_text_of(f, k == 0 ? "meaning" : "action");
            _cleanup_free_ char *clean = text && *text ? text_clean(text) : NULL;
            if (clean) {
                sbuf_printf(out, "  %s%s\n", k == 0 ? "" : "→ ", clean);
            }
        }
    }
    _cleanup_free_ char *text = view_text(&verdict, check, &style);
    sbuf_printf(out, "\nVerdict: ");
    text_styled(out, text, STYLE_BOLD, color);
    sbuf_printf(out, "\n");
}
