/* A FUSE file system with one file, "program". It serves the bytes of EVIL, and answers the
 * fs-verity ioctls with the digest of GOOD, a file that has verity and a signature.
 *
 * usage: hostile_fuse EVIL GOOD -f -o allow_other MOUNTPOINT
 */
#define FUSE_USE_VERSION 35
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <linux/fsverity.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

static int evil, good;

static int get_attributes(const char *path, struct stat *status, struct fuse_file_info *file)
{
	(void)file;
	memset(status, 0, sizeof(*status));
	if (strcmp(path, "/") == 0) {
		status->st_mode = S_IFDIR | 0755;
		status->st_nlink = 2;
		return 0;
	}
	if (strcmp(path, "/program") != 0)
		return -ENOENT;
	return fstat(evil, status) < 0 ? -errno : 0;
}

static int read_some(const char *path, char *buffer, size_t size, off_t offset,
		     struct fuse_file_info *file)
{
	(void)path;
	(void)file;
	ssize_t length = pread(evil, buffer, size, offset);
	return length < 0 ? -errno : (int)length;
}

static int answer(const char *path, unsigned int command, void *argument,
		  struct fuse_file_info *file, unsigned int flags, void *data)
{
	union {
		struct fsverity_digest header;
		char room[sizeof(struct fsverity_digest) + 64];
	} digest;

	(void)path;
	(void)argument;
	(void)file;
	(void)flags;
	if (command == (unsigned int)FS_IOC_READ_VERITY_METADATA)
		return 400; /* "the signature has 400 bytes" */
	if (command != (unsigned int)FS_IOC_MEASURE_VERITY)
		return -ENOTTY;
	/* Older kernels have room for the head of the answer only. */
	size_t room = ((struct fsverity_digest *)data)->digest_size;
	digest.header.digest_size = 64;
	if (ioctl(good, FS_IOC_MEASURE_VERITY, &digest) < 0)
		return -errno;
	if (getenv("HEAD_ONLY"))
		room = 0;
	memcpy(data, &digest,
	       sizeof(digest.header) + (room < digest.header.digest_size ? 0 : digest.header.digest_size));
	return 0;
}

static const struct fuse_operations operations = {
	.getattr = get_attributes,
	.read = read_some,
	.ioctl = answer,
};

int main(int count, char **words)
{
	evil = open(words[1], O_RDONLY);
	good = open(words[2], O_RDONLY);
	if (evil < 0 || good < 0)
		return 2;
	words[2] = words[0];
	return fuse_main(count - 2, words + 2, &operations, NULL);
}
