// Random numbers that are the same in each process, for runs of fuzz targets that are to be repeated:
// hash maps and names of temporary files come from them. Loaded by scripts/fuzz.sh, never linked.

#include <string.h>
#include <sys/types.h>

ssize_t getrandom(void *buffer, size_t length, unsigned flags) {
  (void)flags;
  memset(buffer, 0x5a, length);
  return (ssize_t)length;
}
