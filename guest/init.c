/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PID 1 of the demo guest: loads the modules, finds the devices, starts writer, heartbeat and
 * network, and offers a small shell on ttyS0. One process, no files but what is in the initramfs.
 */
#include "blockwriter.h"
#include "heartbeat.h"
#include "tickserver.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/input.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DISK "/dev/vda"
#define CONSOLE "/dev/ttyS0"
#define NIC_DIR "/sys/class/net/eth0"
#define CHANNEL_NAME "org.mortar.demo.0"
#define DEVICE_WAIT_NS 3000000000ULL
#define INPUTS_MAX 8
#define INPUTS_AGAIN_MS 200
#define PROMPT "mortar-guest> "
#define CONSOLE_LOG_LEVEL 8 /* SYSLOG_ACTION_CONSOLE_LEVEL of syslog(2) */

struct guest {
    struct boot_options opts;
    struct blockwriter writer;
    struct heartbeat heartbeat;
    bool ticking;               /* one line per second on the console */
};

static const char *verdict_text(enum history_verdict verdict)
{
    switch (verdict) {
    case HISTORY_NO_DISK:
        return "no disk";
    case HISTORY_OK:
        return "ok";
    case HISTORY_BROKEN:
        return "BROKEN";
    }
    abort();
}

/** Reads a small text file; "" when it is not there. */
static void read_text(const char *path, char *ret_text, size_t bytes)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, ret_text, bytes - 1);

    ret_text[n > 0 ? n : 0] = 0;
    if (fd >= 0) {
        (void)close(fd); /* only read */
    }
}

static void mount_all(void)
{
    static const char *const mounts[][2] = {
        {"/proc", "proc"}, {"/sys", "sysfs"}, {"/dev", "devtmpfs"}};

    for (size_t i = 0; i < sizeof(mounts) / sizeof(mounts[0]); i++) {
        (void)mkdir(mounts[i][0], 0755); /* may be there */
        if (mount(mounts[i][1], mounts[i][0], mounts[i][1], 0, NULL) < 0 && errno != EBUSY) {
            perror(mounts[i][0]);
        }
    }
}

/** /modules/order lists the files so that each comes after what it needs; made by guest/build. */
static void load_modules(void)
{
    char order[4096];
    char *rest = order;
    char *name = NULL;

    read_text("/modules/order", order, sizeof(order));
    while ((name = strsep(&rest, "\n")) && *name) {
        char path[128];
        int fd;

        (void)snprintf(path, sizeof(path), "/modules/%s", name); /* names of ours, short */
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST)) {
            printf("module %s: %s\n", name, strerror(errno));
        }
        if (fd >= 0) {
            (void)close(fd); /* only read */
        }
    }
}

static bool wait_for_file(const char *path)
{
    uint64_t deadline_ns = clock_ns(CLOCK_MONOTONIC) + DEVICE_WAIT_NS;

    while (access(path, F_OK) < 0) {
        if (clock_ns(CLOCK_MONOTONIC) > deadline_ns) {
            return false;
        }
        (void)usleep(10000); /* only paces the loop */
    }
    return true;
}

/** Is there a device of this virtio id (1 network, 2 block, 3 console)? Known once modules are in. */
static bool has_virtio(const char *id)
{
    DIR *dir = opendir("/sys/bus/virtio/devices");
    struct dirent *entry = NULL;
    bool found = false;

    while (dir && !found && (entry = readdir(dir))) {
        char path[300];
        char text[16];

        (void)snprintf(path, sizeof(path), "/sys/bus/virtio/devices/%s/device", entry->d_name);
        read_text(path, text, sizeof(text));
        found = strncmp(text, id, strlen(id)) == 0;
    }
    if (dir) {
        (void)closedir(dir); /* only read */
    }
    return found;
}

/** The port called CHANNEL_NAME; ports appear one after the other, some time after the driver. */
static int open_channel(void)
{
    uint64_t deadline_ns = clock_ns(CLOCK_MONOTONIC) + DEVICE_WAIT_NS / 3;

    if (!has_virtio("0x0003")) {
        return -1;
    }
    do {
        DIR *dir = opendir("/sys/class/virtio-ports");
        struct dirent *entry = NULL;
        int fd = -1;

        while (dir && fd < 0 && (entry = readdir(dir))) {
            char path[300];
            char name[64];

            (void)snprintf(path, sizeof(path), "/sys/class/virtio-ports/%s/name", entry->d_name);
            read_text(path, name, sizeof(name));
            if (strncmp(name, CHANNEL_NAME "\n", sizeof(CHANNEL_NAME)) == 0) {
                (void)snprintf(path, sizeof(path), "/dev/%s", entry->d_name);
                fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
            }
        }
        if (dir) {
            (void)closedir(dir); /* only read */
        }
        if (fd >= 0) {
            return fd;
        }
        (void)usleep(10000); /* only paces the loop */
    } while (clock_ns(CLOCK_MONOTONIC) < deadline_ns);
    return -1;
}

static void print_report(const struct ring_report *r)
{
    uint64_t shown = r->violation_count < VIOLATIONS_MAX ? r->violation_count : VIOLATIONS_MAX;

    if (r->violation_count == 0) {
        printf("history ok: last seq %" PRIu64 ", epoch %" PRIu64 ", flushed %" PRIu64
               ", %" PRIu64 " blocks checked\n",
               r->last_seq, r->super.epoch, r->flushed_seq, r->checked_blocks);
        return;
    }
    for (uint64_t i = 0; i < shown; i++) {
        printf("history BROKEN: %s: %s\n", r->violations[i].kind, r->violations[i].text);
    }
    printf("history BROKEN: %" PRIu64 " violations, the writer is off\n", r->violation_count);
}

static void print_json(struct guest *g)
{
    struct writer_stats w;
    struct heartbeat_stats h;
    char clocksource[32];

    blockwriter_get_stats(&g->writer, &w);
    heartbeat_get_stats(&g->heartbeat, &h);
    read_text("/sys/devices/system/clocksource/clocksource0/current_clocksource", clocksource,
              sizeof(clocksource));
    clocksource[strcspn(clocksource, "\n")] = 0;
    printf("{\"vm\":\"%s\",\"history\":\"%s\",\"writing\":%s,\"epoch\":%" PRIu64
           ",\"issued_seq\":%" PRIu64 ",\"acked_seq\":%" PRIu64 ",\"flushed_seq\":%" PRIu64
           ",\"writes_per_s\":%" PRIu64 ",\"write_errors\":%" PRIu64
           ",\"slowest_write_us\":%" PRIu64,
           g->opts.vm, verdict_text(w.verdict), w.writing ? "true" : "false", w.epoch,
           w.issued_seq, w.acked_seq, w.flushed_seq, w.writes_per_s, w.write_errors,
           w.slowest_write_us);
    printf(",\"up_us\":%" PRIu64 ",\"ticks\":%" PRIu64 ",\"wake_gap_us\":%" PRIu64
           ",\"rtc_step_us\":%" PRId64 ",\"rtc_ahead_us\":%" PRId64 ",\"rtc_edges\":%" PRIu64
           ",\"lines_emitted\":%" PRIu64 ",\"lines_dropped\":%" PRIu64 ",\"clocksource\":\"%s\"}\n",
           clock_ns(CLOCK_MONOTONIC) / 1000, h.ticks, h.wake_gap_us, h.rtc_step_us, h.rtc_ahead_us,
           h.rtc_edges, h.emitted, h.dropped, clocksource);
}

static void print_status(struct guest *g)
{
    struct writer_stats w;
    struct heartbeat_stats h;

    blockwriter_get_stats(&g->writer, &w);
    heartbeat_get_stats(&g->heartbeat, &h);
    printf("vm %s, history %s, epoch %" PRIu64 ", writer %s at %" PRIu64 " blocks/s\n", g->opts.vm,
           verdict_text(w.verdict), w.epoch, w.writing ? "on" : "off", w.writes_per_s);
    printf("seq: issued %" PRIu64 ", acknowledged %" PRIu64 ", flushed %" PRIu64 "; errors %" PRIu64
           "; slowest write %" PRIu64 ".%03" PRIu64 " ms\n",
           w.issued_seq, w.acked_seq, w.flushed_seq, w.write_errors, w.slowest_write_us / 1000,
           w.slowest_write_us % 1000);
    printf("longest gap between two ticks %" PRIu64 ".%03" PRIu64 " ms (the guest's clock stands "
           "still when it is stopped)\n", h.wake_gap_us / 1000, h.wake_gap_us % 1000);
    printf("longest time not running, by the RTC: %" PRId64 " ms (+-2)\n", h.rtc_step_us / 1000);
}

static void power_off(struct guest *g)
{
    blockwriter_stop(&g->writer);
    printf("mortar-guest: stopped cleanly, powering off\n");
    (void)fflush(stdout); /* nobody is left to tell */
    (void)reboot(RB_POWER_OFF); /* does not return */
    for (;;) {
        (void)pause(); /* PID 1 must not end */
    }
}

static void open_inputs(struct pollfd *inputs)
{
    for (int i = 0; i < INPUTS_MAX; i++) {
        char path[32];

        (void)snprintf(path, sizeof(path), "/dev/input/event%d", i); /* short */
        if (inputs[i].fd < 0) {
            inputs[i].fd = open(path, O_RDONLY | O_CLOEXEC);
            inputs[i].revents = 0;
        }
    }
}

/** ACPI power button, as `virsh shutdown` presses it; which of the inputs it is differs by machine. */
static void *wait_for_power_button(void *arg)
{
    struct guest *g = arg;
    struct pollfd inputs[INPUTS_MAX];

    for (int i = 0; i < INPUTS_MAX; i++) {
        inputs[i] = (struct pollfd){.fd = -1, .events = POLLIN};
    }
    for (;;) {
        open_inputs(inputs); /* the button may come up after us */
        (void)poll(inputs, INPUTS_MAX, INPUTS_AGAIN_MS);
        for (int i = 0; i < INPUTS_MAX; i++) {
            struct input_event event;

            if (inputs[i].fd >= 0 && (inputs[i].revents & POLLIN) &&
                read(inputs[i].fd, &event, sizeof(event)) == sizeof(event) &&
                event.type == EV_KEY && event.code == KEY_POWER && event.value == 1) {
                printf("\npower button\n");
                power_off(g);
            }
        }
    }
    return NULL;
}

static void *print_ticks(void *arg)
{
    struct guest *g = arg;

    for (;;) {
        struct writer_stats w;

        (void)sleep(1); /* only paces the loop */
        if (g->ticking) {
            blockwriter_get_stats(&g->writer, &w);
            printf("tick up=%" PRIu64 "ms acked=%" PRIu64 " flushed=%" PRIu64 "\n",
                   clock_ns(CLOCK_MONOTONIC) / 1000000, w.acked_seq, w.flushed_seq);
        }
    }
    return NULL;
}

static void set_write(struct guest *g, const char *value)
{
    uint64_t per_s = g->opts.writes_per_s > 0 ? g->opts.writes_per_s : 20;

    if (strcmp(value, "off") == 0) {
        per_s = 0;
    } else if (strcmp(value, "on") != 0 && !parse_write_rate(value, &per_s)) {
        printf("write on|off|RATE, e.g. write 50 (blocks/s) or write 1M (bytes/s)\n");
        return;
    }
    if (!blockwriter_set_rate(&g->writer, per_s)) {
        printf("not allowed: there is no usable disk, or its history is broken\n");
        return;
    }
    printf("writer %s\n", per_s > 0 ? "on" : "off");
}

static void recheck(struct guest *g)
{
    struct ring_report report;
    int r = blockwriter_recheck(&g->writer, &report);

    if (r < 0) {
        printf("cannot check: %s\n", strerror(-r));
    } else {
        print_report(&report);
    }
}

static void run_command(struct guest *g, char *line)
{
    char *word = strsep(&line, " ");
    const char *value = line ? line : "";

    if (strcmp(word, "status") == 0) {
        print_status(g);
    } else if (strcmp(word, "json") == 0) {
        print_json(g);
    } else if (strcmp(word, "check") == 0) {
        recheck(g);
    } else if (strcmp(word, "write") == 0) {
        set_write(g, value);
    } else if (strcmp(word, "tick") == 0) {
        g->ticking = strcmp(value, "off") != 0;
        printf("tick %s\n", g->ticking ? "on" : "off");
    } else if (strcmp(word, "reset") == 0) {
        heartbeat_reset_stats(&g->heartbeat);
        blockwriter_reset_stats(&g->writer);
        printf("gaps forgotten\n");
    } else if (strcmp(word, "poweroff") == 0) {
        power_off(g);
    } else if (*word) {
        printf("status | json | check | write on|off|RATE | tick on|off | reset | poweroff\n");
    }
}

static void run_shell(struct guest *g)
{
    char line[128];

    for (;;) {
        printf(PROMPT);
        if (!fgets(line, sizeof(line), stdin)) {
            clearerr(stdin);
            (void)sleep(1); /* a console without a line: try again, slowly */
            continue;
        }
        line[strcspn(line, "\r\n")] = 0;
        run_command(g, line);
    }
}

static void use_console(void)
{
    int fd = open(CONSOLE, O_RDWR | O_NOCTTY | O_CLOEXEC);

    for (int i = 0; fd >= 0 && i <= 2; i++) {
        (void)dup2(fd, i); /* without it the output goes to the kernel's console, as before */
    }
    (void)setvbuf(stdout, NULL, _IOLBF, 1024); /* else a pipe's buffering, only slower to see */
    (void)setvbuf(stdin, NULL, _IOLBF, 128);
    (void)klogctl(CONSOLE_LOG_LEVEL, NULL, 2); /* kernel chatter would break our lines */
}

static void start_thread(void *(*run)(void *), void *arg, const char *what)
{
    pthread_t thread;
    int r = pthread_create(&thread, NULL, run, arg);

    if (r != 0) {
        printf("%s: %s\n", what, strerror(r));
    }
}

static void start_network(const struct boot_options *o)
{
    if (o->address && has_virtio("0x0001")) {
        (void)wait_for_file(NIC_DIR); /* network_up() says it better when there is none */
    }
    int r = o->address ? network_up(o->address, o->netmask, o->gateway) : 0;

    if (r == 0 && o->address) {
        r = tickserver_start();
    }
    if (r < 0) {
        printf("network: %s\n", strerror(-r));
    }
}

static void start_writer(struct guest *g, int key_port)
{
    uint8_t boot_id[BOOT_ID_BYTES];
    struct ring_report report = {0};
    int r;

    if (getentropy(boot_id, sizeof(boot_id)) < 0) {
        memset(boot_id, 0, sizeof(boot_id)); /* only tells boots apart for the reader of a dump */
    }
    if (has_virtio("0x0002") && !wait_for_file(DISK)) {
        printf("disk: %s did not appear\n", DISK);
    }
    r = blockwriter_open(&g->writer, DISK, &g->opts, key_port, boot_id, &report);
    if (r < 0) {
        printf("disk: %s\n", strerror(-r));
    } else if (g->writer.stats.verdict == HISTORY_NO_DISK) {
        printf("disk: none, or not made for this guest; nothing will be written\n");
    } else {
        print_report(&report);
    }
}

/** The line that those who started the guest wait for; its form is part of docs/guest.md. */
static void print_ready(struct guest *g)
{
    struct writer_stats w;

    blockwriter_get_stats(&g->writer, &w);
    printf("mortar-guest: ready epoch=%" PRIu64 " first_seq=%" PRIu64 " up_ms=%" PRIu64
           " history=%s\n",
           w.epoch, w.first_seq, clock_ns(CLOCK_MONOTONIC) / 1000000, verdict_text(w.verdict));
}

int main(void)
{
    static struct guest guest;
    char cmdline[2048];
    char bad[128];
    int port = -1;
    int r;

    mount_all();
    load_modules();
    use_console();
    printf("\n  Mortar demo guest\n  type 'help' for commands\n\n");
    read_text("/proc/cmdline", cmdline, sizeof(cmdline));
    parse_boot_options(cmdline, &guest.opts, bad, sizeof(bad));
    if (bad[0]) {
        printf("option not understood: %s\n", bad);
    }
    if (guest.opts.asks_key) {
        port = open_channel();
        printf("asking for the key of this epoch on channel %s\n", CHANNEL_NAME);
    }
    start_writer(&guest, port);
    start_network(&guest.opts); /* first: who hears the heart may connect */
    r = heartbeat_start(&guest.heartbeat, &guest.writer, port < 0 ? open_channel() : port, &guest.opts);
    if (r < 0) {
        printf("heartbeat: %s\n", strerror(-r));
    }
    start_thread(wait_for_power_button, &guest, "power button");
    start_thread(print_ticks, &guest, "ticks");
    print_ready(&guest);
    run_shell(&guest);
}
