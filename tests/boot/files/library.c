/* A library of the kiosk's. It says that it is there, so that another in its place is seen. */
#include <stdio.h>

__attribute__((constructor)) static void run(void)
{
	printf(NAME " ");
}
