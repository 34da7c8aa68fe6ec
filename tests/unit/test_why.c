/* SPDX-License-Identifier: Apache-2.0
 * From events to facts, from the facts of several hosts to one timeline, and the file in between. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "adapters/guard/guard_text.h"
#include "agent/history_file.h"
#include "core/act.h"
#include "core/history.h"
#include "core/why.h"
#include "core_world.h"
#include "golden.h"

#define EPOCH_MS 1790000000000

static json_t *load(const char *name)
{
    _cleanup_free_ char *path = str_printf("why/%s", name);
    _cleanup_free_ char *text = golden_read(path);
    json_t *j = json_loads(text, 0, NULL);
    assert_non_null(j);
    return j;
}

/* --- joining ------------------------------------------------------------------------------- */

static char *lines_of(const json_t *why)
{
    struct sbuf b = {0};
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(why, "items"), i, item) {
        sbuf_printf(&b, "%7lld %+6lld  %s\n", (long long)json_u64_of(item, "at", 0) - EPOCH_MS,
                    (long long)json_u64_of(item, "after_ms", 0), json_text_of(item, "text"));
    }
    json_array_foreach(json_object_get(why, "missing"), i, item) {
        sbuf_printf(&b, "- %s", json_text_of(item, "text"));
        if (json_object_get(item, "from_ms")) {
            sbuf_printf(&b, " %lld", (long long)json_u64_of(item, "from_ms", 0) - EPOCH_MS);
        }
        sbuf_printf(&b, "\n");
    }
    return sbuf_take(&b);
}

static void check_join(const char *name)
{
    _cleanup_free_ char *in = str_printf("%s.json", name);
    _cleanup_free_ char *out = str_printf("why/%s.txt", name);
    _cleanup_json_ json_t *input = load(in);
    _cleanup_json_ json_t *why =
        why_join(json_object_get(input, "question"), json_object_get(input, "parts"));
    assert_non_null(why);
    _cleanup_free_ char *lines = lines_of(why);
    golden_check(out, lines);
}

static void a_failover_is_told_in_the_order_in_which_it_happened(void **state)
{
    check_join("failover");
    check_join("lab-hang");
}

static void every_kind_of_fact_has_words(void **state)
{
    check_join("life");
}

static void a_quiet_time_has_no_lines(void **state)
{
    check_join("nothing");
}

/* A revision is later than another whatever two clocks say of it. */
static void revisions_overrule_clocks(void **state)
{
    _cleanup_json_ json_t *parts = json_loads(
        "[{\"host\":\"a\",\"items\":[{\"at\":5000,\"k\":\"own\",\"vm\":\"v\",\"owner\":\"x\",\"epoch\":1,\"rev\":7}]},"
        "{\"host\":\"b\",\"items\":[{\"at\":100,\"k\":\"own\",\"vm\":\"v\",\"owner\":\"x\",\"epoch\":2,\"rev\":8}]}]",
        0, NULL);
    _cleanup_json_ json_t *facts = why_facts(parts);
    assert_int_equal(json_array_size(facts), 2);
    assert_int_equal(json_u64_of(json_array_get(facts, 0), "epoch", 0), 1);
    assert_int_equal(json_u64_of(json_array_get(facts, 1), "at", 0), 5000);
}

static void what_a_host_sends_may_be_anything(void **state)
{
    static const char *const texts[] = {
        "[]", "[7]", "[{}]", "[{\"host\":\"a\"}]", "[{\"items\":[{\"at\":1,\"k\":\"own\"},{\"at\":1,\"k\":\"own\"}]}]",
        "[{\"host\":\"a\",\"items\":7}]", "[{\"host\":\"a\",\"items\":[1,null,{\"k\":\"own\"},{\"at\":-5,\"k\":\"own\"}]}]",
        "[{\"host\":\"a\",\"items\":[{\"at\":1,\"k\":\"own\",\"vm\":\"demo\"},{\"at\":1,\"k\":\"act\",\"vm\":\"demo\",\"error\":"
        "\"x\"},{\"at\":2,\"k\":\"did\",\"vm\":\"demo\",\"what\":7},{\"at\":3,\"k\":\"node\",\"host\":[]}]}]",
    };
    _cleanup_json_ json_t *question = json_loads("{\"vm\":\"demo\",\"since_ms\":0,\"bricks\":[3]}", 0, NULL);
    for (size_t i = 0; i < ELEMENTS(texts); i++) {
        _cleanup_json_ json_t *parts = json_loads(texts[i], 0, NULL);
        assert_non_null(parts);
        _cleanup_json_ json_t *why = why_join(question, parts);
        assert_non_null(why);
    }
}

static void answers_are_bounded_and_say_so(void **state)
{
    json_t *items = json_array();
    for (int i = 0; i < WHY_ITEMS_MAX + 5; i++) {
        json_array_append_new(items, json_pack("{s:i,s:s,s:s,s:s}", "at", 1000 + i, "k", "gone", "vm", "demo", "reason",
                                               "crashed"));
    }
    _cleanup_json_ json_t *parts = json_pack("[{s:s,s:o}]", "host", "a", "items", items);
    _cleanup_json_ json_t *question = json_loads("{\"vm\":\"demo\",\"since_ms\":0}", 0, NULL);
    _cleanup_json_ json_t *why = why_join(question, parts);
    const json_t *told = json_object_get(why, "items");
    assert_int_equal(json_array_size(told), WHY_ITEMS_MAX);
    assert_int_equal(json_u64_of(json_array_get(told, 0), "at", 0), 1005);
    assert_int_equal(json_array_size(json_object_get(why, "missing")), 1);
}

/* --- facts --------------------------------------------------------------------------------- */

static void add_facts(struct sbuf *b, const json_t *facts)
{
    size_t i;
    json_t *fact;
    json_array_foreach(facts, i, fact) {
        _cleanup_free_ char *text = json_format(fact);
        sbuf_printf(b, "%s\n    ", text);
        assert_true(why_words(fact, "host1", b));
        sbuf_printf(b, "\n");
    }
}

static void each_event_leaves_the_facts_that_it_tells(void **state)
{
    _cleanup_(core_freep) struct core *c = core_world_new();
    _cleanup_free_ char *text = golden_read("why/events.jsonl");
    _cleanup_strv_ struct strv lines = {0};
    _cleanup_sbuf_ struct sbuf b = {0};
    uint64_t now_us = 2 * USEC_PER_SEC;
    strv_split(&lines, text, "\n");
    for (size_t i = 0; i < lines.n; i++) {
        _cleanup_json_ json_t *line = json_loads(lines.v[i], 0, NULL);
        json_t *actions = NULL;
        assert_non_null(line);
        now_us += json_u64_of(line, "after_ms", 0) * USEC_PER_MSEC;
        assert_int_equal(core_step(c, json_object_get(line, "event"), now_us, now_us, &actions, NULL), 0);
        json_decref(actions);
        add_facts(&b, c->facts);
    }
    golden_check("why/events.txt", b.data);
}

/* The guard's own text, on the way that it takes in the agent. */
static void guard_says(struct core *c, const char *run_right, unsigned promise_ms, unsigned would_fire)
{
    struct err e = {0};
    json_t *status = NULL;
    json_t *actions = NULL;
    _cleanup_free_ char *text = str_printf(
        "{\"instance\":\"0abc\",\"generation\":7,\"enforce\":true,\"run_right\":%s,\"frozen\":false,\"verified\":false,"
        "\"freezes\":0,\"watchdog\":{\"kind\":\"none\",\"would_fire\":%u},\"can_cut\":true,\"refused\":\"\",\"peers\":{\"host2\":{"
        "\"silent\":false,\"heard_ms\":250,\"promise_ms\":%u,\"granted_ms\":5750,\"denied_inc\":0,\"denial_over\":false}}}",
        run_right, would_fire, promise_ms);
    if (parse_guard_status(text, strlen(text), &status, &e) < 0) {
        fail_msg("%s", e.msg);
    }
    _cleanup_json_ json_t *event = json_pack("{s:s,s:o}", "ev", "guard", "status", status);
    assert_int_equal(core_step(c, event, c->now_us + 1, c->now_us + 1, &actions, NULL), 0);
    json_decref(actions);
}

static bool tells(const struct core *c, const char *kind)
{
    size_t i;
    json_t *fact;
    json_array_foreach(c->facts, i, fact) {
        if (str_eq(json_text_of(fact, "k"), kind)) {
            return true;
        }
    }
    return false;
}

static void what_the_guard_says_reaches_the_facts(void **state)
{
    _cleanup_(core_freep) struct core *c = core_world_new();
    guard_says(c, "true", 3000, 0);
    guard_says(c, "true", 2000, 0);
    assert_false(tells(c, "promise") || tells(c, "right") || tells(c, "watchdog"));
    guard_says(c, "true", 0, 0);
    assert_true(tells(c, "promise"));
    guard_says(c, "false", 0, 1);
    assert_true(tells(c, "right") && tells(c, "watchdog") && !tells(c, "promise"));
}

static struct attempt ended(uint64_t started_us, unsigned fails, const char *message)
{
    struct attempt a = {.has_ended = true, .started_us = started_us, .fails = fails};
    if (message) {
        (void)ERR_SET(&a.error, UNAVAILABLE, "%s", message);
    }
    return a;
}

static void failures_that_repeat_themselves_are_told_ever_more_seldom(void **state)
{
    _cleanup_(core_freep) struct core *c = core_world_new();
    unsigned told = 0;
    for (unsigned fails = 1; fails <= 64; fails++) {
        struct attempt a = ended(c->now_us, fails, "no proof yet");
        json_array_clear(c->facts);
        history_done(c, "ha/fence/host2/1/drain", &a);
        told += (unsigned)json_array_size(c->facts);
    }
    assert_int_equal(told, 7);
}

static void what_was_done_is_told_with_its_epoch_and_time(void **state)
{
    _cleanup_(core_freep) struct core *c = core_world_new();
    struct attempt a = ended(c->now_us - 250 * USEC_PER_MSEC, 0, NULL);
    json_array_clear(c->facts);
    history_done(c, "vm/db1/create/u-db1/4", &a);
    history_done(c, "vm/db1/claim/u-db1/4", &a); /* the record tells of it */
    history_done(c, "vm/db1/createx", &a);
    history_done(c, "ha/fence/host2/1/deny", &a); /* the guard tells of it */
    history_done(c, "observe/domains", &a);
    assert_int_equal(json_array_size(c->facts), 1);
    const json_t *fact = json_array_get(c->facts, 0);
    assert_string_equal(json_text_of(fact, "vm"), "db1");
    assert_int_equal(json_u64_of(fact, "epoch", 0), 4);
    assert_int_equal(json_u64_of(fact, "took_ms", 0), 250);
}

static void a_reason_to_wait_is_told_once_and_another_one_a_minute_later(void **state)
{
    _cleanup_(core_freep) struct core *c = core_world_new();
    json_array_clear(c->facts);
    history_wait(c, "db1", "no room");
    history_wait(c, "db1", "no room");
    history_wait(c, "db1", "no right");
    assert_int_equal(json_array_size(c->facts), 1);
    c->now_us += 60 * USEC_PER_SEC;
    history_wait(c, "db1", "no right");
    assert_int_equal(json_array_size(c->facts), 2);
    history_wait(c, "db1", NULL);
    history_wait(c, "db1", "no right");
    assert_int_equal(json_array_size(c->facts), 3);
}

/* --- the file ------------------------------------------------------------------------------ */

static char *new_dir(void)
{
    char *dir = str_dup("/tmp/mortar-history-XXXXXX");
    assert_non_null(mkdtemp(dir));
    return dir;
}

static void drop_dir(const char *dir)
{
    _cleanup_free_ char *now = str_printf("%s/" HISTORY_FILE, dir);
    _cleanup_free_ char *old = str_printf("%s.1", now);
    (void)unlink(now);
    (void)unlink(old);
    (void)rmdir(dir);
}

static void add_one(struct history *h, int at, const char *vm)
{
    _cleanup_json_ json_t *facts = json_pack("[{s:i,s:s,s:s*}]", "at", at, "k", "gone", "vm", vm);
    history_add(h, facts);
}

static json_t *read_all(const char *dir, const char *vm, uint64_t since_ms)
{
    json_t *part = NULL;
    struct err e = {0};
    if (history_read(dir, vm, since_ms, &part, &e) < 0) {
        fail_msg("%s", e.msg);
    }
    return part;
}

static void facts_survive_a_restart_and_a_torn_line(void **state)
{
    _cleanup_free_ char *dir = new_dir();
    _cleanup_free_ char *path = str_printf("%s/" HISTORY_FILE, dir);
    struct history *h = history_open(dir, HISTORY_MAX_BYTES);
    add_one(h, 1, "demo");
    add_one(h, 2, "web");
    history_close(h);
    FILE *f = fopen(path, "a");
    assert_non_null(f);
    (void)fputs("{\"at\":3,\"k\":\"go", f);
    (void)fclose(f);
    h = history_open(dir, HISTORY_MAX_BYTES);
    add_one(h, 4, "demo");
    add_one(h, 5, NULL);
    history_close(h);
    _cleanup_json_ json_t *all = read_all(dir, NULL, 0);
    assert_int_equal(json_array_size(json_object_get(all, "items")), 4);
    _cleanup_json_ json_t *some = read_all(dir, "demo", 2);
    const json_t *items = json_object_get(some, "items");
    assert_int_equal(json_array_size(items), 2);
    assert_int_equal(json_u64_of(json_array_get(items, 0), "at", 0), 4);
    assert_null(json_object_get(some, "from_ms"));
    drop_dir(dir);
}

static void the_files_are_bounded_and_the_answer_says_where_they_begin(void **state)
{
    _cleanup_free_ char *dir = new_dir();
    _cleanup_free_ char *path = str_printf("%s/" HISTORY_FILE, dir);
    _cleanup_free_ char *old = str_printf("%s.1", path);
    struct history *h = history_open(dir, 1000);
    struct stat st;
    for (int i = 1; i <= 500; i++) {
        add_one(h, i, "demo");
        assert_int_equal(stat(path, &st), 0);
        assert_true(st.st_size < 1100);
    }
    history_close(h);
    assert_int_equal(stat(old, &st), 0);
    assert_true(st.st_size < 1100);
    _cleanup_json_ json_t *part = read_all(dir, NULL, 0);
    const json_t *items = json_object_get(part, "items");
    size_t n = json_array_size(items);
    assert_true(n > 20 && n < 100);
    assert_int_equal(json_u64_of(json_array_get(items, n - 1), "at", 0), 500);
    assert_int_equal(json_u64_of(part, "from_ms", 0), json_u64_of(json_array_get(items, 0), "at", 0));
    drop_dir(dir);
}

static void one_answer_holds_the_newest_facts_only(void **state)
{
    _cleanup_free_ char *dir = new_dir();
    struct history *h = history_open(dir, HISTORY_MAX_BYTES);
    for (int i = 1; i <= HISTORY_ANSWER_MAX + 7; i++) {
        add_one(h, i, "demo");
    }
    history_close(h);
    _cleanup_json_ json_t *part = read_all(dir, "demo", 0);
    const json_t *items = json_object_get(part, "items");
    assert_int_equal(json_array_size(items), HISTORY_ANSWER_MAX);
    assert_int_equal(json_u64_of(json_array_get(items, 0), "at", 0), 8);
    assert_true(json_bool_of(part, "cut", false));
    assert_int_equal(json_u64_of(part, "from_ms", 0), 8);
    drop_dir(dir);
}

static void without_files_nothing_is_told(void **state)
{
    _cleanup_json_ json_t *part = read_all("/nonexistent", NULL, 0);
    assert_int_equal(json_array_size(json_object_get(part, "items")), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failover_is_told_in_the_order_in_which_it_happened),
        cmocka_unit_test(every_kind_of_fact_has_words),
        cmocka_unit_test(a_quiet_time_has_no_lines),
        cmocka_unit_test(revisions_overrule_clocks),
        cmocka_unit_test(what_a_host_sends_may_be_anything),
        cmocka_unit_test(answers_are_bounded_and_say_so),
        cmocka_unit_test(each_event_leaves_the_facts_that_it_tells),
        cmocka_unit_test(what_the_guard_says_reaches_the_facts),
        cmocka_unit_test(failures_that_repeat_themselves_are_told_ever_more_seldom),
        cmocka_unit_test(what_was_done_is_told_with_its_epoch_and_time),
        cmocka_unit_test(a_reason_to_wait_is_told_once_and_another_one_a_minute_later),
        cmocka_unit_test(facts_survive_a_restart_and_a_torn_line),
        cmocka_unit_test(the_files_are_bounded_and_the_answer_says_where_they_begin),
        cmocka_unit_test(one_answer_holds_the_newest_facts_only),
        cmocka_unit_test(without_files_nothing_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
