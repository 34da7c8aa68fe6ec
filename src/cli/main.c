/* SPDX-License-Identifier: Apache-2.0
 * mortar(1) */
#include "cli/cli.h"

int main(int argc, char **argv)
{
    return cli_run(argc, argv);
}
