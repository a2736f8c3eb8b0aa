/* What an attacker would have loaded: leaves a mark when it runs inside the program "victim",
 * and does nothing in the launcher's own interpreter, which is started before any check. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static void __attribute__((constructor)) leave_mark(void)
{
	static const char name[] = "/victim";
	char path[4096];
	ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);

	if (length < (ssize_t)sizeof(name))
		return;
	path[length] = 0;
	if (strcmp(path + length - (sizeof(name) - 1), name) == 0)
		close(open(MARK, O_WRONLY | O_CREAT | O_CLOEXEC, 0666));
}

/* LD_AUDIT wants this one, the program itself the other. */
unsigned int la_version(unsigned int version)
{
	return version;
}

int greet(void)
{
	return 0;
}
