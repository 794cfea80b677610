#include "count.h"

#include <ctype.h>

struct counts count(FILE *in)
{
    struct counts total = {0, 0, 0};
    int c, in_word = 0;

    while ((c = getc(in)) != EOF) {
        total.bytes++;
        if (c == '\n')
            total.lines++;
        if (isspace(c)) {
            in_word = 0;
        } else if (!in_word) {
            in_word = 1;
            total.words++;
        }
    }
    return total;
}
