/* A kiosk program. NAME makes each build a different file; "stay" makes it stay. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	printf(NAME ": up as uid %d\n", (int)getuid());
	fflush(stdout);
	if (argc == 1 && strcmp(NAME, "kiosk") == 0)
		pause();
	return 0;
}
