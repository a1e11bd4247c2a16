/* -V: our version and those of the libraries in use. */
#include "cli/cli.h"

#include "config.h"
#include "base/crypto.h"
#include "config/loader.h"
#include "net/connect.h"
#include "net/server.h"

#include <jansson.h>

#include <stddef.h>
#include <stdio.h>

/* One row per library; each version comes from the file that alone includes the library's header. */
static const struct {
    const char *name;
    const char *(*version)(void);
} libraries[] = {
    {"jansson", jansson_version_str},     {"libconfig", loader_library_version},
    {"libcurl", connect_library_version}, {"libmicrohttpd", server_library_version},
    {"openssl", crypto_library_version},
};

void cli_print_version(void)
{
    (void)printf("proofproxy %s\n", PACKAGE_VERSION);
    for (size_t i = 0; i < sizeof libraries / sizeof libraries[0]; i++)
        (void)printf("%s %s\n", libraries[i].name, libraries[i].version());
}
