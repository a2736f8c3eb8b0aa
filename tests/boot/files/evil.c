/* A stranger's library: says in which program it runs. */
#include <stdio.h>
#include <unistd.h>

__attribute__((constructor)) static void run(void)
{
	char program[4096];
	ssize_t size = readlink("/proc/self/exe", program, sizeof program - 1);

	if (size > 0) {
		program[size] = 0;
		printf("evil code in %s\n", program);
		fflush(stdout);
	}
}
