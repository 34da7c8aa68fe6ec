/* SPDX-License-Identifier: Apache-2.0
 * Runs random schedules, one after the other, by seed, and says what they came to in one line of JSON:
 *
 *     schedules moves|failover|restore FIRST COUNT [SECONDS]
 *
 * It ends early after SECONDS, or at SIGTERM; "next" is the first seed that was not run. Exit code 1 when
 * something was violated; a failed assertion ends it with SIGABRT, after a line that names the seed. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/str.h"
#include "schedule.h"

static volatile sig_atomic_t is_asked_to_stop;
static char abort_words[96];

static void on_term(int number)
{
    is_asked_to_stop = 1;
}

static void on_abort(int number)
{
    (void)!write(STDOUT_FILENO, abort_words, strlen(abort_words)); /* nothing more can be done */
}

static double seconds_of(clockid_t clock)
{
    struct timespec t;
    (void)clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void add(struct schedule_result *sum, const struct schedule_result *r)
{
    sum->simulated_us += r->simulated_us;
    sum->events += r->events;
    sum->steps += r->steps;
    sum->writes += r->writes;
    sum->resets += r->resets;
    sum->freezes += r->freezes;
    for (size_t i = 0; i < SCHEDULE_FAULTS_MAX; i++) {
        sum->faults[i] += r->faults[i];
    }
}

static void report(enum schedule_kind kind, uint64_t first, uint64_t next,
                   const struct schedule_result *sum, json_t *violations)
{
    json_t *faults = json_object();
    for (size_t i = 0; schedule_fault_name(kind, i); i++) {
        json_object_set_new(faults, schedule_fault_name(kind, i),
                            json_integer((json_int_t)sum->faults[i]));
    }
    _cleanup_json_ json_t *all = json_pack(
        "{s:s,s:I,s:I,s:I,s:f,s:I,s:I,s:I,s:I,s:I,s:f,s:o,s:O}", "kind", schedule_kind_name(kind), "first",
        (json_int_t)first, "next", (json_int_t)next, "schedules", (json_int_t)(next - first),
        "simulated_hours", (double)sum->simulated_us / 3.6e9, "events", (json_int_t)sum->events,
        "core_steps", (json_int_t)sum->steps, "guest_writes", (json_int_t)sum->writes,
        "watchdog_resets", (json_int_t)sum->resets, "freezes", (json_int_t)sum->freezes, "cpu_seconds",
        seconds_of(CLOCK_PROCESS_CPUTIME_ID), "faults", faults, "violations", violations);
    _cleanup_free_ char *text = json_format(all);
    puts(text);
}

int main(int argc, char **argv)
{
    enum schedule_kind kind = SCHEDULE_MOVES;
    struct schedule_result sum = {0};
    _cleanup_json_ json_t *violations = json_array();
    while (argc >= 4 && kind < SCHEDULE_KINDS && !str_eq(argv[1], schedule_kind_name(kind))) {
        kind++;
    }
    if (argc < 4 || argc > 5 || kind == SCHEDULE_KINDS) {
        (void)fprintf(stderr, "usage: %s moves|failover FIRST COUNT [SECONDS]\n", argv[0]);
        return 2;
    }
    uint64_t first = strtoull(argv[2], NULL, 10);
    uint64_t end = first + strtoull(argv[3], NULL, 10);
    double until = argc > 4 ? seconds_of(CLOCK_MONOTONIC) + strtod(argv[4], NULL) : 0;
    uint64_t seed = first;
    (void)signal(SIGTERM, on_term);
    (void)signal(SIGABRT, on_abort);
    for (; seed < end && !is_asked_to_stop && (!until || seconds_of(CLOCK_MONOTONIC) < until); seed++) {
        struct schedule_result r;
        (void)snprintf(abort_words, sizeof(abort_words), "{\"aborted\":%llu}\n", (unsigned long long)seed);
        schedule_run(kind, seed, SIM_SOUND, &r);
        add(&sum, &r);
        if (r.violation[0]) {
            json_array_append_new(violations, json_pack("{s:I,s:s}", "seed", (json_int_t)seed, "what",
                                                        r.violation));
        }
    }
    report(kind, first, seed, &sum, violations);
    return json_array_size(violations) ? 1 : 0;
}
