#include <stdio.h>

int main(void)
{
    printf("agent " VERSION " for " PLATFORM "\n");
    return 0;
}
