/* One of many libraries, with some data that the loader has to relocate: -DNAME= -DNUMBER= */

static int number = NUMBER;
static int *const numbers[] = {&number, &number, &number, &number};

int NAME(void)
{
	return *numbers[NUMBER % 4];
}
