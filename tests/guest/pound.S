/* SPDX-License-Identifier: Apache-2.0 */
/* beat.S that writes as fast as it can. */
#define POUND
#include "beat.S"
