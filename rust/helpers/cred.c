// SPDX-License-Identifier: GPL-2.0
/*
 * Who is asking, and under which license.
 */

#include <linux/cred.h>
#include <linux/fs.h>
#include <linux/kallsyms.h>
#include <linux/license.h>
#include <linux/uidgid.h>

#include "symbols.h"

bool oxbpf_show_addresses(const struct file *file);
u32 oxbpf_current_uid(void);
u32 oxbpf_uid_seen(u32 uid);
bool oxbpf_license_gpl(const char *license);

OXBPF_UNEXPORTED(kallsyms_show_value);

/* May who opened @file see kernel addresses? */
bool oxbpf_show_addresses(const struct file *file)
{
	return static_call(oxbpf_kallsyms_show_value)(file->f_cred);
}

/* The user that the current task's resources are counted for, in the initial namespace. */
u32 oxbpf_current_uid(void)
{
	return __kuid_val(current_user()->uid);
}

/* @uid as the current task's user namespace shows it. */
u32 oxbpf_uid_seen(u32 uid)
{
	return from_kuid_munged(current_user_ns(), KUIDT_INIT(uid));
}

bool oxbpf_license_gpl(const char *license)
{
	return license_is_gpl_compatible(license);
}
