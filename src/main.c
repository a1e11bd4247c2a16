/* Which command, ordered start, reverse stop. */
#include "base/log.h"

int main(void)
{
    log_error("main", NULL, "commands arrive with the daemon");
    return 1;
}
