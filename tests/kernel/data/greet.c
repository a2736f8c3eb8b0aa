/* The library that the program should get. */
int greet(void)
{
	return 0;
}
