/* SPDX-License-Identifier: Apache-2.0
 * The table itself. After a change run the tests with MORTAR_GOLDEN=update: they rewrite the man
 * page's lists and the golden outputs. */
#include "cli/verb.h"

#include <string.h>

#include "base/limits.h"
#include "base/str.h"
#include "cli/handlers.h"
#include "cli/view.h"
#include "wire/names.h"

#define ROLES "converged|storage|compute|witness"

/* An argument that is only part of the path. */
#define OBJECT(noun_) {.name = "NAME", .noun = noun_, .needed = true}
#define NEW_NAME {.name = "NAME", .kind = VAL_NAME, .field = "name", .needed = true}
#define TASK_ID {.name = "ID", .noun = NOUN_TASK, .needed = true}
#define FORCE(help_) {.name = "force", .kind = VAL_FLAG, .field = "force", .help = help_}

static const struct param globals[] = {
    {.name = "json", .kind = VAL_FLAG, .help = "print the API's object as JSON"},
    {.name = "quiet", .kind = VAL_FLAG,
     .help = "lists: names only; else no progress and no summary"},
    {.name = "no-wait", .kind = VAL_FLAG,
     .help = "print the task's id and do not wait for its end"},
    {.name = "socket", .value = "PATH",
     .help = "the agent's socket (default " WIRE_SOCKET_PATH ")"},
    {.name = "host", .value = "ADDRESS", .help = "ask the agent of another host over HTTPS"},
    {.name = "help", .kind = VAL_FLAG, .help = "show help for the command (-h)"},
    {.name = "version", .kind = VAL_FLAG, .help = "print the version of this command"},
    {0},
};

#define MGMT {.name = "mgmt", .value = "ADDRESS", .field = "mgmt", \
    .help = "this host's address for management (needed when it has more than one)"}
#define STORAGE {.name = "storage", .value = "ADDRESS", .field = "storage", \
    .help = "this host's address for storage traffic (default: the management address)"}
#define ROLE(help_) {.name = "role", .kind = VAL_CHOICE, .value = ROLES, .field = "role", \
    .help = help_, .fallback = "converged"}

#define CONFIRM(name_) {.name = name_, .kind = VAL_DURATION, .value = "SECONDS", \
    .field = "uplink_confirm_s", .min = 10, .max = 600, \
    .help = "how long a card that was in use stays without confirmation (default 60)"}
#define UPLINK {.name = "uplink", .value = "NIC", .field = "uplink", \
    .help = "card that leads guests to the outside; see 'mortar help uplink set'"}

static const struct param init_options[] = {
    MGMT,
    STORAGE,
    ROLE("what this host is for"),
    UPLINK,
    CONFIRM("uplink-confirm"),
    {.name = "allow-emulation", .kind = VAL_FLAG, .field = "allow_emulation",
     .help = "run guests by emulation on hosts without KVM; slow, for trials"},
    {0},
};
static const struct param join_options[] = {
    {.name = "token", .value = "TOKEN", .field = "token", .needed = true,
     .help = "what 'mortar token create' printed there"},
    MGMT,
    STORAGE,
    {.name = "role", .kind = VAL_CHOICE, .value = ROLES, .field = "role",
     .help = "what this host is for (default: what the token says)"},
    UPLINK,
    CONFIRM("uplink-confirm"),
    {0},
};
static const struct param uplink_options[] = {
    CONFIRM("confirm"),
    {0},
};
static const struct param token_options[] = {
    ROLE("role of the host that uses it"),
    {.name = "valid", .kind = VAL_DURATION, .value = "TIME", .field = "valid_s", .min = 60,
     .max = 86400, .fallback = "1h", .help = "how long it can be used"},
    {0},
};
static const struct param pool_options[] = {
    {.name = "type", .kind = VAL_CHOICE, .value = "gluster|dir", .field = "kind",
     .fallback = "gluster", .help = "mirrored by GlusterFS, or a directory of one host"},
    {.name = "copies", .kind = VAL_NUMBER, .value = "2|3", .field = "copies", .min = 2, .max = 3,
     .help = "full copies of the data (gluster: default 2, which needs an arbiter)"},
    {.name = "hosts", .kind = VAL_LIST, .value = "A,B", .field = "hosts", .noun = NOUN_HOST,
     .help = "hosts that hold the copies (default: chosen)"},
    {.name = "arbiter", .value = "HOST", .field = "arbiter", .noun = NOUN_HOST,
     .help = "host that judges between two copies (default: chosen)"},
    {.name = "brick", .kind = VAL_PATH, .value = "PATH", .field = "path",
     .help = "directory for the data on each host (default /data/gluster/NAME)"},
    {.name = "device", .kind = VAL_DEVICES, .value = "DEVICE", .field = "device",
     .help = "disk that gets an XFS for the data on each host, or HOST=DEVICE,HOST=DEVICE"},
    {.name = "wipe", .kind = VAL_FLAG, .field = "wipe",
     .help = "format the disk although it holds data; the data is lost"},
    {.name = "no-ha", .kind = VAL_FLAG, .field = "no_ha",
     .help = "accept two copies without arbiter: no failover"},
    FORCE("accept a brick on the root file system"),
    {0},
};
static const struct param pool_ha_options[] = {
    {.name = "off", .kind = VAL_UNFLAG, .field = "on", .help = "switch failover off"},
    {.name = "profile", .kind = VAL_CHOICE, .value = "fast|standard|relaxed", .field = "profile",
     .help = "how long a silent host is waited for, in the whole cluster (default: as it is)"},
    {0},
};
static const struct param import_options[] = {
    {.name = "name", .kind = VAL_NAME, .value = "NAME", .field = "name",
     .help = "name of the image (default: from the file's name)"},
    {.name = "pool", .value = "POOL", .field = "pool", .noun = NOUN_POOL,
     .help = "pool to keep it on (default: the only pool)"},
    {.name = "format", .kind = VAL_CHOICE, .value = "qcow2|raw|vmdk", .field = "format",
     .help = "format of the source (default: recognised)"},
    {.name = "checksum", .value = "sha256:HEX", .field = "checksum",
     .help = "refuse the source unless it has this checksum"},
    {0},
};
static const struct param export_options[] = {
    {.name = "format", .kind = VAL_CHOICE, .value = "qcow2|raw|vmdk", .field = "format",
     .fallback = "qcow2", .help = "format to write"},
    {0},
};
#define HA_POLICY(fallback_) {.name = "ha", .kind = VAL_CHOICE, .value = "restart|stay|none", .field = "ha", \
    .fallback = fallback_, .help = "what is done when its host or its QEMU falls"}
#define PRIORITY(fallback_) {.name = "priority", .kind = VAL_CHOICE, .value = "low|normal|high", \
    .field = "priority", .fallback = fallback_, .help = "which machines are started again first"}
#define POLICIES "With --ha restart a machine is started again when its QEMU falls, and on another host when its " \
    "own was fenced (see 'mortar pool ha'). With stay it waits for its own host. With none it stays down " \
    "until it is started by hand."

static const struct param vm_create_options[] = {
    {.name = "image", .value = "IMAGE", .field = "image", .noun = NOUN_IMAGE,
     .help = "image to clone for the first disk"},
    {.name = "cpus", .kind = VAL_NUMBER, .value = "N", .field = "cpus", .min = 1,
     .max = LIMIT_VM_CPUS, .fallback = "1", .help = "virtual processors"},
    {.name = "memory", .kind = VAL_SIZE, .value = "SIZE", .field = "memory_bytes",
     .min = LIMIT_VM_MEMORY_MIN_BYTES, .max = LIMIT_VM_MEMORY_MAX_BYTES, .fallback = "1G",
     .help = "memory, such as 512M or 4G"},
    {.name = "disk", .kind = VAL_SIZE, .value = "SIZE", .field = "disk_bytes",
     .min = LIMIT_VM_DISK_MIN_BYTES, .max = LIMIT_VM_DISK_MAX_BYTES,
     .help = "size of the first disk (default: the image's)"},
    {.name = "pool", .value = "POOL", .field = "pool", .noun = NOUN_POOL,
     .help = "pool for its disks (default: the only pool)"},
    {.name = "network", .kind = VAL_LIST, .value = "A,B", .field = "networks", .noun = NOUN_NETWORK,
     .help = "networks it is attached to (default: the cluster's default network)"},
    {.name = "ssh-key", .kind = VAL_KEYS, .value = "FILE", .field = "ssh_keys",
     .max = WIRE_SSH_KEYS_LIMIT_BYTES, .help = "public keys that may log in; may be repeated"},
    {.name = "cloud-init", .kind = VAL_FILE, .value = "FILE", .field = "cloud_init",
     .max = WIRE_CLOUD_INIT_LIMIT_BYTES, .help = "cloud-init user data"},
    {.name = "kernel", .kind = VAL_PATH, .value = "FILE", .field = "kernel",
     .help = "boot this kernel directly; copied to the pool by the agent"},
    {.name = "initrd", .kind = VAL_PATH, .value = "FILE", .field = "initrd",
     .help = "initial RAM disk for --kernel"},
    {.name = "cmdline", .value = "TEXT", .field = "cmdline", .help = "command line for --kernel"},
    {.name = "demo-channel", .kind = VAL_FLAG, .field = "demo_channel",
     .help = "give the demo guest the channel on which it beats; of no use for others"},
    HA_POLICY("restart"),
    PRIORITY("normal"),
    {.name = "no-start", .kind = VAL_UNFLAG, .field = "start", .help = "define it only"},
    {0},
};
static const struct param vm_stop_options[] = {
    FORCE("cut its power instead of asking the guest"),
    {0},
};
static const struct param vm_set_options[] = {
    {.name = "cpus", .kind = VAL_NUMBER, .value = "N", .field = "cpus", .min = 1,
     .max = LIMIT_VM_CPUS, .help = "virtual processors"},
    {.name = "memory", .kind = VAL_SIZE, .value = "SIZE", .field = "memory_bytes",
     .min = LIMIT_VM_MEMORY_MIN_BYTES, .max = LIMIT_VM_MEMORY_MAX_BYTES, .help = "memory"},
    HA_POLICY(NULL),
    PRIORITY(NULL),
    {0},
};
static const struct param vm_migrate_options[] = {
    {.name = "to", .value = "HOST", .field = "to", .noun = NOUN_HOST,
     .help = "host to move to (default: the best one)"},
    {0},
};
static const struct param vm_why_options[] = {
    {.name = "since", .kind = VAL_DURATION, .value = "TIME", .field = "since_s", .min = 1,
     .max = WIRE_WHY_SINCE_MAX_S, .fallback = "1d", .help = "how far back, such as 10m, 2h or 3d"},
    {0},
};
static const struct param drill_options[] = {
    {.name = "host", .value = "HOST", .field = "host", .noun = NOUN_HOST,
     .help = "host that fails (default: the other one with most machines)"},
    {.name = "kind", .kind = VAL_CHOICE, .value = "power|hang|network", .field = "kind", .fallback = "power",
     .help = "how it fails"},
    {.name = "yes", .kind = VAL_FLAG, .field = "yes", .help = "do not ask for confirmation"},
    {.name = "last", .kind = VAL_FLAG, .field = "last", .help = "show the last report, begin nothing"},
    {0},
};
static const struct param fence_options[] = {
    {.name = "yes", .kind = VAL_FLAG, .field = "yes", .help = "do not ask for confirmation"},
    {0},
};
static const struct param cancel_options[] = {
    FORCE("break off what does not hear, also when the host that works on it is silent"),
    {0},
};
static const struct param event_options[] = {
    {.name = "since", .kind = VAL_NUMBER, .value = "REV", .field = "since", .max = INT64_MAX,
     .help = "only later ones than this revision"},
    {.name = "follow", .kind = VAL_FLAG, .field = "follow", .help = "go on as they happen"},
    {0},
};

static const struct verb verbs[] = {
    {.words = "check", .help = "measure whether this host can be a member", .run = run_check,
     .path = "/v1/check",
     .more = "Looks at processors, KVM, memory, disks, links, clock, packages and ports, and says "
             "of each finding what it means and what to do. Fails when a finding forbids "
             "membership."},
    {.words = "init", .options = init_options, .help = "make this host the first of a new cluster",
     .args = {{.name = "NAME", .kind = VAL_NAME, .field = "name", .fallback = "mortar",
               .help = "name of the cluster (default mortar)"}},
     .run = run_change, .method = "POST", .path = "/v1/init", .done = "the cluster is up",
     .next = "on this host run 'mortar token create', on each further one what it prints",
     .more = "Run again after an interruption it finishes what is left. Without --uplink no network "
             "card is touched: guests reach each other on all hosts, not the outside."},
    {.words = "join", .options = join_options, .help = "make this host a member of a cluster",
     .args = {{.name = "ADDRESS", .field = "address", .needed = true,
               .help = "management address of the host where 'mortar init' ran"}},
     .run = run_change, .method = "POST", .path = "/v1/join",
     .done = "this host is a member of the cluster",
     .more = "Run again after an interruption it finishes what is left."},
    {.words = "leave", .help = "take this host out of its cluster",
     .run = run_change, .method = "POST", .path = "/v1/leave",
     .done = "this host left the cluster",
     .more = "The other hosts take it out of the storage peers and the cluster's store; then it gets "
             "the settings back that it had before. Bricks and running virtual machines must be "
             "elsewhere, and no host is out, on its way back or draining after a boot; the host where the cluster "
             "was made leaves last."},
    {.words = "token create", .options = token_options, .help = "make a token for one join",
     .run = run_token_create, .method = "POST", .path = "/v1/tokens",
     .more = "Prints the command to run on the new host. A token can be used once."},
    {.words = "status", .help = "show cluster, networks, hosts, pools, virtual machines and alarms",
     .run = run_status, .path = "/v1/status"},

    {.words = "store save", .args = {{.name = "FILE", .kind = VAL_PATH, .field = "path", .needed = true}},
     .help = "save a snapshot of the cluster's store", .run = run_store, .method = "POST", .path = "/v1/store/save",
     .done = "the store is saved in {}",
     .more = "What the cluster knows of its hosts, pools and virtual machines; no disks. The file is written on this host: keep "
             "it elsewhere. It holds cloud-init data and hashes of tokens."},
    {.words = "store restore", .args = {{.name = "FILE", .kind = VAL_PATH, .field = "path", .needed = true}},
     .options = fence_options, .help = "begin the cluster's store anew from a snapshot", .run = run_store, .method = "POST",
     .path = "/v1/store/restore", .done = "the store is restored from {}; 'mortar status' tells what is waited for",
     .more = "For a store whose members are lost, or whose data is bad. Run it on one host, after 'mortar store clear' on all "
             "others that carried a part of the store. A host that does not answer is taken for off: if it is only cut off, its "
             "part must be cleared before it is reached again. Running virtual machines go on; nothing is started, moved or changed until "
             "every host has said what runs there, or was fenced because it does not answer. What was made after the "
             "snapshot is not known any more; what runs of it is left alone. The data that is replaced is put aside."},
    {.words = "store clear", .options = fence_options, .help = "put this host's part of the cluster's store aside",
     .run = run_store, .method = "POST", .path = "/v1/store/clear",
     .done = "etcd is stopped here, its data is beside /var/lib/etcd/mortar; it is made a member again after a restore",
     .more = "Only before 'mortar store restore' on another host: with most parts gone the store does not answer any more."},

    {.words = "host ls", .help = "list the hosts", .run = run_list, .path = "/v1/hosts",
     .view = &view_host},
    {.words = "host show", .args = {OBJECT(NOUN_HOST)}, .help = "show a host", .run = run_show,
     .path = "/v1/hosts/{}", .view = &view_host},
    {.words = "host evacuate", .args = {OBJECT(NOUN_HOST)},
     .help = "move all virtual machines away from a host", .run = run_change, .method = "POST",
     .path = "/v1/hosts/{}/evacuate", .done = "host '{}' runs no virtual machine any more",
     .more = "The host stays in maintenance, where nothing is started or moved to, until "
             "'mortar host activate'."},
    {.words = "host activate", .args = {OBJECT(NOUN_HOST)},
     .help = "let a host run virtual machines again", .run = run_change, .method = "POST",
     .path = "/v1/hosts/{}/activate", .done = "host '{}' is active"},

    {.words = "host fence", .args = {OBJECT(NOUN_HOST)}, .options = fence_options,
     .help = "declare a host dead: its virtual machines start elsewhere", .run = run_host_fence, .method = "POST",
     .path = "/v1/hosts/{}/fence", .done = "host '{}' is being fenced; 'mortar vm ls' shows where its machines start",
     .more = "For a host that is broken in a way that failover does not notice: it answers, but does no work. It is cut "
             "off from the storage as if it had fallen silent, and every other brick host must have done so and drained "
             "before a machine starts elsewhere: there is no way to skip that. A host that still runs ends its machines, "
             "and comes back by itself. To empty a host that is well, use 'mortar host evacuate'."},
    {.words = "host admit", .args = {OBJECT(NOUN_HOST)},
     .help = "let a host in again that was fenced again and again", .run = run_change, .method = "POST",
     .path = "/v1/hosts/{}/admit", .done = "host '{}' is let in when it runs",
     .more = "A host that failover has fenced twice without an hour as a full member in between stays cut off, "
             "so that it cannot take its virtual machines down a third time. First find out why: a power "
             "supply, a link, memory. A host that was fenced once is let in by itself."},

    {.words = "uplink set", .options = uplink_options,
     .args = {{.name = "NIC", .field = "uplink", .needed = true,
               .help = "network card of this host, see 'ip -br link'"}},
     .help = "lead this host's guests to the outside through a network card", .run = run_change,
     .method = "POST", .path = "/v1/uplink", .done = "guests here reach the outside through {}",
     .more = "The card becomes a port of the guests' bridge; its addresses, routes and MTU move to the "
             "bridge, and connections go on. If it had any, all is undone after 60 s, or at a reboot, "
             "unless 'mortar uplink confirm' is run on this host. Give every host that runs virtual "
             "machines an uplink to the same network: guests are placed only on hosts with one as soon "
             "as one is confirmed. Refused are cards with an address on loan (DHCP), wireless cards, the "
             "card of the storage network, and cards that another program manages."},
    {.words = "uplink confirm", .help = "keep this host's uplink", .run = run_change, .method = "POST",
     .path = "/v1/uplink/confirm", .done = "the uplink is kept, also after a reboot"},
    {.words = "uplink rm", .help = "give this host's uplink card back", .run = run_change,
     .method = "DELETE", .path = "/v1/uplink",
     .done = "the card is as it was; guests here do not reach the outside",
     .more = "Addresses and routes go back to the card."},

    {.words = "pool create", .args = {NEW_NAME}, .options = pool_options, .help = "create a pool",
     .run = run_pool_create, .method = "POST", .path = "/v1/pools", .done = "pool '{}' is ready",
     .more = "Prepares the bricks, makes one replica set with Mortar's option profile and mounts "
             "it on every host that runs virtual machines. A disk that holds anything is formatted "
             "only with --wipe. An arbiter's brick, which holds no data, may always lie on the root "
             "file system."},
    {.words = "pool ls", .help = "list the pools", .run = run_list, .path = "/v1/pools",
     .view = &view_pool},
    {.words = "pool show", .args = {OBJECT(NOUN_POOL)}, .help = "show a pool and its bricks",
     .run = run_show, .path = "/v1/pools/{}", .view = &view_pool},
    {.words = "pool ha", .args = {OBJECT(NOUN_POOL)}, .options = pool_ha_options,
     .help = "switch failover of a pool's virtual machines on or off", .run = run_change,
     .method = "POST", .path = "/v1/pools/{}/ha", .done = "failover of pool '{}' is switched",
     .more = "When a host falls silent, its virtual machines on the pool are started on another one, after "
             "every brick has cut the silent host off. It is on when every host's guard has proved that it "
             "holds the promises it needs. Machines that run already are covered from their next start on. It is "
             "not switched off, and its pool not removed, while a host is fenced or on its way back: nobody else "
             "would let that host in again, and nothing else keeps its last writes from the disks."},
    {.words = "pool rm", .args = {OBJECT(NOUN_POOL)}, .help = "remove an empty pool",
     .run = run_change, .method = "DELETE", .path = "/v1/pools/{}", .done = "pool '{}' is removed"},

    {.words = "image import", .options = import_options, .help = "copy a disk image into a pool",
     .args = {{.name = "SOURCE", .kind = VAL_SOURCE, .field = "source", .needed = true,
               .help = "file on the agent's host, or URL"}},
     .run = run_image_import, .method = "POST", .path = "/v1/images",
     .done = "the image is imported",
     .more = "The image is checked; one that refers to a backing file is refused, a vmdk is "
             "converted."},
    {.words = "image ls", .help = "list the images", .run = run_list, .path = "/v1/images",
     .view = &view_image},
    {.words = "image show", .args = {OBJECT(NOUN_IMAGE)}, .help = "show an image", .run = run_show,
     .path = "/v1/images/{}", .view = &view_image},
    {.words = "image rm", .args = {OBJECT(NOUN_IMAGE)}, .help = "remove an image",
     .run = run_change,
     .method = "DELETE", .path = "/v1/images/{}", .done = "image '{}' is removed"},
    {.words = "image export", .options = export_options, .help = "write an image to a file",
     .args = {OBJECT(NOUN_IMAGE),
              {.name = "FILE", .kind = VAL_PATH, .field = "path", .needed = true}},
     .run = run_change, .method = "POST", .path = "/v1/images/{}/export",
     .done = "image '{}' is exported"},

    {.words = "vm create", .args = {NEW_NAME}, .options = vm_create_options,
     .help = "create a virtual machine", .run = run_vm_create, .method = "POST", .path = "/v1/vms",
     .done = "vm '{}' is created", .more = POLICIES},
    {.words = "vm ls", .help = "list the virtual machines", .run = run_list, .path = "/v1/vms",
     .view = &view_vm},
    {.words = "vm show", .args = {OBJECT(NOUN_VM)}, .help = "show a virtual machine",
     .run = run_show, .path = "/v1/vms/{}", .view = &view_vm},
    {.words = "vm start", .args = {OBJECT(NOUN_VM)}, .help = "start a virtual machine",
     .run = run_change,
     .method = "POST", .path = "/v1/vms/{}/start", .done = "vm '{}' is running"},
    {.words = "vm stop", .args = {OBJECT(NOUN_VM)}, .options = vm_stop_options,
     .help = "shut a virtual machine down", .run = run_change, .method = "POST",
     .path = "/v1/vms/{}/stop",
     .done = "vm '{}' is stopped"},
    {.words = "vm reset", .args = {OBJECT(NOUN_VM)},
     .help = "reset a virtual machine without asking the guest",
     .run = run_change, .method = "POST", .path = "/v1/vms/{}/reset", .done = "vm '{}' is reset"},
    {.words = "vm rm", .args = {OBJECT(NOUN_VM)},
     .help = "remove a stopped virtual machine and its disks",
     .run = run_change, .method = "DELETE", .path = "/v1/vms/{}", .done = "vm '{}' is removed"},
    {.words = "vm set", .args = {OBJECT(NOUN_VM)}, .options = vm_set_options,
     .help = "change a virtual machine", .run = run_vm_set,
     .method = "PATCH",
     .path = "/v1/vms/{}", .done = "vm '{}' is changed",
     .more = "A running one keeps its processors and memory until it is stopped and started, or starts "
             "again after a failure; 'mortar vm show' shows both. A reset is no start. Policy and priority hold "
             "at once. " POLICIES},
    {.words = "vm migrate", .args = {OBJECT(NOUN_VM)}, .options = vm_migrate_options,
     .help = "move a running virtual machine to another host", .run = run_vm_migrate,
     .method = "POST",
     .path = "/v1/vms/{}/migrate", .done = "vm '{}' is moved",
     .more = "A move that fails while the memory is copied ends when the target has ended its copy, or says that this "
             "is not known."},
    {.words = "vm console", .args = {OBJECT(NOUN_VM)},
     .help = "attach to the serial console of a virtual machine",
     .run = run_vm_console, .path = "/v1/vms/{}/console",
     .more = "Leave with Ctrl-]. The console follows the machine when it moves to another host and "
             "ends when it stops."},

    {.words = "vm why", .args = {OBJECT(NOUN_VM)}, .options = vm_why_options,
     .help = "tell what happened to a virtual machine", .run = run_vm_why, .path = "/v1/vms/{}/why",
     .more = "Joins what every host noted: promises missed, silence, the steps of a fence, changes of owner "
             "with their epochs, starts and ends of QEMU, moves, storage that did not answer, starts that "
             "were refused. A host that does not answer is named. Each line shows when, and how long after "
             "the line before."},

    {.words = "network ls", .help = "list the networks", .run = run_list, .path = "/v1/networks",
     .view = &view_network},

    {.words = "task ls", .help = "list running and recent tasks", .run = run_list,
     .path = "/v1/tasks", .view = &view_task},
    {.words = "task show", .args = {TASK_ID}, .help = "show a task and its phases",
     .run = run_show, .path = "/v1/tasks/{}", .view = &view_task},
    {.words = "task wait", .args = {TASK_ID}, .help = "follow a task to its end",
     .run = run_task_wait, .path = "/v1/tasks/{}",
     .more = "Fails with the task's error when the task fails."},
    {.words = "task cancel", .args = {TASK_ID}, .options = cancel_options,
     .help = "ask a task to undo what it did", .run = run_task_cancel, .method = "POST",
     .path = "/v1/tasks/{}/cancel", .done = "task {} is asked to cancel",
     .more = "The host that works on it stops and undoes it. With --force the connection of a migration is "
             "cut as well, and when the host has been silent for 90 s another one undoes the task in its "
             "place. What the silent host still does then is not certain to be undone: a guest whose "
             "migration it completes all the same is started anew."},

    {.words = "drill", .options = drill_options, .help = "rehearse a failover and measure it",
     .run = run_drill, .method = "POST", .path = "/v1/drills",
     .more = "A host fails for true: power resets it at once, hang lets all its processes stand still, network "
             "lets nothing through its cards; the latter two end by themselves after some seconds. What will happen is "
             "said, and asked for, before. Refused unless failover is on, all hosts are there, nothing waits for heal, "
             "and the others have room for its machines; a file that was listed for heal just now is looked at again "
             "before it begins. The report tells when its silence was noticed, when it was "
             "fenced, when each machine had its new owner and ran, how long the guest was away (demo guests are "
             "listened to, of others QEMU's start counts), and the longest time for which no write of a demo guest that "
             "stayed was acknowledged; beside it the last drill of the same kind. The last ten are kept. Here --host is the host that fails; to ask "
             "another agent, say it before the word drill."},

    {.words = "events", .options = event_options, .help = "show what happened", .run = run_events,
     .path = "/v1/events", .view = &view_event},
    {.words = "version", .help = "print the versions of this command and of the agent",
     .run = run_version, .path = "/v1/version"},
    {.words = "help", .args = {{.name = "COMMAND"}, {.name = "WORD"}}, .help = "explain a command",
     .run = run_help},
    {.words = "completion", .args = {{.name = "SHELL", .kind = VAL_CHOICE, .value = "bash",
     .field = "shell",
                                   .needed = true}},
     .help = "print the completion script for a shell (bash)", .run = run_completion},
    {0},
};

const struct verb *verb_table(void)
{
    return verbs;
}

const struct param *verb_globals(void)
{
    return globals;
}

static bool first_word_is(const struct verb *v, const char *word)
{
    size_t n = strcspn(v->words, " ");
    return strlen(word) == n && strncmp(v->words, word, n) == 0;
}

static int refuse_verb(const char *group, const char *word, struct err *e)
{
    _cleanup_sbuf_ struct sbuf could = {0};
    for (const struct verb *v = verbs; v->words; v++) {
        if (first_word_is(v, group)) {
            sbuf_printf(&could, "%s%s", could.len ? ", " : "", strchr(v->words, ' ') + 1);
        }
    }
    if (!could.len) {
        (void)ERR_SET(e, USAGE, "unknown command '%.40s'", group);
    } else if (!word) {
        (void)ERR_SET(e, USAGE, "%s: what to do is missing: %s", group, could.data);
    } else {
        (void)ERR_SET(e, USAGE, "%s: unknown command '%.40s'; there are %s", group, word,
                      could.data);
    }
    return -ERR_USAGE;
}

int verb_find(int argc, char **argv, const struct verb **ret, int *ret_words, struct err *e)
{
    if (argc < 1) {
        return ERR_SET(e, USAGE, "a command is missing");
    }
    for (const struct verb *v = verbs; v->words; v++) {
        const char *second = strchr(v->words, ' ');
        if (first_word_is(v, argv[0]) && (!second || (argc > 1 && str_eq(second + 1, argv[1])))) {
            *ret = v;
            *ret_words = second ? 2 : 1;
            return 0;
        }
    }
    return refuse_verb(argv[0], argc > 1 ? argv[1] : NULL, e);
}
