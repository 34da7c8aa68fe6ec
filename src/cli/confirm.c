/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/confirm.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"

#define ANSWER_SIZE 128

int confirm_host(struct args *a, const char *host, const char *what, struct err *e)
{
    char answer[ANSWER_SIZE] = "";
    bool is_said = json_bool_of(a->values, "yes", false);
    (void)json_object_del(a->values, "yes");
    if (is_said) {
        return 0;
    }
    if (!isatty(STDIN_FILENO)) {
        (void)ERR_SET(e, USAGE, "%s is confirmed at a terminal, or with --yes; nothing was done", what);
        return -ERR_USAGE;
    }
    (void)fprintf(stderr, "Type the host's name to go on: ");
    if (!fgets(answer, sizeof(answer), stdin)) {
        answer[0] = '\0';
    }
    answer[strcspn(answer, "\n")] = '\0';
    return str_eq(answer, host) ? 0 : ERR_SET(e, CANCELLED, "not confirmed; nothing was done");
}
