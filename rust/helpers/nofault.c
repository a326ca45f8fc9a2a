// SPDX-License-Identifier: GPL-2.0
/*
 * String copies that survive bad addresses, in any context. The kernel has them but does not export
 * them.
 */

#include <linux/uaccess.h>
#include <linux/wordpart.h>
#include <asm/word-at-a-time.h>

#include "symbols.h"

OXBPF_UNEXPORTED(copy_to_kernel_nofault);

long oxbpf_strncpy_from_kernel(char *dst, unsigned long src, long count);
long oxbpf_strncpy_from_user(char *dst, unsigned long src, long count);
bool oxbpf_is_user_address(unsigned long addr);
int oxbpf_try_writing(void *addr);

/*
 * Copies a string of at most count bytes with its NUL; cuts a longer one. Returns the bytes written
 * to dst, the NUL among them, or -EFAULT or -ERANGE with dst in any state. Bytes behind the NUL
 * stay as they are.
 */
long oxbpf_strncpy_from_kernel(char *dst, unsigned long src, long count)
{
	const struct word_at_a_time constants = WORD_AT_A_TIME_CONSTANTS;
	long done = 0;
	long err;
	char c;

	if (unlikely(count <= 0))
		return 0;
	/* The exported copy knows which addresses may be tried at all. */
	err = copy_from_kernel_nofault(&c, (const void *)src, 1);
	if (unlikely(err))
		return err;

	pagefault_disable();
	while (done < count) {
		/* An aligned word lies in one page: bytes behind the NUL are there too. */
		if (IS_ALIGNED(src + done, sizeof(long)) && count - done >= (long)sizeof(long)) {
			unsigned long word, bits;

			__get_kernel_nofault(&word, (const void *)(src + done), unsigned long,
					     fault);
			if (!has_zero(word, &bits, &constants)) {
				memcpy(dst + done, &word, sizeof(word));
				done += sizeof(word);
				continue;
			}
		}
		__get_kernel_nofault(&c, (const void *)(src + done), char, fault);
		dst[done++] = c;
		if (!c)
			break;
	}
	pagefault_enable();
	dst[done - 1] = '\0';
	return done;
fault:
	pagefault_enable();
	return -EFAULT;
}

/* The same from the current process's memory; -EFAULT for addresses that are not the user's. */
long oxbpf_strncpy_from_user(char *dst, unsigned long src, long count)
{
	long len;

	if (unlikely(count <= 0))
		return 0;
	pagefault_disable();
	len = strncpy_from_user(dst, (const char __user *)src, count);
	pagefault_enable();
	if (len >= count) {
		dst[count - 1] = '\0';
		return count;
	}
	return len < 0 ? len : len + 1;
}

bool oxbpf_is_user_address(unsigned long addr)
{
	return addr < TASK_SIZE;
}

/* Writes the byte that is there: 0, -EFAULT when it cannot be written. */
int oxbpf_try_writing(void *addr)
{
	u8 byte;
	int err;

	err = copy_from_kernel_nofault(&byte, addr, 1);
	return err ?: (int)static_call(oxbpf_copy_to_kernel_nofault)(addr, &byte, 1);
}
