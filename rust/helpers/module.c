// SPDX-License-Identifier: GPL-2.0
/*
 * Facts about the running kernel that only C can see.
 */

#include <linux/utsname.h>

const char *oxbpf_kernel_release(void);

/* The running kernel's release, as `uname -r` prints it; lives as long as the kernel. */
const char *oxbpf_kernel_release(void)
{
	return init_utsname()->release;
}
