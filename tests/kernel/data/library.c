/* A library that holds nothing but what the dynamic loader asks of an auditor: rtld-audit(7). */

unsigned int la_version(unsigned int version)
{
    return version;
}
