/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "core/op/op.h"

/** op_uplink_take - phase: the card of args "uplink" goes under the bridge; without one, nothing */
enum op_verdict op_uplink_take(struct op *o);
