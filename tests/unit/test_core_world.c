/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/model/node.h"
#include "core/world.h"

static void put(struct world *w, const char *key, int value, uint64_t mod)
{
    json_t *v = json_integer(value);
    world_put(w, key, v, mod, mod);
    json_decref(v);
}

static void older_revisions_change_nothing(void **state)
{
    struct world w;
    world_init(&w);
    put(&w, "k/a", 1, 5);
    put(&w, "k/a", 2, 4);
    assert_int_equal(json_integer_value(world_get(&w, "k/", "a")), 1);
    world_del(&w, "k/a", 4);
    assert_int_equal(world_mod(&w, "k/", "a"), 5);
    world_del(&w, "k/a", 6);
    assert_null(world_get(&w, "k/", "a"));
    assert_int_equal(w.revision, 6);
    world_done(&w);
}

static void a_list_removes_what_it_lacks_but_nothing_newer(void **state)
{
    struct world w;
    world_init(&w);
    put(&w, "k/gone", 1, 3);
    put(&w, "k/newer", 1, 12);
    put(&w, "k/kept", 1, 3);
    json_t *list = json_loads("[[\"k/kept\",3,1],[\"k/new\",9,2],[7,1,1],[\"k/bad\",0,1]]", 0, NULL);
    assert_false(w.is_listed);
    world_relist(&w, list, 10, 1);
    assert_true(w.is_listed);
    assert_null(world_get(&w, "k/", "gone"));
    assert_null(world_get(&w, "k/", "bad"));
    assert_non_null(world_get(&w, "k/", "newer"));
    assert_non_null(world_get(&w, "k/", "kept"));
    assert_non_null(world_get(&w, "k/", "new"));
    assert_int_equal(w.revision, 12);
    json_decref(list);
    world_done(&w);
}

static void iteration_stays_below_its_prefix(void **state)
{
    struct world w;
    char seen[16] = "";
    world_init(&w);
    put(&w, "a/1", 1, 1);
    put(&w, "b/1", 1, 1);
    put(&w, "b/2", 1, 1);
    put(&w, "c/1", 1, 1);
    for (struct world_iter it = {0}; world_next(&w, "b/", &it);) {
        (void)strcat(seen, it.name);
    }
    assert_string_equal(seen, "12");
    world_done(&w);
}

static void a_peer_is_known_by_address_or_by_its_first_label(void **state)
{
    static const struct {
        const char *addr;
        bool is_found;
    } rows[] = {{"10.0.0.2", true},       {"host2", true},    {"host2.example.org", true},
                {"10.0.0.22", false},     {"host22", false},  {"xhost2.example.org", false},
                {"host2-x.example", false}, {"", false}};
    json_t *node = json_pack("{s:s,s:s}", "name", "host2", "storage", "10.0.0.2");
    for (size_t i = 0; i < ELEMENTS(rows); i++) {
        json_t *seen = json_pack("{s:[{s:s},{s:s}]}", "peers", "addr", "10.0.0.9", "addr", rows[i].addr);
        assert_true((node_find_peer(seen, node) != NULL) == rows[i].is_found);
        json_decref(seen);
    }
    assert_null(node_find_peer(NULL, node));
    json_decref(node);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(older_revisions_change_nothing),
        cmocka_unit_test(a_list_removes_what_it_lacks_but_nothing_newer),
        cmocka_unit_test(iteration_stays_below_its_prefix),
        cmocka_unit_test(a_peer_is_known_by_address_or_by_its_first_label),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
