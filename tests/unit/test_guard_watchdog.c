/* SPDX-License-Identifier: Apache-2.0
 * The watchdog against a driver that is played here, by the linker's --wrap=ioctl. */
#include <linux/watchdog.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "guard/watchdog.h"

#define SEC USEC_PER_SEC
#define NO_SYSFS "/nonexistent/nowayout"

static const struct guard_times standard = {SEC / 2, 3 * SEC, SEC * 7 / 2, 4 * SEC, 6 * SEC};

struct driver {
    int asked_s;
    int real_s;
    bool is_deaf; /* knows no timeout */
    const char *identity;
    unsigned pets;
};
static struct driver driver; /* what __wrap_ioctl() can reach */

int __wrap_ioctl(int fd, unsigned long request, void *arg);
int __wrap_ioctl(int fd, unsigned long request, void *arg)
{
    if (request == WDIOC_SETTIMEOUT) {
        driver.asked_s = *(int *)arg;
        return driver.is_deaf ? -1 : 0;
    }
    if (request == WDIOC_GETTIMEOUT && !driver.is_deaf) {
        *(int *)arg = driver.real_s;
        return 0;
    }
    if (request == WDIOC_GETSUPPORT) {
        struct watchdog_info *info = arg;
        (void)snprintf((char *)info->identity, sizeof(info->identity), "%s", driver.identity);
        return 0;
    }
    driver.pets += request == WDIOC_KEEPALIVE ? 1 : 0;
    return request == WDIOC_KEEPALIVE ? 0 : -1;
}

static void drivers_own_timeout_is_what_counts(void **state)
{
    struct watchdog w = {0};
    struct err e = {0};
    driver = (struct driver){.real_s = 5, .identity = "iTCO_wdt"};
    assert_int_equal(watchdog_open(&w, "/dev/null", NO_SYSFS, &standard, SEC, &e), 0);
    assert_int_equal(driver.asked_s, 4);
    assert_int_equal(w.timeout_us, 5 * SEC);
    assert_string_equal(watchdog_kind(&w), "hardware");
    assert_int_equal(driver.pets, 1);
    watchdog_pet(&w, 2 * SEC);
    assert_int_equal(driver.pets, 2);
    assert_false(watchdog_count(&w, 100 * SEC)); /* a real one fires by itself */
    watchdog_close(&w, true);
    assert_string_equal(watchdog_kind(&w), "none");
}

static void driver_that_does_not_fit_is_refused(void **state)
{
    static const int bad_s[] = {3, 6, 60};
    for (unsigned i = 0; i < ELEMENTS(bad_s); i++) {
        struct watchdog w = {0};
        struct err e = {0};
        driver = (struct driver){.real_s = bad_s[i], .identity = "x"};
        assert_int_equal(watchdog_open(&w, "/dev/null", NO_SYSFS, &standard, SEC, &e), -ERR_INVALID);
        assert_false(w.is_open);
    }
    struct watchdog w = {0};
    driver = (struct driver){.is_deaf = true, .identity = "x"};
    assert_int_equal(watchdog_open(&w, "/dev/null", NO_SYSFS, &standard, SEC, NULL), -ERR_INVALID);
}

static void softdog_is_told_apart(void **state)
{
    struct watchdog w = {0};
    driver = (struct driver){.real_s = 4, .identity = "Software Watchdog"};
    assert_int_equal(watchdog_open(&w, "/dev/null", NO_SYSFS, &standard, SEC, NULL), 0);
    assert_string_equal(watchdog_kind(&w), "softdog");
    watchdog_close(&w, false);
}

static void without_device_it_is_counted(void **state)
{
    struct watchdog w = {0};
    assert_int_equal(watchdog_open(&w, "/nonexistent", NO_SYSFS, &standard, SEC, NULL), 0);
    assert_string_equal(watchdog_kind(&w), "none");
    assert_false(watchdog_count(&w, 5 * SEC - 1));
    assert_true(watchdog_count(&w, 5 * SEC));
    assert_false(watchdog_count(&w, 100 * SEC)); /* it fires once */
    watchdog_pet(&w, 100 * SEC);
    assert_true(watchdog_count(&w, 104 * SEC));
    assert_int_equal(w.would_fire, 2);
}

/* The last byte that a driver, here a file, was written: "V" stops it. */
static char last_word(bool disarm)
{
    char path[] = "/tmp/mortar-watchdog-XXXXXX";
    char word = '\0';
    struct watchdog w = {0};
    int fd = mkstemp(path);
    driver = (struct driver){.real_s = 4, .identity = "x"};
    assert_int_equal(watchdog_open(&w, path, NO_SYSFS, &standard, SEC, NULL), 0);
    watchdog_close(&w, disarm);
    assert_int_equal(pread(fd, &word, 1, 0), 1);
    (void)unlink(path);
    close_fdp(&fd);
    return word;
}

static void it_is_stopped_only_when_that_is_wanted(void **state)
{
    assert_int_equal(last_word(true), 'V');
    assert_int_not_equal(last_word(false), 'V');
}

static void driver_that_cannot_be_stopped_again_is_left_alone(void **state)
{
    char path[] = "/tmp/mortar-nowayout-XXXXXX";
    struct watchdog w = {0};
    int fd = mkstemp(path);
    assert_int_equal(write(fd, "1\n", 2), 2);
    driver = (struct driver){.real_s = 4, .identity = "x"};
    assert_int_equal(watchdog_open(&w, "/dev/null", path, &standard, SEC, NULL), 0);
    assert_string_equal(watchdog_kind(&w), "none");
    assert_non_null(strstr(w.why_none, "nowayout"));
    assert_int_equal(driver.pets, 0); /* not even opened: that would start it */
    assert_true(watchdog_count(&w, 5 * SEC));
    assert_int_equal(pwrite(fd, "0\n", 2, 0), 2);
    assert_int_equal(watchdog_open(&w, "/dev/null", path, &standard, SEC, NULL), 0);
    assert_string_equal(watchdog_kind(&w), "hardware");
    watchdog_close(&w, true);
    (void)unlink(path);
    close_fdp(&fd);
}

static void why_there_is_none_is_told(void **state)
{
    struct watchdog w = {0};
    assert_int_equal(watchdog_open(&w, "/nonexistent", NO_SYSFS, &standard, SEC, NULL), 0);
    assert_string_equal(w.why_none, "there is no /dev/watchdog");
    assert_int_equal(watchdog_open(&w, "/", NO_SYSFS, &standard, SEC, NULL), 0);
    assert_string_equal(w.why_none, "/dev/watchdog cannot be opened");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(drivers_own_timeout_is_what_counts),
        cmocka_unit_test(driver_that_does_not_fit_is_refused),
        cmocka_unit_test(softdog_is_told_apart),
        cmocka_unit_test(without_device_it_is_counted),
        cmocka_unit_test(it_is_stopped_only_when_that_is_wanted),
        cmocka_unit_test(driver_that_cannot_be_stopped_again_is_left_alone),
        cmocka_unit_test(why_there_is_none_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
