/* SPDX-License-Identifier: Apache-2.0 */
/* "key? boot=HEX epoch=N" out, "key boot=HEX epoch=N KEY" in. */
#include "keyask.h"

#include "blockwriter.h"
#include "bootopts.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define ASK_AGAIN_NS 1000000000ULL /* an answer is lost when the guest is moved just now */
#define LOOK_AGAIN_US 5000
#define LINE_BYTES 512

/** Adds what has come to the line; true when it is complete. Longer ones are cut and so no answer. */
static bool read_line(int port, char line[LINE_BYTES], size_t *length)
{
    char c = 0;

    while (read(port, &c, 1) == 1) {
        if (c == '\n') {
            line[*length] = 0;
            *length = 0;
            return true;
        }
        if (*length < LINE_BYTES - 1) {
            line[(*length)++] = c;
        }
    }
    return false;
}

void keyask_wait(int port, const uint8_t boot_id[BOOT_ID_BYTES], uint64_t disk_epoch, struct epoch_key *ret_key)
{
    char question[128];
    char line[LINE_BYTES];
    size_t length = 0;
    uint64_t ask_ns = 0;
    int bytes = format_key_question(boot_id, disk_epoch, question, sizeof(question));

    for (;;) {
        uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);

        /* a short or failed write is a question that nobody hears: it is asked again */
        if (now_ns >= ask_ns && write(port, question, (size_t)bytes) == bytes) {
            ask_ns = now_ns + ASK_AGAIN_NS;
        }
        while (read_line(port, line, &length)) {
            if (parse_key_answer(line, boot_id, disk_epoch, ret_key)) {
                return;
            }
        }
        (void)usleep(LOOK_AGAIN_US); /* only paces the loop */
    }
}
