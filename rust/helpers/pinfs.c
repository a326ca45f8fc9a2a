// SPDX-License-Identifier: GPL-2.0
/*
 * The filesystem "oxbpf": directories, and files that keep an object, which is what OBJ_PIN makes and
 * OBJ_GET opens. It says to be a BPF filesystem, since tools look for that before they pin.
 */

#include <linux/fs.h>
#include <linux/fs_context.h>
#include <linux/fs_struct.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <linux/namei.h>
#include <linux/pagemap.h>

int oxbpf_pinfs_register(void (*put)(void *object));
void oxbpf_pinfs_unregister(void);
int oxbpf_pinfs_pin(int dfd, const char __user *name, void *object);
int oxbpf_pinfs_find(int dfd, const char __user *name, int mask,
		     int (*found)(void *object, void *arg), void *arg);

/* Gives back what an inode keeps. */
static void (*oxbpf_pinfs_put)(void *object);

static const struct inode_operations oxbpf_pinfs_dir;
/* Files with an object have these, and nothing else has. */
static const struct inode_operations oxbpf_pinfs_file = { };

static int oxbpf_pinfs_open(struct inode *inode, struct file *file)
{
	return -EIO;
}

static const struct file_operations oxbpf_pinfs_fops = {
	.owner = THIS_MODULE,
	.open = oxbpf_pinfs_open,
};

static void oxbpf_pinfs_evict(struct inode *inode)
{
	truncate_inode_pages_final(&inode->i_data);
	clear_inode(inode);
	if (inode->i_op == &oxbpf_pinfs_file)
		oxbpf_pinfs_put(inode->i_private);
}

static const struct super_operations oxbpf_pinfs_super = {
	.statfs = simple_statfs,
	.drop_inode = inode_just_drop,
	.evict_inode = oxbpf_pinfs_evict,
};

static struct inode *oxbpf_pinfs_inode(struct super_block *sb, struct inode *dir, umode_t mode)
{
	struct inode *inode = new_inode(sb);

	if (!inode)
		return NULL;
	inode->i_ino = get_next_ino();
	simple_inode_init_ts(inode);
	inode_init_owner(&nop_mnt_idmap, inode, dir, mode);
	return inode;
}

/* @inode gets its name; the dentry stays until it is removed. */
static void oxbpf_pinfs_add(struct inode *dir, struct dentry *dentry, struct inode *inode)
{
	d_make_persistent(dentry, inode);
	inode_set_mtime_to_ts(dir, inode_set_ctime_current(dir));
}

/* As in-tree: names with dots are not for users. */
static struct dentry *oxbpf_pinfs_lookup(struct inode *dir, struct dentry *dentry,
					 unsigned int flags)
{
	if (strchr(dentry->d_name.name, '.'))
		return ERR_PTR(-EPERM);
	return simple_lookup(dir, dentry, flags);
}

static struct dentry *oxbpf_pinfs_mkdir(struct mnt_idmap *idmap, struct inode *dir,
					struct dentry *dentry, umode_t mode)
{
	struct inode *inode = oxbpf_pinfs_inode(dir->i_sb, dir, mode | S_IFDIR);

	if (!inode)
		return ERR_PTR(-ENOMEM);
	inode->i_op = &oxbpf_pinfs_dir;
	inode->i_fop = &simple_dir_operations;
	inc_nlink(inode);
	inc_nlink(dir);
	oxbpf_pinfs_add(dir, dentry, inode);
	return NULL;
}

static const struct inode_operations oxbpf_pinfs_dir = {
	.lookup = oxbpf_pinfs_lookup,
	.mkdir = oxbpf_pinfs_mkdir,
	.rmdir = simple_rmdir,
	.rename = simple_rename,
	.link = simple_link,
	.unlink = simple_unlink,
};

static int oxbpf_pinfs_mkobj(struct dentry *dentry, umode_t mode, void *object)
{
	struct inode *dir = d_inode(dentry->d_parent);
	struct inode *inode = oxbpf_pinfs_inode(dir->i_sb, dir, mode);

	if (!inode)
		return -ENOMEM;
	inode->i_op = &oxbpf_pinfs_file;
	inode->i_fop = &oxbpf_pinfs_fops;
	inode->i_private = object;
	oxbpf_pinfs_add(dir, dentry, inode);
	return 0;
}

/*
 * Makes the file @name, from @dfd on, that keeps @object. 0, and the object is the file's; or an errno,
 * -EPERM on any other filesystem.
 */
int oxbpf_pinfs_pin(int dfd, const char __user *name, void *object)
{
	struct dentry *dentry;
	struct path path;
	int err = -EPERM;
	umode_t mode;

	dentry = start_creating_user_path(dfd, name, &path, 0);
	if (IS_ERR(dentry))
		return PTR_ERR(dentry);
	if (d_inode(path.dentry)->i_op == &oxbpf_pinfs_dir) {
		mode = S_IFREG | ((S_IRUSR | S_IWUSR) & ~current_umask());
		err = vfs_mkobj(dentry, mode, oxbpf_pinfs_mkobj, object);
	}
	end_creating_path(&path, dentry);
	return err;
}

/*
 * Calls @found with the object of file @name, from @dfd on, if the caller may do with the file what
 * @mask says (1: write, 2: read). The object lives as long as that call; its result is this one's.
 */
int oxbpf_pinfs_find(int dfd, const char __user *name, int mask,
		     int (*found)(void *object, void *arg), void *arg)
{
	struct inode *inode;
	struct path path;
	int err;

	err = user_path_at(dfd, name, LOOKUP_FOLLOW, &path);
	if (err)
		return err;
	inode = d_backing_inode(path.dentry);
	err = path_permission(&path, (mask & 1 ? MAY_WRITE : 0) | (mask & 2 ? MAY_READ : 0));
	if (!err && inode->i_op != &oxbpf_pinfs_file)
		err = -EACCES;
	if (!err)
		err = found(inode->i_private, arg);
	if (!err)
		touch_atime(&path);
	path_put(&path);
	return err;
}

static int oxbpf_pinfs_fill(struct super_block *sb, struct fs_context *fc)
{
	struct inode *inode;

	sb->s_blocksize = PAGE_SIZE;
	sb->s_blocksize_bits = PAGE_SHIFT;
	sb->s_magic = BPF_FS_MAGIC;
	sb->s_op = &oxbpf_pinfs_super;
	sb->s_iflags |= SB_I_NOEXEC | SB_I_NODEV;
	sb->s_time_gran = 1;
	inode = oxbpf_pinfs_inode(sb, NULL, S_IFDIR | S_ISVTX | 0777);
	if (!inode)
		return -ENOMEM;
	inode->i_ino = 1;
	inode->i_op = &oxbpf_pinfs_dir;
	inode->i_fop = &simple_dir_operations;
	set_nlink(inode, 2);
	sb->s_root = d_make_root(inode);
	return sb->s_root ? 0 : -ENOMEM;
}

static int oxbpf_pinfs_get_tree(struct fs_context *fc)
{
	return get_tree_nodev(fc, oxbpf_pinfs_fill);
}

static const struct fs_context_operations oxbpf_pinfs_context = {
	.get_tree = oxbpf_pinfs_get_tree,
};

static int oxbpf_pinfs_init(struct fs_context *fc)
{
	fc->ops = &oxbpf_pinfs_context;
	return 0;
}

static struct file_system_type oxbpf_pinfs_type = {
	.owner = THIS_MODULE,
	.name = "oxbpf",
	.init_fs_context = oxbpf_pinfs_init,
	.kill_sb = kill_anon_super,
};

/* From then on it can be mounted; @put is called where sleeping is allowed. */
int oxbpf_pinfs_register(void (*put)(void *object))
{
	oxbpf_pinfs_put = put;
	return register_filesystem(&oxbpf_pinfs_type);
}

/* Nothing is mounted: mounts keep the module. */
void oxbpf_pinfs_unregister(void)
{
	unregister_filesystem(&oxbpf_pinfs_type);
}
