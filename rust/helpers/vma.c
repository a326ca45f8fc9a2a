// SPDX-License-Identifier: GPL-2.0
/*
 * Maps in user space's memory.
 */

#include <linux/mm.h>
#include <linux/vmalloc.h>

unsigned long oxbpf_vma_flags(const struct vm_area_struct *vma);
unsigned long oxbpf_vma_pages(const struct vm_area_struct *vma);
unsigned long oxbpf_vma_offset(const struct vm_area_struct *vma);
bool oxbpf_vma_may_write(const struct vm_area_struct *vma);
const struct file *oxbpf_vma_file(const struct vm_area_struct *vma);
void oxbpf_vma_start(struct vm_area_struct *vma, const struct vm_operations_struct *ops);
int oxbpf_vma_insert(struct vm_area_struct *vma, void *area);

/* 1: shared; 2: writable. */
unsigned long oxbpf_vma_flags(const struct vm_area_struct *vma)
{
	return (vma->vm_flags & VM_SHARED ? 1 : 0) | (vma->vm_flags & VM_WRITE ? 2 : 0);
}

unsigned long oxbpf_vma_pages(const struct vm_area_struct *vma)
{
	return vma_pages(vma);
}

/* Pages into the file. */
unsigned long oxbpf_vma_offset(const struct vm_area_struct *vma)
{
	return vma->vm_pgoff;
}

bool oxbpf_vma_may_write(const struct vm_area_struct *vma)
{
	return vma->vm_flags & VM_MAYWRITE;
}

const struct file *oxbpf_vma_file(const struct vm_area_struct *vma)
{
	return vma->vm_file;
}

/*
 * Who may not write now may not later: what counts writers counts mappings that are writable, so that
 * mprotect() must not make more of them. Nothing in a map is ever executed.
 */
void oxbpf_vma_start(struct vm_area_struct *vma, const struct vm_operations_struct *ops)
{
	vma->vm_ops = ops;
	vm_flags_clear(vma, VM_MAYEXEC);
	if (!(vma->vm_flags & VM_WRITE))
		vm_flags_clear(vma, VM_MAYWRITE);
}

/*
 * Puts the pages of @area, which vmalloc() or vmap() gave, into the whole of @vma, whose file keeps
 * them. 0, or -ENOMEM and the like; the caller of mmap() takes out what is in already.
 */
int oxbpf_vma_insert(struct vm_area_struct *vma, void *area)
{
	unsigned long addr;
	int err;

	vm_flags_set(vma, VM_DONTEXPAND | VM_DONTDUMP);
	for (addr = vma->vm_start; addr < vma->vm_end; addr += PAGE_SIZE, area += PAGE_SIZE) {
		err = vm_insert_page(vma, addr, vmalloc_to_page(area));
		if (err)
			return err;
	}
	return 0;
}
