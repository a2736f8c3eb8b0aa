/* A signed program that needs a library. */
int greet(void);

int main(void)
{
	return greet();
}
