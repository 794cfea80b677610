#include "count.h"

int main(void)
{
    struct counts total = count(stdin);

    printf("%lu %lu %lu\n", total.lines, total.words, total.bytes);
    return ferror(stdin) ? 1 : 0;
}
