/* The process: hardened, with memory for its secrets, around its command. */
#include "base/crypto.h"
#include "cli/cli.h"
#include "daemon/hardening.h"

int main(int argc, char **argv)
{
    hardening_standard_descriptors();
    hardening_clean_environment();
    hardening_process(); /* commands hold tokens as well */
    crypto_init();
    /* Secrets of every command live there. Where it cannot be locked, the daemon says so in its start line. */
    enum pp_result rc = secret_memory_init();
    int status = cli_main(argc, argv);
    if (rc == PP_OK)
        secret_memory_fini();
    return status;
}
