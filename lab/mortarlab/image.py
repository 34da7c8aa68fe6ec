# SPDX-License-Identifier: Apache-2.0
"""The trees below a host's own files: the base image and the layer with our packages.

    /var/cache/mortar/lab/base-HASH/tree    Debian, made by mmdebstrap from RECIPE
    /var/cache/mortar/lab/debs-HASH/tree    what installing our .debs changed (an overlay's upper)

HASH is over everything that makes the content, so an unchanged recipe is never built twice and a
changed one never uses an old tree. A build works in a directory of another name, in its own mount
and process namespace, and is renamed when complete: a killed build leaves no half-made image, no
mount and no process, only a directory that the next build removes.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import time

from . import state
from .command import LabError, clean_env, run, say

CACHE = pathlib.Path(os.environ.get("MORTAR_LAB_CACHE") or "/var/cache/mortar/lab")
BUILD_DEADLINE_S = 3600
PACKAGES_DEADLINE_S = 300
KEEP_BASES = 2
KEEP_PACKAGES = 6

RECIPE = {
    "suite": "bookworm",
    "packages": """
        systemd systemd-sysv dbus udev kmod procps iproute2 nftables openssh-server
        iputils-ping less bash-completion strace tcpdump socat curl ca-certificates openssl
        etcd-server etcd-client
        glusterfs-server glusterfs-client xfsprogs
        libvirt-daemon-system libvirt-daemon-driver-qemu libvirt-clients dnsmasq-base dmidecode
        qemu-system-x86 qemu-utils
        python3-minimal gnutls-bin
        libmicrohttpd12 libjansson4 libcurl3-gnutls libgnutls30 libvirt0 libxml2 libsystemd0
        """.split(),
    # Documentation and translations are left out for size; it changes nothing that runs.
    "dpkg": [
        "path-exclude=/usr/share/man/*",
        "path-exclude=/usr/share/doc/*",
        "path-exclude=/usr/share/locale/*",
    ],
    # Where a container differs from metal, the image makes up for it; docs/lab.md explains each.
    "files": {
        # The first process of a host. The machine's kernel is shared: a host may set what belongs
        # to its network, nothing else; and systemd itself raises fs.file-max before any unit runs.
        "/usr/sbin/mortar-lab-init": """\
#!/bin/sh
for path in /proc/sys/kernel /proc/sys/vm /proc/sys/fs /proc/sys/dev /sys/power; do
    [ ! -d $path ] || { mount --bind $path $path && mount -o remount,bind,ro $path; } || exit 1
done
[ ! -e /proc/sysrq-trigger ] || mount --bind /dev/null /proc/sysrq-trigger || exit 1
# Where /dev is not devtmpfs, systemd listens to udev only if this exists at its start; else no
# device unit ever appears, and a mount by uuid waits for 90 s.
mkdir -p /run/udev && : > /run/udev/control || exit 1
exec /lib/systemd/systemd
""",
        "/etc/nsswitch.conf": """\
passwd: files
group: files
shadow: files
hosts: files
networks: files
protocols: files
services: files
ethers: files
rpc: files
""",
        "/etc/resolv.conf": "",
        "/etc/machine-id": "",
        "/root/.hushlogin": "",
    },
    # Machines have their own SMBIOS uuid, hosts of a lab share one: libvirt would refuse every
    # migration as "to the same host".
    "append": {"/etc/libvirt/libvirtd.conf": '\nhost_uuid_source = "machine-id"\n'},
    "commands": [
        ["chmod", "755", "/usr/sbin/mortar-lab-init"],
        # Periodic jobs would disturb measurements, and cannot do their work without a network.
        ["systemctl", "mask", "apt-daily.timer", "apt-daily-upgrade.timer", "e2scrub_all.timer"],
        ["passwd", "-d", "root"],
    ],
}


def hash_of(value):
    """A short name for content: the same for equal values, on every machine."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def base_path():
    """Where the base image of the present recipe is or will be."""
    return CACHE / f"base-{hash_of(RECIPE)}"


@contextlib.contextmanager
def cache_lock(cache=CACHE):
    """One builder at a time; a second one waits and then finds the image ready."""
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another session builds an image; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def begin_build(target):
    """An empty directory to build target in; leftovers of killed builds go first."""
    for old in target.parent.glob("building-*"):
        shutil.rmtree(old)
    work = target.parent / f"building-{target.name}"
    work.mkdir(mode=0o755)
    return work


def apt_sources():
    """The machine's own Debian mirrors as sources.list lines, so that a site's mirror is used.

    Empty when apt does not know them yet: mmdebstrap then takes its default mirror.
    """
    done = run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)"]
        + ["Created-By: Packages"],
        check=False,
    )
    lines = []
    for line in done.stdout.splitlines():
        uri, release, component, *origin = line.split()
        if origin == ["Debian"] and component == "main" and release.startswith(RECIPE["suite"]):
            lines.append(f"deb {uri} {release} main")
    return lines


def apt_options():
    """How the machine's apt reaches its mirrors (a proxy, a frozen mirror): needed in the build."""
    wanted = re.compile(r"Acquire::(https?::Proxy|Check-Valid-Until) ")
    dump = run(["apt-config", "dump"], check=False).stdout
    return [line.rstrip(";") for line in dump.splitlines() if wanted.match(line)]


def own_namespaces(argv):
    """Wrap argv so that its mounts and processes end with it, and it with us, whatever happens."""
    head = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private",
            "--pid", "--fork", "--kill-child"]
    return head + argv


def run_with_progress(argv, what, log_path, deadline_s):
    """Run a long command with its output in log_path; a sign of life every 15 s."""
    started = time.monotonic()
    with open(log_path, "wb") as log:
        child = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=clean_env()
        )
        try:
            while child.poll() is None:
                try:
                    child.wait(15)
                except subprocess.TimeoutExpired:
                    spent = time.monotonic() - started
                    if spent > deadline_s:
                        raise LabError(f"{what}: not ready after {deadline_s} s") from None
                    say(f"{what}: {spent:.0f} s, {last_line(log_path)}")
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
    if child.returncode != 0:
        tail = log_path.read_text(errors="replace")[-1500:]
        raise LabError(f"{what} failed with exit {child.returncode}:\n{tail}")


def last_line(path):
    """The newest line of a log, cut to fit a terminal."""
    with open(path, "rb") as log:
        log.seek(max(0, os.fstat(log.fileno()).st_size - 4096))
        lines = log.read().decode(errors="replace").split("\n")
    lines = [line.strip() for line in lines if line.strip()]
    return lines[-1][:90] if lines else "starting"


def ensure_base():
    """Build the base image unless it is there; return its tree."""
    target = base_path()
    if (target / "tree").is_dir():
        return target / "tree"
    with cache_lock():
        if not (target / "tree").is_dir():
            build_base(target)
    return target / "tree"


def make_tree(recipe, work, what):
    """work/tree: mmdebstrap, then the recipe's files, appended lines and commands."""
    tree = work / "tree"
    argv = ["mmdebstrap", "--mode=root", "--variant=minbase", "--format=directory"]
    argv += ["--aptopt=APT::Install-Recommends \"false\""]
    argv += [f"--aptopt={option}" for option in apt_options()]
    argv += [f"--dpkgopt={option}" for option in recipe["dpkg"]]
    argv += ["--include=" + ",".join(recipe["packages"]), recipe["suite"], str(tree)]
    argv += apt_sources()
    run_with_progress(own_namespaces(argv), what, work / "build.log", BUILD_DEADLINE_S)
    for path, content in recipe["files"].items():
        write_in_tree(tree, path, content)
    for path, content in recipe["append"].items():
        with open(tree / path[1:], "a") as file:
            file.write(content)
    for command in recipe["commands"]:
        run(["chroot", tree] + command)
    return tree


def build_base(target):
    """mmdebstrap, then the recipe's files; the result appears under its name at once or never."""
    say("building the base image; this takes 2 to 5 minutes, once per recipe")
    work = begin_build(target)
    make_tree(RECIPE, work, "base image")
    (work / "recipe.json").write_text(json.dumps(RECIPE, indent=1))
    work.rename(target)
    prune("base", KEEP_BASES)
    say(f"base image ready: {target}")


def write_in_tree(tree, path, content):
    """Put a file into a tree, replacing a link of that name rather than following it."""
    file = tree / path[1:]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    file.write_text(content)


def prune(prefix, keep):
    """Remove images of a kind that no lab uses, except the newest keep: a lab may be planning."""
    plans = [plan for name in state.list_labs() if (plan := state.load(name))]
    used = {layer for plan in plans for layer in plan["layers"]}
    images = sorted(CACHE.glob(f"{prefix}-*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in images[keep:]:
        if str(path / "tree") not in used:
            shutil.rmtree(path)


def list_debs(directory):
    """The packages to install from directory; debug symbols are left out, they are large."""
    debs = sorted(p for p in pathlib.Path(directory).glob("*.deb") if "-dbgsym_" not in p.name)
    if not debs:
        raise LabError(f"no .deb in {directory}", "make them with packaging/build-debs")
    return debs


def hash_debs(debs):
    """A name for the content of packages."""
    return hash_of([hashlib.sha256(p.read_bytes()).hexdigest() for p in debs])


def ensure_packages(base, debs):
    """Install our packages once over base; return the layer that holds what changed."""
    target = CACHE / f"debs-{hash_of([base.parent.name, hash_debs(debs)])}"
    if (target / "tree").is_dir():
        return target / "tree"
    with cache_lock():
        if not (target / "tree").is_dir():
            build_packages(target, base, debs)
    return target / "tree"


INSTALL_SCRIPT = r"""
set -e
mount -t overlay overlay -o "lowerdir=$BASE,upperdir=$WORK/tree,workdir=$WORK/work" "$WORK/root"
mount -t proc proc "$WORK/root/proc"
mkdir "$WORK/root/debs"
printf '#!/bin/sh\nexit 101\n' > "$WORK/root/usr/sbin/policy-rc.d"
chmod 755 "$WORK/root/usr/sbin/policy-rc.d"
for deb in "$@"; do cp "$deb" "$WORK/root/debs/"; done
chroot "$WORK/root" sh -c 'DEBIAN_FRONTEND=noninteractive dpkg --force-unsafe-io -i /debs/*.deb'
rm -r "$WORK/root/debs" "$WORK/root/usr/sbin/policy-rc.d"
"""


def build_packages(target, base, debs):
    """dpkg -i in an overlay over base, with services kept from starting by policy-rc.d."""
    say("installing " + " ".join(p.name for p in debs))
    work = begin_build(target)
    for name in ("tree", "work", "root"):
        (work / name).mkdir(mode=0o755)
    done = run(
        own_namespaces(["sh", "-c", INSTALL_SCRIPT, "install"] + [str(p.resolve()) for p in debs]),
        timeout=PACKAGES_DEADLINE_S,
        check=False,
        env=clean_env(BASE=str(base), WORK=str(work)),
    )
    if done.returncode != 0:
        words = (done.stdout + done.stderr)[-1500:]
        raise LabError(
            f"cannot install our packages into a host:\n{words}",
            "a missing dependency belongs into RECIPE in lab/mortarlab/image.py",
        )
    shutil.rmtree(work / "root")
    shutil.rmtree(work / "work")
    work.rename(target)
    prune("debs", KEEP_PACKAGES)
