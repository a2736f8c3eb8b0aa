/* A program that ends with what its library says, or shows its own name. */
#include <stdio.h>

int status(void);

int main(int argc, char **argv)
{
	if (argc > 1)
		puts(argv[0]);
	return status();
}
