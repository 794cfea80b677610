#ifndef COUNT_H
#define COUNT_H

#include <stdio.h>

struct counts {
    unsigned long lines, words, bytes;
};

/* Counts what is left to read in `in`. */
struct counts count(FILE *in);

#endif
