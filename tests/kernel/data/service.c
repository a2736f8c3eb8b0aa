/* A service that says what it is, and then does what its second argument names. */
#define _GNU_SOURCE
#include <dirent.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void copy(const char *name, const char *path)
{
	char line[4096];
	FILE *file = fopen(path, "r");

	while (file && fgets(line, sizeof(line), file))
		printf("%s:%s", name, line);
	if (file)
		fclose(file);
}

static void describe(int argc, char **argv)
{
	static const char *const variables[] = {
		"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID", "USER", "LD_PRELOAD",
	};
	static char whole[1 << 17];
	char link[4096] = "";
	struct dirent *entry;
	DIR *fds = opendir("/proc/self/fd");

	/* One write, so that no reader sees a part. */
	setvbuf(stdout, whole, _IOFBF, sizeof(whole));
	printf("pid:%d\n", getpid());
	for (int i = 0; i < argc; i++)
		printf("argv:%s\n", argv[i]);
	for (size_t i = 0; i < sizeof(variables) / sizeof(*variables); i++)
		if (getenv(variables[i]))
			printf("%s:%s\n", variables[i], getenv(variables[i]));
	if (readlink("/proc/self/exe", link, sizeof(link) - 1) > 0)
		printf("exe:%s\n", link);
	while (fds && (entry = readdir(fds)))
		if (atoi(entry->d_name) > 2 && atoi(entry->d_name) != dirfd(fds))
			printf("fd:%s\n", entry->d_name);
	if (fds)
		closedir(fds);
	copy("status", "/proc/self/status");
	copy("maps", "/proc/self/maps");
	fflush(stdout);
}

static int notify(const char *text)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const char *path = getenv("NOTIFY_SOCKET");
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (!path || fd < 0 || strlen(path) >= sizeof(address.sun_path))
		return 1;
	strcpy(address.sun_path, path);
	socklen_t size = offsetof(struct sockaddr_un, sun_path) + strlen(path);
	if (*path == '@')
		address.sun_path[0] = 0;
	if (sendto(fd, text, strlen(text), 0, (struct sockaddr *)&address, size) < 0)
		return 1;
	close(fd);
	return 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	describe(argc, argv);
	if (!strcmp(what, "exit"))
		return atoi(argv[2]);
	if (!strcmp(what, "stay"))
		return pause();
	if (!strcmp(what, "notify"))
		return notify("READY=1\nSTATUS=said so itself") || pause();
	if (!strcmp(what, "watchdog")) {
		if (notify("READY=1"))
			return 1;
		for (;;) {
			usleep(atol(getenv("WATCHDOG_USEC")) / 4);
			if (notify("WATCHDOG=1"))
				return 1;
		}
	}
	if (!strcmp(what, "accept")) {
		int peer = accept(3, NULL, NULL);

		if (peer < 0 || dprintf(peer, "%d", getpid()) < 0)
			return 1;
	}
	return 0;
}
