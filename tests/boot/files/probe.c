/* Says what it was started with.
 *
 * usage: probe environment         prints the environment
 *        probe memory              prints the first byte of fresh memory of malloc(3)
 *        probe descriptors FILE    writes which descriptors are open
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST 64

static int descriptors(const char *path)
{
	int open[MOST];

	for (int fd = 0; fd < MOST; fd++)
		open[fd] = fcntl(fd, F_GETFD) != -1;
	FILE *file = fopen(path, "w");
	if (!file)
		return 3;
	fprintf(file, "descriptors");
	for (int fd = 0; fd < MOST; fd++)
		if (open[fd])
			fprintf(file, " %d", fd);
	return fclose(file) ? 4 : 0;
}

int main(int argc, char **argv, char **environment)
{
	if (argc == 3 && strcmp(argv[1], "descriptors") == 0)
		return descriptors(argv[2]);
	if (argc == 2 && strcmp(argv[1], "memory") == 0) {
		/* Volatile, or the compiler knows that reading it means nothing. */
		volatile unsigned char *fresh = malloc(2000);

		printf("memory %02x\n", fresh ? fresh[1000] : 0);
		return 0;
	}
	if (argc == 2 && strcmp(argv[1], "environment") == 0) {
		for (; *environment; environment++)
			printf("%s ", *environment);
		printf("\n");
		return 0;
	}
	return 2;
}
