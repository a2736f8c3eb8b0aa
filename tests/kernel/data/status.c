/* A library by which a program shows what it was started with. */
int status(void)
{
	return STATUS;
}
