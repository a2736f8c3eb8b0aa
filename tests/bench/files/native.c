/* native PROGRAM: the system calls of `veriseal exec`, with as little between them as C allows: a
   bound for any launcher, and none itself. It takes report and table for well made, says not what
   it refuses, and knows neither scripts nor revoked digests. Formats: see report.py, table.py. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/fsverity.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#define PRIME 1000000007
#define REFUSED 126
#define require(condition) ((condition) ? (void)0 : _exit(REFUSED))

extern char **environ;
struct digest { uint16_t algorithm, size; uint8_t bytes[64]; };
struct record { uint16_t algorithm, length; uint32_t offset, size; } __attribute__((packed));
static struct { char magic[8]; uint32_t version; char boot[36]; uint32_t slots, size; } head;
static char text[1 << 16];
static struct stat status;

static ssize_t contents(const char *path)
{
	ssize_t size = 0, part;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	require(fd >= 0 && !fstat(fd, &status));
	while ((part = read(fd, text + size, sizeof text - 1 - size)) > 0)
		size += part;
	text[size] = 0;
	close(fd);
	return size;
}

static struct digest measured(int fd)
{
	struct { struct digest found; } room = {{0, sizeof room.found.bytes, {0}}};
	struct fsverity_read_metadata_arg stored = {.metadata_type = 3 /* signature */};
	char first;
	require(!fstat(fd, &status) && !ioctl(fd, FS_IOC_MEASURE_VERITY, &room));
	require(ioctl(fd, FS_IOC_READ_VERITY_METADATA, &stored) >= 0 && pread(fd, &first, 1, 0) == 1);
	return room.found;
}

int main(int argc, char **argv)
{
	char path[64], name[4096];
	struct utsname machine;
	require(argc > 1 && contents("/run/veriseal/boot.json") > 0);
	require(strstr(text, "\"keyring\": \"sealed\"") && strstr(text, "\"manifest\": \"verified\""));
	require(contents("/proc/sys/fs/verity/require_signatures") > 0 && text[0] == '1');
	int table = open("/run/veriseal/launch.table", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	require(!fstat(table, &status) && pread(table, &head, sizeof head, 0) == sizeof head);
	require(contents("/proc/sys/kernel/random/boot_id") && !memcmp(head.boot, text, 36));

	int place = open(argv[1], O_PATH | O_CLOEXEC);
	require(!fstat(place, &status) && S_ISREG(status.st_mode));
	snprintf(path, sizeof path, "/proc/self/fdinfo/%d", place);
	require(contents(path) && contents("/proc/self/mountinfo") && strstr(text, " - ext4 "));
	snprintf(path, sizeof path, "/proc/self/fd/%d", place);
	int program = open(path, O_RDONLY | O_CLOEXEC);
	struct digest digest = measured(program);
	ssize_t length = readlink(path, name, sizeof name);
	require(!uname(&machine) && pread(program, text, 256, 0) > 4 && !memcmp(text, "\177ELF", 4));

	uint64_t hash = 0;
	for (ssize_t i = 0; i < length; i++)
		hash = (hash * 256 + (uint8_t)name[i]) % PRIME;
	uint32_t slot[2];
	hash = sizeof head + 4 * (hash * 654435761 % PRIME % head.slots);
	require(pread(table, slot, sizeof slot, hash) == sizeof slot);
	require(pread(table, text, slot[1] - slot[0], slot[0]) > 0);
	struct record row = {0};
	for (char *next = text; !row.size; next += digest.size + row.length) {
		require(next < text + slot[1] - slot[0]);
		memcpy(&row, next, sizeof row), next += sizeof row;
		if (row.length != length || memcmp(next + digest.size, name, length))
			row.size = 0;
		else
			require(row.size && !memcmp(next, digest.bytes, digest.size));
	}

	char *closure = malloc(row.size);
	require(pread(table, closure, row.size, row.offset) == row.size);
	uint32_t count = *(uint32_t *)closure;
	struct digest *wanted = (struct digest *)(closure + 4), none = {0};
	for (char *next = (char *)(wanted + count); count--; next += strlen(next) + 1, wanted++) {
		int fd = open(next, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
		if (fd >= 0)
			digest = measured(fd);
		require(!memcmp(fd >= 0 ? &digest : &none, wanted, sizeof digest));
		close(fd);
	}
	contents("/proc/self/environ");
	execveat(program, "", argv + 1, environ, AT_EMPTY_PATH);
	return REFUSED;
}
