/* SPDX-License-Identifier: Apache-2.0 */
#include "io/clock.h"

#include <limits.h>
#include <poll.h>
#include <time.h>

#include "base/util.h"

static uint64_t read_us(clockid_t id)
{
    struct timespec ts;
    if (clock_gettime(id, &ts) < 0) {
        abort();
    }
    return (uint64_t)ts.tv_sec * USEC_PER_SEC + (uint64_t)ts.tv_nsec / NSEC_PER_USEC;
}

uint64_t clock_boottime_us(void)
{
    return read_us(CLOCK_BOOTTIME);
}

uint64_t clock_wall_us(void)
{
    return read_us(CLOCK_REALTIME);
}

int clock_left_ms(uint64_t deadline_us)
{
    uint64_t now = clock_boottime_us();
    uint64_t ms = deadline_us > now ? (deadline_us - now + USEC_PER_MSEC - 1) / USEC_PER_MSEC : 0;
    return ms > INT_MAX ? INT_MAX : (int)ms;
}

void clock_sleep_ms(int ms)
{
    (void)poll(NULL, 0, ms); /* a signal may shorten it */
}
