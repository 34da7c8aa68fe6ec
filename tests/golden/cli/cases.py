# SPDX-License-Identifier: Apache-2.0
"""Cases: name → {"answers": what the agent says, "runs": [argv, ...], "files": {name: text}}."""


def ok(reply):
    return [{"reply": reply}]


def error(status, name, message, hint=None):
    body = {"name": name, "message": message}
    if hint:
        body["hint"] = hint
    return [{"status": status, "reply": {"error": body}}]


GIB = 1 << 30


def host(name, role="converged", state="online", **more):
    return {
        "name": name, "uuid": f"uuid-of-{name}", "role": role, "state": state,
        "addresses": {"mgmt": "10.77.0.1" + name[-1], "storage": "10.78.0.1" + name[-1]},
        "inc": 1, "held": False, "waits": None, "cpus": 8, "cpu_model": "Some CPU", "qemu": "7.2.22", "memory_bytes": 32 * GIB, "memory_free_bytes": 20 * GIB + GIB // 2,
        "capabilities": {"kvm": True}, "etcd": "member", "vms": ["demo"] if name == "host1" else [],
        "foreign_domains": ["win"] if name == "host1" else [],
        "version": "0.1.0", "seen_age_s": 2, **more,
    }


HOSTS = [
    host("host1"), host("host2", state="silent", seen_age_s=4000),
    host("host3", role="witness", cpus=2, memory_bytes=2 * GIB, capabilities={"kvm": False}),
]
POOL = {
    "name": "vms", "uuid": "uuid-of-vms", "kind": "gluster", "state": "ready", "copies": 2, "arbiter": True,
    "bricks": [
        {"host": "host1", "path": "/data/gluster/vms", "role": "data", "online": True,
         "heal_pending_files": 3, "state": "ready"},
        {"host": "host2", "path": "/data/gluster/vms", "role": "data", "online": False,
         "heal_pending_files": 0, "state": "ready"},
        {"host": "host3", "path": "/data/gluster/vms", "role": "arbiter", "online": True,
         "heal_pending_files": 3, "state": "ready"},
    ],
    "quorum": True, "options_drift": [{"option": "performance.read-ahead", "want": "off", "had": "on"}],
    "mount": "/mnt/vms", "size_bytes": 100 * GIB, "free_bytes": 61 * GIB,
    "ha": {"on": False, "reason": "this version has no failover yet"},
}
PORTLESS = {**POOL, "name": "lost", "bricks": [{**b, "online": True, "heal_pending_files": 0} for b in POOL["bricks"]]}
PORTLESS["bricks"][1]["no_port"] = True
DIR_POOL = {
    "name": "local", "uuid": "uuid-of-local", "kind": "dir", "state": "ready", "copies": 1, "arbiter": False,
    "bricks": [{"host": "host1", "path": "/srv/vms", "role": "data", "online": True,
                "heal_pending_files": 0, "state": "ready"}],
    "quorum": True, "options_drift": [], "mount": "/srv/vms", "size_bytes": 10 * GIB,
    "free_bytes": 10 * GIB, "ha": {"on": False, "reason": "this version has no failover yet"},
}
VM = {
    "name": "demo", "uuid": "uuid-of-demo", "state": "running", "desired": "running",
    "host": "host1", "epoch": 4, "pool": "vms", "cpus": 2, "memory_bytes": GIB // 4,
    "image": "debian",
    "disks": [{"name": "disk0", "path": "/mnt/vms/vms/demo/disk0.qcow2", "format": "qcow2",
               "size_bytes": 2 * GIB, "pool": "vms"}],
    "networks": [{"name": "default", "mac": "52:54:00:00:00:01"}],
    "last_migration": {"from": "host2", "to": "host1", "total_ms": 1312, "blackout_ms": 83,
                       "bytes": 300 << 20, "when_ms": 1790000000000, "qemu_downtime_ms": 71,
                       "reason": "host1: 20.5 GiB of memory free, as asked"},
    "created_ms": 1790000000000, "error": None, "next": None, "ha": "restart", "priority": "normal", "waiting": None,
    "crashes": {"count": 2, "message": "QEMU ended by itself", "host": "host2", "when_ms": 1790000000000},
}
STOPPED = {**VM, "name": "web", "uuid": "uuid-of-web", "state": "stopped", "desired": "stopped",
           "pool": "local", "image": None, "cpus": 1, "memory_bytes": 512 << 20,
           "disks": [{"name": "disk0", "path": "/srv/vms/vms/web/disk0.qcow2", "format": "qcow2",
                      "size_bytes": GIB, "pool": "local"}], "last_migration": None}
STATUS = {
    "cluster": {"name": "lab", "uuid": "u", "hosts": 3, "etcd": {"members": 3, "healthy": 2},
                "foreign_domains": 1},
    "hosts": HOSTS, "pools": [POOL, DIR_POOL], "vms": [VM, STOPPED],
    "networks": [{"name": "default", "bridge": "mortar0", "uplink": "host1 eth1, host2 ens3",
                  "uplinks": [{"host": "host1", "nic": "eth1", "confirmed": True},
                              {"host": "host2", "nic": "ens3", "confirmed": True}],
                  "outside": None}],
    "alarms": [{"severity": "error", "object": "host2", "since": None,
                "text": "its agent is silent\u001b[31m red"}],
}
EMPTY_STATUS = {
    "cluster": {"name": "new", "uuid": "u", "hosts": 1, "etcd": {"members": 1, "healthy": 1}},
    "hosts": [host("host1")], "pools": [], "vms": [], "alarms": [],
    "networks": [{"name": "default", "bridge": "mortar0", "uplink": None, "uplinks": [],
                  "outside": "no uplink: guests reach each other on all hosts, not the outside world"}],
}
MIXED_STATUS = EMPTY_STATUS | {"networks": [
    {"name": "default", "bridge": "mortar0", "uplink": "host1 eth1",
     "uplinks": [{"host": "host1", "nic": "eth1", "confirmed": False}],
     "outside": "no uplink on host2: guests there reach neither the outside world nor those on hosts with one"}]}
PHASES = [("check", "Check both hosts"), ("claim", "Claim the migration"), ("copy", "Copy the memory"),
          ("handover", "Resume on the target")]


def task(state="running", phase="copy", gen=1, **more):
    """As op_task_view() makes it."""
    at = [name for name, _ in PHASES].index(phase)
    words = ["done"] * at + [state if state in ("running", "done") else "failed"]
    words += ["todo"] * (len(PHASES) - at - 1)
    phases = [{"name": name, "title": title, "state": word} for (name, title), word in zip(PHASES, words)]
    return {"id": "t7", "kind": "vm.migrate", "object": "demo", "state": state, "phase": phase,
            "phases": phases, "progress": None, "note": None, "why": None, "error": None, "result": None,
            "runner": "host1", "gen": gen, "started": 1790000000000,
            "ended": 0 if state == "running" else 1790000002000, **more}


FAILED = task("failed", gen=3, error={"name": "pool.no-quorum", "message": "pool 'vms' has no quorum",
                                      "hint": "bring host2 back"})
REPORT = {
    "host": "host2", "kind": "power", "strike_ms": 1790000000000, "silent_ms": 3012, "detected_ms": 3330,
    "fenced_ms": 6500, "back_ms": None,
    "vms": [{"vm": "demo", "from": "host2", "to": "host1", "epoch": 5, "owner_ms": 6560, "qemu_ms": 7700,
             "running_ms": 7735, "guest_ms": 12000, "guest_by": "guest"},
            {"vm": "web", "from": "host2", "to": None, "epoch": 0, "owner_ms": None, "qemu_ms": None,
             "running_ms": None, "guest_ms": None, "guest_by": None}],
    "stay": [{"vm": "calm", "host": "host1", "stall_ms": 1204}, {"vm": "mute", "host": "host1", "stall_ms": None}],
    "missing": ["host3 did not answer: its part is missing (no route)"],
}
BEFORE = {**REPORT, "strike_ms": 1789000000000, "back_ms": 31000, "missing": [], "stay": [],
          "vms": [{**REPORT["vms"][0], "guest_ms": 13004}]}
DRILL = {"id": "t7", "host": "host2", "kind": "power", "state": "done", "started_ms": 1790000000000, "report": REPORT}
HANG = {**DRILL, "id": "t6", "kind": "hang"}
BYTES = {"done": 100 << 20, "total": 300 << 20, "unit": "bytes", "rate": 60 << 20,
         "dirty_rate": 10 << 20, "eta_s": 4}
MOVED = task("done", "handover", 3)
STARTED = {"reply": {"task": "t7"}, "status": 202}


def steps(*tasks):
    return [{"reply": t} for t in tasks]


CASES = {
    "status": {
        "answers": {"GET /v1/status": ok(STATUS)},
        "runs": [["status"]],
    },
    "status-mixed": {
        "answers": {"GET /v1/status": ok(MIXED_STATUS)},
        "runs": [["status"]],
    },
    "status-empty": {
        "answers": {"GET /v1/status": ok(EMPTY_STATUS)},
        "runs": [["status"], ["status", "--json"]],
    },
    "check": {
        "answers": {"GET /v1/check": ok({
            "findings": [
                {"id": "cpu.kvm", "severity": "ok", "subject": "", "title": "KVM",
                 "value": "a guest of four bytes ran", "meaning": "", "action": ""},
                {"id": "link.state", "severity": "warning", "subject": "eth0",
                 "title": "network link", "value": "up, MTU 1500, 100 Mbit/s",
                 "meaning": "each guest's write travels this network once per copy",
                 "action": "use at least 1 Gbit/s for storage, better 10"},
                {"id": "package.version", "severity": "refuse", "subject": "xfsprogs",
                 "title": "package", "value": "not installed", "meaning": "Mortar needs it",
                 "action": "install it with apt"}],
            "verdict": "refuse"})},
        "runs": [["check"]],
    },
    "lists": {
        "answers": {
            "GET /v1/hosts": ok({"items": HOSTS}), "GET /v1/pools": ok({"items": [POOL, DIR_POOL]}),
            "GET /v1/vms": ok({"items": [VM, STOPPED]}), "GET /v1/tasks": ok({"items": [MOVED, FAILED]}),
            "GET /v1/images": ok({"items": []}),
            "GET /v1/networks": ok({"items": [{"name": "default", "bridge": "mortar0", "uplink": None, "uplinks": [],
                                               "outside": EMPTY_STATUS["networks"][0]["outside"]}]}),
            "GET /v1/events": ok({"items": [{"rev": 12, "when": 1790000000000, "severity": "info",
                                             "object": "demo", "text": "vm 'demo' moved from host1 to host2"}], "rev": 12}),
        },
        "runs": [["host", "ls"], ["pool", "ls"], ["vm", "ls"], ["vm", "ls", "--quiet"], ["image", "ls"],
                 ["network", "ls"], ["task", "ls"], ["events", "--since", "3"], ["--json", "image", "ls"]],
    },
    "show": {
        "answers": {
            "GET /v1/hosts/host1": ok(HOSTS[0]), "GET /v1/pools/vms": ok(POOL),
            "GET /v1/pools/lost": ok(PORTLESS), "GET /v1/vms/demo": ok(VM), "GET /v1/tasks/t7": ok(FAILED),
            "GET /v1/images/debian": ok({"name": "debian", "uuid": "uuid-of-debian", "state": "ready",
                                         "pool": "vms", "format": "qcow2", "size_bytes": 3 * GIB,
                                         "source": "/root/debian.qcow2", "checksum": "sha256:00",
                                         "path": "/mnt/vms/images/debian.qcow2",
                                         "created_ms": 1790000000000})},
        "runs": [["host", "show", "host1"], ["pool", "show", "vms"], ["pool", "show", "lost"], ["vm", "show", "demo"],
                 ["task", "show", "t7"], ["image", "show", "debian"], ["vm", "show", "a/../b c"]],
    },
    "drill": {
        "answers": {
            "GET /v1/drills/plan": ok({"host": "host2", "kind": "power", "seconds": 30, "vms": [], "stay": [],
                                       "text": "host2 is reset at once.\u001b[31m"}),
            "POST /v1/drills": [STARTED], "GET /v1/tasks/t7": ok(task("done", "handover")),
            "GET /v1/drills": ok({"items": [DRILL, HANG, {**DRILL, "id": "t5", "report": BEFORE}]})},
        "runs": [["drill", "--yes"], ["drill"], ["drill", "--host", "host2", "--kind", "power", "--yes", "--no-wait"],
                 ["drill", "--last"], ["drill", "--last", "--json"], ["drill", "--kind", "flood"], ["drill", "host2"]],
    },
    "drill-refused": {
        "answers": {
            "GET /v1/drills/plan": error(409, "object.state", "failover is on for no pool",
                                         "switch it on with 'mortar pool ha POOL'"),
            "GET /v1/drills": ok({"items": []})},
        "runs": [["drill", "--yes"], ["drill", "--last"]],
    },
    "why": {
        "answers": {
            "GET /v1/vms/demo/why": ok({
                "vm": "demo", "asked": "host1", "since_ms": 1790000000000,
                "items": [
                    {"at": 1790000000001, "after_ms": 0, "on": "host2", "kind": "hears", "fact": {},
                     "text": "host2 hears nothing of host1 any more, on any network"},
                    {"at": 1790000000401, "after_ms": 400, "on": "host2", "kind": "node", "fact": {},
                     "text": "host1 is being fenced\u001b[31m"},
                    {"at": 1790050000000, "after_ms": 49999599, "on": "host2", "kind": "own", "fact": {},
                     "text": "host2 owns it now, epoch 5: taken from host1, which is fenced (T4)"}],
                "missing": [{"host": "host1", "text": "host1 did not answer: its part is missing (no route)"},
                            {"host": "host3", "text": "host3 has forgotten what was before",
                             "from_ms": 1790000000000}]}),
            "GET /v1/vms/quiet/why": ok({"vm": "quiet", "asked": "host1", "since_ms": 1, "items": [], "missing": []}),
            "GET /v1/vms/none/why": error(404, "object.not-found", "there is no vm 'none'", "see 'mortar vm ls'")},
        "runs": [["vm", "why", "demo"], ["vm", "why", "quiet", "--since", "10m"], ["vm", "why", "none"],
                 ["vm", "why", "demo", "--since", "31d"], ["vm", "why"], ["vm", "why", "quiet", "--json"]],
    },
    "migrate": {
        "answers": {
            "POST /v1/vms/demo/migrate": [STARTED],
            "GET /v1/vms/demo": ok(VM),
            "GET /v1/tasks/t7": steps(task(phase="check"), task(progress=BYTES, gen=2), MOVED)},
        "runs": [["vm", "migrate", "demo", "--to", "host1"]],
    },
    "migrate-json": {
        "answers": {
            "POST /v1/vms/demo/migrate": [STARTED],
            "GET /v1/tasks/t7": steps(task(), MOVED)},
        "runs": [["vm", "migrate", "demo", "--json"], ["vm", "migrate", "demo", "--no-wait"],
                 ["vm", "migrate", "demo", "--quiet"]],
    },
    "task-fails": {
        "answers": {"GET /v1/tasks/t7": ok(FAILED), "GET /v1/tasks/t8": ok(task("cancelled")),
                    "POST /v1/tasks/t7/cancel": ok({})},
        "runs": [["task", "wait", "t7"], ["task", "wait", "t8"], ["task", "wait", "t9"],
                 ["task", "cancel", "t7", "--force"]],
    },
    "cluster": {
        "answers": {
            "POST /v1/init": [STARTED], "POST /v1/join": [STARTED], "POST /v1/leave": [STARTED],
            "POST /v1/hosts/host1/evacuate": [STARTED], "POST /v1/hosts/host1/admit": ok({}),
            "POST /v1/hosts/host1/fence": ok({}),
            "POST /v1/tokens": ok({"token": "mt1-abc", "command": "mortar join 10.77.0.11 --token mt1-abc",
                                   "valid_s": 3600}),
            "GET /v1/tasks/t7": ok(task("done", "handover"))},
        "runs": [["init", "lab", "--storage", "10.78.0.11", "--allow-emulation", "--quiet"],
                 ["init"], ["join", "10.77.0.11", "--token", "mt1-abc", "--role", "witness"],
                 ["token", "create", "--valid", "10m"], ["token", "create", "--quiet"],
                 ["leave"], ["host", "evacuate", "host1"], ["host", "admit", "host1"],
                 ["host", "fence", "host1", "--yes"], ["host", "fence", "host1"]],
    },
    "store": {
        "answers": {
            "POST /v1/store/save": ok({"hash": 1, "revision": 99, "totalKey": 80, "totalSize": 4096}),
            "POST /v1/store/restore": ok({"hash": 1, "revision": 99, "totalKey": 80, "totalSize": 4096, "gen": 1}),
            "POST /v1/store/clear": ok(None), "GET /v1/version": ok({"version": "0.1", "host": "host1"})},
        "runs": [["store", "save", "/root/store.snap"], ["store", "save"], ["store", "restore", "/root/store.snap"],
                 ["store", "restore", "/root/store.snap", "--yes"], ["store", "restore", "/root/s", "--yes", "--json"],
                 ["store", "clear", "--yes", "--quiet"], ["store", "clear", "--yes"]],
    },
    "uplink": {
        "answers": {
            "POST /v1/init": [STARTED], "POST /v1/join": [STARTED], "POST /v1/uplink": [STARTED],
            "POST /v1/uplink/confirm": [{"reply": {"task": "t8"}, "status": 202}],
            "DELETE /v1/uplink": [{"reply": {"task": "t8"}, "status": 202}],
            "GET /v1/tasks/t7": ok(task("done", "handover", result={"nic": "eth1", "state": "trial",
                                                                    "attached": True, "confirm_s": 90})),
            "GET /v1/tasks/t8": ok(task("done", "handover", result={"nic": "eth1", "state": "kept",
                                                                    "attached": True}))},
        "runs": [["init", "lab", "--uplink", "eth1"],
                 ["join", "10.77.0.11", "--token", "t", "--uplink", "eth1", "--uplink-confirm", "90"],
                 ["uplink", "set", "eth1", "--confirm", "90"], ["uplink", "set"],
                 ["uplink", "set", "eth1", "--confirm", "9"], ["uplink", "confirm"], ["uplink", "rm"]],
    },
    "pool-change": {
        "answers": {"POST /v1/pools": [STARTED], "DELETE /v1/pools/vms": [STARTED],
                    "GET /v1/tasks/t7": ok(task("done", "handover"))},
        "runs": [["pool", "create", "vms"],
                 ["pool", "create", "vms", "--copies=3", "--hosts", "host1,host2", "--hosts", "host3",
                  "--device", "/dev/vdb", "--wipe", "--force"],
                 ["pool", "create", "vms", "--type", "dir", "--brick", "/srv/vms", "--no-ha"],
                 ["pool", "rm", "vms"]],
    },
    "image-change": {
        "answers": {"GET /v1/pools": ok({"items": [POOL]}), "POST /v1/images": [STARTED],
                    "POST /v1/images/debian/export": [STARTED], "DELETE /v1/images/debian": [STARTED],
                    "GET /v1/tasks/t7": ok(task("done", "handover"))},
        "runs": [["image", "import", "/tmp/Debian 12.qcow2"],
                 ["image", "import", "https://example.org/x.vmdk?y=1", "--pool", "local",
                  "--checksum", "sha256:00"],
                 ["image", "import", "/tmp/12.qcow2"],
                 ["image", "export", "debian", "/tmp/out.vmdk", "--format", "vmdk"],
                 ["image", "rm", "debian"]],
    },
    "vm-change": {
        "answers": {"GET /v1/pools": ok({"items": [POOL, DIR_POOL]}), "POST /v1/vms": [STARTED],
                    "POST /v1/vms/demo/start": [STARTED], "POST /v1/vms/demo/stop": [STARTED],
                    "POST /v1/vms/demo/reset": [STARTED], "DELETE /v1/vms/demo": [STARTED],
                    "PATCH /v1/vms/demo": ok(VM), "GET /v1/tasks/t7": ok(task("done", "handover"))},
        "files": {"key.pub": "# mine\nssh-ed25519 AAAA me\n\nssh-rsa BBBB you\n",
                  "key": "-----BEGIN OPENSSH PRIVATE KEY-----\n", "user.yaml": "#cloud-config\n"},
        "runs": [["vm", "create", "demo", "--image", "debian", "--cpus", "2", "--memory", "512M",
                  "--disk", "10G", "--pool", "vms", "--network", "default", "--ssh-key", "{tmp}/key.pub",
                  "--cloud-init", "{tmp}/user.yaml"],
                 ["vm", "create", "demo", "--kernel", "/boot/vmlinuz", "--initrd", "/boot/initrd",
                  "--cmdline", "console=ttyS0 quiet", "--pool", "vms", "--no-start"],
                 ["vm", "create", "demo", "--image", "debian"],
                 ["vm", "create", "demo", "--image", "debian", "--ssh-key", "{tmp}/key"],
                 ["vm", "create", "demo", "--cmdline", "x"],
                 ["vm", "create", "demo"],
                 ["vm", "start", "demo"], ["vm", "stop", "demo"], ["vm", "stop", "demo", "--force"],
                 ["vm", "reset", "demo"], ["vm", "rm", "demo"],
                 ["vm", "create", "demo", "--image", "debian", "--pool", "vms", "--ha", "stay", "--priority", "high"],
                 ["vm", "create", "demo", "--image", "debian", "--ha", "always"],
                 ["vm", "set", "demo", "--memory", "2G"], ["vm", "set", "demo"],
                 ["vm", "set", "demo", "--ha", "none", "--priority", "low"],
                 ["vm", "set", "demo", "--priority", "urgent"]],
    },
    "errors": {
        "answers": {
            "GET /v1/status": error(409, "cluster.none", "this host is not part of a cluster",
                                    "run 'mortar init' or 'mortar join'"),
            "GET /v1/hosts": error(503, "store.unavailable", "etcd does not answer"),
            "GET /v1/pools": [{"status": 500, "text": "<html>"}],
            "GET /v1/vms": [{"text": "no json"}],
            "GET /v1/images": [{"drop": True}]},
        "runs": [["status"], ["host", "ls"], ["pool", "ls"], ["vm", "ls"], ["image", "ls"],
                 ["vm", "show", "nobody"], ["--socket", "{tmp}/none", "status"],
                 ["--socket", "x", "--host", "h", "status"]],
    },
    "usage": {
        "answers": {},
        "runs": [[], ["vm"], ["vm", "fly"], ["fly"], ["vm", "show"], ["vm", "show", "a", "b"],
                 ["vm", "stop", "demo", "--farce"], ["pool", "create", "x", "--no"],
                 ["pool", "create", "x", "--copies"], ["pool", "create", "x", "--copies", "4"],
                 ["pool", "create", "x", "--type", "ceph"], ["pool", "create", "X"],
                 ["vm", "create", "x", "--memory", "12X"], ["vm", "create", "x", "--cpus", "0"],
                 ["vm", "create", "x", "--cpus", "129"],
                 ["vm", "create", "x", "--memory", "63M"],
                 ["vm", "create", "x", "--cpus", "1", "--cpus", "2"], ["vm", "show", ""],
                 ["join", "10.0.0.1"], ["token", "create", "--valid", "1y"], ["completion", "fish"],
                 ["status", "--json=yes"], ["pool", "create", "x", "--hosts", ","],
                 ["vm", "create", "x", "--cloud-init", "/none"]],
    },
    "help": {
        "answers": {},
        "runs": [["help"], ["uplink", "set", "-h"], ["help", "vm", "migrate"], ["vm", "console", "--help"], ["join", "-h"],
                 ["--version"], ["help", "vm", "fly"], ["help", "pool"], ["vm", "--help"], ["help", "fly"]],
    },
    "completion": {"answers": {}, "runs": [["completion", "bash"]]},
    "version": {
        "answers": {"GET /v1/version": ok({"version": "0.1.0", "host": "host1"})},
        "runs": [["version"], ["version", "--json"], ["--socket", "{tmp}/none", "version"]],
    },
}
